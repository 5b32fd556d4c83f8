/* The one table of options, for the command line, for conf.lua and for request headers. */
#include <stddef.h>
#include <stdio.h>

#include "base/text.h"
#include "mock/mock.h"

enum option_kind {
  KIND_U32,
  KIND_U64,
  KIND_BOOL,
  KIND_SHARE,
  KIND_STR,
  KIND_FAULT,
  KIND_LINE_END,
  KIND_FRAMING
};

struct option {
  const char *name;  /* static */
  const char *alias; /* static; or NULL */
  const char *value; /* static; for help */
  const char *help;  /* static */
  size_t off;
  uint64_t min, max; /* of a number; the room of a string */
  uint8_t kind;
  bool per_request;
};

#define AT(field) offsetof(struct wr_mock_options, field)

static const struct option table[] = {
  { "tokens", NULL, "N", "length of an answer (64)", AT(knobs.tokens), 0, 1000000, KIND_U32, true },
  { "rate", NULL, "N", "tokens a second; 0: as fast as they are read (0)", AT(knobs.rate), 0,
    1000000, KIND_U32, true },
  { "first-token-ms", "ttft", "MS", "pause before the first token (0)", AT(knobs.first_token_ms), 0,
    3600000, KIND_U32, true },
  { "jitter", NULL, "SHARE", "how much the pauses differ, 0 to 1 (0)", AT(knobs.jitter_permille), 0,
    1000, KIND_SHARE, true },
  { "write-bytes", "write", "N", "writes of N bytes, so that events split anywhere; 0: whole (0)",
    AT(knobs.write_bytes), 0, 65536, KIND_U32, true },
  { "batch-events", "batch", "N", "events that leave in one write and chunk (1)",
    AT(knobs.batch_events), 1, 1024, KIND_U32, true },
  { "reasoning", NULL, "N", "tokens of reasoning before the answer (0)", AT(knobs.reasoning), 0,
    1000000, KIND_U32, true },
  { "tool", NULL, NULL, "answer with a call of the request's first tool", AT(knobs.tool), 0, 0,
    KIND_BOOL, true },
  { "numbered", NULL, NULL, "the text is \"t0 t1 t2 ...\", to count what arrived",
    AT(knobs.numbered), 0, 0, KIND_BOOL, true },
  { "echo", NULL, NULL, "say again what a last message of the assistant has begun",
    AT(knobs.echo), 0, 0, KIND_BOOL, true },
  { "stamp", NULL, "TAG", "each event carries TAG, its number, time and checksum; 0: none (0)",
    AT(knobs.stamp), 0, UINT32_MAX, KIND_U32, true },
  { "seed", NULL, "N", "of the text: the same seed, the same words (1)", AT(knobs.seed), 0,
    UINT64_MAX, KIND_U64, true },
  { "line-end", NULL, "lf|crlf|cr", "how SSE lines end (lf)", AT(knobs.line_end), 0, 0,
    KIND_LINE_END, true },
  { "framing", NULL, "chunked|close", "what ends a streamed body (chunked)", AT(knobs.framing), 0,
    0, KIND_FRAMING, true },
  { "fault", NULL, "FAULT", "misbehave; see below", AT(knobs.fault), 0, 0, KIND_FAULT, true },
  { "fault-share", NULL, "SHARE", "share of the requests that meet the fault, 0 to 1 (1)",
    AT(fault_share_permille), 0, 1000, KIND_SHARE, false },
  { "fault-first", NULL, "N", "only the first N requests meet the fault; 0: no limit (0)",
    AT(fault_first), 0, UINT32_MAX, KIND_U32, false },
  { "accept-delay-ms", "slow-tls", "MS", "leave a new connection alone for so long (0)",
    AT(accept_delay_ms), 0, 3600000, KIND_U32, false },
  { "replay", NULL, "FILE", "stream this recording, one event's payload a line", AT(replay), 0,
    WR_MOCK_PATH_BYTES, KIND_STR, false },
  { "replay-dir", NULL, "DIR", "where x-mock-replay: NAME finds recordings", AT(replay_dir), 0,
    WR_MOCK_PATH_BYTES, KIND_STR, false },
  { "key", NULL, "KEY", "the API key that requests must show", AT(key), 0, WR_MOCK_KEY_BYTES,
    KIND_STR, false },
  { "log", NULL, NULL, "a line a request to standard error", AT(log), 0, 0, KIND_BOOL, false },
};
#define TABLE_ROWS (sizeof table / sizeof table[0])

void wr_mock_options_init(struct wr_mock_options *opts) {
  *opts = (struct wr_mock_options){ 0 };
  opts->knobs.tokens = 64;
  opts->knobs.batch_events = 1;
  opts->knobs.seed = 1;
  opts->fault_share_permille = 1000;
}

bool wr_mock_options_info(size_t index, struct wr_mock_option_info *out) {
  if (index >= TABLE_ROWS) return false;
  const struct option *o = &table[index];
  *out = (struct wr_mock_option_info){ o->name, o->value, o->help, o->kind == KIND_BOOL,
                                       o->per_request };
  return true;
}

