#include <string.h>

#include "base/check.h"
#include "base/text.h"
#include "net/addr.h"
#include "server/admin_priv.h"
#include "wire/http1_parse.h"

#define TEXT_TYPE "text/plain; charset=utf-8"

struct page {
  struct wr_span path;
  bool post; /* else GET and HEAD */
  void (*serve)(struct wr_admin_conn *c);
};

static void serve_health(struct wr_admin_conn *c) {
  wr_admin_text_put(&c->body, WR_SPAN("ok\n"));
  wr_admin_reply(c, 200, TEXT_TYPE);
}

static void serve_ready(struct wr_admin_conn *c) {
  const struct wr_admin_ops *ops = &c->admin->ops;
  char bytes[256];
  struct wr_buf why;
  wr_buf_init(&why, bytes, sizeof bytes);
  bool ready = !ops->ready || ops->ready(ops->ctx, &why);
  wr_admin_text_put(&c->body, why.len ? wr_buf_span(&why)
                              : ready ? WR_SPAN("ready")
                                      : WR_SPAN("not ready"));
  wr_admin_text_put(&c->body, WR_SPAN("\n"));
  wr_admin_reply(c, ready ? 200 : 503, TEXT_TYPE);
}

static void body_sink(void *ctx, struct wr_span text) { wr_admin_text_put(ctx, text); }

static void serve_missing(struct wr_admin_conn *c) {
  wr_admin_reply_error(c, 404, "not_found", WR_SPAN("there is no such page here"));
}

static void serve_metrics(struct wr_admin_conn *c) {
  const struct wr_admin_ops *ops = &c->admin->ops;
  struct wr_prom out;
  if (!ops->metrics) {
    serve_missing(c);
    return;
  }
  wr_prom_init(&out, body_sink, &c->body);
  ops->metrics(ops->ctx, &out);
  wr_prom_flush(&out);
  wr_admin_reply(c, 200, WR_PROM_CONTENT_TYPE);
}

/* The answer comes later. */
static void serve_ask(struct wr_admin_conn *c,
                      void (*ask)(void *ctx, struct wr_admin *admin, uint64_t token)) {
  struct wr_admin *admin = c->admin;
  if (!ask) {
    serve_missing(c);
    return;
  }
  c->token = ++admin->last_token;
  c->state = WR_ADMIN_WAIT;
  wr_timer_set(admin->loop, &c->deadline, WR_ADMIN_DEADLINE_MS);
  ask(admin->ops.ctx, admin, c->token);
}

static void serve_streams(struct wr_admin_conn *c) { serve_ask(c, c->admin->ops.streams); }
static void serve_reload(struct wr_admin_conn *c) { serve_ask(c, c->admin->ops.reload); }

/* The number behind `seconds=` of the query: 5 without one, 600 at most. */
static uint64_t seconds_of(struct wr_span query) {
  uint64_t n = 0;
  struct wr_span name = WR_SPAN("seconds=");
  if (!wr_span_starts(query, name)) return 5;
  struct wr_span number = wr_span_sub(query, name.len, query.len - name.len);
  return wr_text_u64(number, 600, &n) == WR_OK ? n : 5;
}

/* The answer comes later. */
static void ask_trace(struct wr_admin_conn *c, enum wr_tracing_what what) {
  struct wr_admin *admin = c->admin;
  if (!admin->ops.trace) {
    serve_missing(c);
    return;
  }
  c->token = ++admin->last_token;
  c->state = WR_ADMIN_WAIT;
  wr_timer_set(admin->loop, &c->deadline, WR_ADMIN_DEADLINE_MS);
  admin->ops.trace(admin->ops.ctx, admin, what, c->seconds * 1000, c->token);
}

static void serve_trace_on(struct wr_admin_conn *c) { ask_trace(c, WR_TRACING_ON); }
static void serve_trace_off(struct wr_admin_conn *c) { ask_trace(c, WR_TRACING_OFF); }
static void serve_trace(struct wr_admin_conn *c) { ask_trace(c, WR_TRACING_TAKE); }

static void serve_upstreams(struct wr_admin_conn *c) {
  const struct wr_admin_ops *ops = &c->admin->ops;
  if (!ops->upstreams) {
    serve_missing(c);
    return;
  }
  ops->upstreams(ops->ctx, body_sink, &c->body);
  wr_admin_reply(c, 200, "application/json");
}

static void serve_status(struct wr_admin_conn *c) { serve_ask(c, c->admin->ops.status); }

static void serve_flags(struct wr_admin_conn *c) {
  const struct wr_admin_ops *ops = &c->admin->ops;
  if (!ops->flags) {
    serve_missing(c);
    return;
  }
  ops->flags(ops->ctx, body_sink, &c->body);
  wr_admin_reply(c, 200, "application/json");
}

