/* What the events of an attempt become that goes on with a stream. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "relay/continue_priv.h"
#include "relay/feedback.h"
#include "wire/json_patch.h"

/* Of text that was held, in one event. */
#define PIECE_BYTES 8192u
#define EDITS 6u
#define NUMBER_BYTES 24u
#define ID_BYTES 1600u /* 256 bytes, six for each */

/* What is changed in an event, by dialect. */
enum { CHAT_ID, CHAT_ROLE, CHAT_OUT, CHAT_TOTAL, CHAT_PATHS };
static const char *const chat_paths[CHAT_PATHS] = {
  [CHAT_ID] = "id",
  [CHAT_ROLE] = "choices[0].delta.role",
  [CHAT_OUT] = "usage.completion_tokens",
  [CHAT_TOTAL] = "usage.total_tokens",
};
enum { ANT_TYPE, ANT_INDEX, ANT_BLOCK, ANT_OUT, ANT_PATHS };
static const char *const anthropic_paths[ANT_PATHS] = {
  [ANT_TYPE] = "type",
  [ANT_INDEX] = "index",
  [ANT_BLOCK] = "content_block.type",
  [ANT_OUT] = "usage.output_tokens",
};
static const char *const ollama_paths[] = { "eval_count" };

struct wr_continue_reader {
  struct wr_json_prog chat, anthropic, ollama;
};

struct edits {
  struct wr_json_edit e[EDITS];
  size_t n;
  char numbers[2][NUMBER_BYTES];
  size_t number_count;
  char id[ID_BYTES];
};

/* An event that is being changed. */
struct work {
  struct wr_session *s;      /* borrowed: the caller's, as all of these */
  struct wr_continue *c;
  const struct wr_event *ev;
  struct wr_json_value v[WR_JSON_MAX_PATHS];
  struct edits edits;
  bool scanned;              /* v holds what stands in it */
};

static const struct wr_continue_reader *reader_of(struct wr_relay *relay) {
  if (relay->continue_reader) return relay->continue_reader;
  struct wr_continue_reader *r = wr_heap_alloc(WR_HEAP_RELAY, sizeof *r);
  if (!r) return NULL;
  if (!WR_EXPECT(wr_json_compile(&r->chat, chat_paths, CHAT_PATHS) == WR_OK &&
                 wr_json_compile(&r->anthropic, anthropic_paths, ANT_PATHS) == WR_OK &&
                 wr_json_compile(&r->ollama, ollama_paths, 1) == WR_OK)) {
    wr_heap_free(WR_HEAP_RELAY, r);
    return NULL;
  }
  relay->continue_reader = r;
  return r;
}

void wr_continue_reader_free(struct wr_continue_reader *reader) {
  wr_heap_free(WR_HEAP_RELAY, reader);
}

static enum wr_err scan(struct work *w) {
  const struct wr_continue_reader *r = reader_of(w->s->relay);
  if (!r) return WR_E_NOMEM;
  const struct wr_json_prog *prog = w->s->dialect == WR_DIALECT_ANTHROPIC ? &r->anthropic
                                    : w->s->dialect == WR_DIALECT_OLLAMA  ? &r->ollama
                                                                          : &r->chat;
  w->scanned = w->ev->data.len > 0 && wr_json_scan(prog, w->ev->data, w->v) == WR_OK;
  return WR_OK;
}

static void edit(struct work *w, struct wr_extent at, struct wr_span text) {
  WR_CHECK(w->edits.n < EDITS);
  w->edits.e[w->edits.n++] = wr_json_patch_replace(at, text);
}

/* A number becomes larger by so much. */
static void edit_number(struct work *w, const struct wr_json_value *v, int64_t more) {
  uint64_t n;
  if (v->type != WR_JSON_NUMBER || more == 0 || w->edits.number_count == 2) return;
  if (wr_json_u64(wr_json_raw(w->ev->data, v), &n) != WR_OK || n > UINT32_MAX) return;
  int64_t sum = (int64_t)n + more;
  char *text = w->edits.numbers[w->edits.number_count++];
  int len = snprintf(text, NUMBER_BYTES, "%" PRId64, sum < 0 ? 0 : sum);
  edit(w, v->raw, wr_span_make(text, (size_t)len));
}

/* --- events that are made --- */

static bool is_lines(const struct wr_session *s) { return s->mode == WR_MODE_LINES; }

