#include "net/world.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "net/tls_ctx.h"
#include "net/tls_priv.h"

static char cert_pem[4096], key_pem[4096];      /* the server's own */
static char other_cert[4096], other_key[4096];  /* a stranger's */
static char ca_path[64], other_path[64];

static void write_file(char *path, size_t bytes, const char *name, const char *text) {
  snprintf(path, bytes, "/tmp/weir-test-%s-%d.pem", name, (int)getpid());
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  assert_true(fputs(text, f) >= 0);
  assert_int_equal(fclose(f), 0);
}

static int setup(void **state) {
  (void)state;
  assert_int_equal(wr_tls_self_signed(cert_pem, sizeof cert_pem, key_pem, sizeof key_pem), WR_OK);
  assert_int_equal(wr_tls_self_signed(other_cert, sizeof other_cert, other_key, sizeof other_key),
                   WR_OK);
  write_file(ca_path, sizeof ca_path, "ca", cert_pem);
  write_file(other_path, sizeof other_path, "other", other_cert);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  unlink(ca_path);
  unlink(other_path);
  return 0;
}

static struct wr_tls_ctx *ctx_new(const struct wr_tls_options *options) {
  struct wr_tls_ctx *ctx;
  char why[256];
  enum wr_err err = wr_tls_ctx_new(options, &ctx, why, sizeof why);
  if (err) fail_msg("%s", why);
  return ctx;
}

static struct wr_tls_ctx *server_new(void) {
  return ctx_new(
      &(struct wr_tls_options){ .server = true, .cert_pem = cert_pem, .key_pem = key_pem });
}

static struct wr_tls_ctx *client_new(const char *ca_file) {
  return ctx_new(&(struct wr_tls_options){ .ca_file = ca_file, .verify = ca_file != NULL });
}

static void say(struct wr_conn *conn, const char *text) {
  assert_int_equal(wr_conn_write_copy(conn, wr_span_str(text)), WR_OK);
  assert_int_equal(wr_conn_flush(conn), WR_OK);
}

static void echo_once(struct world *w, struct wr_tls_ctx *client, struct wr_tls_ctx *server,
                      const char *name) {
  struct pair p;
  pair_begin(w, &p, "127.0.0.1:0", client, server, name);
  p.server.echo = true;
  say(p.client.conn, "before the handshake"); /* waits in the queue */
  TURN_UNTIL(w, settled(&p.client) && settled(&p.server));
  if (wr_conn_state(p.client.conn) != WR_CONN_OPEN) fail_msg("%s", wr_conn_why(p.client.conn));
  TURN_UNTIL(w, p.client.got == 20);
  assert_memory_equal(p.client.text, "before the handshake", 20);
  assert_true(wr_conn_is_tls(p.server.conn));
  wr_conn_close(p.client.conn);
  p.client.conn = NULL;
  TURN_UNTIL(w, wr_conn_at_eof(p.server.conn));
  assert_int_equal(wr_conn_err(p.server.conn), WR_OK);
  pair_close(&p);
}

static void echo(void **state) {
  (void)state;
  struct world w;
  world_open(&w, 4 << 20);
  struct wr_tls_ctx *server = server_new(), *client = client_new(ca_path),
                    *blind = client_new(NULL);
  echo_once(&w, client, server, "localhost");
  echo_once(&w, client, server, "127.0.0.1");
  echo_once(&w, client, server, "::1");
  echo_once(&w, blind, server, "anybody.example");
  wr_loop_turn(w.loop, 0);
  wr_loop_turn(w.loop, 0);
  wr_tls_ctx_free(client);
  wr_tls_ctx_free(blind);
  wr_tls_ctx_free(server);
  world_close(&w);
}

static void resumption(void **state) {
  (void)state;
  struct world w;
  world_open(&w, 4 << 20);
  struct wr_tls_ctx *server = server_new(), *client = client_new(ca_path);
  for (int i = 0; i < 3; i++) echo_once(&w, client, server, "localhost");
  echo_once(&w, client, server, "127.0.0.1"); /* another name: nothing to resume */
  unsigned long handshakes, resumed;
  wr_tls_ctx_counts(client, &handshakes, &resumed);
  assert_int_equal(handshakes, 4);
  assert_int_equal(resumed, 2);
  wr_tls_ctx_counts(server, &handshakes, &resumed);
  assert_int_equal(handshakes, 4);
  assert_int_equal(resumed, 2);
  wr_loop_turn(w.loop, 0);
  wr_loop_turn(w.loop, 0);
  wr_tls_ctx_free(client);
  wr_tls_ctx_free(server);
  world_close(&w);
}

