#include "trial/recording.h"

#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "trial/events.h"
#include "trial/trial_int.h"

/* So far ahead an event is looked for that doesn't come next. */
#define AHEAD 64u

enum wr_dialect wr_trial_recording_dialect(const char *file) {
  const char *slash = strrchr(file, '/');
  struct wr_span name = wr_span_str(slash ? slash + 1 : file);
  if (wr_span_starts(name, WR_SPAN("openai-responses"))) return WR_DIALECT_RESPONSES;
  for (size_t n = 1; n <= name.len; n++) {
    enum wr_dialect d = wr_trial_dialect_named(wr_span_sub(name, 0, n));
    if (d != WR_DIALECT_NONE) return d;
  }
  return WR_DIALECT_NONE;
}

enum wr_dialect wr_trial_recording_guess(struct wr_span text) {
  static const struct {
    const char *word;
    enum wr_dialect dialect;
  } words[] = { { "\"message_start\"", WR_DIALECT_ANTHROPIC },
                { "\"response.created\"", WR_DIALECT_RESPONSES },
                { "\"chat.completion.chunk\"", WR_DIALECT_CHAT },
                { "\"choices\"", WR_DIALECT_CHAT },
                { "\"done\":", WR_DIALECT_OLLAMA } };
  if (text.len > 16384) text.len = 16384;
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if (memmem(text.ptr, text.len, words[i].word, strlen(words[i].word))) return words[i].dialect;
  return WR_DIALECT_NONE;
}

/* The event's name of the two APIs that have one is the payload's type. */
static void put_name(const struct wr_json_prog *type, struct wr_span line,
                     struct wr_trial_bytes *out) {
  struct wr_json_value v;
  if (wr_json_scan(type, line, &v) != WR_OK || v.type != WR_JSON_STRING) return;
  struct wr_span raw = wr_json_raw(line, &v);
  wr_trial_put(out, WR_SPAN("event: "));
  wr_trial_put(out, wr_span_sub(raw, 1, raw.len - 2));
  wr_trial_put(out, WR_SPAN("\n"));
}

static void put_lines(enum wr_dialect dialect, const struct wr_json_prog *type, struct wr_span text,
                      struct wr_trial_bytes *out) {
  bool named = dialect == WR_DIALECT_RESPONSES || dialect == WR_DIALECT_ANTHROPIC;
  bool bare = dialect == WR_DIALECT_OLLAMA;
  while (text.len > 0) {
    const char *end = memchr(text.ptr, '\n', text.len);
    size_t n = end ? (size_t)(end - text.ptr) + 1 : text.len;
    struct wr_span line = wr_span_sub(text, 0, end ? n - 1 : n);
    if (line.len && line.ptr[line.len - 1] == '\r') line.len--;
    line = wr_span_trim(line);
    text = wr_span_sub(text, n, text.len - n);
    if (line.len == 0) continue;
    if (named) put_name(type, line, out);
    if (!bare) wr_trial_put(out, WR_SPAN("data: "));
    wr_trial_put(out, line);
    wr_trial_put(out, bare ? WR_SPAN("\n") : WR_SPAN("\n\n"));
  }
}

enum wr_err wr_trial_recording(enum wr_dialect dialect, struct wr_span text, char **give_bytes,
                               size_t *len) {
  static const char *const type_path[1] = { "type" };
  struct wr_trial_bytes out = { .ptr = NULL };
  struct wr_json_prog type;
  enum wr_err err = wr_json_compile(&type, type_path, 1);
  if (err != WR_OK) return err;
  struct wr_span start = wr_span_trim(text);
  if (start.len == 0 || start.ptr[0] != '{') {
    wr_trial_put(&out, text);
  } else {
    put_lines(dialect, &type, text, &out);
    bool said = memmem(text.ptr, text.len, "[DONE]", 6) != NULL;
    if (dialect == WR_DIALECT_CHAT && !said) wr_trial_put(&out, WR_SPAN("data: [DONE]\n\n"));
  }
  if (out.nomem || !out.ptr) {
    wr_heap_free(WR_HEAP_CLI, out.ptr);
    return out.nomem ? WR_E_NOMEM : WR_E_ARG;
  }
  *give_bytes = out.ptr;
  *len = out.len;
  return WR_OK;
}

