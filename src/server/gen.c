#include "server/gen.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/heap.h"
#include "policy/load.h"
#include "server/live.h"
#include "server/mocks.h"

/* The worker's own VM runs conf.lua again: functions can't cross between Lua states. */
static enum wr_err engine_make(struct wr_gen *g, const struct wr_gen_options *o, char *why,
                               size_t why_bytes) {
  const struct wr_conf *checked = o->plan->conf;
  bool hooks = checked->hooks != 0 || checked->timer_count > 0;
  for (size_t i = 0; i < checked->route_count; i++) hooks |= checked->routes[i].hooks != 0;
  if (!hooks) return WR_OK;
  struct wr_vm_limits limits = { .memory_bytes = checked->lua.memory_bytes,
                                 .instructions = checked->lua.instructions,
                                 .ledger = o->ledger };
  struct wr_vm *vm = NULL;
  enum wr_err err = wr_vm_new(&limits, &vm);
  if (err != WR_OK) return err;
  wr_vm_script(vm)->tallies = o->tallies;
  struct wr_diag diag;
  wr_diag_init(&diag);
  struct wr_span text = wr_span_make(o->plan->source, o->plan->source_len);
  err = wr_conf_load(vm, o->file, text, &g->conf, &diag);
  if (err != WR_OK && diag.count)
    snprintf(why, why_bytes, "%s:%d: %s", diag.entries[0].file, diag.entries[0].line,
             diag.entries[0].text);
  wr_diag_fini(&diag);
  if (err != WR_OK) {
    wr_vm_free(vm);
    return err;
  }
  wr_vm_set_core(vm, o->core);
  err = wr_engine_new(vm, g->conf, o->slabs, &g->engine);
  if (err == WR_OK) wr_engine_set_live(g->engine, &g->live);
  return err;
}

/* Binds a socket for a listener that the worker doesn't have yet. */
static enum wr_err door_bind(struct wr_door *door, struct wr_place *place,
                             const struct wr_conf_listen *c, char *why, size_t why_bytes) {
  door->port = wr_heap_zalloc(WR_HEAP_SERVER, sizeof *door->port);
  if (!door->port) return WR_E_NOMEM;
  if (!place->known) {
    place->inherited = place->shared = -1;
    if (wr_addr_parse(wr_span_str(c->address), &place->addr) != WR_OK) {
      snprintf(why, why_bytes, "listen '%s': not an address", c->address);
      return WR_E_CONFIG;
    }
    place->known = true;
  }
  int have = place->inherited >= 0 ? place->inherited : place->shared;
  if (have >= 0) {
    door->fd = fcntl(have, F_DUPFD_CLOEXEC, 3);
    return door->fd >= 0 ? WR_OK : WR_E_IO;
  }
  char detail[256] = "";
  struct wr_addr asked = place->addr;
  enum wr_err err = wr_listen_bind(&asked, &door->fd, &place->addr, detail, sizeof detail);
  if (err != WR_OK) snprintf(why, why_bytes, "listen %s: %s", c->address, detail);
  if (err != WR_OK || !wr_addr_is_unix(&place->addr)) return err;
  door->owns_path = true; /* the path can be bound once only */
  place->shared = fcntl(door->fd, F_DUPFD_CLOEXEC, 3);
  return place->shared >= 0 ? WR_OK : WR_E_IO;
}