static void refused_with(struct wr_tls_ctx *client, struct wr_tls_ctx *server, const char *name,
                         enum wr_err want, const char *why) {
  struct world w;
  struct pair p;
  world_open(&w, 4 << 20);
  pair_begin(&w, &p, "127.0.0.1:0", client, server, name);
  TURN_UNTIL(&w, settled(&p.client));
  assert_int_equal(wr_conn_state(p.client.conn), WR_CONN_FAILED);
  assert_int_equal(wr_conn_err(p.client.conn), want);
  if (why) assert_string_equal(wr_conn_why(p.client.conn), why);
  TURN_UNTIL(&w, p.client.runs > 0);
  assert_int_equal(wr_conn_write_copy(p.client.conn, WR_SPAN("x")), want);
  pair_close(&p);
  wr_loop_turn(w.loop, 0);
  wr_loop_turn(w.loop, 0);
  wr_tls_ctx_free(client);
  wr_tls_ctx_free(server);
  world_close(&w);
}

static void wrong_name(void **state) {
  (void)state;
  refused_with(client_new(ca_path), server_new(), "example.com", WR_E_TLS_VERIFY,
               "the certificate is for another name");
  refused_with(client_new(ca_path), server_new(), "127.0.0.2", WR_E_TLS_VERIFY,
               "the certificate is for another name");
}

static void unknown_authority(void **state) {
  (void)state;
  refused_with(client_new(other_path), server_new(), "localhost", WR_E_TLS_VERIFY,
               "the certificate was not issued by a trusted authority");
}

static void expired(void **state) {
  (void)state;
  char cert[4096], key[4096], path[64];
  assert_int_equal(wr_tls_self_signed_span(-7200, -3600, cert, sizeof cert, key, sizeof key),
                   WR_OK);
  write_file(path, sizeof path, "expired", cert);
  struct wr_tls_ctx *server = ctx_new(
      &(struct wr_tls_options){ .server = true, .cert_pem = cert, .key_pem = key });
  refused_with(client_new(path), server, "localhost", WR_E_TLS_VERIFY,
               "the certificate has expired");
  unlink(path);
}

static void client_certificate(void **state) {
  (void)state;
  struct world w;
  world_open(&w, 4 << 20);
  struct wr_tls_ctx *server = ctx_new(&(struct wr_tls_options){ .server = true,
                                                                .cert_pem = cert_pem,
                                                                .key_pem = key_pem,
                                                                .ca_file = other_path,
                                                                .verify = true });
  struct wr_tls_ctx *known = ctx_new(&(struct wr_tls_options){
      .cert_pem = other_cert, .key_pem = other_key, .ca_file = ca_path, .verify = true });
  struct wr_tls_ctx *nobody = client_new(ca_path);
  echo_once(&w, known, server, "localhost");
  struct pair p;
  pair_begin(&w, &p, "127.0.0.1:0", nobody, server, "localhost");
  TURN_UNTIL(&w, p.server.conn && wr_conn_state(p.server.conn) == WR_CONN_FAILED);
  assert_true(wr_conn_err(p.server.conn) == WR_E_TLS ||
              wr_conn_err(p.server.conn) == WR_E_TLS_VERIFY);
  wr_conn_close(p.server.conn);
  p.server.conn = NULL;
  TURN_UNTIL(&w, wr_conn_state(p.client.conn) == WR_CONN_FAILED);
  pair_close(&p);
  wr_loop_turn(w.loop, 0);
  wr_loop_turn(w.loop, 0);
  wr_tls_ctx_free(server);
  wr_tls_ctx_free(known);
  wr_tls_ctx_free(nobody);
  world_close(&w);
}

