#include "relay/delta.h"

#include "base/buf.h"
#include "base/check.h"
#include "wire/json_patch.h"
#include "wire/sse_parse.h"

#define TEXTS_MAX 7u
#define T WR_EVENT_TEXT
#define R WR_EVENT_REASONING
#define A WR_EVENT_TOOL

/* What a dialect's deltas look like: the paths of texts stand first. */
struct form {
  const char *const *paths; /* borrowed: static */
  uint8_t count, texts;
  uint8_t kinds[TEXTS_MAX];              /* of the texts; Responses: by the type */
  int8_t index, number, noise, type, done; /* places among the paths; -1: none */
};

static const char *const chat_paths[] = {
  "choices[0].delta.content",
  "choices[0].delta.reasoning_content",
  "choices[0].delta.reasoning",
  "choices[0].delta.refusal",
  "choices[0].text",
  "choices[0].delta.tool_calls[0].function.arguments",
  "choices[0].delta.function_call.arguments",
  "choices[0].index",
  "obfuscation",
};
static const char *const responses_paths[] = { "delta", "output_index", "sequence_number",
                                               "obfuscation", "type" };
static const char *const anthropic_paths[] = { "delta.text", "delta.thinking",
                                               "delta.partial_json", "index", "type" };
static const char *const ollama_paths[] = { "message.content", "response", "message.thinking",
                                            "thinking",        "created_at", "done" };

static const struct form forms[WR_DIALECTS] = {
  [WR_DIALECT_CHAT] = { chat_paths, 9, 7, { T, R, R, T, T, A, A }, 7, -1, 8, -1, -1 },
  [WR_DIALECT_RESPONSES] = { responses_paths, 5, 1, { T }, 1, 2, 3, 4, -1 },
  [WR_DIALECT_ANTHROPIC] = { anthropic_paths, 5, 3, { T, R, A }, 3, -1, -1, 4, -1 },
  [WR_DIALECT_OLLAMA] = { ollama_paths, 6, 4, { T, T, R, R }, -1, -1, 4, -1, 5 },
};

enum wr_err wr_deltas_init(struct wr_deltas *d) {
  enum wr_err err = WR_OK;
  for (unsigned i = 0; err == WR_OK && i < WR_DIALECTS; i++)
    if (forms[i].count) err = wr_json_compile(&d->progs[i], forms[i].paths, forms[i].count);
  return err;
}

static bool one_of(struct wr_span word, const char *const *words, bool as_end) {
  for (; *words; words++) {
    struct wr_span w = wr_span_str(*words);
    if (word.len < w.len || (!as_end && word.len != w.len)) continue;
    if (memcmp(word.ptr + word.len - w.len, w.ptr, w.len) == 0) return true;
  }
  return false;
}

/* --- is it nothing but a text --- */

/* p is behind the opening quote: the closing one, or end. Loose: the text has been validated. */
static const char *string_end(const char *p, const char *end) {
  while (p < end && *p != '"') {
    if ((unsigned char)*p < 0x20) return end;
    p += *p == '\\' ? 2 : 1;
  }
  return p < end ? p : end;
}

/* Members inside of choices, messages and deltas that add nothing when they come again. What isn't
 * named here, and isn't null or empty, might: an id, a name, a second choice's text, a log
 * probability. */
static const char *const harmless[] = { "role", "type",     "index",   "object",
                                        "filtered", "severity", "detected", NULL };

/* A value that isn't null, in depth 2 or more. */
static bool is_harmless(struct wr_span key, const char *value, size_t len,
                        const char *text) {
  return value == text || len == 0 || one_of(key, harmless, false);
}

/* Is `text` the only thing of weight below the document's own members? One pass over a valid
 * document. */
static bool only_text(struct wr_span doc, const char *text) {
  const char *p = doc.ptr, *end = doc.ptr + doc.len;
  struct wr_span key = WR_SPAN("");
  int depth = 0;
  while (p < end) {
    char c = *p;
    if (c == '"') {
      const char *open = p + 1, *close = string_end(open, end);
      if (close == end) return false;
      p = close + 1;
      while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
      if (p < end && *p == ':')
        key = wr_span_make(open, (size_t)(close - open));
      else if (depth > 1 && !is_harmless(key, open, (size_t)(close - open), text))
        return false;
    } else if (c == '{' || c == '[') {
      depth++;
      p++;
    } else if (c == '}' || c == ']') {
      depth--;
      p++;
    } else if (c == 't' || c == 'f' || c == '-' || (c >= '0' && c <= '9')) {
      const char *from = p++;
      while (p < end && *p != ',' && *p != '}' && *p != ']') p++;
      if (depth > 1 && !is_harmless(key, from, 1, NULL)) return false;
    } else {
      p++; /* white space, commas, colons, null */
    }
  }
  return true;
}

