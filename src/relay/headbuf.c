#include "relay/headbuf.h"

#include <string.h>

#include "base/check.h"
#include "wire/http1_parse.h"

#define FIRST_BYTES 2048u

void wr_headbuf_init(struct wr_headbuf *hb) { *hb = (struct wr_headbuf){ WR_VIEW_NONE, 0 }; }

void wr_headbuf_fini(struct wr_headbuf *hb) {
  wr_view_drop(&hb->head);
  hb->resume = 0;
}

/* Makes hb->head the old bytes and those of `more`, in a block with room to grow. */
static enum wr_err join(struct wr_headbuf *hb, struct wr_conn *conn, const struct wr_view *more,
                        size_t max_bytes) {
  struct wr_loop *loop = wr_conn_loop(conn);
  struct wr_slabs *slabs = wr_loop_slabs(loop);
  size_t take = more->len;
  if (take > max_bytes + 2 - hb->head.len) take = max_bytes + 2 - hb->head.len;
  size_t len = hb->head.len + take;
  struct wr_block *b = hb->head.block;
  bool fits = b && b->refs == 1 && hb->head.ptr == b->data && len <= b->cap && hb->resume > 0 &&
              b->charge == WR_CHARGE_HEAD;
  if (!fits) {
    size_t want = FIRST_BYTES;
    while (want < len) want *= 2;
    if (want > wr_slabs_max_block(slabs)) return WR_E_HEAD_TOO_LARGE;
    b = wr_slabs_alloc(slabs, want, WR_CHARGE_HEAD);
    if (!b) return WR_E_POOL_FULL;
    if (hb->head.len) memcpy(b->data, hb->head.ptr, hb->head.len);
    wr_loop_stats(loop)->copy_bytes[WR_COPY_STRADDLE] += hb->head.len;
  }
  memcpy(b->data + hb->head.len, more->ptr, take);
  wr_loop_stats(loop)->copy_bytes[WR_COPY_STRADDLE] += take;
  if (!fits) {
    wr_view_drop(&hb->head);
    hb->head = wr_view_take(b, 0, len);
  }
  hb->head.len = (uint32_t)len;
  return WR_OK;
}

/* The last `n` bytes of `piece` were not part of the head. */
static enum wr_err put_back(struct wr_conn *conn, struct wr_view *piece, size_t n) {
  WR_DCHECK(n <= piece->len);
  wr_view_advance(piece, piece->len - n);
  return wr_conn_unread(conn, piece);
}

enum wr_err wr_headbuf_read(struct wr_headbuf *hb, struct wr_conn *conn, size_t max_bytes,
                            bool skip_crlf) {
  struct wr_view in;
  while (wr_conn_take(conn, &in)) {
    size_t had = hb->head.len;
    if (had == 0) {
      hb->head = wr_view_keep(&in);
    } else {
      enum wr_err err = join(hb, conn, &in, max_bytes);
      if (err == WR_E_POOL_FULL && wr_conn_unread(conn, &in) != WR_OK)
        return WR_E_RESET; /* bytes are lost */
      if (err != WR_OK) {
        wr_view_drop(&in);
        return err;
      }
    }
    size_t off = 0, len = 0;
    enum wr_err err = wr_http1_head_end(wr_view_span(&hb->head), &hb->resume, max_bytes,
                                        skip_crlf ? &off : NULL, &len);
    if (err == WR_OK) {
      size_t from_in = off + len - had; /* how much of `in` the head took */
      WR_CHECK(off + len >= had && from_in <= in.len);
      hb->head.len = (uint32_t)(off + len);
      wr_view_advance(&hb->head, off);
      return put_back(conn, &in, in.len - from_in);
    }
    wr_view_drop(&in);
    if (err != WR_E_AGAIN) return err;
  }
  return WR_E_AGAIN;
}
