#include "mock/mock.h"

#include <stdio.h>

#include "base/check.h"
#include "base/heap.h"
#include "mock/ask.h"
#include "mock/client.h"

static enum wr_err start(struct wr_mock *m, char *why, size_t why_bytes) {
  enum wr_err err = wr_mock_ask_compile(&m->prog);
  if (err != WR_OK) return err;
  /* Ids differ from run to run; where the kernel has no numbers to give, the clock will do. */
  if (wr_rand_init_system(&m->rand) != WR_OK) wr_rand_init(&m->rand, wr_loop_now_us(m->loop));
  if (!wr_mock_scratch_grow(m)) return WR_E_NOMEM;
  if (m->options.replay[0] == 0) return WR_OK;
  err = wr_mock_recordings_open(&m->recordings, m->options.replay, &m->replay);
  if (err == WR_OK || err == WR_E_NOMEM) return err;
  if (why_bytes > 0)
    (void)snprintf(why, why_bytes, "replay: %s is no file with an event's payload in each line",
                   m->options.replay);
  return WR_E_CONFIG;
}

enum wr_err wr_mock_new(struct wr_loop *loop, const struct wr_mock_options *options,
                        struct wr_mock **out, char *why, size_t why_bytes) {
  if (why_bytes > 0) why[0] = 0;
  struct wr_mock *m = wr_heap_zalloc(WR_HEAP_MOCK, sizeof *m);
  if (m == NULL) return WR_E_NOMEM;
  m->magic = WR_MOCK_MAGIC;
  m->loop = loop;
  m->options = *options;
  wr_list_init(&m->clients);
  wr_mock_recordings_init(&m->recordings);
  enum wr_err err = start(m, why, why_bytes);
  if (err != WR_OK) {
    wr_mock_free(m);
    return err;
  }
  *out = m;
  return WR_OK;
}

void wr_mock_free(struct wr_mock *mock) {
  if (mock == NULL) return;
  WR_MAGIC_CHECK(mock, WR_MOCK_MAGIC);
  while (!wr_list_empty(&mock->clients))
    wr_mock_client_end(WR_CONTAINER(mock->clients.next, struct wr_mock_client, link), true);
  wr_mock_recordings_fini(&mock->recordings);
  wr_heap_free(WR_HEAP_MOCK, mock->scratch);
  mock->magic = 0;
  wr_heap_free(WR_HEAP_MOCK, mock);
}

void wr_mock_accept(void *mock, struct wr_conn *take_conn) {
  struct wr_mock *m = mock;
  WR_MAGIC_CHECK(m, WR_MOCK_MAGIC);
  wr_mock_client_accept(m, take_conn);
}

const struct wr_mock_counters *wr_mock_counters(const struct wr_mock *mock) {
  return &mock->counters;
}