static char fold(char c) {
  if (c == '_') return '-';
  return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool same_name(struct wr_span key, const char *name) {
  if (name == NULL || strlen(name) != key.len) return false;
  for (size_t i = 0; i < key.len; i++)
    if (fold(key.ptr[i]) != name[i]) return false;
  return true;
}

/* "0.25" or "1" as thousandths; further digits are refused rather than lost. */
static enum wr_err parse_share(struct wr_span text, uint32_t *out) {
  size_t dot = 0;
  while (dot < text.len && text.ptr[dot] != '.') dot++;
  uint64_t whole, part = 0;
  enum wr_err err = wr_text_u64(wr_span_sub(text, 0, dot), 1, &whole);
  if (err != WR_OK) return err;
  if (dot < text.len) {
    struct wr_span digits = wr_span_sub(text, dot + 1, text.len - dot - 1);
    if (digits.len > 3) return WR_E_TEXT_RANGE;
    err = wr_text_u64(digits, 999, &part);
    if (err != WR_OK) return err;
    for (size_t i = digits.len; i < 3; i++) part *= 10;
  }
  if (whole * 1000 + part > 1000) return WR_E_TEXT_RANGE;
  *out = (uint32_t)(whole * 1000 + part);
  return WR_OK;
}

/* Index of the text among the names, whatever its case. */
static enum wr_err parse_choice(struct wr_span text, const char *const *names, size_t n,
                                uint8_t *out) {
  for (size_t i = 0; i < n; i++) {
    if (!wr_span_ieq(text, wr_span_str(names[i]))) continue;
    *out = (uint8_t)i;
    return WR_OK;
  }
  return WR_E_TEXT_SYNTAX;
}

static enum wr_err parse_bool(struct wr_span text, bool *out) {
  static const char *const words[] = { "no", "yes", "false", "true", "off", "on", "0", "1" };
  uint8_t index = 1;
  if (text.len > 0) {
    enum wr_err err = parse_choice(text, words, sizeof words / sizeof words[0], &index);
    if (err != WR_OK) return err;
  }
  *out = (index & 1) != 0;
  return WR_OK;
}

static enum wr_err parse_number(const struct option *o, struct wr_span value, void *at) {
  uint64_t n;
  enum wr_err err = wr_text_u64(value, o->max, &n);
  if (err != WR_OK) return err;
  if (n < o->min) return WR_E_TEXT_RANGE;
  if (o->kind == KIND_U64)
    memcpy(at, &n, sizeof n);
  else
    memcpy(at, &(uint32_t){ (uint32_t)n }, sizeof(uint32_t));
  return WR_OK;
}

static enum wr_err parse_text(const struct option *o, struct wr_span value, char *at) {
  if (value.len >= o->max) return WR_E_TEXT_RANGE;
  if (value.len > 0 && memchr(value.ptr, 0, value.len) != NULL) return WR_E_TEXT_SYNTAX;
  if (value.len > 0) memcpy(at, value.ptr, value.len);
  at[value.len] = 0;
  return WR_OK;
}

static enum wr_err parse_value(const struct option *o, struct wr_span value,
                               struct wr_mock_options *opts, char *why, size_t why_bytes) {
  static const char *const line_ends[] = { "lf", "crlf", "cr" };
  static const char *const framings[] = { "chunked", "close" };
  char *at = (char *)opts + o->off;
  switch ((enum option_kind)o->kind) {
    case KIND_U32:
    case KIND_U64: return parse_number(o, value, at);
    case KIND_BOOL: return parse_bool(value, (bool *)(void *)at);
    case KIND_SHARE: return parse_share(value, (uint32_t *)(void *)at);
    case KIND_STR: return parse_text(o, value, at);
    case KIND_LINE_END: return parse_choice(value, line_ends, 3, (uint8_t *)at);
    case KIND_FRAMING: return parse_choice(value, framings, 2, (uint8_t *)at);
    case KIND_FAULT:
      return wr_mock_fault_parse(value, (struct wr_mock_fault *)(void *)at, why, why_bytes);
  }
  return WR_E_INTERNAL;
}

enum wr_err wr_mock_options_set(struct wr_mock_options *opts, enum wr_mock_source source,
                                struct wr_span key, struct wr_span value, char *why,
                                size_t why_bytes) {
  if (why_bytes > 0) why[0] = 0;
  for (size_t i = 0; i < TABLE_ROWS; i++) {
    const struct option *o = &table[i];
    if (!same_name(key, o->name) && !same_name(key, o->alias)) continue;
    if (source == WR_MOCK_FROM_REQUEST && !o->per_request) break;
    enum wr_err err = parse_value(o, wr_span_trim(value), opts, why, why_bytes);
    if (err != WR_OK && why_bytes > 0 && why[0] == 0)
      (void)snprintf(why, why_bytes, "%s: %s%s%s", o->name, wr_err_text(err),
                     o->value ? "; expected " : "", o->value ? o->value : "");
    return err;
  }
  if (why_bytes > 0)
    (void)snprintf(why, why_bytes, "the mock has no option \"%.*s\"%s",
                   (int)(key.len < 40 ? key.len : 40), key.ptr ? key.ptr : "",
                   source == WR_MOCK_FROM_REQUEST ? " for a request" : "");
  return WR_E_ARG;
}
