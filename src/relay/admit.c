#include "relay/admit.h"

#include <stdatomic.h>

#include "base/check.h"
#include "relay/relay_priv.h"
#include "relay/session.h"

#define NETWORK_BYTES 16u

/* The table, made when the first limit is met. NULL: no memory for it; then nothing is limited. */
static struct wr_quotas *table(struct wr_session *s) {
  struct wr_relay_shared *shared = s->relay->shared;
  struct wr_quotas *l = atomic_load_explicit(&shared->quotas, memory_order_acquire);
  if (l) return l;
  struct wr_quotas *made = wr_quotas_new();
  if (!made) return NULL;
  if (atomic_compare_exchange_strong_explicit(&shared->quotas, &l, made, memory_order_acq_rel,
                                              memory_order_acquire))
    return made;
  wr_quotas_free(made);
  return l;
}

static enum wr_err refuse(struct wr_session *s, enum wr_quota limit, uint64_t retry_ms) {
  static const enum wr_err errs[WR_QUOTAS] = {
    [WR_QUOTA_LISTEN_STREAMS] = WR_E_SHED,
    [WR_QUOTA_LISTEN_RATE] = WR_E_TOO_MANY_REQUESTS,
    [WR_QUOTA_ADDRESS_STREAMS] = WR_E_TOO_MANY_ADDRESS,
    [WR_QUOTA_ADDRESS_RATE] = WR_E_TOO_MANY_REQUESTS,
    [WR_QUOTA_KEY_STREAMS] = WR_E_TOO_MANY,
    [WR_QUOTA_KEY_RATE] = WR_E_TOO_MANY_REQUESTS,
  };
  WR_DCHECK((unsigned)limit < WR_QUOTAS);
  WR_RELAY_COUNT(s->relay, limited[limit], 1);
  s->retry_after_ms = (uint32_t)retry_ms;
  return errs[limit];
}

/* One place where something is limited: a listener or a route. */
struct place {
  struct wr_quotas *limits; /* borrowed: the process's */
  struct wr_span name;      /* borrowed: the generation's */
  char what;                /* tells listeners and routes apart */
};

static enum wr_err rate(struct wr_session *s, const struct place *p, char what,
                        struct wr_span whom, uint32_t per_second, enum wr_quota limit) {
  uint64_t retry_ms = 0;
  uint64_t name = wr_quotas_name(p->limits, what, p->name, whom);
  if (wr_quotas_take(p->limits, name, per_second, wr_loop_now_us(s->relay->loop), &retry_ms))
    return WR_OK;
  return refuse(s, limit, retry_ms);
}

static enum wr_err streams(struct wr_session *s, const struct place *p, char what,
                           struct wr_span whom, uint32_t most, enum wr_quota limit,
                           uint32_t *entry) {
  WR_DCHECK(*entry == WR_QUOTA_NONE);
  uint64_t name = wr_quotas_name(p->limits, what, p->name, whom);
  if (wr_quotas_enter(p->limits, name, most, wr_loop_now_us(s->relay->loop), entry)) return WR_OK;
  return refuse(s, limit, 1000);
}

/* Both limits of an address. Clients of a Unix socket have none. */
static enum wr_err address(struct wr_session *s, const struct place *p, uint32_t most,
                           uint32_t per_second, uint32_t *entry) {
  char network[NETWORK_BYTES];
  if (!most && !per_second) return WR_OK;
  struct wr_span whom =
      wr_span_make(network, wr_addr_network(wr_conn_peer(s->client), network));
  WR_DCHECK(whom.len <= NETWORK_BYTES);
  if (!whom.len) return WR_OK;
  enum wr_err err = WR_OK;
  if (per_second) err = rate(s, p, p->what, whom, per_second, WR_QUOTA_ADDRESS_RATE);
  if (err == WR_OK && most)
    err = streams(s, p, p->what, whom, most, WR_QUOTA_ADDRESS_STREAMS, entry);
  return err;
}

enum wr_err wr_admit_listen(struct wr_session *s, const struct wr_conf_listen *l) {
  if (!l || !(l->max_streams | l->streams_per_address | l->requests_per_second |
              l->requests_per_second_per_address))
    return WR_OK;
  struct place p = { table(s), wr_span_str(l->address), 'l' };
  if (!p.limits) return WR_OK;
  enum wr_err err = address(s, &p, l->streams_per_address, l->requests_per_second_per_address,
                            &s->admitted.listen_address);
  /* Behind the addresses, so that one of them can't spend what all share. */
  struct wr_span all = WR_SPAN("");
  if (err == WR_OK && l->requests_per_second)
    err = rate(s, &p, 'L', all, l->requests_per_second, WR_QUOTA_LISTEN_RATE);
  if (err == WR_OK && l->max_streams)
    err = streams(s, &p, 'L', all, l->max_streams, WR_QUOTA_LISTEN_STREAMS, &s->admitted.listen);
  return err;
}

enum wr_err wr_admit_route(struct wr_session *s) {
  const struct wr_conf_route *r = s->route;
  bool key_rate = s->key && r->requests_per_second_per_key;
  if (!key_rate && !(r->streams_per_address | r->requests_per_second_per_address)) return WR_OK;
  struct place p = { table(s), wr_span_str(r->name), 'r' };
  if (!p.limits) return WR_OK;
  enum wr_err err = address(s, &p, r->streams_per_address, r->requests_per_second_per_address,
                            &s->admitted.route_address);
  if (err == WR_OK && key_rate)
    err = rate(s, &p, 'k', wr_span_str(s->key->name), r->requests_per_second_per_key,
               WR_QUOTA_KEY_RATE);
  return err;
}

void wr_admitted_end(struct wr_session *s) {
  struct wr_admitted *a = &s->admitted;
  struct wr_quotas *l = atomic_load_explicit(&s->relay->shared->quotas, memory_order_acquire);
  if (l) {
    wr_quotas_leave(l, a->listen);
    wr_quotas_leave(l, a->listen_address);
    wr_quotas_leave(l, a->route_address);
  }
  *a = (struct wr_admitted){ WR_QUOTA_NONE, WR_QUOTA_NONE, WR_QUOTA_NONE };
}
