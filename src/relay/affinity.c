/* By what balance "hash" keeps requests together: a key, a header, the beginning of the prompt. */
#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "relay/feedback.h"
#include "relay/relay_priv.h"
#include "relay/session.h"

/* The same in every process: what is kept together must be so behind several of them. Who aims at
 * one peer finds its load bounded. */
static const uint8_t sip_key[16] = "weir's affinity";

static uint64_t hash_of(struct wr_span bytes) {
  uint64_t h = wr_siphash(sip_key, bytes);
  return h ? h : 1;
}

static uint64_t by_key(struct wr_session *s) {
  if (s->key) return hash_of(wr_span_str(s->key->name));
  static const uint8_t credentials[] = { WR_FIELD_AUTHORIZATION, WR_FIELD_X_API_KEY,
                                         WR_FIELD_API_KEY };
  if (wr_request_parse(s) == WR_OK)
    for (size_t i = 0; i < sizeof credentials; i++) {
      struct wr_span v = wr_head_value(&s->relay->head, s->rq->head.head.ptr,
                                       (enum wr_field_id)credentials[i]);
      if (v.len) return hash_of(v);
    }
  const struct wr_addr *addr = wr_conn_peer(s->client);
  if (!addr || wr_addr_is_unix(addr)) return 0;
  char text[128];
  struct wr_span host = wr_span_str(wr_addr_format(addr, text, sizeof text));
  const char *colon = host.len ? memrchr(host.ptr, ':', host.len) : NULL;
  if (colon) host.len = (size_t)(colon - host.ptr); /* the port is another each time */
  return hash_of(host);
}

static uint64_t by_header(struct wr_session *s, const char *name) {
  if (wr_request_parse(s) != WR_OK) return 0;
  const char *base = s->rq->head.head.ptr;
  const struct wr_field *f = wr_head_find_name(&s->relay->head, base, wr_span_str(name), NULL);
  return f && f->value.len ? hash_of(wr_span_at(base, f->value)) : 0;
}

/* So many bytes of the body from an offset on, where they are held. */
static struct wr_span body_bytes(struct wr_session *s, uint64_t off, size_t most) {
  const struct wr_viewq *q = &s->rq->body;
  char *out = wr_relay_scratch(s->relay, most);
  size_t len = 0;
  if (!out) return wr_span_make(NULL, 0);
  for (size_t i = 0; i < q->count && len < most; i++) {
    const struct wr_view *v = wr_viewq_peek(q, i);
    if (off >= v->len) {
      off -= v->len;
      continue;
    }
    size_t n = v->len - (size_t)off < most - len ? v->len - (size_t)off : most - len;
    memcpy(out + len, v->ptr + off, n);
    len += n;
    off = 0;
  }
  return wr_span_make(out, len);
}

/* The scan of the body has noted where the messages begin; nothing is parsed again. */
static uint64_t by_prompt(struct wr_session *s, size_t most) {
  static const uint8_t paths[] = { WR_RQ_MESSAGES, WR_RQ_INPUT, WR_RQ_PROMPT };
  for (size_t i = 0; s->rq->scan && i < sizeof paths; i++) {
    const struct wr_json_stream_value *v = wr_json_stream_value(s->rq->scan, paths[i]);
    if (v->type < WR_JSON_STRING) continue;
    if (v->len && v->len < most) most = (size_t)v->len;
    struct wr_span bytes = body_bytes(s, v->off, most);
    if (bytes.len) return hash_of(bytes);
  }
  return 0;
}

static uint64_t affinity(struct wr_session *s, const struct wr_conf_hash *by) {
  WR_DCHECK(by->prompt_bytes <= 16384);
  uint64_t h = 0;
  if (by->by == WR_HASH_SESSION && by->header) h = by_header(s, by->header);
  if (by->by == WR_HASH_PROMPT) h = by_prompt(s, by->prompt_bytes);
  return h ? h : by_key(s);
}

struct wr_peer *wr_session_choose(struct wr_session *s, uint64_t tried, bool any) {
  WR_DCHECK(s->rq != NULL && s->gen != NULL);
  const struct wr_conf_hash *by = wr_group_hash(s->gen->upstreams, s->group);
  struct wr_choice choice = { .tried = tried,
                              .hash = by ? affinity(s, by) : 0,
                              .beside = s->at != NULL,
                              .any = any && s->attempts == 0 };
  return wr_group_choose(s->gen->upstreams, s->group, &choice);
}
