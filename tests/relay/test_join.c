/* Two answers become one text: for every place where the first breaks off, every cut of the second,
 * every way to write a character, with and without the repeat, and when it only looks like one. */
#include "net/world.h"

#include <stdio.h>

#include "base/buf.h"
#include "relay/join.h"

/* What a client would have: the literals decoded one behind the other. */
struct reader {
  struct world w;
  struct wr_kept first, all; /* what was said before the break, and all that was sent */
};

static void open_reader(struct reader *r) {
  memset(r, 0, sizeof *r);
  world_open(&r->w, 4u << 20);
}

static void close_reader(struct reader *r) {
  wr_kept_clear(&r->first);
  wr_kept_clear(&r->all);
  world_close(&r->w);
}

static void put(struct reader *r, struct wr_kept *k, struct wr_span literal) {
  if (literal.len) assert_int_equal(wr_kept_put(k, r->w.slabs, literal, true, 1u << 20), WR_OK);
}

static struct wr_span text_of(const struct wr_kept *k, char *room, size_t cap) {
  size_t n = 0;
  while (n < k->len) {
    struct wr_span piece = wr_kept_piece(k, n);
    assert_true(piece.len > 0 && n + piece.len <= cap);
    memcpy(room + n, piece.ptr, piece.len);
    n += piece.len;
  }
  assert_int_equal(wr_kept_piece(k, k->len).len, 0);
  return wr_span_make(room, n);
}

/* Sends what becomes of one literal. */
static void send_joined(struct reader *r, const struct wr_joined *j, struct wr_span literal,
                        bool end) {
  char room[8192], half[8];
  struct wr_buf b;
  for (size_t at = j->from; at < j->to;) {
    wr_buf_init(&b, room, 64); /* several pieces */
    size_t n = wr_kept_json(&r->first, at, j->to, 5, &b);
    assert_true(n > 0);
    put(r, &r->all, wr_buf_span(&b));
    at += n;
  }
  if (j->high) {
    snprintf(half, sizeof half, "\\u%04x", j->high);
    put(r, &r->all, wr_span_str(half));
  }
  if (j->held || end) return;
  put(r, &r->all, wr_span_make(j->head, j->head_len));
  put(r, &r->all, wr_span_sub(literal, j->cut, literal.len - j->cut));
}

static void second_answer(struct reader *r, bool echoes, const struct wr_span *parts, size_t n) {
  struct wr_join j;
  wr_join_init(&j, &r->first, echoes);
  for (size_t i = 0; i < n; i++) {
    if (!parts[i].len) continue;
    struct wr_joined out = wr_join_take(&j, &r->first, parts[i]);
    send_joined(r, &out, parts[i], false);
  }
  struct wr_joined out = wr_join_end(&j, &r->first);
  send_joined(r, &out, WR_SPAN(""), true);
}

/* In units of the literal: a byte, or an escape. */
static size_t unit_at(struct wr_span s, size_t at) {
  struct wr_kept_unit u;
  wr_kept_unit_read(wr_span_sub(s, at, s.len - at), &u);
  return u.used;
}

static void begin(struct reader *r, struct wr_span said) {
  wr_kept_clear(&r->first);
  wr_kept_clear(&r->all);
  put(r, &r->first, said);
  put(r, &r->all, said);
}

static void expect(struct reader *r, struct wr_span whole) {
  static char got[8192], want[8192];
  struct wr_kept k = { .count = 0 };
  put(r, &k, whole);
  struct wr_span a = text_of(&k, want, sizeof want), b = text_of(&r->all, got, sizeof got);
  wr_kept_clear(&k);
  assert_int_equal(b.len, a.len);
  assert_memory_equal(b.ptr, a.ptr, a.len);
  assert_int_equal(r->all.high, 0);
}

/* The literal of what the second server says of the text `whole`, with a repeat or without; written
 * plainly, or in escapes. */
