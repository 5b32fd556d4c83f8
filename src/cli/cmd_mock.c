#include "cli/cmd_mock.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "mem/depot.h"
#include "mem/ledger.h"
#include "mock/mock.h"
#include "net/listen.h"

#define LISTEN_MAX 8
#define MEMORY_BYTES ((size_t)256 * 1024 * 1024) /* reserved, not touched */
#define PEM_BYTES 4096
#define WHY_BYTES 256

struct mock_command {
  struct wr_mock_options options;
  const char *listen[LISTEN_MAX]; /* borrowed: argv */
  size_t listens;
  const char *cert_file; /* borrowed: argv; or NULL */
  const char *key_file;  /* borrowed: argv; or NULL */
  const char *cert_out;  /* borrowed: argv; or NULL */
  bool tls;
  bool help;
};

/* What runs, so that it can be taken down in order. */
struct mock_server {
  struct wr_depot *depot;                /* owned */
  struct wr_ledger *ledger;              /* owned */
  struct wr_slabs *slabs;                /* owned */
  struct wr_loop *loop;                  /* owned */
  struct wr_tls_ctx *tls;                /* owned; or NULL */
  struct wr_mock *mock;                  /* owned */
  struct wr_listen *listens[LISTEN_MAX]; /* owned */
  size_t count;
};

/* A signal handler has no argument, so it needs a place to find the loop. */
static struct wr_loop *volatile signal_loop; /* borrowed: set while the loop lives */

static void on_signal(int number) {
  (void)number;
  struct wr_loop *loop = signal_loop;
  if (loop != NULL) wr_loop_stop(loop);
}

static void print_help(void) {
  struct wr_mock_option_info info;
  (void)fputs(
      "usage: weir mock [--listen ADDR] [options]\n\n"
      "A stand-in LLM server: OpenAI (chat, responses, embeddings, models), Anthropic (messages)\n"
      "and Ollama (chat, generate), with generated or recorded streams. Needs no key and no "
      "network.\n\n"
      "  --listen ADDR          127.0.0.1:8081, [::1]:0, unix:/path; may be repeated "
      "(127.0.0.1:8081)\n"
      "  --tls                  speak TLS, with a certificate that it makes itself\n"
      "  --tls-cert FILE        a certificate of yours instead (PEM), with\n"
      "  --tls-key FILE         its key\n"
      "  --tls-cert-out FILE    write the certificate here, for clients to trust\n"
      "  --help                 this text\n\n"
      "Answers (those with * also as a request header, --rate 20 as `x-mock-rate: 20`):\n",
      stdout);
  for (size_t i = 0; wr_mock_options_info(i, &info); i++) {
    char left[48];
    (void)snprintf(left, sizeof left, "--%s %s", info.name, info.value != NULL ? info.value : "");
    (void)printf("%c %-24s %s\n", info.per_request ? '*' : ' ', left, info.help);
  }
  (void)fputs("  x-mock-replay: NAME      (header only) a recording of --replay-dir\n\n"
              "Faults, for --fault or the header x-mock-fault (N has a default):\n",
              stdout);
  for (int kind = 0; kind < WR_MOCK_FAULTS; kind++) {
    char left[48];
    char mark = wr_mock_fault_mark((enum wr_mock_fault_kind)kind);
    (void)snprintf(left, sizeof left, "%s%c%s", wr_mock_fault_name((enum wr_mock_fault_kind)kind),
                   mark != 0 ? mark : ' ', mark != 0 ? "N" : "");
    (void)printf("  %-16s %s\n", left, wr_mock_fault_help((enum wr_mock_fault_kind)kind));
  }
  (void)fputs(
      "\nTry:\n  weir mock --rate 20 &\n"
      "  curl -N http://127.0.0.1:8081/v1/chat/completions -H 'content-type: application/json' \\\n"
      "    -d '{\"model\":\"weir-mock\",\"stream\":true,\"messages\":[{\"role\":\"user\","
      "\"content\":\"hi\"}]}'\n",
      stdout);
}

/* Values of the long options that aren't the mock's own. */
enum { OPT_LISTEN = 1000, OPT_TLS, OPT_TLS_CERT, OPT_TLS_KEY, OPT_TLS_CERT_OUT, OPT_HELP };

