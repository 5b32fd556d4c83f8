#include "trial/events.h"

#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "wire/sse_parse.h"

struct wr_trial_events {
  enum wr_dialect dialect;
  struct wr_dialects dialects;
  struct wr_json_prog tools;
  struct wr_sse_parser sse;
  struct wr_span left; /* borrowed: the caller's body */
  char *room;          /* owned: as large as the body */
  size_t room_bytes;
};

/* Arguments of tools stand deeper than the relay's first look goes. */
#define TOOL_PATHS 2
static const char *const tool_paths[TOOL_PATHS] = {
  "choices[0].delta.tool_calls[0].function.arguments",
  "message.tool_calls[0].function.arguments",
};

enum wr_err wr_trial_events_new(enum wr_dialect dialect, struct wr_span body,
                                struct wr_trial_events **out) {
  struct wr_trial_events *r = wr_heap_zalloc(WR_HEAP_CLI, sizeof *r);
  if (!r) return WR_E_NOMEM;
  r->dialect = dialect;
  r->left = body;
  r->room_bytes = 2 * body.len + 16;
  r->room = wr_heap_alloc(WR_HEAP_CLI, r->room_bytes);
  enum wr_err err = r->room ? wr_dialects_init(&r->dialects) : WR_E_NOMEM;
  if (err == WR_OK) err = wr_json_compile(&r->tools, tool_paths, TOOL_PATHS);
  if (err != WR_OK) {
    wr_trial_events_free(r);
    return err;
  }
  wr_sse_init(&r->sse, 1u << 30);
  *out = r;
  return WR_OK;
}

void wr_trial_events_free(struct wr_trial_events *r) {
  if (!r) return;
  wr_heap_free(WR_HEAP_CLI, r->room);
  wr_heap_free(WR_HEAP_CLI, r);
}

static void take(struct wr_trial_events *r, struct wr_event *ev, size_t bytes) {
  ev->raw = wr_span_sub(r->left, 0, bytes);
  r->left = wr_span_sub(r->left, bytes, r->left.len - bytes);
}

static enum wr_err next_line(struct wr_trial_events *r, struct wr_event *ev) {
  const char *end = memchr(r->left.ptr, '\n', r->left.len);
  take(r, ev, end ? (size_t)(end - r->left.ptr) + 1 : r->left.len);
  ev->data = wr_span_trim(ev->raw);
  return WR_OK;
}

static enum wr_err next_block(struct wr_trial_events *r, struct wr_event *ev, struct wr_buf *room) {
  struct wr_sse_event sse;
  size_t used = 0;
  enum wr_err err = wr_sse_next(&r->sse, r->left, &used, &sse);
  if (err != WR_OK) {
    take(r, ev, r->left.len);
    return err == WR_E_AGAIN ? WR_E_TRUNCATED : err;
  }
  take(r, ev, used);
  ev->name = wr_span_at(ev->raw.ptr, sse.name);
  if (sse.kind != WR_SSE_EVENT) return WR_OK;
  ev->data = wr_span_at(ev->raw.ptr, sse.data);
  if (!sse.multi_data) return WR_OK;
  err = wr_sse_join_data(ev->raw, &sse, room);
  ev->data = wr_buf_span(room);
  return err;
}

/* The literal stands inside the data, so its quotes stand around it. */
static enum wr_err decode(const struct wr_event *ev, struct wr_buf *room, struct wr_span *text) {
  if (!ev->text.ptr) return WR_OK;
  if (!ev->text_escaped) {
    *text = ev->text;
    return WR_OK;
  }
  size_t at = room->len;
  enum wr_err err =
      wr_json_string_decode(wr_span_make(ev->text.ptr - 1, ev->text.len + 2), room);
  *text = wr_span_make(room->ptr + at, room->len - at);
  return err;
}

static void tool_text(const struct wr_trial_events *r, struct wr_event *ev) {
  struct wr_json_value v[TOOL_PATHS];
  if (ev->kind != WR_EVENT_TOOL || ev->text.ptr) return;
  if (wr_json_scan(&r->tools, ev->data, v) != WR_OK) return;
  for (size_t i = 0; i < TOOL_PATHS; i++) {
    struct wr_span raw = wr_json_raw(ev->data, &v[i]);
    if (v[i].type == WR_JSON_OBJECT) ev->text = raw;
    if (v[i].type != WR_JSON_STRING) continue;
    ev->text = wr_span_sub(raw, 1, raw.len - 2);
    ev->text_escaped = memchr(raw.ptr, '\\', raw.len) != NULL;
  }
}

enum wr_err wr_trial_events_next(struct wr_trial_events *r, struct wr_event *ev,
                                 struct wr_span *text) {
  struct wr_usage usage;
  struct wr_buf room;
  memset(ev, 0, sizeof *ev);
  *text = wr_span_make(NULL, 0);
  if (r->left.len == 0) return WR_E_END;
  wr_buf_init(&room, r->room, r->room_bytes);
  enum wr_err err =
      r->dialect == WR_DIALECT_OLLAMA ? next_line(r, ev) : next_block(r, ev, &room);
  if (err != WR_OK || !ev->data.ptr || r->dialect == WR_DIALECT_NONE) return err;
  if (wr_dialect_read(&r->dialects, r->dialect, ev, &usage) != WR_OK) {
    ev->kind = WR_EVENT_UNKNOWN;
    ev->text = wr_span_make(NULL, 0);
  }
  tool_text(r, ev);
  return decode(ev, &room, text);
}

static const struct {
  struct wr_span name;
  const char *path; /* static */
} dialects[WR_DIALECTS] = {
  [WR_DIALECT_NONE] = { WR_SPAN("sse"), "/" },
  [WR_DIALECT_CHAT] = { WR_SPAN("openai"), "/v1/chat/completions" },
  [WR_DIALECT_RESPONSES] = { WR_SPAN("responses"), "/v1/responses" },
  [WR_DIALECT_ANTHROPIC] = { WR_SPAN("anthropic"), "/v1/messages" },
  [WR_DIALECT_OLLAMA] = { WR_SPAN("ollama"), "/api/chat" },
};

enum wr_dialect wr_trial_dialect_named(struct wr_span name) {
  for (int d = WR_DIALECT_CHAT; d < WR_DIALECTS; d++)
    if (wr_span_eq(name, dialects[d].name)) return (enum wr_dialect)d;
  return WR_DIALECT_NONE;
}

const char *wr_trial_dialect_path(enum wr_dialect dialect) {
  WR_CHECK((unsigned)dialect < WR_DIALECTS);
  return dialects[dialect].path;
}
