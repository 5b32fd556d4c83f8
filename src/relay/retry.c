#include "relay/retry.h"

#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/text.h"
#include "relay/dialect.h"
#include "relay/hedge.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "relay/window.h"
#include "upstream/retry.h"
#include "wire/head.h"
#include "wire/http_date.h"

/* The longest wait for an upstream that said when to come back, and for a policy that did. */
#define WAIT_MAX_MS 10000u
#define POLICY_WAIT_MAX_MS 60000u
/* Who says more than a day says a day. */
#define RETRY_AFTER_MOST_MS INT64_C(86400000)

const char *wr_retry_why_name(unsigned why) {
  static const char *const names[] = { "429", "503", "5xx", "policy", "stale" };
  WR_DCHECK(why < WR_RETRY_WHYS);
  return why < WR_RETRY_STATUS ? wr_retry_name((enum wr_retry)why) : names[why - WR_RETRY_STATUS];
}

static const struct wr_conf_group *group_of(const struct wr_session *s) {
  return &s->gen->conf->groups[s->group];
}

static uint64_t bit(const struct wr_peer *peer) { return UINT64_C(1) << peer->index; }

static uint64_t mask_of(const struct wr_session *s, uint32_t member) {
  uint64_t not_here = s->tried | (s->rq ? s->rq->retry.refused : 0);
  return wr_upstreams_mask(s->gen->upstreams, member) & ~not_here;
}

/* All of the group that may have the request and have not been asked. */
static uint64_t served(const struct wr_session *s, bool *unserved) {
  const struct wr_conf_group *g = group_of(s);
  uint64_t all = 0;
  for (size_t i = 0; i < g->member_count; i++) {
    const struct wr_conf_upstream *up = &s->gen->conf->upstreams[g->members[i]];
    uint64_t peers = mask_of(s, g->members[i]);
    const char *name;
    if (!peers || (wr_continue_is_on(s) && !wr_continue_is_able(up))) continue;
    if (wr_session_serves(s, up, &name)) all |= peers;
    else *unserved |= wr_dialect_served_by((enum wr_dialect)s->dialect, up->kind);
  }
  return all;
}

uint64_t wr_retry_peers(const struct wr_session *s, bool *unserved) {
  const struct wr_conf_group *g = group_of(s);
  const struct wr_conf_upstream *at = s->rq->retry.at;
  uint64_t all = served(s, unserved), first = 0;
  if (s->attempts == 0 || !all) return all; /* at first the balance decides */
  const struct wr_choice choice = { .tried = ~all };
  all = wr_group_open(s->gen->upstreams, s->group, &choice);
  for (size_t i = 0; i < g->member_count; i++) {
    uint64_t peers = mask_of(s, g->members[i]) & all;
    if (peers && &s->gen->conf->upstreams[g->members[i]] == at)
      return peers; /* its other addresses, before the rest of the list */
    if (!first) first = peers;
  }
  return first;
}

uint64_t wr_retry_others(const struct wr_session *s) {
  bool unserved = false;
  return served(s, &unserved) & ~bit(s->at->peer);
}

bool wr_retry_can_go_on(const struct wr_session *s) {
  const struct wr_conf_group *g = group_of(s);
  for (size_t i = 0; s->attempts < g->attempts && i < g->member_count; i++) {
    const struct wr_conf_upstream *up = &s->gen->conf->upstreams[g->members[i]];
    const char *name;
    uint64_t peers = wr_upstreams_mask(s->gen->upstreams, g->members[i]) & ~bit(s->at->peer);
    if (peers && wr_continue_is_able(up) && wr_session_serves(s, up, &name)) return true;
  }
  return false;
}

/* What an upstream says itself: obeyed as its own SDKs do. */
static bool says(const struct wr_head *h, const char *base, struct wr_span word) {
  return wr_span_ieq(wr_head_value(h, base, WR_FIELD_X_SHOULD_RETRY), word);
}

