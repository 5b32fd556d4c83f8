/* The tables of schema.h: the servers' side: server, lua, listen, keys, upstream, group. */
#include "conf/conf.h"
#include "conf/schema.h"

#define AT(type, member) (uint16_t) offsetof(struct type, member)
#define FIELDS(array) .fields = array, .field_count = sizeof(array) / sizeof(array)[0]

static const char *const log_formats[] = { "json", "logfmt", NULL };

static const struct wr_option server_fields[] = {
  { .name = "workers",
    .type = WR_OPT_INTEGER,
    .offset = AT(wr_conf_server, workers),
    .def = "auto",
    .zero = "auto",
    .min = 1,
    .max = 64,
    .doc = "threads that serve; \"auto\": one a core" },
  { .name = "memory",
    .type = WR_OPT_SIZE,
    .offset = AT(wr_conf_server, memory_bytes),
    .def = "64MiB",
    .min = 1u << 20,
    .max = UINT64_C(64) << 30,
    .doc = "one pool for all streams, a hard limit" },
  { .name = "admin",
    .type = WR_OPT_STRING,
    .offset = AT(wr_conf_server, admin),
    .def = "127.0.0.1:9901",
    .doc = "listener of /healthz, /readyz, /metrics, /streams: host:port, unix:/path, or \"off\"" },
  { .name = "log",
    .type = WR_OPT_STRING,
    .offset = AT(wr_conf_server, log),
    .def = "stderr",
    .doc = "where the access log goes: a file, \"stderr\", \"stdout\" or \"off\"" },
  { .name = "log_format",
    .type = WR_OPT_ENUM,
    .offset = AT(wr_conf_server, log_format),
    .def = "json",
    .words = log_formats,
    .doc = "one JSON object a line, or key=value pairs" },
  { .name = "drain",
    .type = WR_OPT_DURATION,
    .offset = AT(wr_conf_server, drain_ms),
    .def = "10m",
    .doc = "how long streams may go on after SIGTERM" },
  { .name = "head_timeout",
    .type = WR_OPT_DURATION,
    .offset = AT(wr_conf_server, head_timeout_ms),
    .def = "10s",
    .min = 1,
    .doc = "until the request's head is complete" },
  { .name = "client_idle",
    .type = WR_OPT_DURATION,
    .offset = AT(wr_conf_server, client_idle_ms),
    .def = "75s",
    .min = 1,
    .doc = "how long a client's connection is kept between requests" },
  { .name = "max_streams",
    .type = WR_OPT_INTEGER,
    .offset = AT(wr_conf_server, max_streams),
    .def = "0",
    .doc = "open streams over all workers; 0: as many as memory allows" },
};
const struct wr_schema wr_schema_server = {
  .name = "server",
  .form = "weir.server { … }",
  .doc = "The process. At most once.",
  .example = "weir.server { workers = 4, memory = \"128MiB\", log = \"requests.jsonl\" }",
  FIELDS(server_fields),
};

static const struct wr_option lua_fields[] = {
  { .name = "path",
    .type = WR_OPT_STRING,
    .offset = AT(wr_conf_lua, path),
    .def = "policies/?.lua",
    .doc = "where `require` looks, \"?\" is the name; several with \";\"; from the folder of "
           "conf.lua" },
  { .name = "memory",
    .type = WR_OPT_SIZE,
    .offset = AT(wr_conf_lua, memory_bytes),
    .def = "16MiB",
    .min = 256u << 10,
    .max = UINT64_C(4) << 30,
    .doc = "Lua's heap, of each worker" },
  { .name = "instructions",
    .type = WR_OPT_INTEGER,
    .offset = AT(wr_conf_lua, instructions),
    .def = "100000",
    .min = 1000,
    .max = 1000000000,
    .doc = "of one call of a hook" },
  { .name = "retained",
    .type = WR_OPT_SIZE32,
    .offset = AT(wr_conf_lua, retained_bytes),
    .def = "64KiB",
    .max = 1u << 30,
    .doc = "bytes of views that one stream's hooks may retain" },
};
const struct wr_schema wr_schema_lua = {
  .name = "lua",
  .form = "weir.lua { … }",
  .doc = "Limits for Lua. At most once, before the first `require`.",
  .example = "weir.lua { path = \"policies/?.lua\", instructions = 200000 }",
  FIELDS(lua_fields),
};

