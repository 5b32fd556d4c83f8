#include "cli/bench_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "wire/http1_parse.h"

enum option_id {
  OPT_STREAMS,
  OPT_RATE,
  OPT_HOLD,
  OPT_SLOW,
  OPT_LEAVE,
  OPT_FRESH,
  OPT_COUNT,
  OPT_TIME,
  OPT_WARMUP,
  OPT_UNTIL,
  OPT_FIGURE,
  OPT_API,
  OPT_MODEL,
  OPT_TOKENS,
  OPT_BODY,
  OPT_HEADER,
  OPT_TIMEOUT,
  OPT_CA,
  OPT_INSECURE,
  OPT_NO_STAMPS,
  OPT_MUST_STAMP,
  OPT_PID,
  OPT_ADMIN,
  OPT_JSON,
  OPT_QUIET,
  OPT_HELP,
  OPTIONS
};

static const struct {
  const char *name;  /* static */
  const char *value; /* static; NULL: a switch */
  const char *help;  /* static */
} table[OPTIONS] = {
  [OPT_STREAMS] = { "streams", "N", "streams at a time (16); with --rate at most so many" },
  [OPT_RATE] = { "rate", "N", "open loop: N streams a second, timed from when each was due" },
  [OPT_HOLD] = { "hold", NULL, "open each stream once and hold it" },
  [OPT_SLOW] = { "slow", "SHARE[:BYTES]", "this share of the clients reads BYTES a second (1024)" },
  [OPT_LEAVE] = { "leave", "SHARE[:EVENTS]",
                  "this share goes away after 1 to EVENTS events (32)" },
  [OPT_FRESH] = { "fresh", NULL, "a new connection for each stream" },
  [OPT_COUNT] = { "count", "N", "end after N streams; no warming up" },
  [OPT_TIME] = { "time", "DURATION", "how long to measure at the most (10s)" },
  [OPT_WARMUP] = { "warmup", "DURATION", "what runs before (1s)" },
  [OPT_UNTIL] = { "until", "PERCENT", "end when the figure is known to +- PERCENT: 2%" },
  [OPT_FIGURE] = { "figure", "NAME", "events, streams (a second), or cpu (an event; with --pid)" },
  [OPT_API] = { "api", "NAME", "chat, responses, messages, ollama-chat, ollama-generate" },
  [OPT_MODEL] = { "model", "NAME", "the model to ask for (weir-mock)" },
  [OPT_TOKENS] = { "tokens", "N", "length of the answers (64); 0: as the server likes" },
  [OPT_BODY] = { "body", "FILE", "this request body instead of a made one" },
  [OPT_HEADER] = { "header", "LINE", "a further header line, such as \"x-mock-rate: 50\"" },
  [OPT_TIMEOUT] = { "timeout", "DURATION", "silence that ends a stream (30s)" },
  [OPT_CA] = { "ca", "FILE", "certificates to trust (the system's)" },
  [OPT_INSECURE] = { "insecure", NULL, "trust any certificate" },
  [OPT_NO_STAMPS] = { "no-stamps", NULL, "don't ask weir mock for stamps" },
  [OPT_MUST_STAMP] = { "must-stamp", NULL, "an event without a stamp is a fault" },
  [OPT_PID] = { "pid", "PID[,PID]", "measure these processes" },
  [OPT_ADMIN] = { "admin", "ADDR", "the admin listener of the weir that is measured" },
  [OPT_JSON] = { "json", NULL, "the result as JSON" },
  [OPT_QUIET] = { "quiet", NULL, "no line while it runs" },
  [OPT_HELP] = { "help", NULL, "this text" },
};

void wr_bench_options_help(void) {
  (void)fputs(
      "usage: weir bench URL [options]\n\n"
      "Reads token streams from a server or a relay, many at a time, checks and times every "
      "event.\nURL: http://127.0.0.1:8080 or https://host/v1/chat/completions. With `weir mock` "
      "behind it, order,\ncompleteness and bytes of all events are checked. A key for the server "
      "comes from the environment\nvariable WEIR_BENCH_KEY.\n\n",
      stdout);
  for (int i = 0; i < OPTIONS; i++) {
    char left[48];
    (void)snprintf(left, sizeof left, "--%s %s", table[i].name,
                   table[i].value != NULL ? table[i].value : "");
    (void)printf("  %-24s %s\n", left, table[i].help);
  }
  (void)fputs("\nTry:\n  weir mock &\n  weir bench http://127.0.0.1:8081 --streams 32 --until 2%\n",
              stdout);
}

/* "2", "0.25", "12.5": digits and at most six behind the point. */
static bool parse_decimal(struct wr_span text, double *out) {
  size_t dot = 0;
  uint64_t whole, part = 0;
  double scale = 1;
  while (dot < text.len && text.ptr[dot] != '.') dot++;
  if (wr_text_u64(wr_span_sub(text, 0, dot), 1000000000, &whole) != WR_OK) return false;
  if (dot < text.len) {
    struct wr_span digits = wr_span_sub(text, dot + 1, text.len - dot - 1);
    if (digits.len > 6 || wr_text_u64(digits, 999999, &part) != WR_OK) return false;
    for (size_t i = 0; i < digits.len; i++) scale *= 10;
  }
  *out = (double)whole + (double)part / scale;
  return true;
}

