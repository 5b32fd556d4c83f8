/* http1_run.h: reads one message through the codec as a connection would, in any arrival
 * pattern; for tests and fuzz targets. Everything a reader could depend on ends up in struct
 * http1_run, so that two runs can be compared. */
#ifndef WR_WIRE_HTTP1_RUN_H
#define WR_WIRE_HTTP1_RUN_H

#include <string.h>

#include "wire/http1_body.h"
#include "wire/http1_parse.h"

#define HTTP1_RUN_BODY_MAX 70000

struct http1_run {
  enum wr_err err;  /* WR_OK: a whole message; WR_E_AGAIN: the bytes ended before it did */
  size_t consumed;  /* bytes of the message, the skipped line included; only with WR_OK */
  size_t head_off;
  bool head_ok;
  struct wr_head head;
  size_t body_len;
  char body[HTTP1_RUN_BODY_MAX];
};

struct http1_reader {
  bool response;
  enum wr_method method; /* of the request that a response answers */
  struct wr_http1_limits limits;
  size_t resume;
  size_t pos; /* bytes read so far, once the head is done */
  struct wr_http1_body body;
};

/* A copy in memory of exactly that size lets the address sanitizer see a read past the end. */
static inline void http1_run_head(struct http1_reader *r, struct wr_span seen,
                                  struct http1_run *out) {
  size_t len = 0;
  size_t *off = r->response ? NULL : &out->head_off;
  out->err = wr_http1_head_end(seen, &r->resume, r->limits.max_head_bytes, off, &len);
  if (out->err == WR_OK) {
    struct wr_span head = wr_span_sub(seen, out->head_off, len);
    out->err = r->response ? wr_http1_parse_response(head, r->method, &r->limits, &out->head)
                           : wr_http1_parse_request(head, &r->limits, &out->head);
    out->head_ok = out->err == WR_OK;
    r->pos = out->head_off + len;
    if (out->head_ok) {
      wr_http1_body_init(&r->body, (enum wr_framing)out->head.framing, out->head.content_length);
      out->err = WR_E_AGAIN;
    }
  }
  if (r->response) out->err = wr_http1_as_upstream(out->err);
}

static inline void http1_run_body(struct http1_reader *r, struct wr_span seen,
                                  struct http1_run *out) {
  do {
    size_t consumed = 0;
    struct wr_span data, in = wr_span_sub(seen, r->pos, seen.len - r->pos);
    out->err = wr_http1_body_next(&r->body, in, &consumed, &data);
    if (data.len > 0 && out->body_len + data.len <= sizeof out->body) {
      memcpy(out->body + out->body_len, data.ptr, data.len);
      out->body_len += data.len;
    }
    r->pos += consumed;
  } while (out->err == WR_OK);
  if (out->err == WR_E_END) {
    out->err = WR_OK;
    out->consumed = r->pos;
  } else if (out->err != WR_E_AGAIN && r->response) {
    out->err = wr_http1_as_upstream(out->err);
  }
}

/* The bytes arrive cut at the n offsets of cuts (ascending). */
static inline void http1_run(struct wr_span bytes, bool response, enum wr_method method,
                             const struct wr_http1_limits *limits, const size_t *cuts, size_t n,
                             struct http1_run *out) {
  struct http1_reader r = { .response = response, .method = method, .limits = WR_HTTP1_LIMITS };
  if (limits) r.limits = *limits;
  out->err = WR_E_AGAIN;
  out->consumed = out->head_off = out->body_len = 0;
  out->head_ok = false;
  for (size_t i = 0; i <= n && out->err == WR_E_AGAIN; i++) {
    struct wr_span seen = wr_span_sub(bytes, 0, i < n ? cuts[i] : bytes.len);
    if (!out->head_ok) http1_run_head(&r, seen, out);
    if (out->head_ok && out->err == WR_E_AGAIN) http1_run_body(&r, seen, out);
  }
  if (out->err == WR_E_AGAIN && out->head_ok && out->head.framing == WR_FRAMING_UNTIL_CLOSE) {
    out->err = wr_http1_body_eof(&r.body);
    out->consumed = r.pos;
  }
}

static inline bool http1_run_same_head(const struct wr_head *a, const struct wr_head *b) {
  if (memcmp(a, b, offsetof(struct wr_head, fields)) != 0) return false;
  for (unsigned i = 0; i < a->field_count; i++) {
    const struct wr_field *f = &a->fields[i], *g = &b->fields[i];
    if (f->id != g->id || memcmp(&f->name, &g->name, sizeof f->name) != 0) return false;
    if (memcmp(&f->value, &g->value, sizeof f->value) != 0) return false;
  }
  return true;
}

static inline bool http1_run_same(const struct http1_run *a, const struct http1_run *b) {
  if (a->err != b->err || a->consumed != b->consumed || a->head_ok != b->head_ok) return false;
  if (a->body_len != b->body_len || memcmp(a->body, b->body, a->body_len) != 0) return false;
  return !a->head_ok || (a->head_off == b->head_off && http1_run_same_head(&a->head, &b->head));
}

#endif
