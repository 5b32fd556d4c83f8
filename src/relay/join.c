#include "relay/join.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"

/* Does the kept text go on with these bytes? Of those beyond its end nothing is known: *n becomes
 * what there is. */
static bool is_next(const struct wr_kept *k, size_t at, size_t end, const char *bytes, size_t *n) {
  size_t len = *n < end - at ? *n : end - at;
  for (size_t i = 0; i < len;) {
    struct wr_span piece = wr_kept_piece(k, at + i);
    size_t m = piece.len < len - i ? piece.len : len - i;
    if (m == 0 || memcmp(piece.ptr, bytes + i, m) != 0) return false;
    i += m;
  }
  *n = len;
  return len > 0;
}

void wr_join_init(struct wr_join *j, const struct wr_kept *k, bool echoes) {
  *j = (struct wr_join){ .phase = WR_JOIN_TAIL, .body = wr_kept_body(k) };
  j->at = j->body;
  if (j->body == 0 || (!echoes && j->body < WR_JOIN_SURE_BYTES)) return;
  j->phase = WR_JOIN_ECHO;
  j->at = 0;
}

/* One character in whatever form; AGAIN for half of a pair at the end of the literal. */
static size_t read_char(struct wr_span in, uint16_t high, char out[static 4], size_t *used,
                        bool *half) {
  struct wr_kept_unit u;
  wr_kept_unit_read(in, &u);
  *used = u.used;
  *half = false;
  if (!u.escaped) {
    out[0] = (char)u.code;
    return 1;
  }
  if (wr_kept_is_low(u.code) && high) return wr_kept_utf8(high, u.code, out);
  if (!wr_kept_is_high(u.code)) return wr_kept_utf8(0, u.code, out);
  if (in.len == u.used) {
    *half = true;
    return 0;
  }
  struct wr_kept_unit low;
  wr_kept_unit_read(wr_span_sub(in, u.used, in.len - u.used), &low);
  if (!low.escaped || !wr_kept_is_low(low.code)) return wr_kept_utf8(0, u.code, out);
  *used += low.used;
  return wr_kept_utf8(u.code, low.code, out);
}

/* The kept text ended in half of a pair: of the same character only the other half is wanted. */
static size_t other_half(uint16_t high, struct wr_span in, struct wr_joined *out) {
  struct wr_kept_unit u;
  wr_kept_unit_read(in, &u);
  if (u.escaped) return u.code == high ? u.used : 0;
  if (u.code < 0xf0 || in.len < 4) return 0;
  uint32_t c = u.code & 7u;
  for (unsigned i = 1; i < 4; i++) c = c << 6 | ((unsigned char)in.ptr[i] & 0x3fu);
  c -= 0x10000u;
  if ((0xd800u | (c >> 10 & 0x3ffu)) != high) return 0;
  out->head_len = (uint8_t)snprintf(out->head, sizeof out->head, "\\u%04x", 0xdc00u | (c & 0x3ffu));
  return 4;
}

/* What the client has of the tail doesn't come again. `in` begins `done` bytes into the literal. */
static void take_tail(struct wr_join *j, const struct wr_kept *k, struct wr_span in, size_t done,
                      struct wr_joined *out) {
  WR_DCHECK(j->phase == WR_JOIN_TAIL && j->at <= k->len);
  while (in.len) {
    char c[4];
    size_t used = 0;
    bool half = false;
    if (j->at == k->len) {
      j->phase = WR_JOIN_OPEN;
      done += k->high ? other_half(k->high, in, out) : 0;
      break;
    }
    size_t n = read_char(in, 0, c, &used, &half), known = n;
    if (half || !is_next(k, j->at, k->len, c, &known)) {
      j->phase = WR_JOIN_OPEN;
      break;
    }
    j->at += known;
    done += used;
    in = wr_span_sub(in, used, in.len - used);
    if (known == n) continue;
    memcpy(out->head, c + known, n - known); /* of a character that was cut */
    out->head_len = (uint8_t)(n - known);
    j->phase = WR_JOIN_OPEN;
    break;
  }
  out->cut = done;
}

/* What was held goes, but for what of it the client has. */
static void release(struct wr_join *j, const struct wr_kept *k, size_t held, uint16_t high,
                    struct wr_joined *out) {
  size_t tail = j->body, same = 0;
  while (same < held && tail + same < k->len) {
    struct wr_span a = wr_kept_piece(k, same), b = wr_kept_piece(k, tail + same);
    if (a.ptr[0] != b.ptr[0]) break;
    same++;
  }
  out->from = same;
  out->to = held;
  out->high = high;
  j->phase = same == held && !high ? WR_JOIN_TAIL : WR_JOIN_OPEN;
  j->at = tail + same;
  j->high = 0;
}

static void take_echo(struct wr_join *j, const struct wr_kept *k, struct wr_span literal,
                      struct wr_joined *out) {
  const size_t held = j->at;
  const uint16_t high = j->high;
  struct wr_span in = literal;
  while (in.len) {
    char c[4];
    size_t used;
    bool half;
    if (j->at == j->body) break;
    size_t n = read_char(in, j->high, c, &used, &half), known = n;
    bool alone = j->high && n < 4; /* the half that came last has no other */
    if (half && !alone) {
      struct wr_kept_unit u;
      wr_kept_unit_read(in, &u);
      j->high = u.code;
    } else if (alone || !is_next(k, j->at, j->body, c, &known) || known < n) {
      release(j, k, held, high, out);
      if (j->phase == WR_JOIN_TAIL) take_tail(j, k, literal, 0, out);
      return;
    } else {
      j->high = 0;
      j->at += n;
    }
    in = wr_span_sub(in, used, in.len - used);
  }
  if (j->at < j->body) {
    out->held = true;
    return;
  }
  j->phase = WR_JOIN_TAIL; /* j->at stands where the tail begins */
  take_tail(j, k, in, literal.len - in.len, out);
}

struct wr_joined wr_join_take(struct wr_join *j, const struct wr_kept *k, struct wr_span literal) {
  struct wr_joined out = { .held = false };
  WR_DCHECK(literal.len > 0 && j->body <= k->len);
  if (j->phase == WR_JOIN_ECHO) take_echo(j, k, literal, &out);
  else if (j->phase == WR_JOIN_TAIL) take_tail(j, k, literal, 0, &out);
  WR_DCHECK(out.cut <= literal.len && out.from <= out.to);
  return out;
}

struct wr_joined wr_join_end(struct wr_join *j, const struct wr_kept *k) {
  struct wr_joined out = { .held = false };
  if (j->phase == WR_JOIN_ECHO) release(j, k, j->at, j->high, &out);
  j->phase = WR_JOIN_OPEN;
  return out;
}
