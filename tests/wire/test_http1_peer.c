/* What weir takes, a second parser must read the same way: method, target, fields, body and the
 * byte it ends with. The peer may refuse what weir takes only where weir is the one that is
 * right (an unknown method); it may take more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "wire/http1_corpus.h"
#include "wire/http1_run.h"

#if defined(__has_include)
#if __has_include(<http_parser.h>)
#define HAVE_PEER 1
#include <http_parser.h>
#endif
#endif

#ifdef HAVE_PEER

#define PEER_FIELDS 128

struct peer_text {
  char bytes[8192];
  size_t len;
};

struct peer {
  struct peer_text url;
  struct peer_text text; /* names and values, one after the other */
  size_t name_end[PEER_FIELDS];
  size_t value_end[PEER_FIELDS];
  unsigned fields;
  bool in_value;
  char body[HTTP1_RUN_BODY_MAX];
  size_t body_len;
  bool complete;
  bool in_trailer;
};

static struct peer peer;
static struct http1_run ours;

static void append(struct peer_text *t, const char *at, size_t n) {
  if (t->len + n > sizeof t->bytes) fail_msg("the peer's text is too long");
  memcpy(t->bytes + t->len, at, n);
  t->len += n;
}

static int on_url(http_parser *p, const char *at, size_t n) {
  (void)p;
  append(&peer.url, at, n);
  return 0;
}

static int on_name(http_parser *p, const char *at, size_t n) {
  (void)p;
  if (peer.in_trailer) return 0;
  if (peer.in_value || peer.fields == 0) {
    peer.in_value = false;
    peer.name_end[peer.fields] = peer.value_end[peer.fields] = peer.text.len;
    peer.fields++;
  }
  append(&peer.text, at, n);
  peer.name_end[peer.fields - 1] = peer.value_end[peer.fields - 1] = peer.text.len;
  return 0;
}

static int on_value(http_parser *p, const char *at, size_t n) {
  (void)p;
  if (peer.in_trailer) return 0;
  peer.in_value = true;
  append(&peer.text, at, n);
  peer.value_end[peer.fields - 1] = peer.text.len;
  return 0;
}

/* The peer leaves it to its user to know that a 304 has no body, whatever length it announces. */
static int on_head(http_parser *p) {
  peer.in_trailer = true;
  return p->type == HTTP_RESPONSE && p->status_code == 304;
}

static int on_body(http_parser *p, const char *at, size_t n) {
  (void)p;
  memcpy(peer.body + peer.body_len, at, n);
  peer.body_len += n;
  return 0;
}

static int on_complete(http_parser *p) {
  peer.complete = true;
  http_parser_pause(p, 1);
  return 0;
}

static const http_parser_settings settings = {
  .on_url = on_url,
  .on_header_field = on_name,
  .on_header_value = on_value,
  .on_headers_complete = on_head,
  .on_body = on_body,
  .on_message_complete = on_complete,
};

static enum http_errno read_peer(struct wr_span bytes, bool response, http_parser *p) {
  peer.url.len = peer.text.len = peer.body_len = 0;
  peer.fields = 0;
  peer.in_value = peer.complete = peer.in_trailer = false;
  http_parser_init(p, response ? HTTP_RESPONSE : HTTP_REQUEST);
  http_parser_execute(p, &settings, bytes.ptr, bytes.len);
  enum http_errno err = HTTP_PARSER_ERRNO(p);
  return err == HPE_PAUSED ? HPE_OK : err;
}

/* The peer keeps blanks behind a value in some cases; those carry no meaning. */
static void compare_fields(const char *name, const char *base) {
  size_t at = 0;
  if (peer.fields != ours.head.field_count) fail_msg("%s: %u fields", name, peer.fields);
  for (unsigned i = 0; i < peer.fields; i++) {
    struct wr_span n = wr_span_make(peer.text.bytes + at, peer.name_end[i] - at);
    struct wr_span v = wr_span_make(peer.text.bytes + peer.name_end[i],
                                    peer.value_end[i] - peer.name_end[i]);
    at = peer.value_end[i];
    if (!wr_span_eq(n, wr_span_at(base, ours.head.fields[i].name)))
      fail_msg("%s: the name of field %u differs", name, i);
    if (!wr_span_eq(wr_span_trim(v), wr_span_at(base, ours.head.fields[i].value)))
      fail_msg("%s: the value of field %u differs", name, i);
  }
}