/* rest: what stands behind "/flags/": NAME/on or NAME/off. */
static void serve_flag(struct wr_admin_conn *c, struct wr_span rest, enum wr_method method) {
  const struct wr_admin_ops *ops = &c->admin->ops;
  bool on = rest.len > 3 && memcmp(rest.ptr + rest.len - 3, "/on", 3) == 0;
  bool off = rest.len > 4 && memcmp(rest.ptr + rest.len - 4, "/off", 4) == 0;
  if (method != WR_METHOD_POST) {
    c->allow = "POST";
    wr_admin_reply_error(c, 405, "method_not_allowed", WR_SPAN("this page takes POST"));
  } else if (!on && !off) {
    wr_admin_reply_error(c, 404, "not_found",
                         WR_SPAN("a flag is switched with /flags/NAME/on or /flags/NAME/off"));
  } else if (!ops->flag ||
             !ops->flag(ops->ctx, wr_span_sub(rest, 0, rest.len - (on ? 3 : 4)), on)) {
    wr_admin_reply_error(c, 404, "no_flag", WR_SPAN("no policy has a flag of that name"));
  } else {
    wr_admin_text_put(&c->body, on ? WR_SPAN("{\"on\":true}\n") : WR_SPAN("{\"on\":false}\n"));
    wr_admin_reply(c, 200, "application/json");
  }
}

static void serve_pressure(struct wr_admin_conn *c) {
  const struct wr_admin_ops *ops = &c->admin->ops;
  if (!ops->pressure) {
    serve_missing(c);
    return;
  }
  ops->pressure(ops->ctx, body_sink, &c->body);
  wr_admin_reply(c, 200, "application/json");
}

static void serve_version(struct wr_admin_conn *c) {
  char bytes[256];
  struct wr_buf buf;
  const char *version = c->admin->ops.version;
  wr_buf_init(&buf, bytes, sizeof bytes);
  wr_buf_put(&buf, WR_SPAN("{\"name\":\"weir\",\"version\":"));
  wr_buf_json_string(&buf, wr_span_str(version));
  wr_buf_put(&buf, WR_SPAN("}\n"));
  wr_admin_text_put(&c->body, wr_buf_span(&buf));
  wr_admin_reply(c, 200, "application/json");
}

static void serve_order(struct wr_admin_conn *c,
                        enum wr_err (*order)(void *ctx, struct wr_buf *why)) {
  char bytes[512];
  struct wr_buf why;
  if (!order) {
    serve_missing(c);
    return;
  }
  wr_buf_init(&why, bytes, sizeof bytes);
  enum wr_err err = order(c->admin->ops.ctx, &why);
  if (err) {
    struct wr_span text = why.len > 0 ? wr_buf_span(&why) : wr_span_str(wr_err_text(err));
    wr_admin_reply_error(c, err == WR_E_DRAINING ? 409 : 500, wr_err_label(err), text);
    return;
  }
  wr_admin_text_put(&c->body, WR_SPAN("{\"accepted\":true}\n"));
  wr_admin_reply(c, 202, "application/json");
}

static void serve_drain(struct wr_admin_conn *c) { serve_order(c, c->admin->ops.drain); }

static const struct page pages[] = {
  { { "/status", 7 }, false, serve_status },    { { "/flags", 6 }, false, serve_flags },
  { { "/healthz", 8 }, false, serve_health },  { { "/readyz", 7 }, false, serve_ready },
  { { "/metrics", 8 }, false, serve_metrics }, { { "/streams", 8 }, false, serve_streams },
  { { "/version", 8 }, false, serve_version }, { { "/reload", 7 }, true, serve_reload },
  { { "/drain", 6 }, true, serve_drain },      { { "/trace", 6 }, false, serve_trace },
  { { "/trace/on", 9 }, true, serve_trace_on }, { { "/trace/off", 10 }, true, serve_trace_off },
  { { "/upstreams", 10 }, false, serve_upstreams },
  { { "/pressure", 9 }, false, serve_pressure },
};

/* Rebinding needs a name that an attacker controls, so literal addresses pass. HTTP/1.0 may have no
 * Host; no browser sends that. */
static bool host_is_ours(struct wr_span host) {
  struct wr_addr addr;
  if (host.len == 0) return true;
  const char *colon = memrchr(host.ptr, ':', host.len);
  if (colon && (host.ptr[0] != '[' || colon[-1] == ']')) host.len = (size_t)(colon - host.ptr);
  if (wr_span_ieq(host, WR_SPAN("localhost"))) return true;
  if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
    host = wr_span_sub(host, 1, host.len - 2);
  return wr_addr_literal(host, 0, &addr) == WR_OK;
}

