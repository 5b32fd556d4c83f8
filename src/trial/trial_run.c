/* One exchange: the client's end, and the turns between question and answer. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "obs/record.h"
#include "trial/trial_int.h"
#include "wire/http1_body.h"
#include "wire/http1_parse.h"

/* So many turns without any work mean that everybody waits for the clock. */
#define QUIET_TURNS 3u
/* So many looks at the clock, or so long by it: nothing is going to happen. */
#define JUMPS_MAX 100000u
#define LONGEST_US UINT64_C(90000000000)

static uint64_t work_of(const struct wr_trial *t) {
  const struct wr_loop_stats *s = wr_loop_stats(t->loop);
  return s->reads + s->writes + s->again + s->accepted + s->dialed + s->closed;
}

/* Sockets of this process carry at once what is written: without work in a few turns there is none.
 */
void wr_trial_settle(struct wr_trial *t) {
  uint64_t work = work_of(t);
  for (unsigned quiet = 0; quiet < QUIET_TURNS;) {
    wr_loop_turn(t->loop, 0);
    uint64_t now = work_of(t);
    quiet = now == work ? quiet + 1 : 0;
    work = now;
  }
}

void wr_trial_client_run(struct wr_task *task) {
  struct wr_trial *t = WR_CONTAINER(task, struct wr_trial, task);
  struct wr_view v;
  while (t->client && wr_conn_take(t->client, &v)) {
    wr_trial_put(&t->got, wr_view_span(&v));
    wr_view_drop(&v);
  }
  if (t->client && t->ask && t->ask->leave_bytes && t->got.len >= t->ask->leave_bytes) {
    wr_conn_abort(t->client);
    t->client = NULL;
    t->client_end = true;
  }
  if (t->client && (wr_conn_state(t->client) == WR_CONN_FAILED || wr_conn_at_eof(t->client)))
    t->client_end = true;
}

static enum wr_err client_open(struct wr_trial *t) {
  int fd[2];
  struct wr_conn *theirs;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) != 0) return WR_E_IO;
  t->client_end = t->recorded = false;
  enum wr_err err = wr_conn_adopt(t->loop, fd[0], NULL, &t->client);
  if (err != WR_OK) {
    t->client = NULL;
    close(fd[1]);
    return err;
  }
  wr_conn_set_owner(t->client, &t->task);
  err = wr_conn_adopt(t->loop, fd[1], NULL, &theirs);
  if (err == WR_OK) wr_relay_accept(t->relay, 0, theirs);
  return err;
}

static void client_close(struct wr_trial *t) {
  if (t->client) wr_conn_abort(t->client);
  t->client = NULL;
  wr_loop_unmark(&t->task);
}

static enum wr_err send_request(struct wr_trial *t, const struct wr_trial_ask *ask) {
  char text[1024];
  struct wr_buf b;
  wr_buf_init(&b, text, sizeof text);
  wr_buf_printf(&b,
                "%s %s HTTP/1.1\r\nhost: trial\r\nconnection: close\r\ncontent-length: %zu\r\n",
                ask->method ? ask->method : "POST", ask->path, ask->body.len);
  if (ask->body.len) wr_buf_put(&b, WR_SPAN("content-type: application/json\r\n"));
  if (ask->key) wr_buf_printf(&b, "authorization: Bearer weir-trial-%s\r\n", ask->key);
  if (b.overflow) return WR_E_ARG;
  enum wr_err err = wr_conn_write_copy(t->client, wr_buf_span(&b));
  struct wr_span rest[] = { ask->headers, WR_SPAN("\r\n"), ask->body };
  for (size_t i = 0; i < 3; i++)
    for (size_t at = 0; err == WR_OK && at < rest[i].len; at += 4096) {
      size_t left = rest[i].len - at;
      err = wr_conn_write_copy(t->client, wr_span_sub(rest[i], at, left < 4096 ? left : 4096));
    }
  return err == WR_OK ? wr_conn_flush(t->client) : err;
}

static bool over(const struct wr_trial *t) { return t->client_end && t->recorded; }

/* Until the client has its answer; where nobody has anything to do, time passes. */
static void wait_for_end(struct wr_trial *t) {
  uint64_t begin_us = wr_loop_now_us(t->loop);
  for (unsigned jumps = 0; jumps < JUMPS_MAX; jumps++) {
    wr_trial_settle(t);
    if (over(t)) return;
    uint64_t next_ms = wr_loop_next_timer_ms(t->loop), now_us = wr_loop_now_us(t->loop);
    if (next_ms == UINT64_MAX || now_us - begin_us > LONGEST_US) break;
    wr_loop_advance(t->loop, next_ms * 1000 > now_us ? next_ms * 1000 - now_us : 1000);
  }
  t->result.stuck = true;
}

/* The answer's head and body from the bytes that came. */
static void read_answer(struct wr_trial *t) {
  struct wr_trial_result *r = &t->result;
  struct wr_span all = wr_span_make(t->got.ptr, t->got.len), data;
  static struct wr_head head;
  size_t resume = 0, off = 0, len = 0, used = 0;
  r->head = r->body = wr_span_make("", 0);
  if (wr_http1_head_end(all, &resume, 65536, &off, &len) != WR_OK) return;
  if (wr_http1_parse_response(wr_span_sub(all, off, len), WR_METHOD_POST, NULL, &head) != WR_OK)
    return;
  r->status = head.status;
  r->head = wr_span_sub(all, off, len);
  struct wr_http1_body body;
  wr_http1_body_init(&body, (enum wr_framing)head.framing, head.content_length);
  struct wr_span left = wr_span_sub(all, off + len, all.len - off - len);
  enum wr_err err = WR_OK;
  while (left.len > 0 && err == WR_OK) {
    err = wr_http1_body_next(&body, left, &used, &data);
    wr_trial_put(&t->body, data);
    left = wr_span_sub(left, used, left.len - used);
  }
  r->whole = wr_http1_body_ended(&body) || wr_http1_body_eof(&body) == WR_OK;
  if (t->body.len) r->body = wr_span_make(t->body.ptr, t->body.len);
}

