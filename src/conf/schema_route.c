/* The tables of schema.h: the clients' side: routes. */
#include "conf/conf.h"
#include "conf/schema.h"

#define AT(type, member) (uint16_t) offsetof(struct type, member)
#define FIELDS(array) .fields = array, .field_count = sizeof(array) / sizeof(array)[0]

/* In the order of enum wr_method (wire/head.h); a test compares. */
static const char *const methods[] = { "",    "GET",    "HEAD",    "POST",
                                       "PUT", "DELETE", "OPTIONS", "PATCH", NULL };

static const struct wr_field match_fields[] = {
  { .name = "path", .type = WR_FIELD_STRING, .offset = AT(wr_conf_route, path), .required = true,
    .doc = "the path, exactly; or a prefix that ends in \"/*\" or is \"*\"" },
  { .name = "methods", .type = WR_FIELD_FLAGS, .offset = AT(wr_conf_route, methods),
    .words = methods, .doc = "such as `{ \"POST\" }`; default: any" },
  { .name = "host", .type = WR_FIELD_STRING, .offset = AT(wr_conf_route, host),
    .doc = "the host of the request, without a port; default: any" },
};
const struct wr_schema wr_schema_match = {
  .name = "match", .doc = "Which requests. The first route that matches serves.", FIELDS(match_fields),
};

static const struct wr_field limits_fields[] = {
  { .name = "body", .type = WR_FIELD_SIZE, .offset = AT(wr_conf_route, body_bytes), .def = "32MiB",
    .max = UINT64_C(1) << 40, .doc = "a request's body at most; more is answered with 413" },
  { .name = "inspect", .type = WR_FIELD_SIZE32, .offset = AT(wr_conf_route, inspect_bytes),
    .def = "64KiB", .min = 256, .max = 16u << 20,
    .doc = "how much of a body is held to find its model, and to be sent a second time" },
  { .name = "event", .type = WR_FIELD_SIZE32, .offset = AT(wr_conf_route, event_bytes), .def = "1MiB",
    .min = 1024, .max = 64u << 20, .doc = "one event of the answer at most" },
  { .name = "held", .type = WR_FIELD_SIZE32, .offset = AT(wr_conf_route, held_bytes), .def = "64KiB",
    .min = 1024, .max = 16u << 20, .doc = "of the answer's start, held back until there is content" },
  { .name = "head_timeout", .type = WR_FIELD_DURATION, .offset = AT(wr_conf_route, head_timeout_ms),
    .def = "10s", .min = 1, .doc = "until the request's head is complete" },
  { .name = "body_timeout", .type = WR_FIELD_DURATION, .offset = AT(wr_conf_route, body_timeout_ms),
    .def = "1m", .min = 1, .doc = "without any byte of the request's body" },
  { .name = "output_tokens", .type = WR_FIELD_INTEGER, .offset = AT(wr_conf_route, output_tokens),
    .def = "0", .doc = "cap on the request's max_tokens; 0: none" },
  { .name = "streams_per_key", .type = WR_FIELD_INTEGER,
    .offset = AT(wr_conf_route, streams_per_key), .def = "0",
    .doc = "open streams of one key; 0: no limit" },
};
const struct wr_schema wr_schema_limits = {
  .name = "limits", .doc = "What one request may cost.", FIELDS(limits_fields),
};

static const char *const actions[] = { "pause_upstream", "coalesce", "stop", NULL };

static const struct wr_field slow_fields[] = {
  { .name = "high", .type = WR_FIELD_SIZE32, .offset = AT(wr_conf_route, slow_high_bytes),
    .def = "64KiB", .min = 1024, .max = 1u << 30,
    .doc = "unsent bytes at which the client counts as slow" },
  { .name = "low", .type = WR_FIELD_SIZE32, .offset = AT(wr_conf_route, slow_low_bytes),
    .def = "16KiB", .max = 1u << 30, .doc = "unsent bytes at which it no longer does" },
  { .name = "action", .type = WR_FIELD_ENUM, .offset = AT(wr_conf_route, slow_action),
    .words = actions, .def = "pause_upstream",
    .doc = "read the upstream no further, join queued text into fewer events, or end the stream" },
  { .name = "give_up", .type = WR_FIELD_DURATION, .offset = AT(wr_conf_route, slow_give_up_ms),
    .def = "30s", .doc = "above `high` without progress for so long: the stream ends; `\"0s\"`: never" },
  { .name = "drop", .type = WR_FIELD_LATER, .doc = "kinds of events that may be left out" },
};
const struct wr_schema wr_schema_slow_client = {
  .name = "slow_client", .doc = "A client that reads slower than the upstream writes.",
  FIELDS(slow_fields),
};