/* A block for an event of so many bytes of JSON, and its beginning. */
static enum wr_err event_open(struct work *w, struct wr_span name, size_t doc_bytes,
                              struct wr_block **b, struct wr_buf *out) {
  struct wr_slabs *slabs = wr_session_slabs(w->s);
  size_t bytes = name.len + doc_bytes + 24;
  if (bytes > wr_slabs_max_block(slabs)) return WR_E_EVENT_TOO_LARGE;
  *b = wr_slabs_alloc(slabs, bytes, WR_CHARGE_CLIENT);
  if (!*b) return WR_E_NOMEM;
  wr_buf_init(out, (*b)->data, (*b)->cap);
  if (is_lines(w->s)) return WR_OK;
  if (name.len) {
    wr_buf_put(out, WR_SPAN("event: "));
    wr_buf_put(out, name);
    wr_buf_put(out, WR_SPAN("\n"));
  }
  wr_buf_put(out, WR_SPAN("data: "));
  return WR_OK;
}

static enum wr_err event_close(struct work *w, struct wr_block *b, struct wr_buf *out) {
  wr_buf_put(out, is_lines(w->s) ? WR_SPAN("\n") : WR_SPAN("\n\n"));
  WR_CHECK(!out->overflow);
  wr_loop_stats(w->s->relay->loop)->copy_bytes[WR_COPY_EDIT] += out->len;
  w->s->copied += out->len;
  struct wr_view v = wr_view_take(b, 0, out->len);
  enum wr_err err = wr_viewq_push(&w->c->made, wr_session_slabs(w->s), &v);
  return err == WR_OK ? WR_OK : WR_E_NOMEM;
}

/* Of a document when it is edited. */
static size_t edited_bytes(const struct edits *e, size_t doc_bytes) {
  for (size_t i = 0; i < e->n; i++) doc_bytes = doc_bytes + e->e[i].text.len - e->e[i].at.len;
  return doc_bytes;
}

/* The document with its edits; line ends between its members, of data that was several lines,
 * become spaces. */
static void put_doc(struct work *w, struct wr_buf *out) {
  size_t from = out->len;
  wr_json_patch_sort(w->edits.e, w->edits.n);
  enum wr_err err = wr_json_patch_write(out, w->ev->data, w->edits.e, w->edits.n);
  WR_CHECK(err == WR_OK);
  for (size_t i = from; i < out->len; i++)
    if (out->ptr[i] == '\n') out->ptr[i] = ' ';
}

/* The event as it is changed follows what was made before it. */
static enum wr_err make_event(struct work *w) {
  struct wr_block *b;
  struct wr_buf out;
  enum wr_err err =
      event_open(w, w->ev->name, edited_bytes(&w->edits, w->ev->data.len), &b, &out);
  if (err != WR_OK) return err;
  put_doc(w, &out);
  return event_close(w, b, &out);
}

static enum wr_err make_block_stop(struct work *w) {
  struct wr_block *b;
  struct wr_buf out;
  w->c->block_open = false;
  enum wr_err err = event_open(w, WR_SPAN("content_block_stop"), 64, &b, &out);
  if (err != WR_OK) return err;
  wr_buf_put(&out, WR_SPAN("{\"type\":\"content_block_stop\",\"index\":"));
  wr_buf_u64(&out, w->c->block);
  wr_buf_put(&out, WR_SPAN("}"));
  return event_close(w, b, &out);
}

static struct wr_extent text_at(const struct wr_event *ev) {
  WR_DCHECK(ev->text.ptr >= ev->data.ptr);
  return (struct wr_extent){ (uint32_t)(ev->text.ptr - ev->data.ptr), (uint32_t)ev->text.len };
}

/* Text that may be a repeat goes nowhere; what stood around it does, should it be none. */
static enum wr_err hold(struct work *w) {
  struct wr_continue_frame *f = &w->c->frame;
  if (f->block) return WR_OK; /* one is enough */
  const struct wr_event *ev = w->ev;
  struct wr_extent text = text_at(ev);
  size_t bytes = ev->name.len + edited_bytes(&w->edits, ev->data.len - text.len);
  if (bytes > wr_slabs_max_block(wr_session_slabs(w->s)) / 4) return WR_E_EVENT_TOO_LARGE;
  struct wr_block *b = wr_slabs_alloc(wr_session_slabs(w->s), bytes ? bytes : 1, WR_CHARGE_CLIENT);
  if (!b) return WR_E_NOMEM;
  struct wr_buf out;
  wr_buf_init(&out, b->data, b->cap);
  wr_buf_put(&out, ev->name);
  int64_t off = text.off;
  for (size_t i = 0; i < w->edits.n; i++)
    if (w->edits.e[i].at.off < text.off)
      off += (int64_t)w->edits.e[i].text.len - (int64_t)w->edits.e[i].at.len;
  edit(w, text, WR_SPAN(""));
  put_doc(w, &out);
  *f = (struct wr_continue_frame){ b, (uint32_t)ev->name.len,
                                   (uint32_t)(out.len - ev->name.len), (uint32_t)off };
  WR_CHECK(!out.overflow && f->text_off <= f->doc_len);
  return WR_OK;
}

