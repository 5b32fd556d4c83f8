/* Active checks: a connection, and where there is a path a GET on it. One a peer at a time, and one
 * for all workers: whoever's timer is first claims it. */
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "upstream/dial.h"
#include "upstream/names.h"
#include "upstream/set_priv.h"
#include "wire/http1_write.h"

/* Where there is no path: whether it can be reached, and only of peers that could not be. While a
 * peer is left alone it is looked at more often, so that it is used again within a second. */
#define REACH_EVERY_MS 500u
#define DOWN_EVERY_MS 250u
#define REACH_TIMEOUT_MS 2000u
#define STATUS_BYTES 12u /* HTTP/1.1 200 */

struct wr_probe {
  struct wr_upstreams *set; /* borrowed: cancels us before it goes */
  struct wr_peer *peer;     /* borrowed: the set's */
  struct wr_task task;
  struct wr_timer timer;
  struct wr_dial dial;
  bool dialing, sent;
  struct wr_conn *conn; /* owned; NULL while dialing */
  char status[STATUS_BYTES];
  size_t have;
};

void wr_probe_cancel(struct wr_probe *p) {
  WR_CHECK(p->set->probes[p->peer->index] == p);
  p->set->probes[p->peer->index] = NULL;
  wr_timer_clear(&p->timer);
  wr_loop_unmark(&p->task);
  if (p->dialing) wr_dial_cancel(&p->dial);
  if (p->conn) wr_conn_abort(p->conn);
  wr_heap_free(WR_HEAP_UPSTREAM, p);
}

static void end(struct wr_probe *p, bool ok, const char *why) {
  struct wr_upstreams *set = p->set;
  struct wr_peer *peer = p->peer;
  struct wr_standing_change change;
  const struct wr_conf_health *health = &peer->up->health;
  wr_probe_cancel(p);
  wr_peer_state_probed(peer->state, health->path ? health : NULL, ok, wr_loop_now_ms(set->loop),
                       &change);
  wr_set_log(set, peer, &change, why);
}

static enum wr_err ask(struct wr_probe *p) {
  char text[2048];
  struct wr_buf out;
  const struct wr_conf_url *url = p->peer->url;
  wr_buf_init(&out, text, sizeof text);
  wr_buf_put(&out, WR_SPAN("GET "));
  if (url) wr_buf_put(&out, wr_span_str(url->base_path));
  wr_buf_put(&out, wr_span_str(p->peer->up->health.path));
  wr_buf_put(&out, WR_SPAN(" HTTP/1.1\r\n"));
  enum wr_err err =
      wr_http1_put_field(&out, WR_SPAN("host"), wr_span_str(wr_peer_authority(p->peer)));
  if (err == WR_OK) err = wr_http1_put_field(&out, WR_SPAN("user-agent"), WR_SPAN("weir-health"));
  if (err == WR_OK) err = wr_http1_put_field(&out, WR_SPAN("connection"), WR_SPAN("close"));
  if (err == WR_OK) err = wr_http1_put_end(&out);
  if (err == WR_OK && out.overflow) err = WR_E_ARG;
  if (err == WR_OK) err = wr_conn_write_copy(p->conn, wr_buf_span(&out));
  return err == WR_OK ? wr_conn_flush(p->conn) : err;
}

static void read_status(struct wr_probe *p) {
  struct wr_view v;
  while (p->have < STATUS_BYTES && wr_conn_take(p->conn, &v)) {
    size_t n = v.len < STATUS_BYTES - p->have ? v.len : STATUS_BYTES - p->have;
    memcpy(p->status + p->have, v.ptr, n);
    p->have += n;
    wr_view_drop(&v);
  }
  if (p->have == STATUS_BYTES) {
    bool http = memcmp(p->status, "HTTP/1.", 7) == 0 && p->status[8] == ' ';
    bool well = http && (p->status[9] == '2' || p->status[9] == '3');
    end(p, well, well ? "check" : "check_status");
  } else if (wr_conn_got_eof(p->conn) || wr_conn_state(p->conn) == WR_CONN_FAILED) {
    end(p, false, "check_reset");
  }
}

static void run(struct wr_task *task) {
  struct wr_probe *p = WR_CONTAINER(task, struct wr_probe, task);
  if (p->dialing) {
    enum wr_err err = wr_dial_poll(&p->dial, &p->conn);
    if (err == WR_E_AGAIN) return;
    if (err != WR_OK) {
      end(p, false, "check_connect");
      return;
    }
    p->dialing = false;
    if (!p->peer->up->health.path) {
      end(p, true, "reached");
      return;
    }
    wr_conn_set_credit(p->conn, 1024);
  }
  if (!p->sent) {
    p->sent = true;
    if (ask(p) != WR_OK) {
      end(p, false, "check_reset");
      return;
    }
  }
  read_status(p);
}

static void late(struct wr_timer *timer) {
  end(WR_CONTAINER(timer, struct wr_probe, timer), false, "check_timeout");
}

void wr_probe_start(struct wr_upstreams *set, struct wr_peer *peer) {
  WR_CHECK(!set->probes[peer->index]);
  struct wr_probe *p = wr_heap_zalloc(WR_HEAP_UPSTREAM, sizeof *p);
  if (!p) return; /* the next one may find room */
  const struct wr_conf_health *health = &peer->up->health;
  p->set = set;
  p->peer = peer;
  p->dialing = true;
  wr_task_init(&p->task, run);
  wr_timer_init(&p->timer, late);
  set->probes[peer->index] = p;
  wr_dial_start(&p->dial, set, peer, &p->task, true);
  wr_timer_set(set->loop, &p->timer, health->path ? health->timeout_ms : REACH_TIMEOUT_MS);
  wr_loop_mark(set->loop, &p->task);
}

void wr_upstreams_tick(struct wr_upstreams *set) {
  WR_MAGIC_CHECK(set, WR_SET_MAGIC);
  if (set->retired) return;
  uint64_t now = wr_loop_now_ms(set->loop);
  wr_names_tick(set);
  for (size_t i = 0; i < set->peer_count; i++) {
    struct wr_peer *peer = &set->peers[i];
    if (!peer->live) continue;
    if (peer->since_ms == WR_PEER_JUST) peer->since_ms = now;
    const struct wr_conf_health *health = &peer->up->health;
    enum wr_standing is = wr_peer_state_standing(peer->state, now);
    bool out = is == WR_STANDING_OPEN || is == WR_STANDING_DOWN;
    if (set->probes[i] || (!health->path && is != WR_STANDING_OPEN)) continue;
    if (out && health->path) wr_peer_state_hurry(peer->state, now, DOWN_EVERY_MS);
    uint64_t every = !health->path ? REACH_EVERY_MS : out ? DOWN_EVERY_MS : health->every_ms;
    if (wr_peer_state_claim_probe(peer->state, now, every)) wr_probe_start(set, peer);
  }
}