static const struct wr_option listen_tls_fields[] = {
  { .name = "cert",
    .type = WR_OPT_FILE,
    .offset = AT(wr_conf_tls, cert),
    .required = true,
    .doc = "certificate chain, PEM" },
  { .name = "key",
    .type = WR_OPT_FILE,
    .offset = AT(wr_conf_tls, key),
    .required = true,
    .doc = "its private key, PEM" },
  { .name = "ca",
    .type = WR_OPT_FILE,
    .offset = AT(wr_conf_tls, ca),
    .doc = "certificates that client certificates are verified with, PEM" },
  { .name = "verify",
    .type = WR_OPT_BOOL,
    .offset = AT(wr_conf_tls, verify),
    .def = "false",
    .doc = "a client must show a certificate (needs `ca`)" },
};
const struct wr_schema wr_schema_listen_tls = {
  .name = "tls",
  .doc = "TLS towards clients.",
  FIELDS(listen_tls_fields),
};

static const struct wr_option listen_fields[] = {
  { .name = "tls",
    .type = WR_OPT_TABLE,
    .offset = AT(wr_conf_listen, tls),
    .table = &wr_schema_listen_tls,
    .by_pointer = true,
    .doc = "without it the listener is plain" },
  { .name = "max_streams",
    .type = WR_OPT_INTEGER,
    .offset = AT(wr_conf_listen, max_streams),
    .def = "0",
    .doc = "open streams of this listener, over all workers; 0: no limit of its own" },
};
const struct wr_schema wr_schema_listen = {
  .name = "listen",
  .form = "weir.listen \"ADDRESS\" { … }",
  .doc = "Where clients connect: `\"127.0.0.1:8080\"`, `\"[::1]:8080\"`, `\":8080\"` (every "
         "address) or "
         "`\"unix:/run/weir.sock\"`. At least one.",
  .example = "weir.listen \"127.0.0.1:8080\" {}\n"
             "weir.listen \":8443\" { tls = { cert = \"tls/cert.pem\", key = \"tls/key.pem\" } }",
  FIELDS(listen_fields),
};

static const struct wr_option key_fields[] = {
  { .name = "sha256",
    .type = WR_OPT_STRING,
    .offset = AT(wr_conf_key, sha256_hex),
    .required = true,
    .doc = "64 hex digits: `printf %s \"$KEY\" | sha256sum`" },
  { .name = "class",
    .type = WR_OPT_STRING,
    .offset = AT(wr_conf_key, class_name),
    .def = "",
    .doc = "what hooks see as `s.key.class`" },
  { .name = "tags", .type = WR_OPT_LATER, .doc = "words for hooks" },
};
const struct wr_schema wr_schema_key = {
  .name = "key",
  .form = "[\"NAME\"] = { … }",
  .doc = "One client key, inline or in the file of `weir.keys`.",
  FIELDS(key_fields),
};

static const struct wr_option keys_fields[] = {
  { .name = "file",
    .type = WR_OPT_FILE,
    .offset = AT(wr_conf, keys_file),
    .doc = "a Lua file that returns the table of keys; instead of keys written in place" },
};
const struct wr_schema wr_schema_keys = {
  .name = "keys",
  .form = "weir.keys { … }",
  .doc = "The keys that clients must show, as hashes. With it, every route that isn't `open` asks "
         "for one. "
         "At most once: either `file`, or keys in place.",
  .example = "weir.keys { file = \"keys.lua\" }",
  FIELDS(keys_fields),
};

static const char *const kinds[] = {
  "openai", "openai-compatible", "anthropic", "ollama", "sse", "mock", NULL
};
static const char *const balances[] = { "round_robin", NULL };
static const char *const balances_later[] = { "least_streams", "random", "hash", "first_token",
                                              NULL };