bool wr_retry_is_failure(const struct wr_session *s, const struct wr_head *h, const char *base) {
  unsigned status = h->status;
  if (status >= 500 || status == 429 || status == 408) return true;
  if (status >= 400 && says(h, base, WR_SPAN("true"))) return true;
  bool refused = status == 401 || status == 402 || status == 403;
  /* With a client's own credentials a refusal is the client's affair. */
  return refused && wr_secret_is_set(&s->at->peer->up->key);
}

/* Can the request be sent another time? */
static bool is_held(const struct wr_session *s) {
  return s->rq && !s->rq->streaming && !s->rq->forgotten;
}

static bool is_open(const struct wr_session *s) {
  /* With a minimum rate content is held, too, and hooks may hold it. */
  bool held = s->route->min_rate_chars || (s->at && wr_windows_withhold(s->at->win));
  bool shown = s->content && !held;
  return !s->committed && !shown && !s->finish && !s->terminator && !s->stopping &&
         s->outcome == WR_OUTCOME_NONE;
}

static bool has_hook(const struct wr_session *s, uint32_t bit_of) {
  return s->hook && s->route->hooks & bit_of;
}

bool wr_retry_may_follow(const struct wr_session *s) {
  /* A policy reads the request even when it asks for the last time. */
  return has_hook(s, WR_HOOK_UPSTREAM_ERROR | WR_HOOK_RESPONSE_START) ||
         s->attempts < group_of(s)->attempts || wr_hedge_may_follow(s) || wr_continue_is_on(s);
}

static unsigned why_of(const struct wr_session *s, enum wr_retry class) {
  if (class != WR_RETRY_STATUS) return class;
  unsigned status = s->rq->retry.status;
  if (status == 429) return WR_RETRY_WHY_429;
  return status == 503 || status == 529 ? WR_RETRY_WHY_503 : WR_RETRY_WHY_STATUS;
}

/* Is the failure one that the group names? */
static bool is_named(const struct wr_session *s, unsigned why) {
  uint32_t on = group_of(s)->retry_on;
  if (why >= WR_RETRY_STATUS && s->rq->retry.invited) return true;
  if (why < WR_RETRY_STATUS) return on >> why & 1u;
  if (s->rq->retry.status >= 500 && on & WR_RETRY_ON_5XX) return true;
  if (why == WR_RETRY_WHY_429) return on & WR_RETRY_ON_429;
  return why == WR_RETRY_WHY_503 && on & WR_RETRY_ON_503;
}

/* The round begins anew: who asked for rest is left out, or waited for when it is everybody. */
static bool plan_round(struct wr_session *s) {
  struct wr_retry_state *r = &s->rq->retry;
  uint64_t now = wr_session_now_ms(s);
  bool unserved = false;
  if (r->busy && now >= r->busy_until_ms) r->busy = 0;
  s->tried = r->busy;
  r->at = NULL;
  r->delay_ms = wr_retry_backoff_ms(&s->relay->rand, group_of(s)->backoff_ms, s->attempts + 1u);
  if (wr_retry_peers(s, &unserved)) return true;
  uint64_t wait = r->busy ? r->busy_until_ms - now : 0;
  if (wait == 0 || wait > WAIT_MAX_MS) return false;
  s->tried = r->busy = 0;
  r->delay_ms = wait;
  return wr_retry_peers(s, &unserved) != 0;
}

/* Somebody to ask: one who has not been asked at once, else all anew after a wait. */
static bool plan(struct wr_session *s, bool anew) {
  struct wr_retry_state *r = &s->rq->retry;
  bool unserved = false;
  r->delay_ms = 0;
  if (wr_retry_peers(s, &unserved)) return true;
  uint64_t tried = s->tried;
  if (anew && plan_round(s)) return true;
  s->tried = tried;
  return false;
}