static struct wr_span rest_of(struct reader *r, struct wr_span whole, bool escapes, bool echo,
                              char *room, size_t cap) {
  static char text[8192];
  struct wr_kept k = { .count = 0 };
  put(r, &k, whole);
  struct wr_span all = text_of(&k, text, sizeof text);
  size_t from = echo ? 0 : wr_kept_body(&r->first);
  struct wr_buf b;
  wr_buf_init(&b, room, cap);
  if (!escapes) {
    wr_buf_json_text(&b, wr_span_sub(all, from, all.len - from));
  } else {
    for (size_t i = from; i < all.len;) {
      const unsigned char *p = (const unsigned char *)all.ptr + i;
      uint32_t c = p[0];
      size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
      c &= n == 1 ? 0x7fu : 0xffu >> (n + 1);
      for (size_t m = 1; m < n; m++) c = c << 6 | (p[m] & 0x3fu);
      if (c > 0xffff)
        wr_buf_printf(&b, "\\u%04X\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                      0xdc00 + ((c - 0x10000) & 0x3ff));
      else
        wr_buf_printf(&b, "\\u%04x", c);
      i += n;
    }
  }
  wr_kept_clear(&k);
  assert_false(b.overflow);
  return wr_buf_span(&b);
}

static const char *const texts[] = {
  "The quick brown fox jumps over the lazy dog, twice.",
  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
  "Gr\xc3\xbc\xc3\x9f" "e \xe2\x82\xac and \xf0\x9f\x98\x80\xf0\x9f\x98\x81, so  \\n\\n  it goes",
  ("\\ud83d\\ude00\\uD83D\\uDE01 \\u00fc\\u20ac \\t\\\"x\\\\y\\/ \\n\\n\\n and then \\ud83d\\ude00 "
   "end"),
  "   \\n leading, and a tail that begins like it   \\n leading, and more of it",
  "- one\\n- two\\n- three\\n- one\\n- two\\n- three and a half of that list\\n",
};

/* Every break, every cut of what follows in two, and each unit alone. */
static void every_break(struct reader *r, struct wr_span whole, bool escapes, bool echo,
                        bool says_so) {
  static char room[16384];
  for (size_t at = unit_at(whole, 0); at < whole.len; at += unit_at(whole, at)) {
    begin(r, wr_span_sub(whole, 0, at));
    if (wr_kept_body(&r->first) == 0) continue;
    if (echo && !says_so && wr_kept_body(&r->first) < WR_JOIN_SURE_BYTES) continue;
    /* A character that both servers cut, each in its own way, is more than is put together. */
    bool cut_char = r->first.high || ((unsigned char)whole.ptr[at] & 0xc0u) == 0x80u;
    if (cut_char && (escapes || r->first.high)) continue;
    struct wr_span rest = rest_of(r, whole, escapes, echo, room, sizeof room);
    for (size_t cut = 0; cut <= rest.len; cut += cut < rest.len ? unit_at(rest, cut) : 1) {
      begin(r, wr_span_sub(whole, 0, at));
      const struct wr_span two[] = { wr_span_sub(rest, 0, cut),
                                     wr_span_sub(rest, cut, rest.len - cut) };
      second_answer(r, says_so, two, 2);
      expect(r, whole);
    }
    static struct wr_span each[8192];
    size_t n = 0;
    for (size_t i = 0; i < rest.len; i += each[n++].len)
      each[n] = wr_span_sub(rest, i, unit_at(rest, i));
    begin(r, wr_span_sub(whole, 0, at));
    second_answer(r, says_so, each, n);
    expect(r, whole);
  }
}

static void joined(void **state) {
  (void)state;
  struct reader r;
  open_reader(&r);
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    struct wr_span whole = wr_span_str(texts[i]);
    for (unsigned escapes = 0; escapes < 2; escapes++) {
      every_break(&r, whole, escapes, false, false);
      if (i == 0) every_break(&r, whole, escapes, false, true); /* a server that lies */
      every_break(&r, whole, escapes, true, false);
      every_break(&r, whole, escapes, true, true);
    }
  }
  close_reader(&r);
}