static bool is_safe(struct wr_admin_conn *c, const struct wr_head *head) {
  if (wr_head_has(head, WR_FIELD_ORIGIN)) {
    wr_admin_reply_error(c, 403, "origin", WR_SPAN("requests of web pages are refused here"));
    return false;
  }
  const struct wr_addr *peer = wr_conn_peer(c->conn);
  if (!(peer && wr_addr_is_unix(peer)) && !host_is_ours(wr_span_at(c->in, head->host))) {
    wr_admin_reply_error(c, 403, "host",
                         WR_SPAN("Host must be localhost or an IP address here"));
    return false;
  }
  return true;
}

static void serve_page(struct wr_admin_conn *c, const struct page *page, enum wr_method method) {
  bool get = method == WR_METHOD_GET || method == WR_METHOD_HEAD;
  if (page->post ? method == WR_METHOD_POST : get) {
    page->serve(c);
    return;
  }
  c->allow = page->post ? "POST" : "GET, HEAD";
  wr_admin_reply_error(c, 405, "method_not_allowed",
                       page->post ? WR_SPAN("this page takes POST")
                                  : WR_SPAN("this page takes GET"));
}

static void serve(struct wr_admin_conn *c, const struct wr_head *head) {
  struct wr_span path = wr_span_at(c->in, head->path);
  c->body.len = 0;
  c->allow = NULL;
  c->head_only = head->method == WR_METHOD_HEAD;
  c->keep_alive = head->keep_alive;
  if (head->framing == WR_FRAMING_CHUNKED || head->content_length > 0) {
    c->keep_alive = false; /* nothing here takes a body, so none is read */
    wr_admin_reply_error(c, 413, "body", WR_SPAN("requests here have no body"));
    return;
  }
  if (!is_safe(c, head)) return;
  c->seconds = seconds_of(wr_span_at(c->in, head->query));
  for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
    if (!wr_span_eq(path, pages[i].path)) continue;
    serve_page(c, &pages[i], (enum wr_method)head->method);
    return;
  }
  if (path.len > 7 && memcmp(path.ptr, "/flags/", 7) == 0)
    serve_flag(c, wr_span_sub(path, 7, path.len - 7), (enum wr_method)head->method);
  else
    serve_missing(c);
}

static void refuse(struct wr_admin_conn *c, enum wr_err err) {
  int status = wr_err_status(err);
  c->body.len = 0;
  c->allow = NULL;
  c->head_only = false;
  c->keep_alive = false;
  wr_admin_reply_error(c, status ? (unsigned)status : 400, wr_err_label(err),
                       wr_span_str(wr_err_text(err)));
}

/* Moves input into c->in, as far as there is room. */
static enum wr_err take_input(struct wr_admin_conn *c) {
  struct wr_view view;
  while (c->in_len < sizeof c->in && wr_conn_take(c->conn, &view)) {
    size_t n = sizeof c->in - c->in_len;
    if (n > view.len) n = view.len;
    memcpy(c->in + c->in_len, view.ptr, n);
    c->in_len += n;
    wr_view_advance(&view, n);
    if (view.len == 0) {
      wr_view_drop(&view);
      continue;
    }
    enum wr_err err = wr_conn_unread(c->conn, &view);
    if (err) return err;
  }
  return WR_OK;
}

void wr_admin_read(struct wr_admin_conn *c) {
  WR_DCHECK(c->state == WR_ADMIN_READ);
  struct wr_http1_limits limits = WR_HTTP1_LIMITS;
  limits.max_head_bytes = WR_ADMIN_HEAD_BYTES;
  struct wr_head head;
  size_t off = 0, len = 0;
  enum wr_err err = take_input(c);
  if (!err && c->in_len == 0) return;
  if (!err)
    err = wr_http1_head_end(wr_span_make(c->in, c->in_len), &c->resume, sizeof c->in, &off, &len);
  if (err == WR_E_AGAIN && c->in_len < sizeof c->in) return;
  if (err == WR_E_AGAIN) err = WR_E_HEAD_TOO_LARGE;
  if (!err && off > 0) {
    c->in_len -= off; /* an empty line before the head */
    memmove(c->in, c->in + off, c->in_len);
  }
  if (!err) err = wr_http1_parse_request(wr_span_make(c->in, len), &limits, &head);
  if (err) {
    refuse(c, err);
    return;
  }
  serve(c, &head);
  c->resume = 0;
  c->in_len -= len;
  memmove(c->in, c->in + len, c->in_len);
}