static bool set_own(struct mock_command *cmd, int opt, const char *value) {
  switch (opt) {
    case OPT_LISTEN:
      if (cmd->listens == LISTEN_MAX) {
        (void)fprintf(stderr, "weir mock: at most %d addresses\n", LISTEN_MAX);
        return false;
      }
      cmd->listen[cmd->listens++] = value;
      return true;
    case OPT_TLS: cmd->tls = true; return true;
    case OPT_TLS_CERT: cmd->cert_file = value; break;
    case OPT_TLS_KEY: cmd->key_file = value; break;
    case OPT_TLS_CERT_OUT: cmd->cert_out = value; break;
    case OPT_HELP: cmd->help = true; return true;
    default: return false;
  }
  cmd->tls = true;
  return true;
}

/* "--name" or "--name=value" of the mock's table; *used counts the arguments that it took. */
static bool set_table(struct mock_command *cmd, int argc, char **argv, int at, int *used) {
  struct wr_mock_option_info info;
  char why[WHY_BYTES];
  struct wr_span name = wr_span_str(argv[at] + 2), value = wr_span_make(NULL, 0);
  const char *equals = strchr(argv[at], '=');
  bool yes_no = false;
  *used = 1;
  if (equals != NULL) {
    name.len = (size_t)(equals - name.ptr);
    value = wr_span_str(equals + 1);
  }
  for (size_t i = 0; wr_mock_options_info(i, &info); i++)
    if (wr_span_eq(name, wr_span_str(info.name))) yes_no = info.yes_no;
  if (equals == NULL && !yes_no && at + 1 < argc) {
    value = wr_span_str(argv[at + 1]);
    *used = 2;
  }
  enum wr_err err =
      wr_mock_options_set(&cmd->options, WR_MOCK_FROM_OPERATOR, name, value, why, sizeof why);
  if (err != WR_OK) (void)fprintf(stderr, "weir mock: %s\n", why);
  return err == WR_OK;
}

static const struct option own_options[] = {
  { "listen", required_argument, NULL, OPT_LISTEN },
  { "tls", no_argument, NULL, OPT_TLS },
  { "tls-cert", required_argument, NULL, OPT_TLS_CERT },
  { "tls-key", required_argument, NULL, OPT_TLS_KEY },
  { "tls-cert-out", required_argument, NULL, OPT_TLS_CERT_OUT },
  { "help", no_argument, NULL, OPT_HELP },
  { NULL, 0, NULL, 0 },
};

static bool parse(struct mock_command *cmd, int argc, char **argv) {
  *cmd = (struct mock_command){ 0 };
  wr_mock_options_init(&cmd->options);
  for (int i = 1; i < argc;) {
    int used = 0;

    if (strncmp(argv[i], "--", 2) != 0) {
      (void)fprintf(stderr, "weir mock: unexpected argument \"%s\"; see weir mock --help\n",
                    argv[i]);
      return false;
    }
    const struct option *own = own_options;
    while (own->name != NULL && strcmp(own->name, argv[i] + 2) != 0) own++;
    if (own->name == NULL) {
      if (!set_table(cmd, argc, argv, i, &used)) return false;
    } else {
      used = own->has_arg == required_argument ? 2 : 1;
      if (i + used > argc) {
        (void)fprintf(stderr, "weir mock: %s needs a value\n", argv[i]);
        return false;
      }
      if (!set_own(cmd, own->val, used == 2 ? argv[i + 1] : NULL)) return false;
    }
    i += used;
  }
  if (cmd->listens == 0) cmd->listen[cmd->listens++] = "127.0.0.1:8081";
  return true;
}

static bool write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return false;
  size_t len = strlen(text);
  bool ok = write(fd, text, len) == (ssize_t)len;
  return close(fd) == 0 && ok;
}

static enum wr_err start_tls(struct mock_server *s, const struct mock_command *cmd, char *why) {
  char cert[PEM_BYTES], key[PEM_BYTES];
  struct wr_tls_options o = { 0 };
  o.server = true;
  o.cert_file = cmd->cert_file;
  o.key_file = cmd->key_file;
  if (cmd->cert_file == NULL) {
    enum wr_err err = wr_tls_self_signed(cert, sizeof cert, key, sizeof key);
    if (err != WR_OK) return err;
    o.cert_pem = cert;
    o.key_pem = key;
  }
  if (cmd->cert_out != NULL && (cmd->cert_file != NULL || !write_file(cmd->cert_out, cert))) {
    (void)snprintf(why, WHY_BYTES, "the certificate could not be written to %s", cmd->cert_out);
    return WR_E_IO;
  }
  return wr_tls_ctx_new(&o, &s->tls, why, WHY_BYTES);
}