static void bad_options(void **state) {
  (void)state;
  struct wr_tls_ctx *ctx;
  char why[256];
  struct wr_tls_options none = { .server = true };
  assert_int_equal(wr_tls_ctx_new(&none, &ctx, why, sizeof why), WR_E_CONFIG);
  struct wr_tls_options file = { .server = true,
                                 .cert_file = "/nonexistent.pem",
                                 .key_file = "/n" };
  assert_int_equal(wr_tls_ctx_new(&file, &ctx, why, sizeof why), WR_E_CONFIG);
  assert_non_null(strstr(why, "/nonexistent.pem"));
  struct wr_tls_options pair = { .server = true, .cert_pem = cert_pem, .key_pem = other_key };
  assert_int_equal(wr_tls_ctx_new(&pair, &ctx, why, sizeof why), WR_E_CONFIG);
  assert_non_null(strstr(why, "belong"));
  struct wr_tls_options half = { .cert_pem = cert_pem };
  assert_int_equal(wr_tls_ctx_new(&half, &ctx, NULL, 0), WR_E_CONFIG);
  assert_null(ctx);
}

/* Contexts that share read a bundle once, until the file changes; the last one frees it. */
static void shared_authorities(void **state) {
  (void)state;
  struct world w;
  world_open(&w, 4 << 20);
  struct wr_tls_options options = { .ca_file = ca_path, .verify = true, .share = &w };
  struct wr_tls_ctx *server = server_new(), *a = ctx_new(&options), *b = ctx_new(&options),
                    *alone = client_new(ca_path);
  assert_ptr_equal(a->trust, b->trust);
  assert_ptr_not_equal(a->trust, alone->trust);
  options.share = &options;
  struct wr_tls_ctx *other = ctx_new(&options);
  assert_ptr_not_equal(a->trust, other->trust);
  wr_tls_ctx_free(a);
  echo_once(&w, b, server, "localhost");
  struct timespec epoch[2] = { { 0, 0 }, { 0, 0 } };
  assert_int_equal(utimensat(AT_FDCWD, ca_path, epoch, 0), 0);
  options.share = &w;
  struct wr_tls_ctx *later = ctx_new(&options);
  assert_ptr_not_equal(b->trust, later->trust);
  wr_loop_turn(w.loop, 0);
  wr_loop_turn(w.loop, 0);
  struct wr_tls_ctx *all[] = { b, alone, other, later, server };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) wr_tls_ctx_free(all[i]);
  world_close(&w);
}

/* Every suite of the library, once; those that the processor computes by itself come first. */
static void suites(void **state) {
  (void)state;
  wr_tls_library_init();
  const int *ours = wr_tls_suites(), *theirs = mbedtls_ssl_list_ciphersuites();
  size_t n = 0;
  for (size_t i = 0; theirs[i]; i++) {
    size_t found = 0;
    for (size_t k = 0; ours[k]; k++) found += ours[k] == theirs[i];
    assert_int_equal(found, 1);
    n++;
  }
  assert_int_equal(ours[n], 0);
#if defined(__x86_64__)
  if (__builtin_cpu_supports("aes"))
    assert_non_null(strstr(mbedtls_ssl_get_ciphersuite_name(ours[0]), "GCM"));
#endif
}

/* A client that speaks no TLS, and one that sends noise. */
static void not_tls(void **state) {
  (void)state;
  static const char *const texts[] = { "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                                       "\x16\x03\x01\x00\x05hello\x16\x03\x01\x00\x05hello",
                                       "\x16\x03\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff" };
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    struct world w;
    struct pair p;
    world_open(&w, 4 << 20);
    struct wr_tls_ctx *server = server_new();
    pair_begin(&w, &p, "127.0.0.1:0", NULL, server, NULL);
    say(p.client.conn, texts[i]);
    wr_conn_shutdown(p.client.conn);
    TURN_UNTIL(&w, p.server.conn && wr_conn_state(p.server.conn) == WR_CONN_FAILED);
    assert_int_equal(wr_conn_err(p.server.conn), WR_E_TLS);
    assert_true(strlen(wr_conn_why(p.server.conn)) > 0);
    pair_close(&p);
    wr_loop_turn(w.loop, 0);
    wr_loop_turn(w.loop, 0);
    wr_tls_ctx_free(server);
    world_close(&w);
  }
}

/* ---- through a relay that cuts everything into pieces of a few bytes, and may stop in the middle
 */

struct dribble {
  struct wr_task task;
  struct wr_conn *front, *back;
  struct wr_listen *listen;
  struct wr_loop *loop;
  struct wr_addr to;
  size_t piece;
  uint64_t moved;
};