/* A request that no upstream has got costs nobody anything twice. */
static bool pays(struct wr_session *s) {
  unsigned why = s->rq->retry.why;
  if (!wr_degrade_allows(s->relay, WR_ACTION_NO_RETRY)) {
    wr_degrade_count(s->relay, WR_ACTION_NO_RETRY, 1);
    return false;
  }
  if (why == WR_RETRY_CONNECT || why == WR_RETRY_TLS) return true;
  uint32_t home = s->rq->retry.home;
  struct wr_retry_budget *b = wr_upstreams_retry_budget(s->gen->upstreams, home);
  uint32_t permille = s->gen->conf->groups[home].retry_budget_permille;
  if (wr_retry_budget_take(b, permille, wr_session_now_ms(s))) return true;
  WR_RELAY_COUNT(s->relay, retry_budget_exhausted, 1);
  return false;
}

/* By the rules of the group. */
static enum wr_again by_rules(struct wr_session *s) {
  struct wr_retry_state *r = &s->rq->retry;
  if (!is_named(s, r->why) || s->attempts >= group_of(s)->attempts) return WR_AGAIN_NO;
  if (!is_held(s)) {
    WR_RELAY_COUNT(s->relay, retry_body_gone, 1);
    return WR_AGAIN_NO;
  }
  return plan(s, group_of(s)->again) && pays(s) ? WR_AGAIN_YES : WR_AGAIN_NO;
}

static enum wr_again by_policy(struct wr_session *s, const struct wr_verdict *v) {
  struct wr_retry_state *r = &s->rq->retry;
  bool retry = v->kind == WR_VERDICT_RETRY;
  if (v->kind == WR_VERDICT_FAIL) {
    r->fail_status = v->status;
    if (wr_arena_copy(&s->rq->arena, v->text, &r->fail_text) != WR_OK)
      r->fail_text = wr_span_make(NULL, 0);
    return v->status || v->text.len ? WR_AGAIN_FAIL : WR_AGAIN_NO;
  }
  if (!retry && v->kind != WR_VERDICT_FALLBACK) return by_rules(s);
  if (!is_held(s)) {
    WR_RELAY_COUNT(s->relay, retry_body_gone, 1);
    return WR_AGAIN_NO;
  }
  if (s->attempts >= WR_RETRY_MAX_ATTEMPTS) return WR_AGAIN_NO;
  uint32_t group = s->group;
  if (!retry && !WR_EXPECT(v->group < s->gen->conf->group_count)) return WR_AGAIN_NO;
  if (!retry) {
    s->group = v->group;
    r->at = NULL;
  }
  if (!plan(s, retry) || !pays(s)) {
    s->group = group;
    return WR_AGAIN_NO;
  }
  if (retry && v->delay_ms >= 0)
    r->delay_ms = v->delay_ms < (int64_t)POLICY_WAIT_MAX_MS ? (uint64_t)v->delay_ms
                                                            : POLICY_WAIT_MAX_MS;
  return WR_AGAIN_YES;
}

/* Somebody who can go on with the stream: who hasn't been asked, else anybody but who has failed
 * last. */
static bool plan_other(struct wr_session *s) {
  bool unserved = false;
  if (plan(s, false)) return true;
  struct wr_retry_state *r = &s->rq->retry;
  uint64_t tried = s->tried;
  s->tried = bit(s->at->peer);
  r->at = NULL;
  r->delay_ms = wr_retry_backoff_ms(&s->relay->rand, group_of(s)->backoff_ms, s->attempts);
  if (group_of(s)->again && wr_retry_peers(s, &unserved)) return true;
  s->tried = tried;
  return false;
}

/* The client has content: all that can follow is somebody who goes on. The route has asked for
 * that, whatever was wrong. */
static enum wr_again go_on(struct wr_session *s, enum wr_err err, const struct wr_verdict *v) {
  if (!s->route->continues) return WR_AGAIN_NO;
  bool follows = wr_continue_wanted(s, err) && v->kind != WR_VERDICT_FAIL && is_held(s) &&
                 s->attempts < group_of(s)->attempts && plan_other(s) && pays(s);
  wr_continue_decided(s, follows);
  if (s->rq) s->rq->retry.again = follows ? WR_AGAIN_YES : WR_AGAIN_NO;
  return follows ? WR_AGAIN_YES : WR_AGAIN_NO;
}

