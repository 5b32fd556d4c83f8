#include "net/resolve.h"

#include <ares.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <uv.h>

#include "base/check.h"
#include "base/heap.h"
#include "net/loop_priv.h"
#include "net/timer.h"

#define RESOLVER_MAGIC 0x4e501fe4u
#define CACHE_MAX 256u
#define NAME_MAX_BYTES 255u
#define TTL_MIN_S 1u
#define TTL_MAX_S 300u
#define FAILURE_MS 1000u
#define TRY_MS 2000
#define TRIES 3

/* What is known of a name, or being asked. Stands in the resolver's list, the last used first. */
struct entry {
  struct wr_list link;
  struct wr_list waiters;        /* of struct wr_resolve; non-empty only while asking */
  struct wr_resolver *resolver;  /* borrowed: outlives its entries */
  bool asking;
  uint8_t n;
  uint8_t last; /* how many the last answer had; they stand in addrs whatever came after */
  uint64_t good_until_ms;
  const char *why; /* borrowed: static; NULL when addresses are known */
  struct wr_addr addrs[WR_RESOLVE_MAX]; /* with port 0 */
  char name[];
};

struct wr_resolve {
  struct wr_list link;
  wr_resolve_fn fn;
  void *ctx; /* borrowed: the caller's, until fn or cancel */
  uint16_t port;
};

/* One socket of c-ares, watched by libuv. */
struct watch {
  struct wr_list link;
  struct wr_resolver *resolver; /* borrowed: NULL once the resolver is gone */
  ares_socket_t fd;
  uv_poll_t poll;
};

struct wr_resolver {
  uint32_t magic;
  unsigned count; /* entries */
  struct wr_loop *loop; /* borrowed: outlives us */
  ares_channel channel; /* owned */
  struct wr_timer timer;
  struct wr_list watches;
  struct wr_list entries;
};

/* ---- sockets and time of c-ares */

static void arm(struct wr_resolver *r) {
  struct timeval tv;
  if (!ares_timeout(r->channel, NULL, &tv)) {
    wr_timer_clear(&r->timer);
    return;
  }
  wr_timer_set(r->loop, &r->timer, (uint64_t)tv.tv_sec * 1000u + (uint64_t)tv.tv_usec / 1000u + 1u);
}

static void process(struct wr_resolver *r, ares_socket_t readable, ares_socket_t writable) {
  ares_process_fd(r->channel, readable, writable);
  arm(r);
}

