/* The text filter: windows, verdicts, order. */
#include "relay/window.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "relay/window_priv.h"

/* Calls of one hook for one event: a script that replaces without end is one that failed. */
#define ROUNDS 64

static uint32_t need_of(uint8_t kind) {
  if (kind == WR_EVENT_TEXT) return WR_TEXT_TEXT;
  return kind == WR_EVENT_REASONING ? WR_TEXT_REASONING : WR_TEXT_TOOL;
}

/* A hook couldn't judge. */
static enum wr_err failed(struct wr_session *s, const struct wr_conf_text *stage) {
  if (!stage->guard) return WR_OK;
  s->policy_failed = true;
  return WR_E_POLICY_ERROR;
}

/* --- windows --- */

static bool is_of(const struct wr_text_window *w, const struct wr_window_found_text *t) {
  return w->kind == t->kind && w->index == t->index && w->sub == t->sub;
}

/* The window of a text; one that holds nothing may become another's, unless it is remembered. */
static enum wr_err window_for(struct wr_windows *ws, const struct wr_window_found_text *t,
                              bool remember, uint32_t *out) {
  uint32_t spare = UINT32_MAX;
  WR_DCHECK(t->kind < WR_EVENT_KINDS && t->literal.len > 0);
  for (uint32_t i = 0; i < ws->window_count; i++) {
    if (is_of(&ws->windows[i], t)) {
      *out = i;
      return WR_OK;
    }
    if (ws->windows[i].text.len == 0 && ws->windows[i].touched != ws->events) spare = i;
  }
  if (remember) spare = UINT32_MAX;
  if (spare == UINT32_MAX) {
    if (ws->window_count == ws->window_cap) {
      uint32_t cap = ws->window_cap ? ws->window_cap * 2 : 4;
      struct wr_text_window *p =
          wr_heap_realloc(WR_HEAP_RELAY, ws->windows, cap * sizeof *ws->windows);
      if (!p) return WR_E_NOMEM;
      memset(p + ws->window_cap, 0, (cap - ws->window_cap) * sizeof *p);
      ws->windows = p;
      ws->window_cap = cap;
    }
    spare = ws->window_count++;
  }
  struct wr_text_window *w = &ws->windows[spare];
  struct wr_window_bytes text = w->text, came = w->came, sent = w->sent;
  *w = (struct wr_text_window){ .kind = t->kind, .index = t->index, .sub = t->sub };
  w->json = t->json;
  w->text = text;
  w->came = came;
  w->sent = sent;
  w->text.len = w->came.len = w->sent.len = 0;
  *out = spare;
  return WR_OK;
}

/* The text of an event goes behind what the window has. */
static enum wr_err append_text(struct wr_windows *ws, const struct wr_window_found_text *t,
                               bool remember, struct wr_text_slot *slot) {
  struct wr_text_window *w = &ws->windows[slot->window];
  size_t before = w->text.len;
  WR_DCHECK(slot->window < ws->window_count);
  enum wr_err err = wr_window_decode(ws, w, t, &slot->edited);
  slot->bytes = (uint32_t)(w->text.len - before);
  if (err != WR_OK || !remember) return err;
  if (w->came.len + slot->bytes > WR_WINDOW_MEMORY_BYTES) return WR_E_EVENT_TOO_LARGE;
  return wr_window_put(&w->came, wr_span_make(w->text.ptr + before, slot->bytes));
}

/* --- verdicts --- */

struct asking {
  struct wr_session *s; /* borrowed: the call */
  uint32_t window;
  uint32_t stage;
  size_t upper; /* what the stages before have let go of */
  bool last;
};

static enum wr_err replace(struct asking *a, const struct wr_verdict *v) {
  struct wr_windows *ws = a->s->at->win;
  struct wr_text_window *w = &ws->windows[a->window];
  size_t from = w->clear[a->stage], len = a->upper - from;
  WR_CHECK(from <= a->upper && a->upper <= w->text.len);
  size_t i = v->i ? v->i : 1, j = v->i ? v->j : len;
  if (i > len + 1 || j > len || j + 1 < i) return WR_E_ARG;
  size_t lo = from + i - 1, hi = from + j;
  struct wr_span text = v->text;
  enum wr_err err = wr_window_fit(ws, w, from, &lo, &hi, &text);
  if (err == WR_OK && hi > a->upper) err = WR_E_ARG;
  if (err != WR_OK) return err;
  err = wr_window_splice(ws, a->window, lo, hi, text);
  if (err != WR_OK) return err;
  for (uint32_t k = 0; k < a->stage; k++) w->clear[k] += text.len - (hi - lo);
  a->upper += text.len - (hi - lo);
  w->clear[a->stage] = lo + text.len;
  return WR_OK;
}