/* Returns whether weir took the message at all. */
static bool compare(const char *name, struct wr_span bytes, bool response) {
  http_parser p;
  http1_run(bytes, response, WR_METHOD_POST, NULL, NULL, 0, &ours);
  if (ours.err != WR_OK) return false;
  const char *base = bytes.ptr + ours.head_off;
  bool other = !response && ours.head.method == WR_METHOD_OTHER;
  enum http_errno err = read_peer(wr_span_sub(bytes, 0, ours.consumed), response, &p);
  if (err == HPE_INVALID_METHOD && other) return true;
  if (err != HPE_OK) fail_msg("%s: the peer says %s", name, http_errno_name(err));
  if (ours.head.framing == WR_FRAMING_UNTIL_CLOSE) http_parser_execute(&p, &settings, NULL, 0);
  if (!peer.complete) fail_msg("%s: the peer waits for more", name);
  compare_fields(name, base);
  if (!response) {
    if (!wr_span_eq(wr_span_make(peer.url.bytes, peer.url.len), wr_span_at(base, ours.head.target)))
      fail_msg("%s: the target differs", name);
    if (!other && !wr_span_eq(wr_span_str(http_method_str((enum http_method)p.method)),
                              wr_span_at(base, ours.head.method_text)))
      fail_msg("%s: the method differs", name);
  } else if (p.status_code != ours.head.status) {
    fail_msg("%s: the status differs", name);
  }
  if (p.http_minor != ours.head.version_minor) fail_msg("%s: the version differs", name);
  if (!wr_span_eq(wr_span_make(peer.body, peer.body_len), wr_span_make(ours.body, ours.body_len)))
    fail_msg("%s: the body differs", name);
  if (ours.head.framing == WR_FRAMING_UNTIL_CLOSE) return true;
  (void)read_peer(wr_span_sub(bytes, 0, ours.consumed - 1), response, &p);
  if (peer.complete) fail_msg("%s: the peer ends earlier", name);
  return true;
}

static void peer_reads_the_corpus_alike(void **state) {
  (void)state;
  size_t taken = 0;
  for (size_t i = 0; i < CORPUS_COUNT; i++) {
    struct wr_span bytes = wr_span_make(corpus[i].bytes, corpus[i].len);
    bool took = compare(corpus[i].name, bytes, false);
    assert_int_equal(took, corpus[i].verdict == WR_OK);
    taken += took;
  }
  assert_true(taken >= 30);
}

static const char *const responses[] = {
  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n2;a=b\r\nhi\r\n0\r\nZ: z\r\n\r\n",
  "HTTP/1.1 200\r\nX: a b \r\n\r\nuntil close",
  "HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
  "HTTP/1.1 204 No Content\r\n\r\n",
  "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
};

static uint64_t random_state = 0x9e3779b97f4a7c15u;

static uint64_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

/* One to three edits: a byte replaced by one that matters in HTTP, removed, or doubled; or a
 * piece of another message. */
static size_t mutate(struct wr_span from, struct wr_span other, char *out, size_t cap) {
  static const char bytes[] = "\r\n\t :;,0123456789abfAFx-_+\0\x7f\xff\"%/?#@[]";
  size_t n = from.len < cap ? from.len : cap;
  memcpy(out, from.ptr, n);
  for (uint64_t edits = 1 + next_random() % 3; edits > 0 && n > 0; edits--) {
    size_t at = next_random() % n;
    switch (next_random() % 4) {
      case 0: out[at] = bytes[next_random() % (sizeof bytes - 1)]; break;
      case 1: memmove(out + at, out + at + 1, --n - at); break;
      case 2:
        if (n < cap) {
          memmove(out + at + 1, out + at, n - at);
          out[at] = bytes[next_random() % (sizeof bytes - 1)];
          n++;
        }
        break;
      default: {
        size_t from_at = other.len ? next_random() % other.len : 0, len = 1 + next_random() % 24;
        if (len > other.len - from_at) len = other.len - from_at;
        if (n + len > cap) break;
        memmove(out + at + len, out + at, n - at);
        memcpy(out + at, other.ptr + from_at, len);
        n += len;
      }
    }
  }
  return n;
}

static void peer_reads_mutants_alike(void **state) {
  (void)state;
  enum { RESPONSES = sizeof responses / sizeof responses[0], ROUNDS = 300000 };
  char bytes[1024], name[64];
  size_t taken = 0;
  for (unsigned i = 0; i < ROUNDS; i++) {
    bool response = i % 8 == 0;
    const struct corpus_item *c = &corpus[next_random() % CORPUS_COUNT];
    const struct corpus_item *d = &corpus[next_random() % CORPUS_COUNT];
    struct wr_span from = wr_span_make(c->bytes, c->len), other = wr_span_make(d->bytes, d->len);
    if (response) from = wr_span_str(responses[next_random() % RESPONSES]);
    size_t n = mutate(from, other, bytes, sizeof bytes);
    (void)snprintf(name, sizeof name, "mutant %u of %s", i, response ? "a response" : c->name);
    taken += compare(name, wr_span_make(bytes, n), response);
  }
  assert_true(taken > ROUNDS / 40);
}

static void peer_reads_responses_alike(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof responses / sizeof responses[0]; i++)
    assert_true(compare(responses[i], wr_span_str(responses[i]), true));
}

#else

static void no_peer(void **state) {
  (void)state;
  print_message("no second parser: its header is not installed\n");
  skip();
}

#endif

int main(void) {
  const struct CMUnitTest tests[] = {
#ifdef HAVE_PEER
    cmocka_unit_test(peer_reads_the_corpus_alike),
    cmocka_unit_test(peer_reads_responses_alike),
    cmocka_unit_test(peer_reads_mutants_alike),
#else
    cmocka_unit_test(no_peer),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