static void dribble_one(struct dribble *d, struct wr_conn *from, struct wr_conn *to) {
  struct wr_view v;
  if (!wr_conn_take(from, &v)) return;
  size_t n = v.len < d->piece ? v.len : d->piece;
  struct wr_view piece = wr_view_sub(&v, 0, n);
  wr_view_advance(&v, n);
  if (v.len > 0) assert_int_equal(wr_conn_unread(from, &v), WR_OK);
  else wr_view_drop(&v);
  d->moved += n;
  if (wr_conn_write(to, &piece) == WR_OK) (void)!wr_conn_flush(to);
  wr_loop_mark(d->loop, &d->task);
}

static void dribble_run(struct wr_task *task) {
  struct dribble *d = WR_CONTAINER(task, struct dribble, task);
  if (!d->front || !d->back) return;
  dribble_one(d, d->front, d->back);
  dribble_one(d, d->back, d->front);
}

static void dribble_accepted(void *ctx, struct wr_conn *take_conn) {
  struct dribble *d = ctx;
  d->front = take_conn;
  wr_conn_set_owner(take_conn, &d->task);
  assert_int_equal(wr_conn_dial(d->loop, &d->to, NULL, NULL, &d->task, &d->back), WR_OK);
}

static void dribble_begin(struct world *w, struct dribble *d, struct pair *p,
                          struct wr_tls_ctx *client, struct wr_tls_ctx *server, size_t piece) {
  struct wr_addr any;
  assert_int_equal(wr_addr_parse(WR_SPAN("127.0.0.1:0"), &any), WR_OK);
  memset(d, 0, sizeof *d);
  wr_task_init(&d->task, dribble_run);
  d->piece = piece;
  d->loop = w->loop;
  side_init(&p->client);
  side_init(&p->server);
  assert_int_equal(
      wr_listen_open(w->loop, &any, server, side_accepted, &p->server, &p->listen, NULL, 0), WR_OK);
  d->to = *wr_listen_addr(p->listen);
  assert_int_equal(wr_listen_open(w->loop, &any, NULL, dribble_accepted, d, &d->listen, NULL, 0),
                   WR_OK);
  assert_int_equal(wr_conn_dial(w->loop, wr_listen_addr(d->listen), client, "localhost",
                                &p->client.task, &p->client.conn),
                   WR_OK);
}

static void dribble_end(struct dribble *d) {
  if (d->front) wr_conn_close(d->front);
  if (d->back) wr_conn_close(d->back);
  d->front = d->back = NULL;
  wr_loop_unmark(&d->task);
  wr_listen_close(d->listen);
}

static void split_records(void **state) {
  (void)state;
  static const size_t pieces[] = { 1, 2, 3, 4, 5, 7, 16, 63, 1000 };
  for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
    struct world w;
    struct pair p;
    struct dribble d;
    world_open(&w, 4 << 20);
    struct wr_tls_ctx *server = server_new(), *client = client_new(ca_path);
    dribble_begin(&w, &d, &p, client, server, pieces[i]);
    p.server.echo = true;
    say(p.client.conn, "one ");
    TURN_UNTIL(&w, p.client.got == 4);
    say(p.client.conn, "two ");
    say(p.client.conn, "three");
    TURN_UNTIL(&w, p.client.got == 13);
    assert_memory_equal(p.client.text, "one two three", 13);
    pair_close(&p);
    dribble_end(&d);
    for (int t = 0; t < 4; t++) wr_loop_turn(w.loop, 0);
    wr_tls_ctx_free(client);
    wr_tls_ctx_free(server);
    world_close(&w);
  }
}

static void truncated(void **state) {
  (void)state;
  struct world w;
  struct pair p;
  struct dribble d;
  world_open(&w, 4 << 20);
  struct wr_tls_ctx *server = server_new(), *client = client_new(ca_path);
  dribble_begin(&w, &d, &p, client, server, 4096);
  TURN_UNTIL(&w, settled(&p.client) && settled(&p.server));
  say(p.server.conn, "half an answer");
  TURN_UNTIL(&w, p.client.got == 14);
  wr_conn_close(d.front); /* a FIN without close_notify */
  d.front = NULL;
  TURN_UNTIL(&w, wr_conn_got_eof(p.client.conn));
  assert_int_equal(wr_conn_err(p.client.conn), WR_E_RESET);
  pair_close(&p);
  dribble_end(&d);
  for (int t = 0; t < 4; t++) wr_loop_turn(w.loop, 0);
  wr_tls_ctx_free(client);
  wr_tls_ctx_free(server);
  world_close(&w);
}