/* The text itself: one, and not empty. */
static bool find_text(const struct form *f, const struct wr_json_value *v, struct wr_delta *out,
                      struct wr_extent *raw) {
  unsigned found = 0;
  for (uint8_t i = 0; i < f->texts; i++) {
    if (v[i].type == WR_JSON_MISSING || v[i].type == WR_JSON_NULL) continue;
    if (v[i].type != WR_JSON_STRING) return false;
    if (v[i].raw.len <= 2) continue;
    *raw = v[i].raw;
    out->kind = f->kinds[i];
    found++;
  }
  return found == 1;
}

/* Deltas of the Responses API that are text: not those of sounds and pictures, whose base64 can't
 * be joined. */
static bool responses_kind(struct wr_span type, struct wr_delta *out) {
  static const char *const texts[] = { "output_text", "refusal", NULL };
  static const char *const thoughts[] = { "reasoning_text", "reasoning_summary_text", NULL };
  static const char *const tools[] = { "arguments", "_input", "code", "transcript", NULL };
  struct wr_span end = WR_SPAN(".delta");
  if (type.len <= end.len || memcmp(type.ptr + type.len - end.len, end.ptr, end.len) != 0)
    return false;
  type.len -= end.len;
  if (one_of(type, texts, true)) out->kind = T;
  else if (one_of(type, thoughts, true)) out->kind = R;
  else if (one_of(type, tools, true)) out->kind = A;
  else return false;
  return true;
}

static bool type_fits(enum wr_dialect dialect, struct wr_span doc, const struct wr_json_value *type,
                      struct wr_delta *out) {
  if (type->type != WR_JSON_STRING || type->escaped) return false;
  struct wr_span word = wr_json_unquote(wr_json_raw(doc, type));
  if (dialect == WR_DIALECT_RESPONSES) return responses_kind(word, out);
  return wr_span_eq(word, WR_SPAN("content_block_delta"));
}

/* The JSON of an event that stands alone in its bytes. */
static bool find_doc(struct wr_span bytes, bool lines, struct wr_span *doc) {
  struct wr_sse_parser p;
  struct wr_sse_event ev;
  size_t used = 0;
  if (lines) {
    const char *lf = memchr(bytes.ptr, '\n', bytes.len);
    *doc = wr_span_trim(bytes);
    return lf == bytes.ptr + bytes.len - 1;
  }
  wr_sse_init(&p, 0);
  if (wr_sse_next(&p, bytes, &used, &ev) != WR_OK || used != bytes.len) return false;
  *doc = wr_span_at(bytes.ptr, ev.data);
  return ev.kind == WR_SSE_EVENT && !ev.multi_data && !ev.has_id && !ev.has_retry;
}

/* A number that counts events; longer ones are left alone. */
#define NUMBER_DIGITS 19

static bool digits(struct wr_span s) {
  if (s.len > NUMBER_DIGITS) return false;
  for (size_t i = 0; i < s.len; i++)
    if (s.ptr[i] < '0' || s.ptr[i] > '9') return false;
  return s.len > 0;
}

/* What may differ beside the text, and what it belongs to. */
static bool find_rest(const struct form *f, const struct wr_json_value *v, struct wr_span doc,
                      uint32_t shift, struct wr_delta *out) {
  if (f->done >= 0 && v[f->done].type == WR_JSON_BOOL && doc.ptr[v[f->done].raw.off] == 't')
    return false;
  uint64_t n = 0;
  if (f->index >= 0 && v[f->index].type == WR_JSON_NUMBER &&
      (wr_json_u64(wr_json_raw(doc, &v[f->index]), &n) != WR_OK || n > UINT32_MAX))
    return false;
  out->index = (uint32_t)n;
  if (f->number >= 0 && v[f->number].type == WR_JSON_NUMBER) {
    if (!digits(wr_json_raw(doc, &v[f->number]))) return false;
    out->number = (struct wr_extent){ v[f->number].raw.off + shift, v[f->number].raw.len };
  }
  if (f->noise >= 0 && v[f->noise].type == WR_JSON_STRING)
    out->noise = (struct wr_extent){ v[f->noise].raw.off + shift + 1, v[f->noise].raw.len - 2 };
  return true;
}