/* It was none: it goes, in as many events as it takes. */
static enum wr_err release(struct work *w, const struct wr_joined *j) {
  const struct wr_continue_frame *f = &w->c->frame;
  size_t at = j->from;
  bool half = j->high != 0;
  enum wr_err err = WR_OK;
  while (err == WR_OK && (at < j->to || half) && WR_EXPECT(f->block)) {
    struct wr_span name = wr_span_make(f->block->data, f->name_len);
    struct wr_span doc = wr_span_make(f->block->data + f->name_len, f->doc_len);
    struct wr_block *b;
    struct wr_buf out;
    size_t most = wr_slabs_max_block(wr_session_slabs(w->s)) - name.len - doc.len - 64;
    size_t want = (j->to - at) * 6 + 8;
    err = event_open(w, name, doc.len + (want < most ? want : most), &b, &out);
    if (err != WR_OK) return err;
    wr_buf_put(&out, wr_span_sub(doc, 0, f->text_off));
    struct wr_span rest = wr_span_sub(doc, f->text_off, doc.len - f->text_off);
    struct wr_buf text;
    wr_buf_init(&text, out.ptr + out.len, out.cap - out.len - rest.len - 8);
    at += wr_kept_json(&w->c->kept, at, j->to, PIECE_BYTES, &text);
    out.len += text.len;
    if (half && at == j->to) {
      wr_buf_printf(&out, "\\u%04x", j->high);
      half = false;
    }
    wr_buf_put(&out, rest);
    err = event_close(w, b, &out);
  }
  return err;
}

/* --- what each event becomes --- */

static void begun(struct work *w) {
  struct wr_session *s = w->s;
  if (w->c->begun) return;
  w->c->begun = true;
  s->due[WR_DUE_TOKEN] = 0;
  if (w->ev->content) wr_session_note_content(s);
  if (s->continued < UINT8_MAX) s->continued++;
  s->continued_bytes = (uint32_t)w->c->kept.len;
  WR_RELAY_COUNT(s->relay, continued[WR_CONTINUE_JOINED], 1);
}

static bool is_end(const struct wr_event *ev) {
  return ev->finish || ev->terminator || ev->kind == WR_EVENT_ERROR;
}

/* The text of the event where it takes up the first answer's. *gone: nothing of the event is
 * left. */
static enum wr_err join_text(struct work *w, bool *gone) {
  const struct wr_event *ev = w->ev;
  struct wr_join *j = &w->c->join;
  if (j->phase == WR_JOIN_OPEN) return WR_OK;
  const struct wr_join before = *j;
  struct wr_joined r = wr_join_take(j, &w->c->kept, ev->text);
  *gone = r.held && !is_end(ev);
  if (*gone) return hold(w);
  if (r.held) { /* the last word: nothing follows that could tell */
    *j = before;
    r = wr_join_end(j, &w->c->kept);
  }
  enum wr_err err = release(w, &r);
  struct wr_extent at = text_at(ev);
  *gone = r.cut == ev->text.len && r.head_len == 0 && !is_end(ev);
  if (err != WR_OK || *gone || (r.cut == 0 && r.head_len == 0)) return err;
  struct wr_span head = wr_span_make(w->edits.id + ID_BYTES - sizeof r.head, r.head_len);
  memcpy(w->edits.id + ID_BYTES - sizeof r.head, r.head, sizeof r.head);
  at.len = (uint32_t)r.cut;
  edit(w, at, head);
  return WR_OK;
}

/* Text, or what follows when there is none. */
static enum wr_err take_text(struct work *w, bool *gone) {
  if (w->ev->kind == WR_EVENT_TEXT && w->ev->text.len) return join_text(w, gone);
  if (w->ev->kind != WR_EVENT_TOOL && w->ev->kind != WR_EVENT_REASONING && !is_end(w->ev))
    return WR_OK;
  struct wr_joined r = wr_join_end(&w->c->join, &w->c->kept);
  return release(w, &r);
}

/* What begins an answer, and thoughts: the client has seen the one, and has no place for the
 * other. */
static bool is_prelude(const struct work *w) {
  if (w->c->begun || is_end(w->ev)) return false;
  return !w->ev->content || w->ev->kind == WR_EVENT_REASONING;
}

