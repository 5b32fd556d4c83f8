#include "mock/stamp.h"

#include <string.h>

#include "base/hash.h"

/* ,"mock_stamp":"TAG-NUMBER-SENT-CHECKE"} with E for "more" (+) or the last one (.) */
#define OPENS ",\"mock_stamp\":\""
#define OPENS_BYTES (sizeof OPENS - 1)
#define TAG_AT 0
#define NUMBER_AT 9
#define SENT_AT 18
#define CHECK_AT 35
#define END_AT 43
#define VALUE_BYTES 44

/* Eight bytes a step: the load generator does this for every event that it reads. */
static uint32_t checksum(struct wr_span bytes) {
  uint64_t sum = bytes.len, word;
  size_t at = 0;
  for (; at + 8 <= bytes.len; at += 8) {
    memcpy(&word, bytes.ptr + at, 8);
    sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    sum ^= sum >> 29;
  }
  word = 0;
  if (at < bytes.len) memcpy(&word, bytes.ptr + at, bytes.len - at);
  return (uint32_t)wr_hash_mix64(sum ^ word);
}

bool wr_mock_stamp_put(struct wr_buf *out, size_t from, const struct wr_mock_stamp *stamp) {
  size_t len = out->len - from;
  if (out->overflow || len < 3 || out->ptr[from] != '{' || out->ptr[out->len - 1] != '}')
    return false;
  out->len--;
  wr_buf_put(out, WR_SPAN(OPENS));
  wr_buf_hex(out, stamp->tag, 8);
  wr_buf_char(out, '-');
  wr_buf_hex(out, stamp->number, 8);
  wr_buf_char(out, '-');
  wr_buf_hex(out, stamp->sent_ns, 16);
  wr_buf_char(out, '-');
  if (!out->overflow)
    wr_buf_hex(out, checksum(wr_span_make(out->ptr + from, out->len - from)), 8);
  wr_buf_char(out, stamp->last ? '.' : '+');
  wr_buf_put(out, WR_SPAN("\"}"));
  return true;
}

/* Lower case and a fixed width only: forty digits an event are read here. */
static bool hex_at(const char *value, size_t at, size_t digits, uint64_t *out) {
  uint64_t n = 0;
  for (const char *c = value + at, *end = c + digits; c < end; c++) {
    unsigned digit = (unsigned char)*c - (unsigned)'0';
    if (digit > 9) {
      digit = (unsigned char)*c - (unsigned)'a';
      if (digit > 5) return false;
      digit += 10;
    }
    n = n << 4 | digit;
  }
  *out = n;
  return true;
}

bool wr_mock_stamp_read(struct wr_span payload, struct wr_mock_stamp *out) {
  const size_t whole = OPENS_BYTES + VALUE_BYTES + 2;
  uint64_t tag, number, check;
  const char *at;
  bool behind = false;
  if (payload.len < whole) return false;
  at = payload.ptr + payload.len - whole;
  if (memcmp(at, OPENS, OPENS_BYTES) != 0) {
    /* Somebody wrote the object anew: what the stamp says is still worth knowing. */
    at = memmem(payload.ptr, payload.len, &OPENS[1], OPENS_BYTES - 1);
    if (at == NULL || (size_t)(payload.ptr + payload.len - at) < whole - 1) return false;
    at--;
    behind = true;
  }
  const char *value = at + OPENS_BYTES;
  if (!hex_at(value, TAG_AT, 8, &tag) || !hex_at(value, NUMBER_AT, 8, &number) ||
      !hex_at(value, SENT_AT, 16, &out->sent_ns) || !hex_at(value, CHECK_AT, 8, &check))
    return false;
  struct wr_span before = wr_span_make(payload.ptr, (size_t)(value + CHECK_AT - payload.ptr));
  out->tag = (uint32_t)tag;
  out->number = (uint32_t)number;
  out->last = value[END_AT] == '.';
  out->intact = !behind && checksum(before) == check;
  return true;
}