static void ask_policy(struct wr_session *s, enum wr_retry class, struct wr_verdict *out) {
  const struct wr_retry_state *r = s->rq ? &s->rq->retry : NULL;
  bool status = class == WR_RETRY_STATUS && r;
  const struct wr_hook_error er = {
    .kind = wr_retry_name(class),
    .status = status ? r->status : 0,
    .retry_after_ms = status ? r->retry_after_ms : -1,
    .attempt = s->attempts,
    .committed = s->committed,
  };
  s->hooked = true;
  wr_session_hook_now(s);
  s->gen->hooks->upstream_error(s->gen->hooks->ctx, s->hook, &er, out);
}

enum wr_again wr_retry_judge(struct wr_session *s, enum wr_err err) {
  WR_CHECK(s->at != NULL);
  enum wr_retry class = wr_err_retry(err);
  if (class == WR_RETRY_NONE || class == WR_RETRY_NEVER || s->stopping) return WR_AGAIN_NO;
  struct wr_verdict v = { .kind = WR_VERDICT_DEFAULT, .delay_ms = -1 };
  struct wr_retry_state *r = s->rq ? &s->rq->retry : NULL;
  if (s->at->judged) return r ? (enum wr_again)r->again : WR_AGAIN_NO;
  s->at->judged = true;
  bool open = is_open(s) && r;
  if (r) {
    r->why = (uint8_t)why_of(s, class);
    r->at = s->at->peer->up;
    s->tried |= bit(s->at->peer);
  }
  if (has_hook(s, WR_HOOK_UPSTREAM_ERROR)) ask_policy(s, class, &v);
  if (!open) return go_on(s, err, &v);
  if (s->hedge) { /* another is on its way already */
    r->delay_ms = 0;
    r->again = WR_AGAIN_YES;
    return WR_AGAIN_YES;
  }
  r->again = (uint8_t)by_policy(s, &v);
  return (enum wr_again)r->again;
}

/* A number of so many milliseconds each, as long as RETRY_AFTER_MOST_MS at most; -1: none. Of a
 * fraction, which some send though HTTP has none, three digits count. */
static int64_t wait_of(struct wr_span text, unsigned each_ms) {
  uint64_t n = 0, most = (uint64_t)RETRY_AFTER_MOST_MS / each_ms, part = 0;
  const char *dot = text.len ? memchr(text.ptr, '.', text.len) : NULL;
  if (dot) {
    struct wr_span digits = wr_span_make(dot + 1, text.len - (size_t)(dot + 1 - text.ptr));
    text.len = (size_t)(dot - text.ptr);
    if (digits.len > 3) digits.len = 3;
    if (wr_text_u64(digits, 999, &part) != WR_OK) return -1;
    for (size_t i = digits.len; i < 3; i++) part *= 10;
  }
  enum wr_err err = wr_text_u64(text, most, &n);
  if (err == WR_E_TEXT_RANGE || n == most) return (int64_t)(most * each_ms);
  return err == WR_OK ? (int64_t)(n * each_ms + part * each_ms / 1000) : -1;
}

/* Until a date: by the clock that wrote it, which is the answer's own, where it says what time it
 * is. So clocks needn't agree. -1: that is no date. */
static int64_t wait_until(const struct wr_head *h, const char *base) {
  uint64_t until_s = 0, now_s = 0;
  if (wr_http_date_s(wr_head_value(h, base, WR_FIELD_RETRY_AFTER), &until_s) != WR_OK) return -1;
  if (wr_http_date_s(wr_head_value(h, base, WR_FIELD_DATE), &now_s) != WR_OK)
    now_s = (uint64_t)time(NULL);
  if (until_s <= now_s) return 0;
  uint64_t most_s = (uint64_t)RETRY_AFTER_MOST_MS / 1000, wait_s = until_s - now_s;
  return (int64_t)(wait_s < most_s ? wait_s : most_s) * 1000;
}