static enum wr_err end_exchange(struct wr_trial *t) {
  client_close(t);
  wr_trial_settle(t);
  t->ask = NULL;
  wr_trial_ups_end(t);
  wr_trial_settle(t);
  if (t->engine) (void)wr_engine_idle(t->engine);
  read_answer(t);
  wr_trial_notes_settle(t);
  bool nomem = t->nomem || t->got.nomem || t->body.nomem || t->words.nomem || t->log.nomem ||
               t->requests.nomem;
  t->got.nomem = t->body.nomem = t->words.nomem = t->log.nomem = t->requests.nomem = false;
  return nomem ? WR_E_NOMEM : WR_OK;
}

static enum wr_err find_fault(struct wr_trial *t, const struct wr_trial_ask *ask, size_t *refuse) {
  *refuse = t->fault_at = SIZE_MAX;
  t->faults = 0;
  if (!ask->fault) return WR_OK;
  for (size_t i = 0; ask->fault_upstream && i < t->conf.upstream_count; i++)
    if (strcmp(t->conf.upstreams[i].name, ask->fault_upstream) == 0) t->fault_at = i;
  if (ask->fault_upstream && t->fault_at == SIZE_MAX) return WR_E_ARG;
  if (ask->fault->then != WR_TRIAL_REFUSE) return WR_OK;
  /* Nobody can know who is going to be asked: the one that the first route would ask first. */
  if (t->fault_at == SIZE_MAX) t->fault_at = t->conf.groups[t->conf.routes[0].to].members[0];
  *refuse = t->fault_at;
  return WR_OK;
}

static bool known_key(const struct wr_trial *t, const char *name) {
  for (size_t i = 0; i < t->conf.key_count; i++)
    if (strcmp(t->conf.keys[i].name, name) == 0) return true;
  return false;
}

enum wr_err wr_trial_run(struct wr_trial *t, const struct wr_trial_ask *ask,
                         struct wr_trial_result *out) {
  WR_MAGIC_CHECK(t, WR_TRIAL_MAGIC);
  WR_CHECK(!t->ask && !t->client);
  size_t refuse;
  if (ask->key && !known_key(t, ask->key)) return WR_E_ARG;
  enum wr_err err = find_fault(t, ask, &refuse);
  if (err == WR_OK) err = wr_trial_ups_begin(t, refuse);
  if (err != WR_OK) return err;
  wr_trial_notes_clear(t);
  /* The clock stands: what one exchange logs must not silence the next one. */
  if (t->script) memset(t->script->sites, 0, sizeof t->script->sites);
  t->ask = ask;
  err = client_open(t);
  if (err == WR_OK) err = send_request(t, ask);
  if (err == WR_OK) wait_for_end(t);
  enum wr_err ended = end_exchange(t);
  *out = t->result;
  return err == WR_OK ? ended : err;
}

/* --- hooks that are asked alone */

static const struct wr_conf_key *key_of(const struct wr_trial *t, const char *name) {
  for (size_t i = 0; name && i < t->conf.key_count; i++)
    if (strcmp(t->conf.keys[i].name, name) == 0) return &t->conf.keys[i];
  return NULL;
}

enum wr_err wr_trial_slow(struct wr_trial *t, const char *route, const char *key,
                          const struct wr_hook_slow *slow, struct wr_trial_result *out) {
  WR_MAGIC_CHECK(t, WR_TRIAL_MAGIC);
  const struct wr_hooks *hooks = t->gen.hooks;
  size_t i = 0;
  while (route && i < t->conf.route_count && strcmp(t->conf.routes[i].name, route) != 0) i++;
  if (i == t->conf.route_count || (key && !key_of(t, key))) return WR_E_ARG;
  uint64_t now_us = wr_loop_now_us(t->loop);
  struct wr_hook_stream s = { .id = 1, .route = &t->conf.routes[i], .key = key_of(t, key),
                              .upstream = "", .started_us = now_us, .now_us = now_us,
                              .queued_bytes = slow->bytes, .usage = { -1, -1, -1, -1 } };
  struct wr_verdict v = { .kind = WR_VERDICT_DEFAULT, .max_tokens = -1, .deadline_ms = -1 };
  wr_trial_notes_clear(t);
  if (hooks && hooks->slow_client && t->conf.routes[i].hooks & WR_HOOK_SLOW_CLIENT) {
    hooks->slow_client(hooks->ctx, &s, slow, &v);
    hooks->end(hooks->ctx, &s, WR_OUTCOME_CLIENT_GONE);
  }
  wr_trial_notes_settle(t);
  *out = t->result;
  return WR_OK;
}

enum wr_err wr_trial_pressure(struct wr_trial *t, const struct wr_hook_pressure *pressure,
                              struct wr_trial_result *out) {
  WR_MAGIC_CHECK(t, WR_TRIAL_MAGIC);
  const struct wr_hooks *hooks = t->gen.hooks;
  struct wr_verdict v = { .kind = WR_VERDICT_DEFAULT, .max_tokens = -1, .deadline_ms = -1 };
  t->pressure = *pressure;
  wr_trial_notes_clear(t);
  if (hooks && hooks->pressure) hooks->pressure(hooks->ctx, pressure, &v);
  wr_trial_notes_settle(t);
  *out = t->result;
  return WR_OK;
}