static enum wr_err door_make(struct wr_gen *g, size_t i, const struct wr_gen_options *o, char *why,
                             size_t why_bytes) {
  const struct wr_conf_listen *c = &o->plan->conf->listens[i];
  struct wr_door *door = &g->doors[i];
  uint32_t number = o->plan->listen_numbers[i];
  if (c->tls) {
    struct wr_tls_options t = { .server = true, .cert_file = c->tls->cert, .key_file = c->tls->key,
                                .ca_file = c->tls->ca, .verify = c->tls->verify };
    char detail[256] = "";
    enum wr_err err = wr_tls_ctx_new(&t, &door->tls, detail, sizeof detail);
    if (err != WR_OK) {
      snprintf(why, why_bytes, "listen %s: %s", c->address, detail);
      return err;
    }
  }
  if (o->before && wr_plan_has_listen(o->before, number)) return WR_OK;
  struct wr_place *place = &o->plan->plans->places[number];
  enum wr_err err = door_bind(door, place, c, why, why_bytes);
  if (err != WR_OK) return err;
  wr_list_init(&door->port->link);
  door->port->worker = o->worker;
  door->port->number = number;
  return WR_OK;
}

static enum wr_err parts_make(struct wr_gen *g, const struct wr_gen_options *o, char *why,
                              size_t why_bytes) {
  const struct wr_plan *plan = o->plan;
  g->doors = wr_heap_zalloc(WR_HEAP_SERVER, plan->conf->listen_count * sizeof *g->doors + 1);
  if (!g->doors) return WR_E_NOMEM;
  for (size_t i = 0; i < plan->conf->listen_count; i++) g->doors[i].fd = -1;
  enum wr_err err = engine_make(g, o, why, why_bytes);
  const struct wr_conf *conf = g->conf ? g->conf : plan->conf;
  if (err == WR_OK)
    err = wr_upstreams_new(o->loop, o->resolver, conf, wr_mocks_addrs(plan->mocks), &g->upstreams,
                           why, why_bytes);
  if (err == WR_OK) err = wr_upstreams_join(g->upstreams, o->book, o->logger);
  for (size_t i = 0; err == WR_OK && i < plan->conf->listen_count; i++)
    err = door_make(g, i, o, why, why_bytes);
  if (err != WR_OK) return err;
  g->relay = (struct wr_relay_gen){ .conf = conf,
                                    .hooks = g->engine ? wr_engine_hooks(g->engine) : NULL,
                                    .upstreams = g->upstreams,
                                    .upstream_numbers = plan->upstream_numbers,
                                    .key_numbers = plan->key_numbers,
                                    .listen_numbers = plan->listen_numbers };
  return WR_OK;
}

enum wr_err wr_gen_new(const struct wr_gen_options *o, struct wr_gen **out, char *why,
                       size_t why_bytes) {
  struct wr_gen *g = wr_heap_zalloc(WR_HEAP_SERVER, sizeof *g);
  if (!g) return WR_E_NOMEM;
  wr_list_init(&g->link);
  g->worker = o->worker;
  g->shared = o->shared;
  g->ledger = o->ledger;
  wr_live_init(&g->live, g);
  g->plan = wr_plan_ref(o->plan);
  enum wr_err err = parts_make(g, o, why, why_bytes);
  if (err != WR_OK) {
    wr_gen_close(g);
    wr_gen_free(g);
    return err;
  }
  *out = g;
  return WR_OK;
}

void wr_gen_close(struct wr_gen *g) {
  WR_CHECK(g->relay.refs == 0);
  wr_upstreams_free(g->upstreams);
  wr_engine_free(g->engine);
  g->upstreams = NULL;
  g->engine = NULL;
  for (size_t i = 0; g->doors && i < g->plan->conf->listen_count; i++) {
    struct wr_door *door = &g->doors[i];
    if (door->tls) wr_tls_ctx_free(door->tls);
    if (door->fd >= 0) close(door->fd);
    wr_heap_free(WR_HEAP_SERVER, door->port);
  }
  wr_heap_free(WR_HEAP_SERVER, g->doors);
  g->doors = NULL;
}

void wr_gen_free(struct wr_gen *g) {
  WR_CHECK(!g->upstreams && !g->engine && !g->doors);
  if (g->conf) wr_conf_free(g->conf);
  wr_plan_unref(g->plan);
  wr_heap_free(WR_HEAP_SERVER, g);
}