static void edit_id(struct work *w, const struct wr_json_value *v) {
  const char *id = w->s->answer_id;
  if (!id || v->type != WR_JSON_STRING) return;
  struct wr_span now = wr_json_unquote(wr_json_raw(w->ev->data, v));
  if (wr_span_eq(now, wr_span_str(id))) return;
  struct wr_buf b;
  wr_buf_init(&b, w->edits.id, ID_BYTES - 16);
  wr_buf_char(&b, '"');
  wr_buf_put(&b, wr_span_str(id)); /* as it stood in the first answer's JSON, without escapes */
  wr_buf_char(&b, '"');
  if (!b.overflow) edit(w, v->raw, wr_buf_span(&b));
}

static enum wr_err take_chat(struct work *w, bool *gone) {
  if (is_prelude(w)) {
    *gone = true;
    return WR_OK;
  }
  begun(w);
  if (w->scanned) {
    edit_id(w, &w->v[CHAT_ID]);
    if (w->v[CHAT_ROLE].type == WR_JSON_STRING) edit(w, w->v[CHAT_ROLE].raw, WR_SPAN("null"));
    edit_number(w, &w->v[CHAT_OUT], w->c->spent);
    edit_number(w, &w->v[CHAT_TOTAL], w->c->spent);
  }
  return take_text(w, gone);
}

static enum wr_err take_ollama(struct work *w, bool *gone) {
  if (is_prelude(w)) {
    *gone = true;
    return WR_OK;
  }
  begun(w);
  if (w->scanned) edit_number(w, &w->v[0], w->c->spent);
  return take_text(w, gone);
}

/* A block of the second answer begins: the first text goes on in the block that is open; thoughts
 * are left out; others get numbers that the client hasn't seen. */
static enum wr_err take_block(struct work *w, bool *gone) {
  struct wr_continue *c = w->c;
  struct wr_span type = wr_json_unquote(wr_json_raw(w->ev->data, &w->v[ANT_BLOCK]));
  if (!c->begun && (wr_span_eq(type, WR_SPAN("thinking")) ||
                    wr_span_eq(type, WR_SPAN("redacted_thinking")))) {
    c->passing_over = *gone = true;
    return WR_OK;
  }
  enum wr_err err = WR_OK;
  if (wr_span_eq(type, WR_SPAN("text")) && c->block_open) {
    c->shift = (int64_t)c->block - (int64_t)w->ev->index;
    c->block_open = false;
    *gone = true;
    return WR_OK;
  }
  begun(w);
  if (!wr_span_eq(type, WR_SPAN("text"))) {
    struct wr_joined r = wr_join_end(&c->join, &c->kept);
    err = release(w, &r);
  }
  if (err == WR_OK && c->block_open) err = make_block_stop(w);
  c->shift = (int64_t)c->blocks - (int64_t)w->ev->index;
  return err;
}

static enum wr_err take_anthropic(struct work *w, bool *gone) {
  struct wr_continue *c = w->c;
  struct wr_span type = w->scanned ? wr_json_unquote(wr_json_raw(w->ev->data, &w->v[ANT_TYPE]))
                                   : w->ev->name;
  enum wr_err err = WR_OK;
  bool starts = wr_span_eq(type, WR_SPAN("content_block_start"));
  bool stops = wr_span_eq(type, WR_SPAN("content_block_stop"));
  if (c->passing_over && !starts && !is_end(w->ev)) {
    if (stops) c->passing_over = false;
    *gone = true;
    return WR_OK;
  }
  c->passing_over = false;
  if (starts && w->scanned) {
    err = take_block(w, gone);
  } else if (stops) { /* the text has ended, whatever it was */
    struct wr_joined r = wr_join_end(&c->join, &c->kept);
    begun(w);
    err = release(w, &r);
  } else if (is_prelude(w)) {
    *gone = true;
  } else {
    begun(w);
    err = take_text(w, gone);
    if (err == WR_OK && is_end(w->ev) && c->block_open && w->ev->kind != WR_EVENT_ERROR)
      err = make_block_stop(w);
  }
  if (err != WR_OK || *gone || !w->scanned) return err;
  edit_number(w, &w->v[ANT_INDEX], c->shift);
  edit_number(w, &w->v[ANT_OUT], c->spent);
  return WR_OK;
}