static enum wr_err drop(struct asking *a) {
  struct wr_windows *ws = a->s->at->win;
  struct wr_text_window *w = &ws->windows[a->window];
  if (w->json) return WR_E_ARG; /* a piece of JSON without its rest */
  size_t from = w->clear[a->stage];
  WR_CHECK(from <= a->upper && a->upper <= w->text.len);
  enum wr_err err = wr_window_splice(ws, a->window, from, a->upper, wr_span_make("", 0));
  if (err != WR_OK) return err;
  for (uint32_t k = 0; k < a->stage; k++) w->clear[k] -= a->upper - from;
  a->upper = from;
  return WR_OK;
}

static void hold(struct asking *a, const struct wr_conf_text *stage, size_t i) {
  struct wr_text_window *w = &a->s->at->win->windows[a->window];
  size_t from = w->clear[a->stage], to = i ? from + i - 1 : from;
  if (to > a->upper) to = a->upper;
  if (a->upper - to > stage->hold_bytes) to = a->upper - stage->hold_bytes;
  w->clear[a->stage] = a->last ? a->upper : wr_window_cut(w, from, to);
  WR_DCHECK(w->clear[a->stage] >= from && w->clear[a->stage] <= a->upper);
}

/* What a hook said can't be done: a failure like any other of its own. */
static enum wr_err refuse(struct asking *a, const char *why, struct wr_verdict *v) {
  struct wr_session *s = a->s;
  const struct wr_hooks *hooks = s->gen->hooks;
  WR_DCHECK(a->stage < s->route->text_count);
  if (!hooks->text_failed) return failed(s, &s->route->texts[a->stage]);
  v->kind = WR_VERDICT_DEFAULT;
  hooks->text_failed(hooks->ctx, s->hook, a->stage, why, v);
  if (v->kind == WR_VERDICT_DEFAULT) return WR_OK;
  s->policy_failed = true;
  return WR_E_POLICY_ERROR;
}

/* What one verdict does. WR_E_AGAIN: the hook is asked about what is left. */
static enum wr_err follow(struct asking *a, struct wr_verdict *v) {
  struct wr_session *s = a->s;
  const struct wr_conf_text *stage = &s->route->texts[a->stage];
  struct wr_text_window *w = &s->at->win->windows[a->window];
  enum wr_err err = WR_OK;
  switch (v->kind) {
    case WR_VERDICT_REPLACE:
      err = replace(a, v);
      if (err == WR_OK) return w->clear[a->stage] < a->upper ? WR_E_AGAIN : WR_OK;
      break;
    case WR_VERDICT_DROP: err = drop(a); break;
    case WR_VERDICT_HOLD: hold(a, stage, v->i); return WR_OK;
    case WR_VERDICT_STOP:
      if (!v->failed) return WR_E_POLICY_STOP;
      s->policy_failed = true;
      return WR_E_POLICY_ERROR;
    default: break;
  }
  bool dropped = v->kind == WR_VERDICT_DROP;
  if (err == WR_E_ARG)
    err = refuse(a, dropped ? "returned \"drop\" for the arguments of a tool"
                            : "returned a \"replace\" that would break the arguments of a tool", v);
  if (err == WR_OK) w->clear[a->stage] = a->upper;
  return err;
}

static enum wr_err ask_stage(struct asking *a, struct wr_verdict *v) {
  struct wr_session *s = a->s;
  const struct wr_hooks *hooks = s->gen->hooks;
  enum wr_err err = WR_E_AGAIN;
  for (unsigned round = 0; err == WR_E_AGAIN && round < ROUNDS; round++) {
    const struct wr_text_window *w = &s->at->win->windows[a->window];
    size_t from = w->clear[a->stage];
    WR_CHECK(from < a->upper && a->upper <= w->text.len);
    const struct wr_hook_window win = { .text = wr_span_make(w->text.ptr + from, a->upper - from),
                                        .kind = w->kind,
                                        .index = w->index,
                                        .stage = a->stage,
                                        .last = a->last };
    v->kind = WR_VERDICT_DEFAULT;
    hooks->text(hooks->ctx, s->hook, &win, v);
    err = follow(a, v);
  }
  if (err != WR_E_AGAIN) return err;
  s->at->win->windows[a->window].clear[a->stage] = a->upper;
  return refuse(a, "returned \"replace\" again and again", v);
}

