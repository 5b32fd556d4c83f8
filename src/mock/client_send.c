#include "base/check.h"
#include "base/heap.h"
#include "mock/client.h"

/* One piece of the connection's small-write block at a time. */
#define PIECE_BYTES 2048u
#define SCRATCH_FIRST_BYTES 8192u
#define SCRATCH_MAX_BYTES (256u * 1024 * 1024)

bool wr_mock_scratch_grow(struct wr_mock *mock) {
  size_t cap = mock->scratch_cap > 0 ? mock->scratch_cap * 2 : SCRATCH_FIRST_BYTES;
  if (cap > SCRATCH_MAX_BYTES) return false;
  char *grown = wr_heap_realloc(WR_HEAP_MOCK, mock->scratch, cap);
  if (grown == NULL) return false;
  mock->scratch = grown;
  mock->scratch_cap = cap;
  return true;
}

static size_t piece_bytes(const struct wr_mock_client *c, uint32_t write_bytes, size_t left) {
  size_t n = c->split_left > 0 ? 1 : write_bytes > 0 ? write_bytes : PIECE_BYTES;
  return n < left ? n : left;
}

/* Copies n bytes into the connection, whatever the size of one piece. */
static bool put_piece(struct wr_mock_client *c, struct wr_span bytes) {
  while (bytes.len > 0) {
    size_t n = bytes.len < PIECE_BYTES ? bytes.len : PIECE_BYTES;
    if (wr_conn_write_copy(c->conn, wr_span_sub(bytes, 0, n)) != WR_OK) return false;
    bytes = wr_span_sub(bytes, n, bytes.len - n);
  }
  return true;
}

/* Writes until the reader is behind or the turn's share is used; *sent says how far it came. */
static bool push(struct wr_mock_client *c, struct wr_span bytes, size_t *sent) {
  uint32_t write_bytes = c->exchange != NULL ? c->exchange->knobs.write_bytes : 0;
  bool each = write_bytes > 0 || c->split_left > 0;
  *sent = 0;
  while (*sent < bytes.len && wr_conn_unsent_bytes(c->conn) < (each ? 1 : WR_MOCK_HIGH_BYTES)) {
    if (each && c->budget == 0) break;
    size_t n = piece_bytes(c, write_bytes, bytes.len - *sent);
    if (!put_piece(c, wr_span_sub(bytes, *sent, n))) return false;
    *sent += n;
    if (c->split_left > 0) c->split_left--;
    each = write_bytes > 0 || c->split_left > 0;
    if (!each) continue;
    c->budget--;
    if (wr_conn_flush(c->conn) != WR_OK) return false;
  }
  return each || wr_conn_flush(c->conn) == WR_OK;
}

bool wr_mock_client_send(struct wr_mock_client *c, struct wr_span bytes) {
  WR_DCHECK(c->pending == NULL);
  size_t sent;
  if (!push(c, bytes, &sent)) return false;
  if (c->budget > 0) c->budget--;
  if (sent == bytes.len) return true;
  c->pending_len = bytes.len - sent;
  c->pending_off = 0;
  c->pending = wr_heap_alloc(WR_HEAP_MOCK, c->pending_len);
  if (c->pending == NULL) return false;
  memcpy(c->pending, bytes.ptr + sent, c->pending_len);
  return true;
}

bool wr_mock_client_drain(struct wr_mock_client *c, bool *ok) {
  *ok = true;
  if (c->pending == NULL) return true;
  size_t sent;
  struct wr_span rest = wr_span_make(c->pending + c->pending_off, c->pending_len - c->pending_off);
  *ok = push(c, rest, &sent);
  c->pending_off += sent;
  if (*ok && c->pending_off < c->pending_len) return false;
  wr_heap_free(WR_HEAP_MOCK, c->pending);
  c->pending = NULL;
  return *ok;
}
