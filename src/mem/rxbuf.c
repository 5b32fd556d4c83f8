#include "mem/rxbuf.h"

#include <string.h>

void wr_rxbuf_init(struct wr_rxbuf *rx, struct wr_slabs *slabs, size_t block_bytes,
                   enum wr_charge charge) {
  WR_CHECK(slabs && block_bytes > 0);
  size_t max = wr_slabs_max_block(slabs);
  rx->slabs = slabs;
  rx->block = NULL;
  rx->used = 0;
  rx->block_bytes = (uint32_t)(block_bytes < max ? block_bytes : max);
  rx->charge = (uint8_t)charge;
}

void wr_rxbuf_fini(struct wr_rxbuf *rx) {
  if (rx->block) wr_block_unref(rx->block);
  rx->block = NULL;
  rx->used = 0;
}

static enum wr_err renew(struct wr_rxbuf *rx, size_t min_bytes) {
  wr_rxbuf_fini(rx);
  enum wr_charge charge = (enum wr_charge)rx->charge;
  rx->block = wr_slabs_alloc(rx->slabs, rx->block_bytes, charge);
  /* A short read is better than none while the pool is nearly empty. */
  if (!rx->block && wr_slab_class(min_bytes) < wr_slab_class(rx->block_bytes))
    rx->block = wr_slabs_alloc(rx->slabs, min_bytes, charge);
  return rx->block ? WR_OK : WR_E_POOL_FULL;
}

enum wr_err wr_rxbuf_room(struct wr_rxbuf *rx, size_t min_bytes, struct wr_room *out) {
  if (!WR_EXPECT(min_bytes > 0 && min_bytes <= rx->block_bytes)) return WR_E_ARG;
  if (rx->block && rx->block->refs == 1) rx->used = 0;
  if (!rx->block || rx->block->cap - rx->used < min_bytes) {
    enum wr_err err = renew(rx, min_bytes);
    if (err != WR_OK) return err;
  }
  WR_DCHECK(rx->used < rx->block->cap);
  out->ptr = rx->block->data + rx->used;
  out->len = rx->block->cap - rx->used;
  return WR_OK;
}

struct wr_view wr_rxbuf_take(struct wr_rxbuf *rx, size_t n) {
  if (n == 0) return WR_VIEW_NONE;
  WR_CHECK(rx->block && n <= rx->block->cap - rx->used);
  struct wr_view v = wr_view_take(wr_block_ref(rx->block), rx->used, n);
  rx->used += (uint32_t)n;
  return v;
}

enum wr_err wr_rxbuf_append(struct wr_rxbuf *rx, struct wr_span bytes, struct wr_view *out) {
  *out = WR_VIEW_NONE;
  if (bytes.len == 0) return WR_OK;
  struct wr_room room;
  enum wr_err err = wr_rxbuf_room(rx, bytes.len, &room);
  if (err != WR_OK) return err;
  WR_DCHECK(room.len >= bytes.len);
  memcpy(room.ptr, bytes.ptr, bytes.len);
  *out = wr_rxbuf_take(rx, bytes.len);
  return WR_OK;
}