int64_t wr_retry_after_ms(const struct wr_head *h, const char *base) {
  int64_t ms = wait_of(wr_head_value(h, base, WR_FIELD_RETRY_AFTER_MS), 1);
  if (ms < 0) ms = wait_of(wr_head_value(h, base, WR_FIELD_RETRY_AFTER), 1000);
  return ms >= 0 ? ms : wait_until(h, base);
}

static uint32_t upstream_of(const struct wr_session *s, const struct wr_conf_upstream *up) {
  uint32_t i = (uint32_t)(up - s->gen->conf->upstreams);
  WR_CHECK(i < s->gen->conf->upstream_count);
  return i;
}

enum wr_again wr_retry_judge_head(struct wr_session *s, const struct wr_head *h,
                                  const char *base) {
  WR_DCHECK(s->rq != NULL && h->status >= 400);
  struct wr_retry_state *r = &s->rq->retry;
  r->status = h->status;
  r->retry_after_ms = wr_retry_after_ms(h, base);
  r->invited = says(h, base, WR_SPAN("true"));
  /* It speaks for its service, whatever the address: a retry there is refused, others may do it. */
  if (says(h, base, WR_SPAN("false")))
    r->refused |= wr_upstreams_mask(s->gen->upstreams, upstream_of(s, s->at->peer->up));
  if (r->retry_after_ms >= 0) {
    uint64_t until = wr_session_now_ms(s) + (uint64_t)r->retry_after_ms;
    if (!r->busy || until < r->busy_until_ms) r->busy_until_ms = until;
    r->busy |= bit(s->at->peer);
  }
  return wr_retry_judge(s, WR_E_UPSTREAM_STATUS);
}

/* Of JSON text: an escape is one, so is what UTF-8 writes in several bytes. */
static uint32_t chars_of(struct wr_span text) {
  uint32_t n = 0;
  for (size_t i = 0; i < text.len; i++) {
    unsigned char c = (unsigned char)text.ptr[i];
    if ((c & 0xc0u) == 0x80u) continue;
    n++;
    if (c == '\\' && i + 1 < text.len) i += text.ptr[i + 1] == 'u' ? 5 : 1;
  }
  return n;
}

void wr_retry_count_chars(struct wr_session *s, struct wr_span text) {
  WR_DCHECK(!s->committed && s->route->min_rate_chars > 0);
  if (!s->rq || s->rq->retry.rate_over) return;
  if (!s->due[WR_DUE_RATE]) wr_session_due(s, WR_DUE_RATE, s->route->min_rate_window_ms);
  uint32_t n = chars_of(text);
  s->rq->retry.chars = n > UINT32_MAX - s->rq->retry.chars ? UINT32_MAX : s->rq->retry.chars + n;
}

bool wr_retry_is_fast(const struct wr_session *s) {
  const struct wr_conf_route *r = s->route;
  if (!r->min_rate_chars || !s->rq || s->rq->retry.rate_over) return true;
  return (uint64_t)s->rq->retry.chars * 1000 >= (uint64_t)r->min_rate_chars * r->min_rate_window_ms;
}

bool wr_retry_fall_back(struct wr_session *s, uint32_t group) {
  WR_CHECK(s->at != NULL && !s->committed);
  if (!is_held(s)) {
    WR_RELAY_COUNT(s->relay, retry_body_gone, 1);
    return false;
  }
  struct wr_retry_state *r = &s->rq->retry;
  const struct wr_verdict v = { .kind = WR_VERDICT_FALLBACK, .group = group, .delay_ms = -1 };
  wr_hedge_drop(s, WR_HEDGE_DROPPED);
  s->tried |= bit(s->at->peer);
  r->why = WR_RETRY_WHY_POLICY;
  r->again = (uint8_t)by_policy(s, &v);
  return r->again == WR_AGAIN_YES;
}
