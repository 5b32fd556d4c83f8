#include "recordings.h"

#include "base/buf.h"
#include "wire/sse_parse.h"

/* What a run over a stream gave, as text: one line an event, so that runs can be compared. */
struct run {
  char *text;
  size_t len;
  size_t consumed;
  size_t events;
  enum wr_err end; /* of wr_sse_finish, or the error that ended the run */
};

enum { RUN_BYTES = 1 << 20 };

static void note(struct run *run, struct wr_span raw, const struct wr_sse_event *ev) {
  static char joined[1 << 17];
  struct wr_buf buf;
  wr_buf_init(&buf, joined, sizeof joined);
  assert_int_equal(ev->bytes, raw.len);
  assert_int_equal(wr_sse_join_data(raw, ev, &buf), WR_OK);
  struct wr_span name = wr_span_at(raw.ptr, ev->name);
  struct wr_span data = wr_span_at(raw.ptr, ev->data);
  assert_true((size_t)ev->data.off + ev->data.len <= raw.len);
  assert_true((size_t)ev->name.off + ev->name.len <= raw.len);
  if (!ev->multi_data) assert_true(wr_span_eq(data, wr_buf_span(&buf)));
  int n = snprintf(run->text + run->len, RUN_BYTES - run->len, "%c%s%s%s[%.*s][%.*s]\n",
                   "ECX"[ev->kind], ev->multi_data ? "m" : "", ev->has_id ? "i" : "",
                   ev->has_retry ? "r" : "", (int)name.len, name.len ? name.ptr : "",
                   (int)buf.len, buf.ptr);
  run->len += (size_t)n;
  run->events++;
}

/* Feeds the stream cut at every multiple of `step` from `first`; raw events are exact copies. */
static void run_stream(struct run *run, struct wr_span stream, size_t first, size_t step,
                       uint32_t max) {
  struct wr_sse_parser p;
  wr_sse_init(&p, max);
  run->len = run->consumed = run->events = 0;
  run->text[0] = '\0';
  size_t start = 0; /* of the current event */
  size_t cut = first < stream.len ? first : stream.len;
  for (;;) {
    while (run->consumed < cut) {
      struct wr_sse_event ev;
      size_t n = cut - run->consumed;
      size_t used;
      char *piece = malloc(n);
      assert_non_null(piece);
      memcpy(piece, stream.ptr + run->consumed, n);
      run->end = wr_sse_next(&p, wr_span_make(piece, n), &used, &ev);
      free(piece);
      if (run->end == WR_E_EVENT_TOO_LARGE) {
        assert_int_equal(wr_sse_finish(&p), WR_E_EVENT_TOO_LARGE);
        return;
      }
      run->consumed += used;
      if (run->end == WR_OK) {
        note(run, wr_span_sub(stream, start, run->consumed - start), &ev);
        start = run->consumed;
      } else {
        assert_int_equal(run->end, WR_E_AGAIN);
        assert_int_equal(run->consumed, cut);
      }
      assert_int_equal(wr_sse_pending(&p), run->consumed - start);
    }
    if (cut == stream.len) break;
    cut = cut + step < stream.len ? cut + step : stream.len;
  }
  assert_int_equal(run->consumed, stream.len);
  run->end = wr_sse_finish(&p);
}

static struct run whole;
static struct run split;

static void same_runs(struct wr_span stream) {
  if (whole.len != split.len || memcmp(whole.text, split.text, whole.len) != 0) {
    fail_msg("stream:\n%.*s\nwhole:\n%s\nsplit:\n%s", (int)stream.len, stream.ptr, whole.text,
             split.text);
  }
  assert_int_equal(whole.end, split.end);
}

static void check_splits(struct wr_span stream, uint32_t max) {
  run_stream(&whole, stream, stream.len, 1, max);
  for (size_t first = 0; first <= stream.len; first++) {
    run_stream(&split, stream, first, stream.len + 1, max);
    same_runs(stream);
  }
  for (size_t step = 1; step < 20; step++) {
    run_stream(&split, stream, step, step, max);
    same_runs(stream);
  }
}