/* "0.1" or "0.1:4096". */
static bool parse_share(struct wr_span text, uint32_t *permille, uint32_t *number) {
  size_t colon = 0;
  double share;
  uint64_t n;
  while (colon < text.len && text.ptr[colon] != ':') colon++;
  if (!parse_decimal(wr_span_sub(text, 0, colon), &share) || share > 1) return false;
  *permille = (uint32_t)(share * 1000 + 0.5);
  if (colon == text.len) return true;
  struct wr_span rest = wr_span_sub(text, colon + 1, text.len - colon - 1);
  if (wr_text_u64(rest, UINT32_MAX, &n) != WR_OK || n == 0) return false;
  *number = (uint32_t)n;
  return true;
}

static bool parse_u32(struct wr_span text, uint32_t max, uint32_t *out) {
  uint64_t n;
  if (wr_text_u64(text, max, &n) != WR_OK || n == 0) return false;
  *out = (uint32_t)n;
  return true;
}

static bool parse_until(struct wr_span text, double *out) {
  if (text.len > 0 && text.ptr[text.len - 1] == '%') text.len--;
  if (!parse_decimal(text, out) || !(*out > 0) || *out > 100) return false;
  *out /= 100;
  return true;
}

static bool parse_figure(struct wr_span text, enum wr_bench_figure *out) {
  static const char *const names[] = { "events", "streams", "cpu" };
  for (int i = 0; i < 3; i++) {
    if (!wr_span_eq(text, wr_span_str(names[i]))) continue;
    *out = (enum wr_bench_figure)i;
    return true;
  }
  return false;
}

/* A whole line that can't begin another one. */
static bool add_field(struct wr_bench_options *o, struct wr_span line) {
  struct wr_buf out;
  size_t colon = 0;
  while (colon < line.len && line.ptr[colon] != ':') colon++;
  if (colon == line.len || !wr_http1_is_token(wr_span_sub(line, 0, colon))) return false;
  struct wr_span value = wr_span_trim(wr_span_sub(line, colon + 1, line.len - colon - 1));
  if (!wr_http1_is_field_value(value)) return false;
  wr_buf_init(&out, o->fields, sizeof o->fields - 1);
  out.len = o->fields_len;
  wr_buf_put(&out, wr_span_sub(line, 0, colon));
  wr_buf_put(&out, WR_SPAN(": "));
  wr_buf_put(&out, value);
  wr_buf_put(&out, WR_SPAN("\r\n"));
  if (out.overflow) return false;
  o->fields_len = out.len;
  o->fields[out.len] = 0;
  return true;
}

static bool set_duration(struct wr_span v, uint64_t *out) {
  return wr_text_duration_us(v, out) == WR_OK;
}

static bool set_timeout(struct wr_bench_options *o, struct wr_span v) {
  uint64_t us;
  if (!set_duration(v, &us) || us < 1000 || us > 3600000000u) return false;
  o->plan.timeout_ms = (uint32_t)(us / 1000);
  return true;
}

static bool set_load(struct wr_bench_options *o, enum option_id id, struct wr_span v) {
  struct wr_load_plan *p = &o->plan;
  switch (id) {
    case OPT_STREAMS: return parse_u32(v, WR_LOAD_MAX_STREAMS, &p->streams);
    case OPT_RATE: return parse_decimal(v, &p->rate) && p->rate > 0 && p->rate <= 1000000;
    case OPT_HOLD: return p->hold = true;
    case OPT_SLOW: return parse_share(v, &p->slow_permille, &p->slow_bytes);
    case OPT_LEAVE: return parse_share(v, &p->leave_permille, &p->leave_events);
    case OPT_FRESH: return p->fresh = true;
    case OPT_COUNT: return wr_text_u64(v, UINT64_MAX, &p->count) == WR_OK && p->count > 0;
    case OPT_TOKENS: return wr_text_u64(v, 1000000, &p->tokens) == WR_OK;
    case OPT_TIMEOUT: return set_timeout(o, v);
    case OPT_API: return o->has_api = wr_load_api_find(v, &p->api);
    case OPT_NO_STAMPS: p->stamps = false; return true;
    case OPT_MUST_STAMP: return p->must_stamp = true;
    default: return false;
  }
}

static bool set(struct wr_bench_options *o, enum option_id id, const char *text) {
  struct wr_span v = wr_span_str(text);
  switch (id) {
    case OPT_TIME: return set_duration(v, &o->time_us) && o->time_us > 0;
    case OPT_WARMUP: return set_duration(v, &o->warmup_us);
    case OPT_UNTIL: return parse_until(v, &o->until);
    case OPT_FIGURE: return o->has_figure = parse_figure(v, &o->figure);
    case OPT_MODEL: o->plan.model = text; return true;
    case OPT_BODY: o->body_file = text; return true;
    case OPT_HEADER: return add_field(o, v);
    case OPT_CA: o->ca_file = text; return true;
    case OPT_INSECURE: return o->insecure = true;
    case OPT_PID: return wr_bench_probe_pids(&o->probe, v);
    case OPT_ADMIN: return o->probe.has_admin = wr_addr_parse(v, &o->probe.admin) == WR_OK;
    case OPT_JSON: return o->json = true;
    case OPT_QUIET: return o->quiet = true;
    case OPT_HELP: return o->help = true;
    default: return set_load(o, id, v);
  }
}