static const struct wr_option upstream_timeout_fields[] = {
  { .name = "connect",
    .type = WR_OPT_DURATION,
    .offset = AT(wr_conf_timeouts, connect_ms),
    .def = "5s",
    .min = 1,
    .doc = "name look-up and TCP connection" },
  { .name = "tls",
    .type = WR_OPT_DURATION,
    .offset = AT(wr_conf_timeouts, tls_ms),
    .def = "5s",
    .min = 1,
    .doc = "TLS handshake" },
  { .name = "first_byte",
    .type = WR_OPT_DURATION,
    .offset = AT(wr_conf_timeouts, first_byte_ms),
    .def = "2m",
    .min = 1,
    .doc = "the head of the answer" },
  { .name = "first_token",
    .type = WR_OPT_DURATION,
    .offset = AT(wr_conf_timeouts, first_token_ms),
    .def = "5m",
    .min = 1,
    .doc = "the first real content" },
  { .name = "idle",
    .type = WR_OPT_DURATION,
    .offset = AT(wr_conf_timeouts, idle_ms),
    .def = "2m",
    .min = 1,
    .doc = "between two events; comments and pings don't count" },
  { .name = "total",
    .type = WR_OPT_DURATION,
    .offset = AT(wr_conf_timeouts, total_ms),
    .def = "0s",
    .doc = "the whole request; `\"0s\"`: no limit" },
};
const struct wr_schema wr_schema_upstream_timeout = {
  .name = "timeout",
  .doc = "Deadlines. The defaults suit reasoning models.",
  FIELDS(upstream_timeout_fields),
};

static const struct wr_option upstream_tls_fields[] = {
  { .name = "ca",
    .type = WR_OPT_FILE,
    .offset = AT(wr_conf_tls, ca),
    .doc = "certificates to trust, PEM; default: the system's" },
  { .name = "cert",
    .type = WR_OPT_FILE,
    .offset = AT(wr_conf_tls, cert),
    .doc = "client certificate, PEM (needs `key`)" },
  { .name = "key",
    .type = WR_OPT_FILE,
    .offset = AT(wr_conf_tls, key),
    .doc = "its private key, PEM" },
  { .name = "server_name",
    .type = WR_OPT_STRING,
    .offset = AT(wr_conf_tls, server_name),
    .doc = "the name to send and to verify; default: the URL's host" },
  { .name = "verify",
    .type = WR_OPT_BOOL,
    .offset = AT(wr_conf_tls, verify),
    .def = "true",
    .doc = "false: any certificate is taken (for tests only)" },
};
const struct wr_schema wr_schema_upstream_tls = {
  .name = "tls",
  .doc = "TLS towards https URLs.",
  FIELDS(upstream_tls_fields),
};

static const struct wr_option upstream_fields[] = {
  { .name = "kind",
    .type = WR_OPT_ENUM,
    .offset = AT(wr_conf_upstream, kind),
    .words = kinds,
    .required = true,
    .doc = "the language it speaks" },
  { .name = "url",
    .type = WR_OPT_URLS,
    .offset = AT(wr_conf_upstream, urls),
    .count_offset = AT(wr_conf_upstream, url_count),
    .doc = "one URL, or a list of equal servers; every kind but \"mock\" needs it" },
  { .name = "key",
    .type = WR_OPT_SECRET,
    .offset = AT(wr_conf_upstream, key),
    .doc = "`weir.secret.env \"NAME\"` or `weir.secret.file \"NAME\"`; without it the client's own "
           "credentials pass through" },
  { .name = "models",
    .type = WR_OPT_MAP,
    .offset = AT(wr_conf_upstream, models),
    .count_offset = AT(wr_conf_upstream, model_count),
    .doc = "client's name = provider's name; `[\"*\"]` for all others; without it: any model, "
           "unchanged" },
  { .name = "price",
    .type = WR_OPT_PRICES,
    .offset = AT(wr_conf_upstream, prices),
    .count_offset = AT(wr_conf_upstream, price_count),
    .doc = "model = { in, out }: dollars per million tokens" },
  { .name = "headers",
    .type = WR_OPT_MAP,
    .offset = AT(wr_conf_upstream, headers),
    .count_offset = AT(wr_conf_upstream, header_count),
    .doc = "added to each request" },
  { .name = "timeout",
    .type = WR_OPT_TABLE,
    .offset = AT(wr_conf_upstream, timeout),
    .table = &wr_schema_upstream_timeout,
    .doc = "deadlines" },
  { .name = "tls",
    .type = WR_OPT_TABLE,
    .offset = AT(wr_conf_upstream, tls),
    .table = &wr_schema_upstream_tls,
    .doc = "for https URLs" },
  { .name = "balance",
    .type = WR_OPT_ENUM,
    .offset = AT(wr_conf_upstream, balance),
    .words = balances,
    .later = balances_later,
    .def = "round_robin",
    .doc = "how one of several URLs is chosen" },
  { .name = "limit",
    .type = WR_OPT_LIMIT,
    .offset = AT(wr_conf_upstream, max_streams),
    .doc = "`{ 64 }`: so many streams at a time, over all workers; default: no limit" },
  { .name = "keep_idle",
    .type = WR_OPT_INTEGER,
    .offset = AT(wr_conf_upstream, keep_idle),
    .def = "32",
    .max = 4096,
    .doc = "idle connections that a worker keeps" },
  { .name = "keep_idle_for",
    .type = WR_OPT_DURATION,
    .offset = AT(wr_conf_upstream, keep_idle_ms),
    .def = "1m",
    .doc = "for how long" },
  { .name = "mock",
    .type = WR_OPT_MAP,
    .offset = AT(wr_conf_upstream, mock),
    .count_offset = AT(wr_conf_upstream, mock_count),
    .doc = "kind \"mock\": its options, such as `{ tokens = 20, rate = 50 }`" },
  { .name = "text_path",
    .type = WR_OPT_STRING,
    .offset = AT(wr_conf_upstream, text_path),
    .doc = "kind \"sse\": where the text of an event's JSON is, such as \"choices.0.text\"" },
  { .name = "health", .type = WR_OPT_LATER, .doc = "active health checks" },
};
const struct wr_schema wr_schema_upstream = {
  .name = "upstream",
  .form = "weir.upstream \"NAME\" { … }",
  .doc = "A server that answers. Its name is also the name of a group of one.",
  .example = "weir.upstream \"openai\" {\n"
             "  kind = \"openai\", url = \"https://api.openai.com\", key = weir.secret.env "
             "\"OPENAI_API_KEY\",\n"
             "  models = { fast = \"gpt-4.1-mini\", smart = \"gpt-4.1\" },\n"
             "  timeout = { connect = \"3s\", first_token = \"60s\" }, limit = { 64 },\n"
             "}",
  FIELDS(upstream_fields),
};