static const struct { const char *in, *out; enum wr_err end; } CASES[] = {
  { "", "", WR_OK },
  { "data: x\n\n", "E[][x]\n", WR_OK },
  { "data:x\n\ndata:  y\n\n", "E[][x]\nE[][ y]\n", WR_OK },
  { "data\n\n", "E[][]\n", WR_OK },
  { "data:\n\n", "E[][]\n", WR_OK },
  { "data: \n\n", "E[][]\n", WR_OK },
  { "event: a\ndata: b\n\n", "E[a][b]\n", WR_OK },
  { "data: b\nevent: a\n\n", "E[a][b]\n", WR_OK },
  { "event: a\nevent:b\ndata: c\n\n", "E[b][c]\n", WR_OK },
  { "event: a\nevent\ndata: c\n\n", "E[][c]\n", WR_OK },
  { "event: a\n\ndata: c\n\n", "X[a][]\nE[][c]\n", WR_OK },
  { "id: 7\nretry: 10\ndata: c\n\n", "Eir[][c]\n", WR_OK },
  { "id\n\nretry\n\n", "Xi[][]\nXr[][]\n", WR_OK },
  { ":\n\n: ping\n\n", "C[][]\nC[][]\n", WR_OK },
  { ":\ndata: x\n:\n\n", "E[][x]\n", WR_OK },
  { "\n\n", "X[][]\nX[][]\n", WR_OK },
  { "data: a\ndata: b\n\n", "Em[][a\nb]\n", WR_OK },
  { "data: a\nevent: e\nother\n: c\ndata:b\ndata\n\n", "Em[e][a\nb\n]\n", WR_OK },
  { "data:\ndata:\ndata:\n\n", "Em[][\n\n]\n", WR_OK },
  { "dataa: x\ndat: y\nData: z\n data: w\nevents: v\nidd\nretryy\n\n", "X[][]\n", WR_OK },
  { "data: a\tb: c\x01\n\n", "E[][a\tb: c\x01]\n", WR_OK },
  { "data: a\r\n\r\n", "E[][a]\n", WR_OK },
  { "data: a\r\rdata: b\r\r", "E[][a]\nE[][b]\n", WR_OK },
  { "event: x\r\ndata: a\r\ndata: b\r\n\r\n: c\r\n\r\n", "Em[x][a\nb]\nC[][]\n", WR_OK },
  { "data: a\rdata: b\ndata: c\r\n\n", "Em[][a\nb\nc]\n", WR_OK },
  { "\xef\xbb\xbf" "data: a\n\n", "E[][a]\n", WR_OK },
  { "\xef\xbb\xbf\xef\xbb\xbf" "data: a\n\n", "X[][]\n", WR_OK },
  { "\xef\xbb" "data: a\n\n", "X[][]\n", WR_OK },
  { "data: a\n\n\xef\xbb\xbf" "data: a\n\n", "E[][a]\nX[][]\n", WR_OK },
  { "\xef\xbb\xbf", "", WR_OK },
  { "\xef\xbb\xbf\n", "X[][]\n", WR_OK },
  { "data: a", "", WR_E_TRUNCATED },
  { "data: a\n", "", WR_E_TRUNCATED },
  { "data: a\r\n", "", WR_E_TRUNCATED },
  { "data: a\n\nd", "E[][a]\n", WR_E_TRUNCATED },
  { ":\n", "", WR_E_TRUNCATED },
  { "data: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\t\n"
    "data: 0123456789abcdef0123456789abcdef0123456789abcdef01234\t6789abcdef0123456789abc\rdata: x"
    "\n\n",
    "Em[][0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\t\n"
    "0123456789abcdef0123456789abcdef0123456789abcdef01234\t6789abcdef0123456789abc\nx]\n",
    WR_OK },
};

static void cases_at_every_split(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
    struct wr_span in = wr_span_str(CASES[i].in);
    run_stream(&whole, in, in.len, 1, 0);
    if (strcmp(whole.text, CASES[i].out) != 0) fail_msg("case %zu: %s", i, whole.text);
    assert_int_equal(whole.end, CASES[i].end);
    check_splits(in, 0);
  }
}

/* Every line length around the block sizes of the search, with each line end. */
static void line_lengths(void **state) {
  (void)state;
  static const char *const ends[] = { "\n", "\r", "\r\n" };
  char line[400];
  for (size_t n = 0; n < 200; n++) {
    for (size_t e = 0; e < 3; e++) {
      char in[1024];
      memset(line, 'x', n);
      line[n] = '\0';
      int len =
          snprintf(in, sizeof in, "data: %s%sevent: %s%s%s", line, ends[e], line, ends[e], ends[e]);
      run_stream(&whole, wr_span_make(in, (size_t)len), (size_t)len, 1, 0);
      int want = snprintf(in, sizeof in, "E[%s][%s]\n", line, line);
      assert_int_equal(want, whole.len);
      assert_memory_equal(in, whole.text, whole.len);
    }
  }
}