bool wr_delta_read(const struct wr_deltas *deltas, enum wr_dialect dialect, bool lines,
                   struct wr_span bytes, struct wr_delta *out) {
  WR_DCHECK((unsigned)dialect < WR_DIALECTS);
  const struct form *f = &forms[dialect];
  struct wr_json_value v[WR_JSON_MAX_PATHS];
  struct wr_span doc;
  struct wr_extent raw = { 0, 0 };
  *out = (struct wr_delta){ .bytes = bytes };
  if (!f->count || bytes.len == 0 || bytes.len > UINT32_MAX || !find_doc(bytes, lines, &doc) ||
      doc.len == 0 || wr_json_scan(&deltas->progs[dialect], doc, v) != WR_OK ||
      !find_text(f, v, out, &raw))
    return false;
  if (f->type >= 0 && !type_fits(dialect, doc, &v[f->type], out)) return false;
  uint32_t shift = (uint32_t)(doc.ptr - bytes.ptr);
  if (!find_rest(f, v, doc, shift, out)) return false;
  out->text = (struct wr_extent){ raw.off + shift + 1, raw.len - 2 };
  return only_text(doc, bytes.ptr + out->text.off);
}

/* --- two of them --- */

struct hole {
  struct wr_extent at;
  enum { TEXT, NUMBER, NOISE } what;
};

/* The holes in the order in which they stand. */
static size_t holes_of(const struct wr_delta *d, struct hole h[3]) {
  size_t n = 0;
  h[n++] = (struct hole){ d->text, TEXT };
  if (d->number.len) h[n++] = (struct hole){ d->number, NUMBER };
  if (d->noise.off) h[n++] = (struct hole){ d->noise, NOISE };
  for (size_t i = 1; i < n; i++)
    for (size_t k = i; k > 0 && h[k].at.off < h[k - 1].at.off; k--) {
      struct hole t = h[k];
      h[k] = h[k - 1];
      h[k - 1] = t;
    }
  return n;
}

/* The content of a hole in other bytes, or the empty span with ptr NULL. */
static struct wr_span hole_content(const struct hole *h, const char *p, const char *end) {
  const char *q = p;
  if (h->what == NUMBER) {
    while (q < end && *q >= '0' && *q <= '9') q++;
    if (q == p || q - p > NUMBER_DIGITS) return wr_span_make(NULL, 0);
  } else {
    q = string_end(p, end);
    if (q == end) return wr_span_make(NULL, 0);
  }
  return wr_span_make(p, (size_t)(q - p));
}

bool wr_delta_same(const struct wr_delta *d, struct wr_span bytes, struct wr_span *text,
                   struct wr_span *number) {
  struct hole h[3];
  size_t n = holes_of(d, h), at = 0, o = 0;
  *number = wr_span_make(NULL, 0);
  for (size_t i = 0; i < n; i++) {
    size_t len = h[i].at.off - at;
    WR_DCHECK(h[i].at.off >= at);
    if (bytes.len - o < len || memcmp(d->bytes.ptr + at, bytes.ptr + o, len) != 0) return false;
    o += len;
    struct wr_span c = hole_content(&h[i], bytes.ptr + o, bytes.ptr + bytes.len);
    if (!c.ptr) return false;
    o += c.len;
    at = h[i].at.off + h[i].at.len;
    if (h[i].what == TEXT) *text = c;
    if (h[i].what == NUMBER) *number = c;
  }
  WR_DCHECK(at <= d->bytes.len && o <= bytes.len);
  return d->bytes.len - at == bytes.len - o &&
         memcmp(d->bytes.ptr + at, bytes.ptr + o, bytes.len - o) == 0;
}

enum wr_err wr_delta_write(const struct wr_delta *d, struct wr_span text, struct wr_span number,
                           struct wr_buf *out) {
  struct wr_json_edit edits[2] = { wr_json_patch_replace(d->text, text) };
  size_t n = 1;
  WR_DCHECK(d->text.len > 0);
  if (number.len && d->number.len) edits[n++] = wr_json_patch_replace(d->number, number);
  wr_json_patch_sort(edits, n);
  return wr_json_patch_write(out, d->bytes, edits, n);
}