static enum wr_err start_listen(struct mock_server *s, const char *text, bool tls, char *why) {
  struct wr_addr addr;
  char name[128];
  if (wr_addr_parse(wr_span_str(text), &addr) != WR_OK) {
    (void)snprintf(why, WHY_BYTES, "\"%s\" is no address; expected 127.0.0.1:8081 or unix:/path",
                   text);
    return WR_E_CONFIG;
  }
  if (wr_listen_is_taken(&addr)) {
    (void)snprintf(why, WHY_BYTES, "%s: address already in use", text);
    return WR_E_IO;
  }
  enum wr_err err = wr_listen_open(s->loop, &addr, s->tls, wr_mock_accept, s->mock,
                                   &s->listens[s->count], why, WHY_BYTES);
  if (err != WR_OK) return err;
  const struct wr_addr *bound = wr_listen_addr(s->listens[s->count++]);
  const char *scheme = wr_addr_is_unix(bound) ? "" : tls ? "https://" : "http://";
  (void)printf("listening on %s%s\n", scheme, wr_addr_format(bound, name, sizeof name));
  return WR_OK;
}

static enum wr_err start(struct mock_server *s, const struct mock_command *cmd, char *why) {
  enum wr_err err = wr_depot_new(MEMORY_BYTES, &s->depot);
  if (err == WR_OK) err = wr_ledger_new(MEMORY_BYTES, NULL, &s->ledger);
  if (err == WR_OK) err = wr_slabs_new(s->depot, s->ledger, &s->slabs);
  if (err == WR_OK) err = wr_loop_new(s->slabs, &s->loop);
  if (err == WR_OK) err = wr_mock_new(s->loop, &cmd->options, &s->mock, why, WHY_BYTES);
  if (err == WR_OK && cmd->tls) err = start_tls(s, cmd, why);
  for (size_t i = 0; i < cmd->listens && err == WR_OK; i++)
    err = start_listen(s, cmd->listen[i], cmd->tls, why);
  if (err == WR_OK) (void)fflush(stdout);
  return err;
}

static void stop(struct mock_server *s) {
  for (size_t i = 0; i < s->count; i++) wr_listen_close(s->listens[i]);
  wr_mock_free(s->mock);
  if (s->loop != NULL) {
    wr_loop_turn(s->loop, 0); /* what was closed goes in its close callbacks */
    unsigned left = wr_loop_free(s->loop);
    (void)WR_EXPECT(left == 0);
  }
  wr_tls_ctx_free(s->tls);
  if (s->slabs != NULL) (void)wr_slabs_free(s->slabs);
  wr_ledger_free(s->ledger);
  if (s->depot != NULL) wr_depot_free(s->depot);
}

/* Thousands of connections need as many descriptors: the soft limit goes up to the hard one. */
static void raise_descriptors(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void on_signals(struct wr_loop *loop) {
  struct sigaction action = { 0 };
  signal_loop = loop;
  action.sa_handler = loop != NULL ? on_signal : SIG_DFL;
  (void)sigaction(SIGINT, &action, NULL);
  (void)sigaction(SIGTERM, &action, NULL);
  action.sa_handler = SIG_IGN;
  (void)sigaction(SIGPIPE, &action, NULL);
}

int wr_cmd_mock(int argc, char **argv) {
  struct mock_command cmd;
  struct mock_server server = { 0 };
  char why[WHY_BYTES] = "";
  if (!parse(&cmd, argc, argv)) return 2;
  if (cmd.help) {
    print_help();
    return 0;
  }
  raise_descriptors();
  enum wr_err err = start(&server, &cmd, why);
  if (err == WR_OK) {
    on_signals(server.loop);
    wr_loop_run(server.loop);
    on_signals(NULL);
  } else {
    (void)fprintf(stderr, "weir mock: %s\n", why[0] != 0 ? why : wr_err_text(err));
  }
  stop(&server);
  return err == WR_OK ? 0 : 1;
}
