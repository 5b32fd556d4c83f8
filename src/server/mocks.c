#include "server/mocks.h"

#include <stdio.h>

#include "base/check.h"
#include "base/heap.h"
#include "mock/mock.h"
#include "net/listen.h"

struct item {
  struct wr_mock *mock;     /* owned */
  struct wr_listen *listen; /* owned */
};

struct wr_mocks {
  struct item *items;     /* owned */
  struct wr_addr *addrs;  /* owned */
  size_t count;
};

static enum wr_err item_make(struct wr_loop *loop, const struct wr_conf_upstream *up,
                             struct item *it, struct wr_addr *addr, char *why, size_t why_bytes) {
  struct wr_mock_options o;
  wr_mock_options_init(&o);
  char detail[200] = "";
  enum wr_err err = WR_OK;
  for (size_t i = 0; err == WR_OK && i < up->mock_count; i++)
    err = wr_mock_options_set(&o, WR_MOCK_FROM_OPERATOR, wr_span_str(up->mock[i].name),
                              wr_span_str(up->mock[i].value), detail, sizeof detail);
  if (err == WR_OK) err = wr_mock_new(loop, &o, &it->mock, detail, sizeof detail);
  struct wr_addr any;
  if (err == WR_OK) err = wr_addr_parse(WR_SPAN("127.0.0.1:0"), &any);
  if (err == WR_OK)
    err = wr_listen_open(loop, &any, NULL, wr_mock_accept, it->mock, &it->listen, detail,
                         sizeof detail);
  if (err != WR_OK) {
    snprintf(why, why_bytes, "upstream '%s': %s", up->name, detail[0] ? detail : wr_err_text(err));
    return err;
  }
  *addr = *wr_listen_addr(it->listen);
  return WR_OK;
}

enum wr_err wr_mocks_new(struct wr_loop *loop, const struct wr_conf *conf, struct wr_mocks **out,
                         char *why, size_t why_bytes) {
  size_t n = 0;
  for (size_t i = 0; i < conf->upstream_count; i++) n += conf->upstreams[i].kind == WR_KIND_MOCK;
  *out = NULL;
  if (n == 0) return WR_OK;
  struct wr_mocks *m = wr_heap_zalloc(WR_HEAP_SERVER, sizeof *m);
  if (!m) return WR_E_NOMEM;
  m->items = wr_heap_zalloc(WR_HEAP_SERVER, n * sizeof *m->items);
  m->addrs = wr_heap_zalloc(WR_HEAP_SERVER, n * sizeof *m->addrs);
  enum wr_err err = m->items && m->addrs ? WR_OK : WR_E_NOMEM;
  for (size_t i = 0; err == WR_OK && i < conf->upstream_count; i++) {
    if (conf->upstreams[i].kind != WR_KIND_MOCK) continue;
    WR_CHECK(m->count < n);
    m->count++;
    err = item_make(loop, &conf->upstreams[i], &m->items[m->count - 1], &m->addrs[m->count - 1],
                    why, why_bytes);
  }
  if (err != WR_OK) {
    wr_mocks_free(m);
    return err;
  }
  *out = m;
  return WR_OK;
}

void wr_mocks_free(struct wr_mocks *m) {
  if (!m) return;
  for (size_t i = 0; i < m->count; i++) {
    if (m->items[i].listen) wr_listen_close(m->items[i].listen);
    if (m->items[i].mock) wr_mock_free(m->items[i].mock);
  }
  wr_heap_free(WR_HEAP_SERVER, m->items);
  wr_heap_free(WR_HEAP_SERVER, m->addrs);
  wr_heap_free(WR_HEAP_SERVER, m);
}

const struct wr_addr *wr_mocks_addrs(const struct wr_mocks *m) { return m ? m->addrs : NULL; }
