#include "relay/reserve.h"

#include "base/check.h"
#include "base/heap.h"

struct wr_reserves {
  uint32_t count;
  struct {
    struct wr_tally *budget; /* ref */
    uint64_t tag;
    int64_t tokens;
    uint32_t window;
  } list[WR_RESERVES_MAX];
};

static uint32_t find(const struct wr_reserves *r, const struct wr_tally *budget, uint64_t tag) {
  uint32_t i = 0;
  while (i < r->count && (r->list[i].budget != budget || r->list[i].tag != tag)) i++;
  return i;
}

enum wr_err wr_reserve(struct wr_hook_stream *s, struct wr_tally *budget, uint64_t tag, int64_t n,
                       int64_t limit, uint64_t now_us, struct wr_tally_grant *out) {
  WR_CHECK(n >= 0);
  if (!s->reserves) s->reserves = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *s->reserves);
  struct wr_reserves *r = s->reserves;
  if (!r) return WR_E_NOMEM;
  uint32_t i = find(r, budget, tag);
  if (i == WR_RESERVES_MAX) return WR_E_ARG;
  wr_tally_reserve(budget, tag, n, limit, now_us, out);
  if (!out->ok) return WR_OK;
  if (i == r->count) {
    r->count++;
    r->list[i].budget = wr_tally_ref(budget);
    r->list[i].tag = tag;
    r->list[i].tokens = 0;
  }
  /* What was taken in a window that has ended since isn't there any more. */
  if (r->list[i].window != out->window) r->list[i].tokens = 0;
  r->list[i].window = out->window;
  WR_CHECK(n <= INT64_MAX - r->list[i].tokens);
  r->list[i].tokens += n;
  return WR_OK;
}

const char *wr_usage_status_name(enum wr_usage_status status) {
  static const char *const names[WR_USAGE_STATUSES] = { "missing", "estimated", "partial",
                                                        "complete" };
  WR_CHECK(status < WR_USAGE_STATUSES);
  return names[status];
}

/* A request that never went out, or was answered with an error, has cost nothing. */
static bool was_served(const struct wr_hook_stream *s) {
  if (s->output_tokens > 0 || s->usage.output > 0) return true;
  return s->attempt > 0 && s->status < 400;
}

static void measure(struct wr_hook_stream *s, enum wr_outcome outcome) {
  const struct wr_usage *u = &s->usage;
  int64_t counted = s->output_tokens < INT64_MAX ? (int64_t)s->output_tokens : INT64_MAX;
  s->charged = 0;
  s->usage_status = WR_USAGE_MISSING;
  if (!was_served(s)) return;
  bool ended = outcome == WR_OUTCOME_COMPLETE;
  int64_t output = u->output >= 0 && (ended || u->output > counted) ? u->output : counted;
  int64_t input = u->input >= 0 ? u->input : s->prompt_tokens;
  WR_DCHECK(output >= 0 && input >= 0);
  s->charged = input > INT64_MAX - output ? INT64_MAX : input + output;
  if (u->input < 0 && u->output < 0)
    s->usage_status = s->charged > 0 ? WR_USAGE_ESTIMATED : WR_USAGE_MISSING;
  else
    s->usage_status = ended && u->input >= 0 && u->output >= 0 ? WR_USAGE_COMPLETE
                                                               : WR_USAGE_PARTIAL;
}

void wr_reserves_settle(struct wr_hook_stream *s, enum wr_outcome outcome) {
  struct wr_reserves *r = s->reserves;
  if (s->settled) return;
  s->settled = true;
  s->reserves = NULL;
  measure(s, outcome);
  for (uint32_t i = 0; r && i < r->count; i++) {
    wr_tally_settle(r->list[i].budget, r->list[i].tag, r->list[i].window, r->list[i].tokens,
                    s->charged);
    wr_tally_put(r->list[i].budget);
  }
  wr_heap_free(WR_HEAP_RELAY, r);
}