/* Much data to a reader that stops and goes on, and an end behind it that is seen only after every
 * byte. */
static void big_transfer(void **state) {
  (void)state;
  enum { TOTAL = 5 << 20 };
  struct world w;
  struct pair p;
  world_open(&w, 16 << 20);
  struct wr_tls_ctx *server = server_new(), *client = client_new(ca_path);
  pair_begin(&w, &p, "127.0.0.1:0", client, server, "localhost");
  TURN_UNTIL(&w, settled(&p.client) && settled(&p.server));
  p.client.hold = true;
  size_t sent = 0;
  send_pattern(&w, p.server.conn, &sent, TOTAL);
  wr_conn_close(p.server.conn);
  p.server.conn = NULL;
  for (int i = 0; i < 30; i++) wr_loop_turn(w.loop, 2);
  assert_true(wr_conn_input_bytes(p.client.conn) >= WR_CONN_CREDIT_BYTES);
  assert_true(wr_conn_input_bytes(p.client.conn) < 2 * WR_CONN_CREDIT_BYTES);
  assert_true(wr_loop_stats(w.loop)->again > 0);
  p.client.hold = false;
  wr_loop_mark(w.loop, &p.client.task);
  TURN_UNTIL(&w, wr_conn_at_eof(p.client.conn));
  assert_int_equal(p.client.got, TOTAL);
  assert_int_equal(p.client.sum, pattern_sum(TOTAL));
  assert_int_equal(wr_conn_err(p.client.conn), WR_OK);
  pair_close(&p);
  wr_tls_ctx_free(client); /* while connections close still */
  wr_tls_ctx_free(server);
  world_close(&w);
}

/* The pool is dry while TLS wants to receive and send. */
static void pool_exhausted(void **state) {
  (void)state;
  struct world w;
  struct pair p;
  world_open(&w, 1 << 20);
  struct wr_tls_ctx *server = server_new(), *client = client_new(ca_path);
  static char text[200 << 10];
  for (size_t i = 0; i < sizeof text; i++) text[i] = pattern(i);
  struct wr_block *blocks[4096], *b;
  size_t n = 0;
  for (int during = 0; during < 2; during++) {
    pair_begin(&w, &p, "127.0.0.1:0", client, server, "localhost");
    if (!during) TURN_UNTIL(&w, settled(&p.client) && settled(&p.server));
    for (size_t bytes = wr_slabs_max_block(w.slabs); bytes >= 256; bytes /= 2)
      while (n < 4096 && (b = wr_slabs_alloc(w.slabs, bytes, WR_CHARGE_CLIENT)) != NULL)
        blocks[n++] = b;
    struct wr_view v = wr_view_static(wr_span_make(text, sizeof text));
    assert_int_equal(wr_conn_write(p.client.conn, &v), WR_OK);
    assert_int_equal(wr_conn_flush(p.client.conn), WR_OK);
    for (int i = 0; i < 30; i++) wr_loop_turn(w.loop, 2);
    assert_int_not_equal(wr_conn_state(p.client.conn), WR_CONN_FAILED);
    while (n > 0) wr_block_unref(blocks[--n]);
    TURN_UNTIL(&w, p.server.got == sizeof text);
    assert_int_equal(p.server.sum, pattern_sum(sizeof text));
    pair_close(&p);
    for (int t = 0; t < 4; t++) wr_loop_turn(w.loop, 2);
  }
  wr_tls_ctx_free(client);
  wr_tls_ctx_free(server);
  world_close(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(echo),
    cmocka_unit_test(resumption),
    cmocka_unit_test(wrong_name),
    cmocka_unit_test(unknown_authority),
    cmocka_unit_test(expired),
    cmocka_unit_test(client_certificate),
    cmocka_unit_test(bad_options),
    cmocka_unit_test(shared_authorities),
    cmocka_unit_test(suites),
    cmocka_unit_test(not_tls),
    cmocka_unit_test(split_records),
    cmocka_unit_test(truncated),
    cmocka_unit_test(big_transfer),
    cmocka_unit_test(pool_exhausted),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