static void timer_due(struct wr_timer *timer) {
  struct wr_resolver *r = WR_CONTAINER(timer, struct wr_resolver, timer);
  process(r, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void watch_ready(uv_poll_t *poll, int status, int events) {
  struct watch *watch = poll->data;
  if (!watch->resolver) return;
  /* After an error both are tried, so that c-ares finds out. */
  bool in = status < 0 || (events & UV_READABLE), out = status < 0 || (events & UV_WRITABLE);
  process(watch->resolver, in ? watch->fd : ARES_SOCKET_BAD, out ? watch->fd : ARES_SOCKET_BAD);
}

static void watch_closed(uv_handle_t *handle) { wr_heap_free(WR_HEAP_NET, handle->data); }

static void watch_end(struct watch *watch) {
  wr_list_remove(&watch->link);
  watch->resolver = NULL;
  uv_close((uv_handle_t *)(void *)&watch->poll, watch_closed);
}

static struct watch *watch_find(struct wr_resolver *r, ares_socket_t fd) {
  for (struct wr_list *n = r->watches.next; n != &r->watches; n = n->next) {
    struct watch *watch = WR_CONTAINER(n, struct watch, link);
    if (watch->fd == fd) return watch;
  }
  return NULL;
}

static void socket_state(void *arg, ares_socket_t fd, int readable, int writable) {
  struct wr_resolver *r = arg;
  struct watch *watch = watch_find(r, fd);
  if (!readable && !writable) {
    if (watch) watch_end(watch);
    return;
  }
  if (!watch) {
    watch = wr_heap_zalloc(WR_HEAP_NET, sizeof *watch);
    if (!watch) return; /* the query runs into its timeout */
    if (wr_loop_expect_fd(r->loop, fd) != WR_OK ||
        uv_poll_init_socket(&r->loop->uv, &watch->poll, fd) != 0) {
      wr_heap_free(WR_HEAP_NET, watch);
      return;
    }
    watch->poll.data = watch;
    watch->fd = fd;
    watch->resolver = r;
    wr_list_push_back(&r->watches, &watch->link);
  }
  uv_poll_start(&watch->poll, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0),
                watch_ready);
}

/* ---- life */

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static void library_init(void) { (void)ares_library_init(ARES_LIB_INIT_ALL); }

enum wr_err wr_resolver_new(struct wr_loop *loop, struct wr_resolver **out) {
  *out = NULL;
  pthread_once(&library_once, library_init);
  struct wr_resolver *r = wr_heap_zalloc(WR_HEAP_NET, sizeof *r);
  if (!r) return WR_E_NOMEM;
  r->magic = RESOLVER_MAGIC;
  r->loop = loop;
  wr_timer_init(&r->timer, timer_due);
  wr_list_init(&r->watches);
  wr_list_init(&r->entries);
  struct ares_options options = { .sock_state_cb = socket_state, .sock_state_cb_data = r,
                                  .timeout = TRY_MS, .tries = TRIES };
  int mask = ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES;
#if defined(ARES_OPT_QUERY_CACHE)
  mask |= ARES_OPT_QUERY_CACHE; /* off, with its time of 0: the cache is ours */
#endif
  if (ares_init_options(&r->channel, &options, mask) != ARES_SUCCESS) {
    wr_heap_free(WR_HEAP_NET, r);
    return WR_E_RESOLVE;
  }
  *out = r;
  return WR_OK;
}

static void entry_free(struct entry *e) {
  WR_CHECK(!e->asking && wr_list_empty(&e->waiters));
  wr_list_remove(&e->link);
  e->resolver->count--;
  wr_heap_free(WR_HEAP_NET, e);
}

void wr_resolver_free(struct wr_resolver *resolver) {
  if (!resolver) return;
  WR_MAGIC_CHECK(resolver, RESOLVER_MAGIC);
  for (struct wr_list *n = resolver->entries.next; n != &resolver->entries; n = n->next) {
    struct wr_list *waiters = &WR_CONTAINER(n, struct entry, link)->waiters, *w;
    while ((w = wr_list_pop_front(waiters)) != NULL)
      wr_heap_free(WR_HEAP_NET, WR_CONTAINER(w, struct wr_resolve, link));
  }
  ares_destroy(resolver->channel); /* calls back for each query, now without anybody waiting */
  while (!wr_list_empty(&resolver->watches))
    watch_end(WR_CONTAINER(resolver->watches.next, struct watch, link));
  while (!wr_list_empty(&resolver->entries))
    entry_free(WR_CONTAINER(resolver->entries.next, struct entry, link));
  wr_timer_clear(&resolver->timer);
  resolver->magic = 0;
  wr_heap_free(WR_HEAP_NET, resolver);
}

enum wr_err wr_resolver_set_servers(struct wr_resolver *resolver, const char *servers) {
  WR_MAGIC_CHECK(resolver, RESOLVER_MAGIC);
  return ares_set_servers_ports_csv(resolver->channel, servers) == ARES_SUCCESS ? WR_OK : WR_E_ARG;
}

/* ---- answers */

static void set_port(struct wr_addr *addr, uint16_t port) {
  uint16_t net = htons(port);
  size_t off = addr->len == sizeof(struct sockaddr_in) ? offsetof(struct sockaddr_in, sin_port)
                                                       : offsetof(struct sockaddr_in6, sin6_port);
  memcpy(addr->raw + off, &net, sizeof net);
}

static size_t copy_out(const struct entry *e, size_t n, uint16_t port, struct wr_addr *addrs) {
  WR_DCHECK(n <= WR_RESOLVE_MAX);
  for (size_t i = 0; i < n; i++) {
    addrs[i] = e->addrs[i];
    set_port(&addrs[i], port);
  }
  return n;
}

static const struct ares_addrinfo_node *next_of(const struct ares_addrinfo_node *node, int family) {
  while (node && node->ai_family != family) node = node->ai_next;
  return node;
}

/* The families take turns, so that one that leads nowhere costs one attempt. The order of c-ares
 * decides who begins. */
static void take_addrs(struct entry *e, const struct ares_addrinfo *info) {
  uint64_t ttl_s = TTL_MAX_S;
  int family = info->nodes ? info->nodes->ai_family : AF_INET;
  const struct ares_addrinfo_node *at[2] = { next_of(info->nodes, AF_INET),
                                             next_of(info->nodes, AF_INET6) };
  unsigned turn = family == AF_INET6;
  e->n = 0;
  while (e->n < WR_RESOLVE_MAX && (at[0] || at[1])) {
    if (!at[turn]) turn ^= 1u;
    const struct ares_addrinfo_node *node = at[turn];
    struct wr_addr *addr = &e->addrs[e->n];
    memset(addr, 0, sizeof *addr);
    if (node->ai_addrlen <= sizeof addr->raw) {
      memcpy(addr->raw, node->ai_addr, node->ai_addrlen);
      addr->len = (uint16_t)node->ai_addrlen;
      e->n++;
    }
    uint64_t node_s = node->ai_ttl > 0 ? (uint64_t)node->ai_ttl : 0;
    if (node_s < ttl_s) ttl_s = node_s;
    at[turn] = next_of(node->ai_next, turn ? AF_INET6 : AF_INET);
    turn ^= 1u;
  }
  if (ttl_s < TTL_MIN_S) ttl_s = TTL_MIN_S;
  e->good_until_ms = wr_loop_now_ms(e->resolver->loop) + ttl_s * 1000u;
}

static const char *why_of(int status) {
  switch (status) {
  case ARES_ENOTFOUND: return "the name does not exist";
  case ARES_ENODATA: return "the name has no address";
  case ARES_ETIMEOUT: return "the name servers do not answer";
  case ARES_ECONNREFUSED: return "the name servers refuse";
  case ARES_ESERVFAIL: return "the name servers failed";
  case ARES_EBADNAME: return "not a valid name";
  case ARES_ENOMEM: return "memory is short";
  default: return "the look-up failed";
  }
}

static void trim_cache(struct wr_resolver *r) {
  struct wr_list *n = r->entries.prev;
  while (r->count >= CACHE_MAX && n != &r->entries) {
    struct entry *e = WR_CONTAINER(n, struct entry, link);
    n = n->prev;
    if (!e->asking) entry_free(e);
  }
}

static void tell_waiters(struct entry *e) {
  struct wr_addr addrs[WR_RESOLVE_MAX], known[WR_RESOLVE_MAX];
  struct wr_list waiters, *n;
  wr_list_init(&waiters);
  wr_list_splice(&waiters, &e->waiters); /* fn may ask again, or cancel another of these */
  enum wr_err err = e->n ? WR_OK : WR_E_RESOLVE;
  const char *why = e->why ? e->why : "";
  size_t count = e->n;
  memcpy(known, e->addrs, count * sizeof known[0]);
  while ((n = wr_list_pop_front(&waiters)) != NULL) {
    struct wr_resolve w = *WR_CONTAINER(n, struct wr_resolve, link);
    wr_heap_free(WR_HEAP_NET, WR_CONTAINER(n, struct wr_resolve, link));
    for (size_t i = 0; i < count; i++) {
      addrs[i] = known[i];
      set_port(&addrs[i], w.port);
    }
    w.fn(w.ctx, err, addrs, count, why);
  }
}

static void answered(void *arg, int status, int timeouts, struct ares_addrinfo *info) {
  struct entry *e = arg;
  (void)timeouts;
  WR_CHECK(e->asking && e->resolver->magic == RESOLVER_MAGIC);
  e->asking = false;
  e->n = 0;
  e->why = NULL;
  if (status == ARES_SUCCESS && info) take_addrs(e, info);
  if (info) ares_freeaddrinfo(info);
  if (e->n) e->last = e->n;
  if (e->n == 0) {
    e->why = why_of(status == ARES_SUCCESS ? ARES_ENODATA : status);
    e->good_until_ms = wr_loop_now_ms(e->resolver->loop) + FAILURE_MS;
  }
  tell_waiters(e);
}

/* ---- questions */

static struct entry *find(struct wr_resolver *r, const char *name) {
  for (struct wr_list *n = r->entries.next; n != &r->entries; n = n->next) {
    struct entry *e = WR_CONTAINER(n, struct entry, link);
    if (strcasecmp(e->name, name) != 0) continue;
    wr_list_remove(n);
    wr_list_push_front(&r->entries, n);
    return e;
  }
  return NULL;
}

static struct entry *entry_new(struct wr_resolver *r, const char *name) {
  size_t len = strlen(name);
  struct entry *e = wr_heap_zalloc(WR_HEAP_NET, sizeof *e + len + 1);
  if (!e) return NULL;
  memcpy(e->name, name, len + 1);
  e->resolver = r;
  wr_list_init(&e->link);
  wr_list_init(&e->waiters);
  wr_list_push_front(&r->entries, &e->link);
  r->count++;
  return e;
}

static void ask(struct entry *e) {
  /* Some versions find no names at all when they are told to look there and it isn't set. */
  int flags = getenv("CARES_HOSTS") ? ARES_AI_ENVHOSTS : 0;
  struct ares_addrinfo_hints hints = { .ai_flags = flags,
                                       .ai_family = AF_UNSPEC,
                                       .ai_socktype = SOCK_STREAM };
  struct wr_resolver *r = e->resolver;
  WR_CHECK(!e->asking && wr_list_empty(&e->waiters));
  e->asking = true;
  ares_getaddrinfo(r->channel, e->name, NULL, &hints, answered,
                   e); /* may answer before it returns */
  arm(r);
}

static enum wr_err wait_for(struct entry *e, uint16_t port, wr_resolve_fn fn, void *ctx,
                            struct wr_resolve **out) {
  struct wr_resolve *w = wr_heap_zalloc(WR_HEAP_NET, sizeof *w);
  if (!w) return WR_E_NOMEM;
  wr_list_init(&w->link);
  w->fn = fn;
  w->ctx = ctx;
  w->port = port;
  wr_list_push_back(&e->waiters, &w->link);
  *out = w;
  return WR_OK;
}

enum wr_err wr_resolve_start(struct wr_resolver *resolver, const char *host, uint16_t port,
                             wr_resolve_fn fn, void *ctx, struct wr_addr *addrs, size_t *n,
                             struct wr_resolve **out) {
  WR_MAGIC_CHECK(resolver, RESOLVER_MAGIC);
  *n = 0;
  *out = NULL;
  if (wr_addr_literal(wr_span_str(host), port, addrs) == WR_OK) {
    *n = 1;
    return WR_OK;
  }
  size_t len = strlen(host);
  if (len == 0 || len > NAME_MAX_BYTES) return WR_E_RESOLVE;
  trim_cache(resolver);
  struct entry *e = find(resolver, host);
  if (!e) e = entry_new(resolver, host);
  if (!e) return WR_E_NOMEM;
  if (!e->asking && e->good_until_ms <= wr_loop_now_ms(resolver->loop)) ask(e);
  if (e->asking) return wait_for(e, port, fn, ctx, out);
  if (e->n == 0) return WR_E_RESOLVE;
  *n = copy_out(e, e->n, port, addrs);
  return WR_OK;
}

size_t wr_resolve_last(struct wr_resolver *resolver, const char *host, uint16_t port,
                       struct wr_addr *addrs) {
  WR_MAGIC_CHECK(resolver, RESOLVER_MAGIC);
  const struct entry *e = find(resolver, host);
  return e ? copy_out(e, e->last, port, addrs) : 0;
}

void wr_resolve_cancel(struct wr_resolve *resolve) {
  if (!resolve) return;
  wr_list_remove(&resolve->link);
  wr_heap_free(WR_HEAP_NET, resolve);
}

const char *wr_resolve_library_version(void) { return ares_version(NULL); }
