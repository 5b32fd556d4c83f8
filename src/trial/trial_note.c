/* What the hooks of an exchange said, and what scripts wrote to the log. */
#include <string.h>

#include "base/check.h"
#include "base/heap.h"
#include "trial/trial_int.h"

/* Of one exchange; a policy that logs for each event of a long recording is cut off there. */
#define LOG_BYTES (1u << 20)

void wr_trial_put(struct wr_trial_bytes *b, struct wr_span bytes) {
  if (b->nomem || bytes.len == 0) return;
  if (b->cap - b->len < bytes.len) {
    size_t cap = b->cap ? b->cap * 2 : 4096;
    while (cap - b->len < bytes.len) cap *= 2;
    char *p = wr_heap_realloc(WR_HEAP_CLI, b->ptr, cap);
    if (!p) {
      b->nomem = true;
      return;
    }
    b->ptr = p;
    b->cap = cap;
  }
  memcpy(b->ptr + b->len, bytes.ptr, bytes.len);
  b->len += bytes.len;
}

static const char *verdict_word(uint8_t kind) {
  switch ((enum wr_verdict_kind)kind) {
  case WR_VERDICT_DEFAULT: return NULL;
  case WR_VERDICT_ROUTE: return "route";
  case WR_VERDICT_REJECT: return "reject";
  case WR_VERDICT_ANSWER: return "answer";
  case WR_VERDICT_DROP: return "drop";
  case WR_VERDICT_STOP: return "stop";
  case WR_VERDICT_REPLACE: return "replace";
  case WR_VERDICT_HOLD: return "hold";
  case WR_VERDICT_FALLBACK: return "fallback";
  case WR_VERDICT_RETRY: return "retry";
  case WR_VERDICT_FAIL: return "fail";
  case WR_VERDICT_WAIT: return "wait";
  case WR_VERDICT_PAUSE: return "pause_upstream";
  case WR_VERDICT_COALESCE: return "coalesce";
  case WR_VERDICT_STEP: return "step";
  }
  return NULL;
}

static const char *fail_word(uint8_t fail) {
  static const char *const words[WR_FAILS] = { "error",  "instructions", "time",
                                               "memory", "verdict",      "quarantine" };
  return fail < WR_FAILS ? words[fail] : words[0];
}

static struct wr_extent keep(struct wr_trial *t, struct wr_span text) {
  size_t at = t->words.len;
  wr_trial_put(&t->words, text);
  return (struct wr_extent){ (uint32_t)at, t->words.nomem ? 0 : (uint32_t)text.len };
}

void wr_trial_saw(void *trial, const struct wr_hook_seen *seen) {
  struct wr_trial *t = trial;
  WR_MAGIC_CHECK(t, WR_TRIAL_MAGIC);
  const struct wr_verdict *v = seen->verdict;
  t->result.calls++;
  if (seen->instructions > t->result.max_instructions)
    t->result.max_instructions = seen->instructions;
  bool often = strcmp(seen->hook, "on_event") == 0 || strcmp(seen->hook, "on_text") == 0;
  if (often && v->kind == WR_VERDICT_DEFAULT && !seen->error.ptr) return;
  size_t n = t->result.note_count;
  if (n == WR_TRIAL_NOTES) return;
  bool goes = v->kind == WR_VERDICT_ROUTE || v->kind == WR_VERDICT_FALLBACK;
  t->notes[n] = (struct wr_trial_note){
    .hook = seen->hook,
    .plugin = seen->plugin,
    .verdict = verdict_word(v->kind),
    .group = goes && v->group < t->conf.group_count ? t->conf.groups[v->group].name : NULL,
    .fail = seen->error.ptr ? fail_word(seen->fail) : NULL,
    .status = v->kind == WR_VERDICT_REJECT || v->kind == WR_VERDICT_FAIL ? v->status : 0,
    .max_tokens = goes ? v->max_tokens : -1,
    .deadline_ms = goes ? v->deadline_ms : -1,
    .delay_ms = v->kind == WR_VERDICT_RETRY ? v->delay_ms : -1,
    .step = v->kind == WR_VERDICT_STEP ? v->step : 0,
    .instructions = seen->instructions,
  };
  bool says = v->kind == WR_VERDICT_REJECT || v->kind == WR_VERDICT_ANSWER ||
              v->kind == WR_VERDICT_STOP || v->kind == WR_VERDICT_REPLACE ||
              v->kind == WR_VERDICT_FAIL;
  struct wr_span none = wr_span_make(NULL, 0);
  t->places[n].text = keep(t, says ? v->text : none);
  t->places[n].model = keep(t, goes ? v->model : none);
  t->places[n].error = keep(t, seen->error);
  t->result.note_count++;
}

void wr_trial_log(void *trial, enum wr_script_level level, struct wr_span where,
                  struct wr_span text) {
  static const char *const names[] = { "info: ", "warn: ", "error: " };
  struct wr_trial *t = trial;
  WR_MAGIC_CHECK(t, WR_TRIAL_MAGIC);
  if (t->log.len > LOG_BYTES) return;
  wr_trial_put(&t->log, wr_span_str(names[level]));
  wr_trial_put(&t->log, where);
  if (where.len) wr_trial_put(&t->log, WR_SPAN(": "));
  wr_trial_put(&t->log, text);
  wr_trial_put(&t->log, WR_SPAN("\n"));
}

void wr_trial_notes_clear(struct wr_trial *t) {
  t->result = (struct wr_trial_result){ .outcome = "none", .err = "ok", .route = "" };
  t->got.len = t->body.len = t->words.len = t->log.len = t->requests.len = 0;
  t->nomem = false;
}

static struct wr_span at(const struct wr_trial_bytes *b, struct wr_extent e) {
  return e.len ? wr_span_at(b->ptr, e) : wr_span_make("", 0);
}

void wr_trial_notes_settle(struct wr_trial *t) {
  for (size_t i = 0; i < t->result.note_count; i++) {
    t->notes[i].text = at(&t->words, t->places[i].text);
    t->notes[i].model = at(&t->words, t->places[i].model);
    t->notes[i].error = at(&t->words, t->places[i].error);
  }
  for (size_t i = 0; i < t->result.sent_count; i++) {
    struct wr_span all = wr_span_at(t->requests.ptr, t->sent_at[i]);
    size_t head = t->sent[i].head.len;
    t->sent[i].head = wr_span_sub(all, 0, head);
    t->sent[i].body = wr_span_sub(all, head, all.len - head);
  }
  t->result.notes = t->notes;
  t->result.sent = t->sent;
  t->result.log = t->log.len ? wr_span_make(t->log.ptr, t->log.len) : wr_span_make("", 0);
}