static bool copy_text(char *room, size_t cap, struct wr_span text) {
  if (text.len >= cap) return false;
  if (text.len > 0) memcpy(room, text.ptr, text.len);
  room[text.len] = 0;
  return true;
}

/* The path decides the API; a URL that ends at /v1 or before gets the API's own path. */
static bool read_url(struct wr_bench_options *o) {
  struct wr_span text = wr_span_str(o->url_text);
  if (wr_url_parse(text, &o->url) != WR_OK) return false;
  struct wr_span path = wr_span_at(text.ptr, o->url.path);
  enum wr_load_api found;
  if (wr_load_api_of_path(path, &found)) {
    if (!o->has_api) o->plan.api = found;
  } else if (path.len <= 1 || wr_span_eq(path, WR_SPAN("/v1")) ||
             wr_span_eq(path, WR_SPAN("/v1/"))) {
    path = wr_span_str(wr_load_api_path(o->plan.api));
  }
  return copy_text(o->path, sizeof o->path, path) &&
         copy_text(o->host, sizeof o->host, wr_span_at(text.ptr, o->url.host)) &&
         copy_text(o->authority, sizeof o->authority, wr_span_at(text.ptr, o->url.authority));
}

static bool read_key(struct wr_bench_options *o) {
  const char *key = getenv("WEIR_BENCH_KEY");
  char line[1024];
  if (key == NULL || key[0] == 0) return true;
  bool messages = o->plan.api == WR_LOAD_MESSAGES;
  int n = snprintf(line, sizeof line, messages ? "x-api-key: %s" : "authorization: Bearer %s", key);
  return n > 0 && (size_t)n < sizeof line && add_field(o, wr_span_make(line, (size_t)n));
}

static bool finish(struct wr_bench_options *o) {
  if (o->url_text == NULL || !read_url(o)) {
    (void)fprintf(stderr, "weir bench: %s\n",
                  o->url_text == NULL ? "a URL is needed; see weir bench --help"
                                      : "that is no URL; expected http://host:port/path");
    return false;
  }
  if (!read_key(o)) {
    (void)fprintf(stderr, "weir bench: WEIR_BENCH_KEY can't be sent in a header\n");
    return false;
  }
  if (!o->has_figure) o->figure = o->probe.count > 0 ? WR_BENCH_CPU : WR_BENCH_EVENTS;
  if (o->figure == WR_BENCH_CPU && o->probe.count == 0) {
    (void)fprintf(stderr, "weir bench: --figure cpu needs --pid\n");
    return false;
  }
  if (o->plan.count > 0) o->warmup_us = 0;
  o->plan.path = o->path;
  o->plan.authority = o->authority;
  o->plan.server_name = o->host;
  o->plan.fields = o->fields;
  return true;
}

/* "--name value", "--name=value" or a switch; returns the arguments taken, 0 when it is wrong. */
static int take(struct wr_bench_options *o, int left, char **argv) {
  struct wr_span name = wr_span_str(argv[0] + 2);
  const char *equals = strchr(argv[0], '=');
  if (equals != NULL) name.len = (size_t)(equals - name.ptr);
  for (int i = 0; i < OPTIONS; i++) {
    if (!wr_span_eq(name, wr_span_str(table[i].name))) continue;
    const char *value = equals != NULL ? equals + 1 : left > 1 ? argv[1] : NULL;
    if (table[i].value == NULL) value = equals == NULL ? "" : NULL;
    if (value != NULL && set(o, (enum option_id)i, value))
      return table[i].value != NULL && equals == NULL ? 2 : 1;
    (void)fprintf(stderr, "weir bench: --%s %s\n", table[i].name,
                  table[i].value != NULL ? table[i].value : "takes no value");
    return 0;
  }
  (void)fprintf(stderr, "weir bench: '%s' is not understood here; see weir bench --help\n",
                argv[0]);
  return 0;
}

bool wr_bench_options_parse(struct wr_bench_options *o, int argc, char **argv) {
  *o = (struct wr_bench_options){ 0 };
  o->plan.streams = 16;
  o->plan.tokens = 64;
  o->plan.timeout_ms = 30000;
  o->plan.slow_bytes = 1024;
  o->plan.leave_events = 32;
  o->plan.stamps = true;
  o->plan.model = "weir-mock";
  o->time_us = 10000000;
  o->warmup_us = 1000000;
  for (int i = 1; i < argc;) {
    int used = 1;
    if (strncmp(argv[i], "--", 2) == 0)
      used = take(o, argc - i, argv + i);
    else if (o->url_text == NULL)
      o->url_text = argv[i];
    else
      used = 0;
    if (used == 0) return false;
    i += used;
  }
  return o->help || finish(o);
}