/* Asks every stage that wants this kind. last: nothing follows in this window. */
static enum wr_err judge(struct wr_session *s, uint32_t window, bool last, struct wr_verdict *v) {
  struct wr_windows *ws = s->at->win;
  struct asking a = { .s = s, .window = window };
  WR_CHECK(window < ws->window_count && s->route->text_count <= WR_CONF_TEXTS);
  a.upper = ws->windows[window].text.len;
  for (uint32_t i = 0; i < s->route->text_count; i++) {
    struct wr_text_window *w = &ws->windows[window];
    a.stage = i;
    a.last = last && a.upper == w->text.len;
    if (!(s->route->texts[i].needs & need_of(w->kind))) {
      w->clear[i] = a.upper;
    } else if (w->clear[i] < a.upper) {
      enum wr_err err = ask_stage(&a, v);
      if (err != WR_OK) return err;
    }
    a.upper = w->clear[i];
  }
  return WR_OK;
}

static enum wr_err judge_last(struct wr_session *s, uint32_t window, struct wr_verdict *v) {
  const struct wr_text_window *w = &s->at->win->windows[window];
  if (w->clear[s->route->text_count - 1] == w->text.len) return WR_OK;
  return judge(s, window, true, v);
}

/* A policy's stop: what has not been let go never goes, the events around it do. */
static enum wr_err stop(struct wr_session *s, const struct wr_verdict *v) {
  struct wr_windows *ws = s->at->win;
  uint32_t stages = s->route->text_count;
  for (uint32_t i = 0; i < ws->window_count; i++) {
    struct wr_text_window *w = &ws->windows[i];
    size_t to = w->clear[stages - 1];
    WR_CHECK(to <= w->text.len);
    enum wr_err err = wr_window_splice(ws, i, to, w->text.len, wr_span_make("", 0));
    if (err != WR_OK) return err;
    for (uint32_t k = 0; k < stages; k++) w->clear[k] = to;
  }
  enum wr_err err = wr_window_flush(s);
  if (err != WR_OK && err != WR_E_POOL_FULL) return err;
  wr_session_stop(s, v->text);
  return WR_OK;
}

/* --- events --- */

/* A guard that was not shown what it asked for must not say that all is well. */
static enum wr_err check_known(struct wr_session *s, const struct wr_window_found *f) {
  uint32_t unknown = f->unknown;
  if (f->repeat.len && !wr_window_known(s->at->win, f->repeat)) unknown |= need_of(f->repeat_kind);
  for (uint32_t i = 0; unknown && i < s->route->text_count; i++) {
    const struct wr_conf_text *stage = &s->route->texts[i];
    if (stage->needs & unknown && failed(s, stage) != WR_OK) return WR_E_POLICY_ERROR;
  }
  return WR_OK;
}

/* Another kind or part of the same choice has begun: those before it are over. */
static enum wr_err end_others(struct wr_session *s, uint32_t index, struct wr_verdict *v) {
  struct wr_windows *ws = s->at->win;
  enum wr_err err = WR_OK;
  for (uint32_t i = 0; err == WR_OK && i < ws->window_count; i++) {
    const struct wr_text_window *w = &ws->windows[i];
    if (w->index == index && w->touched != ws->events && w->text.len) err = judge_last(s, i, v);
  }
  return err;
}

static enum wr_err end_windows(struct wr_session *s, const struct wr_window_found *f,
                               struct wr_verdict *v) {
  struct wr_windows *ws = s->at->win;
  enum wr_err err = WR_OK;
  if (f->ends == WR_WINDOW_GOES_ON) return WR_OK;
  for (uint32_t i = 0; err == WR_OK && i < ws->window_count; i++)
    if (f->ends == WR_WINDOW_ENDS_ALL || ws->windows[i].index == f->ends_index)
      err = judge_last(s, i, v);
  return err;
}