static const struct wr_field timeout_fields[] = {
  { .name = "connect", .type = WR_FIELD_DURATION, .offset = AT(wr_conf_timeouts, connect_ms),
    .doc = "as of the upstream, for this route; so are all of these" },
  { .name = "tls", .type = WR_FIELD_DURATION, .offset = AT(wr_conf_timeouts, tls_ms),
    .doc = "TLS handshake" },
  { .name = "first_byte", .type = WR_FIELD_DURATION, .offset = AT(wr_conf_timeouts, first_byte_ms),
    .doc = "the head of the answer" },
  { .name = "first_token", .type = WR_FIELD_DURATION,
    .offset = AT(wr_conf_timeouts, first_token_ms), .doc = "the first real content" },
  { .name = "idle", .type = WR_FIELD_DURATION, .offset = AT(wr_conf_timeouts, idle_ms),
    .doc = "between two events" },
  { .name = "total", .type = WR_FIELD_DURATION, .offset = AT(wr_conf_timeouts, total_ms),
    .doc = "the whole request" },
};
const struct wr_schema wr_schema_route_timeout = {
  .name = "timeout", .doc = "Deadlines; what isn't set is the upstream's.", FIELDS(timeout_fields),
};

static const char *const commits[] = { "content", "alive", NULL };

static const struct wr_field route_fields[] = {
  { .name = "match", .type = WR_FIELD_TABLE, .table = &wr_schema_match, .required = true,
    .doc = "which requests" },
  { .name = "to", .type = WR_FIELD_NAME, .offset = AT(wr_conf_route, to), .required = true,
    .doc = "the name of a group or an upstream" },
  { .name = "limits", .type = WR_FIELD_TABLE, .table = &wr_schema_limits,
    .doc = "what one request may cost" },
  { .name = "slow_client", .type = WR_FIELD_TABLE, .table = &wr_schema_slow_client,
    .doc = "a client that reads too slowly" },
  { .name = "timeout", .type = WR_FIELD_TABLE, .offset = AT(wr_conf_route, timeout),
    .table = &wr_schema_route_timeout, .doc = "deadlines of this route" },
  { .name = "commit", .type = WR_FIELD_ENUM, .offset = AT(wr_conf_route, commit), .words = commits,
    .def = "content",
    .doc = "when the answer begins: with its first content (failures before it can still be tried again), or at once" },
  { .name = "heartbeat", .type = WR_FIELD_DURATION, .offset = AT(wr_conf_route, heartbeat_ms),
    .def = "15s", .doc = "a comment into a silent stream so often; `\"0s\"`: never" },
  { .name = "open", .type = WR_FIELD_BOOL, .offset = AT(wr_conf_route, open), .def = "false",
    .doc = "asks for no key, even where `weir.keys` is declared" },
  { .name = "use", .type = WR_FIELD_USE, .doc = "plugins with their options: `{ budget { tokens = 200000 } }`" },
  { .name = "on_request", .type = WR_FIELD_HOOK, .doc = "`function(req, s)`: a hook in place" },
  { .name = "on_event", .type = WR_FIELD_HOOK, .doc = "`function(ev, s)`: a hook in place" },
  { .name = "on_end", .type = WR_FIELD_HOOK, .doc = "`function(fin, s)`: a hook in place" },
  { .name = "on_response_start", .type = WR_FIELD_LATER, .doc = "a hook" },
  { .name = "on_text", .type = WR_FIELD_LATER, .doc = "a hook" },
  { .name = "on_slow_client", .type = WR_FIELD_LATER, .doc = "a hook" },
  { .name = "on_upstream_error", .type = WR_FIELD_LATER, .doc = "a hook" },
  { .name = "share", .type = WR_FIELD_LATER, .doc = "identical requests read one upstream stream" },
  { .name = "resume", .type = WR_FIELD_LATER, .doc = "a client that lost its connection goes on" },
  { .name = "cache", .type = WR_FIELD_LATER, .doc = "answers that are kept" },
  { .name = "hedge", .type = WR_FIELD_LATER, .doc = "a second upstream when the first is late" },
  { .name = "flush", .type = WR_FIELD_LATER, .doc = "latency budget for merging writes" },
  { .name = "usage", .type = WR_FIELD_LATER, .doc = "what happens to the upstream when the client leaves" },
};
const struct wr_schema wr_schema_route = {
  .name = "route", .form = "weir.route \"NAME\" { … }",
  .doc = "Which requests go where, and under which rules.",
  .example = "weir.route \"chat\" {\n"
             "  match = { path = \"/v1/chat/completions\", methods = { \"POST\" } }, to = \"openai\",\n"
             "  limits = { body = \"4MiB\", output_tokens = 8192 },\n"
             "}",
  FIELDS(route_fields),
};