/* The places are the bits of enum wr_retry_on. */
static const char *const retry_words[] = { "",          "connect",    "tls",
                                           "reset",     "first_byte", "first_token",
                                           "idle",      "truncated",  "protocol",
                                           "error",     "slow",       "429",
                                           "503",       "5xx",        NULL };

static const struct wr_option retry_fields[] = {
  { .name = "attempts",
    .type = WR_OPT_INTEGER,
    .offset = AT(wr_conf_group, attempts),
    .def = "2",
    .min = 1,
    .max = 10,
    .doc = "tries in all, before the first content only; 1: no second one" },
  { .name = "on",
    .type = WR_OPT_FLAGS,
    .offset = AT(wr_conf_group, retry_on),
    .words = retry_words,
    .doc = "which failures are tried again; default: `connect`, `tls`, `error`, `429`, `503`" },
  { .name = "backoff",
    .type = WR_OPT_DURATION,
    .offset = AT(wr_conf_group, backoff_ms),
    .def = "100ms",
    .max = 60000,
    .doc = "a random wait up to this before one that has failed is asked again; doubles each time, "
           "up to 32 times as long" },
  { .name = "budget",
    .type = WR_OPT_SHARE,
    .offset = AT(wr_conf_group, retry_budget_permille),
    .def = "0.2",
    .doc = "requests that are sent a second time, as a share of all, over ten seconds" },
};
const struct wr_schema wr_schema_retry = {
  .name = "retry",
  .doc = "What may be tried again.",
  FIELDS(retry_fields),
};

static const struct wr_option group_fields[] = {
  { .name = "[1] …",
    .type = WR_OPT_NAMES,
    .offset = AT(wr_conf_group, members),
    .count_offset = AT(wr_conf_group, member_count),
    .doc = "names of upstreams, in order" },
  { .name = "last",
    .type = WR_OPT_NAME,
    .offset = AT(wr_conf_group, last),
    .doc = "an upstream that is used only when all others have failed" },
  { .name = "retry", .type = WR_OPT_TABLE, .table = &wr_schema_retry, .doc = "second attempts" },
  { .name = "balance",
    .type = WR_OPT_ENUM,
    .offset = AT(wr_conf_group, balance),
    .words = balances,
    .later = balances_later,
    .def = "round_robin",
    .doc = "how one of several members is chosen" },
};
const struct wr_schema wr_schema_group = {
  .name = "group",
  .form = "weir.group \"NAME\" { … }",
  .doc = "Several upstreams under one name, for routes and hooks.",
  .example =
      "weir.group \"chat\" { \"openai\", \"claude\", last = \"local\", retry = { attempts = 3 } }",
  FIELDS(group_fields),
};