/* The event's own text goes into its windows; `e` gets the slots. */
static enum wr_err take_texts(struct wr_session *s, const struct wr_window_found *f,
                              const char *base, struct wr_text_entry *e) {
  struct wr_windows *ws = s->at->win;
  bool remember = s->at->dialect == WR_DIALECT_RESPONSES;
  enum wr_err err = WR_OK;
  for (uint8_t k = 0; err == WR_OK && k < f->count; k++) {
    const struct wr_window_found_text *t = &f->texts[k];
    struct wr_text_slot *slot = &e->slots[k];
    *slot = (struct wr_text_slot){ .raw = t->raw, .edited = base == NULL };
    if (base) slot->off = (uint32_t)(t->literal.ptr - base);
    slot->len = base ? (uint32_t)t->literal.len : 0;
    err = window_for(ws, t, remember, &slot->window);
    if (err != WR_OK) break;
    ws->windows[slot->window].touched = ws->events;
    err = append_text(ws, t, remember, slot);
    if (err == WR_OK) e->count++;
  }
  return err;
}

/* An event that isn't one view, or whose data isn't a part of it, is copied around its texts. */
static enum wr_err push_copied(struct wr_session *s, const struct wr_window_event *event,
                               const struct wr_window_found *f, struct wr_text_entry *e) {
  struct wr_span doc = event->joined ? event->ev->data : event->raw;
  struct wr_window_copy c = { .s = s, .kind = WR_EVENT_UNKNOWN }; /* of a piece */
  size_t done = 0;
  WR_DCHECK(f->count > 0 && e->count == f->count);
  const struct wr_window_event plain = { .ev = event->ev };
  wr_window_copy_open(&c, event);
  for (uint8_t k = 0; c.err == WR_OK && k < f->count; k++) {
    /* In the order of the document. */
    uint8_t n = f->count == 2 && f->texts[1].literal.ptr < f->texts[0].literal.ptr ? 1 - k : k;
    size_t off = (size_t)(f->texts[n].literal.ptr - doc.ptr);
    WR_CHECK(off >= done && off <= doc.len);
    wr_window_copy(&c, wr_span_sub(doc, done, off - done));
    bool one_line = c.one_line;
    wr_window_copy_end(&c, &plain);
    c.one_line = one_line;
    done = off + f->texts[n].literal.len;
    struct wr_text_entry part = { .kind = WR_EVENT_UNKNOWN, .count = 1, .content = e->content };
    part.slots[0] = e->slots[n];
    if (c.err == WR_OK) c.err = wr_window_push(s->at->win, &part);
  }
  wr_window_copy(&c, wr_span_sub(doc, done, doc.len - done));
  wr_window_copy_end(&c, event);
  wr_view_drop(event->whole);
  if (s->at->part.bytes) wr_viewq_consume(&s->at->part, s->at->part.bytes);
  return c.err;
}

/* An event that comes in pieces and has no text. */
static enum wr_err push_pieces(struct wr_session *s, bool content) {
  enum wr_err err = WR_OK;
  struct wr_view v;
  while (err == WR_OK && wr_viewq_shift(&s->at->part, &v)) {
    struct wr_text_entry e = { .view = v, .kind = WR_EVENT_UNKNOWN, .content = content };
    err = wr_window_push(s->at->win, &e);
  }
  return err;
}

static enum wr_err push_event(struct wr_session *s, const struct wr_window_event *event,
                              const struct wr_window_found *f) {
  struct wr_text_entry e = { .kind = event->ev->kind, .lead = event->lead };
  e.content = event->ev->content;
  WR_DCHECK(f->count <= WR_WINDOW_SLOTS && event->raw.len > 0);
  bool in_place = event->whole->len && !event->joined;
  enum wr_err err = take_texts(s, f, in_place ? event->raw.ptr : NULL, &e);
  if (err != WR_OK) return err;
  if (f->count && !in_place) return push_copied(s, event, f, &e);
  if (!event->whole->len) return push_pieces(s, e.content);
  if (f->logprobs.len && f->count) {
    e.logprobs.off = (uint32_t)(f->logprobs.ptr - event->raw.ptr);
    e.logprobs.len = (uint32_t)f->logprobs.len;
  }
  e.view = wr_view_move(event->whole);
  return wr_window_push(s->at->win, &e);
}