static void size_cap(void **state) {
  (void)state;
  check_splits(WR_SPAN("data: 3456\n\n: 45678901\n\ndata: a\r\n\r\n"), 12);
  assert_int_equal(whole.end, WR_OK);
  assert_int_equal(whole.events, 3);
  check_splits(WR_SPAN("data: 34567\n\n"), 12);
  assert_int_equal(whole.end, WR_E_EVENT_TOO_LARGE);
  check_splits(WR_SPAN("data: a\n\ndata: 34567890123456789"), 12);
  assert_int_equal(whole.end, WR_E_EVENT_TOO_LARGE);
  assert_int_equal(whole.events, 1);
  check_splits(WR_SPAN("\n\xef"), 1);
  assert_int_equal(whole.end, WR_E_TRUNCATED);
}

/* An event that ends in CR doesn't wait for the LF that may follow. */
static void carriage_return_delivers(void **state) {
  (void)state;
  struct wr_sse_parser p;
  struct wr_sse_event ev;
  size_t used;
  wr_sse_init(&p, 0);
  assert_int_equal(wr_sse_next(&p, WR_SPAN("data: a\r\n\r"), &used, &ev), WR_OK);
  assert_int_equal(ev.bytes, 10);
  assert_int_equal(wr_sse_next(&p, WR_SPAN("\n"), &used, &ev), WR_E_AGAIN);
  assert_int_equal(wr_sse_pending(&p), 1);
  assert_int_equal(wr_sse_finish(&p), WR_OK);
  assert_int_equal(wr_sse_next(&p, WR_SPAN("data: b\n\nx"), &used, &ev), WR_OK);
  assert_int_equal(used, 9);
  assert_int_equal(ev.bytes, 10);
  assert_int_equal(ev.data.off, 7);
  assert_int_equal(ev.data.len, 1);
  assert_true(sizeof p <= 64);
}

/* The value of a payload's first "type" member; the recordings write it plainly. */
static struct wr_span type_of(struct wr_span line) {
  const char *at = memmem(line.ptr, line.len, "\"type\":\"", 8);
  if (!at) return wr_span_make(NULL, 0);
  const char *end = memchr(at + 8, '"', (size_t)(line.ptr + line.len - at - 8));
  return wr_span_make(at + 8, (size_t)(end - at - 8));
}

static void recordings(void **state) {
  (void)state;
  static const char *const ends[] = { "\n", "\r", "\r\n" };
  static char stream[RUN_BYTES];
  static char want[RUN_BYTES];
  for (size_t r = 0; r < RECORDING_COUNT; r++) {
    struct wr_span file = recording_load(RECORDINGS[r]);
    bool named = strncmp(RECORDINGS[r], "anthropic", 9) == 0 || strstr(RECORDINGS[r], "responses");
    for (size_t e = 0; e < 3; e++) {
      struct wr_span rest = file;
      struct wr_span line;
      size_t n = 0;
      size_t w = 0;
      while (recording_line(&rest, &line)) {
        struct wr_span name = named ? type_of(line) : wr_span_make("", 0);
        if (named) {
          n += (size_t)snprintf(stream + n, sizeof stream - n, "event: %.*s%s", (int)name.len,
                                name.ptr, ends[e]);
        }
        n += (size_t)snprintf(stream + n, sizeof stream - n, "data: %.*s%s%s", (int)line.len,
                              line.ptr, ends[e], ends[e]);
        w += (size_t)snprintf(want + w, sizeof want - w, "E[%.*s][%.*s]\n", (int)name.len,
                              name.ptr, (int)line.len, line.ptr);
      }
      for (size_t step = 1; step < 3000; step = step * 2 + 1) {
        run_stream(&split, wr_span_make(stream, n), step, step, 0);
        assert_int_equal(split.end, WR_OK);
        assert_int_equal(split.len, w);
        assert_memory_equal(split.text, want, w);
      }
      if (n < 4000) check_splits(wr_span_make(stream, n), 0);
    }
    recording_free(file);
  }
}

static int set_up(void **state) {
  (void)state;
  whole.text = malloc(RUN_BYTES);
  split.text = malloc(RUN_BYTES);
  return whole.text && split.text ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  free(whole.text);
  free(split.text);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(cases_at_every_split),
    cmocka_unit_test(line_lengths),
    cmocka_unit_test(size_cap),
    cmocka_unit_test(carriage_return_delivers),
    cmocka_unit_test(recordings),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