struct item {
  struct wr_span raw;
  uint8_t kind;
};

/* All events of a body; what is left at its end counts as one. */
static enum wr_err items_read(enum wr_dialect dialect, struct wr_span body, struct item **out,
                              size_t *count) {
  struct wr_trial_events *reader = NULL;
  struct wr_event ev;
  struct wr_span text;
  size_t cap = 0;
  *out = NULL;
  *count = 0;
  enum wr_err err = wr_trial_events_new(dialect, body, &reader);
  while (err == WR_OK) {
    err = wr_trial_events_next(reader, &ev, &text);
    if (ev.raw.len == 0) break;
    if (*count == cap) {
      cap = cap ? cap * 2 : 64;
      struct item *more = wr_heap_realloc(WR_HEAP_CLI, *out, cap * sizeof *more);
      if (!more) {
        err = WR_E_NOMEM;
        break;
      }
      *out = more;
    }
    (*out)[(*count)++] = (struct item){ ev.raw, ev.kind };
  }
  wr_trial_events_free(reader);
  return err == WR_E_NOMEM ? err : WR_OK;
}

struct side {
  const struct item *items; /* borrowed: the caller's */
  size_t count, at;
};

static bool same(const struct side *a, size_t i, const struct side *b, size_t j) {
  if (i >= a->count || j >= b->count) return i >= a->count && j >= b->count;
  return wr_span_eq(a->items[i].raw, b->items[j].raw);
}

/* How many events of `a` stand before one that equals the next of `b`; 0: none is near. */
static size_t gap(const struct side *a, const struct side *b) {
  for (size_t d = 1; d <= AHEAD && a->at + d < a->count && b->at < b->count; d++)
    if (same(a, a->at + d, b, b->at)) return d;
  return 0;
}

/* Tells of one difference, and goes behind it. */
static void step(struct side *a, struct side *b, wr_trial_diff_fn fn, void *ctx) {
  struct wr_span none = wr_span_make("", 0);
  size_t removed = gap(a, b), added = gap(b, a);
  bool left = a->at < a->count, right = b->at < b->count;
  bool alike = left && right && a->items[a->at].kind == b->items[b->at].kind;
  bool pair = alike && (same(a, a->at + 1, b, b->at + 1) || (!removed && !added));
  if (pair) {
    fn(ctx, WR_TRIAL_CHANGED, a->at + 1, a->items[a->at].raw, b->items[b->at].raw);
    a->at++;
    b->at++;
  } else if (right && (!left || (added && (!removed || added <= removed)))) {
    fn(ctx, WR_TRIAL_ADDED, b->at + 1, none, b->items[b->at].raw);
    b->at++;
  } else {
    fn(ctx, WR_TRIAL_REMOVED, a->at + 1, a->items[a->at].raw, none);
    a->at++;
  }
}

enum wr_err wr_trial_diff(enum wr_dialect dialect, struct wr_span before, struct wr_span after,
                          wr_trial_diff_fn fn, void *ctx) {
  struct item *in = NULL, *out = NULL;
  struct side a = { 0 }, b = { 0 };
  enum wr_err err = items_read(dialect, before, &in, &a.count);
  if (err == WR_OK) err = items_read(dialect, after, &out, &b.count);
  a.items = in;
  b.items = out;
  while (err == WR_OK && (a.at < a.count || b.at < b.count)) {
    if (a.at < a.count && b.at < b.count && same(&a, a.at, &b, b.at)) {
      fn(ctx, WR_TRIAL_SAME, a.at + 1, in[a.at].raw, out[b.at].raw);
      a.at++;
      b.at++;
    } else {
      step(&a, &b, fn, ctx);
    }
  }
  wr_heap_free(WR_HEAP_CLI, in);
  wr_heap_free(WR_HEAP_CLI, out);
  return err;
}