/* Takes the event in and asks. WR_E_POLICY_STOP: *v says why. */
static enum wr_err take(struct wr_session *s, const struct wr_window_event *event,
                        const struct wr_window_found *f, struct wr_verdict *v) {
  struct wr_windows *ws = s->at->win;
  enum wr_err err = check_known(s, f);
  if (err != WR_OK) return err;
  if (f->repeats) {
    err = end_windows(s, f, v);
    if (err == WR_OK) err = wr_window_repeat(s, event);
    if (err == WR_E_AGAIN) return push_event(s, event, f);
    wr_view_drop(event->whole);
    if (s->at->part.bytes) wr_viewq_consume(&s->at->part, s->at->part.bytes);
    if (err == WR_E_POLICY_STOP) { /* it says what was stopped: the client never sees it */
      s->terminator = s->finish = false;
      if (s->dialect == WR_DIALECT_CHAT && f->ends == WR_WINDOW_ENDS_INDEX && f->ends_index < 32)
        s->open |= UINT32_C(1) << f->ends_index;
    }
    return err;
  }
  err = push_event(s, event, f);
  for (uint8_t k = 0; err == WR_OK && k < f->count; k++)
    err = end_others(s, f->texts[k].index, v);
  bool ending = f->ends != WR_WINDOW_GOES_ON;
  for (uint32_t i = 0; err == WR_OK && f->count && i < ws->window_count; i++) {
    const struct wr_text_window *w = &ws->windows[i];
    bool last = f->ends == WR_WINDOW_ENDS_ALL || (ending && w->index == f->ends_index);
    if (w->touched == ws->events && w->text.len) err = judge(s, i, last, v);
  }
  return err == WR_OK ? end_windows(s, f, v) : err;
}

/* More waits than the route allows: a guard may not let it go unseen. */
static enum wr_err bound(struct wr_session *s) {
  struct wr_windows *ws = s->at->win;
  uint32_t stages = s->route->text_count;
  if (ws->bytes <= s->route->held_bytes) return WR_OK;
  for (uint32_t i = 0; i < ws->window_count; i++) {
    struct wr_text_window *w = &ws->windows[i];
    for (uint32_t k = 0; k < stages; k++) {
      if (w->clear[k] < w->text.len && failed(s, &s->route->texts[k]) != WR_OK)
        return WR_E_POLICY_ERROR;
      w->clear[k] = w->text.len;
    }
  }
  return wr_window_flush(s);
}

static struct wr_verdict no_verdict(void) {
  struct wr_verdict v;
  memset(&v, 0, sizeof v);
  v.max_tokens = v.deadline_ms = -1;
  return v;
}

enum wr_err wr_window_take(struct wr_session *s, const struct wr_window_event *event) {
  WR_DCHECK(s->hook != NULL && s->gen->hooks->text != NULL && s->route->text_count > 0);
  struct wr_attempt *at = s->at;
  if (!at->win) {
    at->win = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *at->win);
    if (!at->win) return WR_E_NOMEM;
  }
  at->win->events++;
  struct wr_window_found found;
  struct wr_verdict v = no_verdict();
  enum wr_err err =
      wr_window_read(s->relay, (enum wr_dialect)at->dialect, event->ev, &found);
  if (err == WR_OK) err = take(s, event, &found, &v);
  if (err == WR_E_POLICY_STOP) return stop(s, &v);
  if (err != WR_OK) {
    wr_view_drop(event->whole);
    return err;
  }
  err = wr_window_flush(s);
  return err == WR_OK ? bound(s) : err;
}

bool wr_windows_withhold(const struct wr_windows *ws) { return ws && !ws->begun; }

enum wr_err wr_window_end(struct wr_session *s) {
  WR_DCHECK(s->at != NULL);
  if (!s->at->win) return WR_OK;
  const struct wr_window_found all = { .ends = WR_WINDOW_ENDS_ALL };
  struct wr_verdict v = no_verdict();
  enum wr_err err = end_windows(s, &all, &v);
  if (err == WR_E_POLICY_STOP) return stop(s, &v);
  return err == WR_OK ? wr_window_flush(s) : err;
}