enum wr_err wr_continue_event(struct wr_session *s, const struct wr_event *ev, bool *made) {
  struct wr_continue *c = s->cont;
  *made = false;
  if (!c->joining) return WR_OK;
  WR_CHECK(c->magic == WR_CONTINUE_MAGIC && s->committed);
  WR_DCHECK(wr_viewq_empty(&c->made));
  struct work w = { .s = s, .c = c, .ev = ev };
  bool gone = false;
  s->due[WR_DUE_IDLE] = 0; /* set anew once a turn, by the step */
  enum wr_err err = scan(&w);
  if (err != WR_OK) return err;
  if (s->dialect == WR_DIALECT_ANTHROPIC) err = take_anthropic(&w, &gone);
  else if (s->dialect == WR_DIALECT_OLLAMA) err = take_ollama(&w, &gone);
  else err = take_chat(&w, &gone);
  *made = gone || w.edits.n > 0 || !wr_viewq_empty(&c->made);
  if (err == WR_OK && *made && !gone) err = make_event(&w);
  /* A stream that only would have another id is better than none. */
  if (err == WR_E_EVENT_TOO_LARGE && s->dialect != WR_DIALECT_ANTHROPIC &&
      wr_viewq_empty(&c->made) && c->join.phase == WR_JOIN_OPEN && c->begun) {
    *made = false;
    err = WR_OK;
  }
  return err;
}

bool wr_continue_made(struct wr_session *s, struct wr_view *out) {
  return s->cont && wr_viewq_shift(&s->cont->made, out);
}

size_t wr_continue_frames(const struct wr_session *s) {
  const struct wr_continue *c = s->cont;
  if (!c->joining) return 0;
  size_t n = 2;
  if (c->join.phase == WR_JOIN_ECHO) {
    size_t piece = wr_slabs_max_block(wr_session_slabs(s)) / 16;
    n += c->join.at / (piece < PIECE_BYTES ? piece : PIECE_BYTES) + 1;
  }
  return n;
}

/* --- events that pass --- */

/* A text of the older field for refusals can't be gone on with as if it were one. */
static bool is_refusal(const struct wr_event *ev) {
  static const char name[] = "\"refusal\"";
  const char *p = ev->text.ptr - 1;
  while (p > ev->data.ptr && (p[-1] == ' ' || p[-1] == ':' || p[-1] == '\n')) p--;
  size_t n = sizeof name - 1;
  return (size_t)(p - ev->data.ptr) > n && memcmp(p - n, name, n) == 0;
}

/* A block that isn't text, behind text: tool calls, mostly. */
static bool is_other_block(struct wr_session *s, const struct wr_event *ev) {
  struct work w = { .s = s, .c = s->cont, .ev = ev };
  if (scan(&w) != WR_OK || !w.scanned || w.v[ANT_BLOCK].type != WR_JSON_STRING) return true;
  struct wr_span type = wr_json_unquote(wr_json_raw(ev->data, &w.v[ANT_BLOCK]));
  bool thought = wr_span_eq(type, WR_SPAN("thinking")) ||
                 wr_span_eq(type, WR_SPAN("redacted_thinking"));
  return !(wr_span_eq(type, WR_SPAN("text")) || (thought && s->cont->kept.len == 0));
}

void wr_continue_note(struct wr_session *s, const struct wr_event *ev) {
  struct wr_continue *c = s->cont;
  bool anthropic = s->dialect == WR_DIALECT_ANTHROPIC;
  if (anthropic && ev->kind == WR_EVENT_START && ev->index >= c->blocks &&
      wr_span_eq(ev->name, WR_SPAN("content_block_start")))
    c->blocks = ev->index + 1;
  if (c->off) return;
  switch ((enum wr_event_kind)ev->kind) {
    case WR_EVENT_TEXT:
      if (ev->text.len == 0) return;
      if (s->dialect == WR_DIALECT_CHAT &&
          (ev->index > 0 || (c->kept.len == 0 && is_refusal(ev))))
        break;
      if (wr_kept_put(&c->kept, wr_session_slabs(s), ev->text, ev->text_escaped,
                      s->route->continue_bytes) != WR_OK)
        break;
      return;
    case WR_EVENT_REASONING:
      if (c->kept.len == 0) return;
      break;
    case WR_EVENT_TOOL: break;
    case WR_EVENT_START:
      if (anthropic && wr_span_eq(ev->name, WR_SPAN("content_block_start")) &&
          is_other_block(s, ev))
        break;
      return;
    default: return;
  }
  wr_continue_off(s);
}

void wr_continue_error(struct wr_session *s, const struct wr_event *ev) {
  static const char *const faults[] = { "invalid_request", "authentication_error",
                                        "permission_error", "not_found_error",
                                        "request_too_large", "billing_error",
                                        "content_filter",   "insufficient_quota" };
  if (s->cont->off || wr_continue_is_pending(s)) return;
  for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
    if (memmem(ev->data.ptr, ev->data.len, faults[i], strlen(faults[i]))) {
      wr_continue_off(s);
      return;
    }
}