/* Begins as the first one did, and is something else: all of it is sent. */
static void no_repeat(void **state) {
  (void)state;
  struct reader r;
  open_reader(&r);
  struct wr_span said = WR_SPAN("Once upon a time \\ud83d\\ude00 there was a fox, and");
  const char *const rests[] = { " once", "O", "Once upon a time \\ud83d",
                                "Once upon a time \\ud83d\\ude01!",
                                "Once upon a time \\ud83dx",
                                "Once upon a time \xf0\x9f\x98\x80" };
  for (size_t i = 0; i < sizeof rests / sizeof rests[0]; i++) {
    struct wr_span rest = wr_span_str(rests[i]);
    for (size_t cut = 0; cut <= rest.len; cut += cut < rest.len ? unit_at(rest, cut) : 1) {
      begin(&r, said);
      const struct wr_span two[] = { wr_span_sub(rest, 0, cut),
                                     wr_span_sub(rest, cut, rest.len - cut) };
      second_answer(&r, false, two, 2);
      char whole[512], room[512], want[512];
      snprintf(whole, sizeof whole, "%s%s", said.ptr, rests[i]);
      struct wr_kept k = { .count = 0 };
      put(&r, &k, wr_span_str(whole));
      struct wr_span a = text_of(&k, want, sizeof want), b = text_of(&r.all, room, sizeof room);
      assert_int_equal(k.high, r.all.high);
      wr_kept_clear(&k);
      assert_int_equal(a.len, b.len);
      assert_memory_equal(a.ptr, b.ptr, a.len);
    }
  }
  /* Too short for anything to be guessed, unless the server says that it does it. */
  const struct wr_span again = WR_SPAN("Oh, Oh, dear");
  begin(&r, WR_SPAN("Oh, "));
  second_answer(&r, false, &again, 1);
  expect(&r, WR_SPAN("Oh, Oh, Oh, dear"));
  begin(&r, WR_SPAN("Oh, "));
  second_answer(&r, true, &again, 1);
  expect(&r, WR_SPAN("Oh, Oh, dear"));
  close_reader(&r);
}

/* Bytes that are cut in the middle of a character, which JSON doesn't forbid; a pair likewise. */
static void cut_characters(void **state) {
  (void)state;
  struct reader r;
  open_reader(&r);
  struct wr_span whole = WR_SPAN("caf\xc3\xa9 costs 3\xe2\x82\xac \xf0\x9f\x98\x80!");
  for (size_t at = 1; at < whole.len; at++) {
    begin(&r, wr_span_sub(whole, 0, at));
    static char room[512];
    struct wr_span rest = rest_of(&r, whole, at & 1u, false, room, sizeof room);
    second_answer(&r, false, &rest, 1);
    expect(&r, whole);
  }
  whole = WR_SPAN("smile \\n\\ud83d\\ude00\\ud83d\\ude01 again");
  for (unsigned how = 0; how < 4; how++) {
    static char room[512];
    for (size_t at = unit_at(whole, 0); at < whole.len; at += unit_at(whole, at)) {
      begin(&r, wr_span_sub(whole, 0, at));
      struct wr_span rest = rest_of(&r, whole, how & 1u, how & 2u, room, sizeof room);
      second_answer(&r, how & 2u, &rest, 1);
      expect(&r, whole);
    }
  }
  close_reader(&r);
}

/* Bounds, and what is said to the server. */
static void kept(void **state) {
  (void)state;
  struct reader r;
  open_reader(&r);
  char line[1000];
  memset(line, 'x', sizeof line);
  size_t n = 0;
  while (n + sizeof line <= 300000) {
    struct wr_span more = wr_span_make(line, sizeof line);
    assert_int_equal(wr_kept_put(&r.first, r.w.slabs, more, false, 300000), WR_OK);
    n += sizeof line;
  }
  assert_int_equal(r.first.len, n);
  assert_int_equal(wr_kept_put(&r.first, r.w.slabs, WR_SPAN("y"), false, n), WR_E_BODY_TOO_LARGE);
  assert_int_equal(wr_kept_body(&r.first), n);
  assert_true(wr_ledger_bytes(r.w.ledger, WR_CHARGE_KEPT_LOG) >= n);
  wr_kept_clear(&r.first);
  put(&r, &r.first, WR_SPAN("a \\n\\t\xc3"));
  assert_int_equal(wr_kept_body(&r.first), 1);
  wr_kept_clear(&r.first);
  put(&r, &r.first, WR_SPAN("\xe2\x82"));
  assert_int_equal(wr_kept_body(&r.first), 0);
  wr_kept_clear(&r.first);
  put(&r, &r.first, WR_SPAN("a\\ud83d"));
  assert_int_equal(r.first.len, 1);
  put(&r, &r.first, WR_SPAN("b"));
  assert_int_equal(r.first.len, 5); /* the half that stayed alone */
  close_reader(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(joined),
    cmocka_unit_test(no_repeat),
    cmocka_unit_test(cut_characters),
    cmocka_unit_test(kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
