#include "wire/json_stream.h"

#include "base/check.h"
#include "wire/json_lex.h"

enum state {
  STATE_VALUE,      /* a value must come */
  STATE_FIRST_ITEM, /* a value or ] */
  STATE_FIRST_NAME, /* a name or } */
  STATE_NAME,       /* a name */
  STATE_COLON,
  STATE_AFTER,      /* a comma or the closing bracket */
  STATE_STRING,
  STATE_ESCAPE,     /* behind a backslash */
  STATE_HEX,        /* within \u; sub counts the digits */
  STATE_NUMBER,     /* sub is an enum number */
  STATE_WORD,       /* null, true, false; sub counts the letters */
  STATE_END         /* behind the document */
};

enum number { NUM_MINUS, NUM_ZERO, NUM_INT, NUM_DOT, NUM_FRAC, NUM_E, NUM_E_SIGN, NUM_EXP };
enum { NAME_NONE, NAME_MATCH, NAME_SKIP };
enum { CAP_NONE = UINT16_MAX };

void wr_json_stream_init(struct wr_json_stream *s, const struct wr_json_prog *prog) {
  memset(s, 0, sizeof *s);
  s->prog = prog;
  s->node = 1;
}

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
static bool in_object(const struct wr_json_stream *s) { return s->kinds & 1; }
/* Does a path lead into the innermost container? */
static bool is_interesting(const struct wr_json_stream *s) {
  return s->depth > 0 && s->depth == s->interest;
}
static struct wr_json_frame *top(struct wr_json_stream *s) { return &s->frames[s->interest - 1]; }
static uint32_t current_lock(struct wr_json_stream *s) {
  return is_interesting(s) ? top(s)->lock : 0;
}

/* --- Values. */

/* Moves the captured literals together; those of one offset belong to several paths. */
static void compact(struct wr_json_stream *s) {
  unsigned to = 0;
  unsigned from = 0;
  for (;;) {
    unsigned next = CAP_NONE;
    unsigned len = 0;
    for (unsigned i = 0; i < s->prog->n_paths; i++) {
      const struct wr_json_stream_value *v = &s->values[i];
      if (!v->captured || v->cap_off < from || v->cap_off >= next) continue;
      next = v->cap_off;
      len = (unsigned)v->len;
    }
    if (next == CAP_NONE) break;
    memmove(s->cap + to, s->cap + next, len);
    for (unsigned i = 0; i < s->prog->n_paths; i++) {
      struct wr_json_stream_value *v = &s->values[i];
      if (v->captured && v->cap_off == next) v->cap_off = (uint16_t)to;
    }
    to += len;
    from = next + len;
  }
  s->cap_used = (uint16_t)to;
}

static void capture(struct wr_json_stream *s, const char *p, size_t len) {
  if (!s->targets || s->name || s->cap_len == CAP_NONE) return;
  size_t room = sizeof s->cap - s->cap_used;
  size_t n = s->cap_len + len;
  if (n > WR_JSON_CAPTURE_MAX || n > room) {
    s->cap_len = CAP_NONE;
    return;
  }
  memcpy(s->cap + s->cap_used + s->cap_len, p, len);
  s->cap_len = (uint16_t)n;
}

static void set_values(struct wr_json_stream *s, uint32_t targets,
                       const struct wr_json_stream_value *v) {
  s->found |= targets;
  s->nulls = v->type == WR_JSON_NULL ? s->nulls | targets : s->nulls & ~targets;
  for (; targets; targets &= targets - 1) s->values[__builtin_ctz(targets)] = *v;
}

static void forget(struct wr_json_stream *s, uint32_t paths) {
  s->found &= ~paths;
  s->nulls &= ~paths;
  for (; paths; paths &= paths - 1) {
    memset(&s->values[__builtin_ctz(paths)], 0, sizeof s->values[0]);
  }
}

static void begin_scalar(struct wr_json_stream *s, uint64_t off, enum wr_json_type type) {
  s->type = (uint8_t)type;
  s->value_off = off;
  s->escaped = false;
  s->name = NAME_NONE;
  s->cap_len = 0;
  s->targets = s->prog->nodes[s->node].ends & ~current_lock(s);
  if (s->targets && sizeof s->cap - s->cap_used < WR_JSON_CAPTURE_MAX) compact(s);
}

/* `off` is the place behind the scalar. */
static void end_scalar(struct wr_json_stream *s, uint64_t off) {
  s->state = s->depth ? STATE_AFTER : STATE_END;
  if (!s->targets) return;
  struct wr_json_stream_value v;
  memset(&v, 0, sizeof v);
  v.off = s->value_off;
  v.len = off - s->value_off;
  v.type = s->type;
  v.escaped = s->escaped;
  v.captured = s->cap_len != CAP_NONE;
  if (v.captured) {
    v.cap_off = s->cap_used;
    s->cap_used = (uint16_t)(s->cap_used + s->cap_len);
  }
  set_values(s, s->targets, &v);
  s->targets = 0;
}

/* --- Containers. */

static void expect_item(struct wr_json_stream *s, enum state state) {
  s->state = (uint8_t)state;
  s->node = 0;
  if (!is_interesting(s)) return;
  const struct wr_json_frame *f = top(s);
  s->node = (uint8_t)wr_json_prog_index(s->prog, &s->prog->nodes[f->node], f->index);
}

static enum wr_err open_container(struct wr_json_stream *s, bool object, uint64_t off) {
  if (s->depth == WR_JSON_MAX_DEPTH) return WR_E_JSON_DEPTH;
  if (s->node) {
    uint32_t lock = current_lock(s);
    struct wr_json_stream_value v;
    memset(&v, 0, sizeof v);
    v.off = off;
    v.type = object ? WR_JSON_OBJECT : WR_JSON_ARRAY;
    set_values(s, s->prog->nodes[s->node].ends & ~lock, &v);
    struct wr_json_frame *f = &s->frames[s->interest++];
    f->index = 0;
    f->lock = lock;
    f->node = s->node;
  }
  s->kinds = s->kinds << 1 | object;
  s->depth++;
  if (object) {
    s->state = STATE_FIRST_NAME;
  } else {
    expect_item(s, STATE_FIRST_ITEM);
  }
  return WR_OK;
}

/* `off` is the place behind the bracket. */
static void close_container(struct wr_json_stream *s, uint64_t off) {
  bool interesting = is_interesting(s);
  s->kinds >>= 1;
  s->depth--;
  s->state = s->depth ? STATE_AFTER : STATE_END;
  if (!interesting) return;
  unsigned node = top(s)->node;
  s->interest--;
  uint32_t targets = s->prog->nodes[node].ends & ~current_lock(s);
  for (; targets; targets &= targets - 1) {
    struct wr_json_stream_value *v = &s->values[__builtin_ctz(targets)];
    v->len = off - v->off;
  }
}

static void end_element(struct wr_json_stream *s) {
  if (!is_interesting(s)) return;
  struct wr_json_frame *f = top(s);
  uint32_t wild = s->prog->nodes[f->node].wild_mask;
  forget(s, s->nulls & wild & ~f->lock);
  f->lock |= s->found & wild;
}

static enum wr_err after_value(struct wr_json_stream *s, char c, uint64_t off) {
  bool object = in_object(s);
  if (c != ',' && c != (object ? '}' : ']')) return WR_E_JSON_SYNTAX;
  if (!object) end_element(s);
  if (c != ',') {
    close_container(s, off + 1);
  } else if (object) {
    s->state = STATE_NAME;
  } else {
    if (is_interesting(s)) top(s)->index++;
    expect_item(s, STATE_VALUE);
  }
  return WR_OK;
}

/* --- Names. */

static void name_put(struct wr_json_stream *s, const char *p, size_t len) {
  if (s->key_len + len > WR_JSON_MAX_KEY) {
    s->key_len = WR_JSON_MAX_KEY + 1;
    return;
  }
  memcpy(s->key + s->key_len, p, len);
  s->key_len = (uint8_t)(s->key_len + len);
}

static void name_code(struct wr_json_stream *s, uint32_t code) {
  char bytes[4];
  name_put(s, bytes, wr_json_lex_utf8(code, bytes));
}

/* A high surrogate without its low one stands for itself. */
static void flush_high(struct wr_json_stream *s) {
  if (s->high) name_code(s, s->high);
  s->high = 0;
}

static void name_unit(struct wr_json_stream *s, uint32_t unit) {
  if (s->high && unit >= 0xdc00 && unit < 0xe000) {
    uint32_t high = s->high;
    s->high = 0;
    name_code(s, 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00));
    return;
  }
  flush_high(s);
  if (unit >= 0xd800 && unit < 0xdc00) {
    s->high = (uint16_t)unit;
  } else {
    name_code(s, unit);
  }
}

static void begin_name(struct wr_json_stream *s) {
  s->state = STATE_STRING;
  s->name = is_interesting(s) ? NAME_MATCH : NAME_SKIP;
  s->key_len = 0;
  s->high = 0;
}

static void end_name(struct wr_json_stream *s) {
  s->state = STATE_COLON;
  s->node = 0;
  if (s->name != NAME_MATCH) return;
  flush_high(s);
  const struct wr_json_frame *f = top(s);
  const struct wr_json_node *node = &s->prog->nodes[f->node];
  if (s->key_len > WR_JSON_MAX_KEY || !(node->lens >> s->key_len & 1)) return;
  uint64_t head = wr_json_prog_head(s->key, s->key_len);
  s->node = (uint8_t)wr_json_prog_key(s->prog, node, s->key, s->key_len, head);
  forget(s, s->found & s->prog->nodes[s->node].mask & ~f->lock);
}

/* --- Bytes. */

static enum wr_err begin_value(struct wr_json_stream *s, char c, uint64_t off) {
  switch (c) {
  case '{':
  case '[':
    return open_container(s, c == '{', off);
  case '"':
    begin_scalar(s, off, WR_JSON_STRING);
    s->state = STATE_STRING;
    break;
  case 'n':
  case 't':
  case 'f':
    begin_scalar(s, off, c == 'n' ? WR_JSON_NULL : WR_JSON_BOOL);
    s->state = STATE_WORD;
    s->code = (unsigned char)c;
    s->sub = 1;
    break;
  default:
    if (c != '-' && (c < '0' || c > '9')) return WR_E_JSON_SYNTAX;
    begin_scalar(s, off, WR_JSON_NUMBER);
    s->state = STATE_NUMBER;
    s->sub = c == '-' ? NUM_MINUS : c == '0' ? NUM_ZERO : NUM_INT;
  }
  capture(s, &c, 1);
  return WR_OK;
}

static enum wr_err between(struct wr_json_stream *s, char c, uint64_t off) {
  if (is_space(c)) return WR_OK;
  switch ((enum state)s->state) {
  case STATE_FIRST_ITEM:
    if (c == ']') {
      close_container(s, off + 1);
      return WR_OK;
    }
    return begin_value(s, c, off);
  case STATE_VALUE:
    return begin_value(s, c, off);
  case STATE_FIRST_NAME:
  case STATE_NAME:
    if (c == '}' && s->state == STATE_FIRST_NAME) {
      close_container(s, off + 1);
      return WR_OK;
    }
    if (c != '"') return WR_E_JSON_SYNTAX;
    begin_name(s);
    return WR_OK;
  case STATE_COLON:
    if (c != ':') return WR_E_JSON_SYNTAX;
    s->state = STATE_VALUE;
    return WR_OK;
  case STATE_AFTER:
    return after_value(s, c, off);
  default:
    return WR_E_JSON_SYNTAX;
  }
}

/* The state after one more character of a number, or -1 where it doesn't belong to the number. */
static int number_next(enum number sub, char c) {
  bool digit = c >= '0' && c <= '9';
  bool exp = (c | 0x20) == 'e';
  switch (sub) {
  case NUM_MINUS: return c == '0' ? NUM_ZERO : digit ? NUM_INT : -1;
  case NUM_ZERO: return c == '.' ? NUM_DOT : exp ? NUM_E : -1;
  case NUM_INT: return digit ? NUM_INT : c == '.' ? NUM_DOT : exp ? NUM_E : -1;
  case NUM_DOT: return digit ? NUM_FRAC : -1;
  case NUM_FRAC: return digit ? NUM_FRAC : exp ? NUM_E : -1;
  case NUM_E: return digit ? NUM_EXP : c == '+' || c == '-' ? NUM_E_SIGN : -1;
  default: return digit ? NUM_EXP : -1;
  }
}

static bool number_whole(const struct wr_json_stream *s) {
  return s->sub == NUM_ZERO || s->sub == NUM_INT || s->sub == NUM_FRAC || s->sub == NUM_EXP;
}

static enum wr_err word_char(struct wr_json_stream *s, char c, uint64_t off) {
  const char *word = s->code == 'n' ? "null" : s->code == 't' ? "true" : "false";
  if (c != word[s->sub]) return WR_E_JSON_SYNTAX;
  capture(s, &c, 1);
  s->sub++;
  if (word[s->sub] == '\0') end_scalar(s, off + 1);
  return WR_OK;
}

static enum wr_err escape_char(struct wr_json_stream *s, char c) {
  capture(s, &c, 1);
  s->state = STATE_STRING;
  if (c == 'u') {
    s->state = STATE_HEX;
    s->sub = 0;
    s->code = 0;
    return WR_OK;
  }
  char plain = wr_json_lex_escape(c);
  if (!plain) return WR_E_JSON_SYNTAX;
  if (s->name == NAME_MATCH) {
    flush_high(s);
    name_put(s, &plain, 1);
  }
  return WR_OK;
}

static enum wr_err hex_char(struct wr_json_stream *s, char c) {
  int digit = wr_json_lex_hex(c);
  if (digit < 0) return WR_E_JSON_SYNTAX;
  capture(s, &c, 1);
  s->code = s->code << 4 | (uint32_t)digit;
  if (++s->sub < 4) return WR_OK;
  s->state = STATE_STRING;
  if (s->name == NAME_MATCH) name_unit(s, s->code);
  return WR_OK;
}

/* A run of plain characters, and what ends it; *at moves behind both. */
static enum wr_err string_run(struct wr_json_stream *s, struct wr_span in, size_t *at) {
  const char *p = in.ptr + *at;
  const char *end = in.ptr + in.len;
  const char *q = wr_json_lex_plain(p, end);
  size_t n = (size_t)(q - p);
  if (n && s->name == NAME_MATCH) {
    flush_high(s);
    name_put(s, p, n);
  }
  *at += n;
  if (q == end) {
    capture(s, p, n);
    return WR_OK;
  }
  capture(s, p, n + 1);
  *at += 1;
  if (*q == '"') {
    if (s->name) {
      end_name(s);
    } else {
      end_scalar(s, s->off + *at);
    }
    return WR_OK;
  }
  s->state = STATE_ESCAPE;
  s->escaped = true;
  return *q == '\\' ? WR_OK : WR_E_JSON_SYNTAX;
}

static enum wr_err number_run(struct wr_json_stream *s, struct wr_span in, size_t *at) {
  size_t i = *at;
  int next = 0;
  while (i < in.len && (next = number_next((enum number)s->sub, in.ptr[i])) >= 0) {
    s->sub = (uint8_t)next;
    i++;
  }
  capture(s, in.ptr + *at, i - *at);
  *at = i;
  if (i == in.len) return WR_OK;
  if (!number_whole(s)) return WR_E_JSON_SYNTAX;
  end_scalar(s, s->off + i);
  return WR_OK;
}

enum wr_err wr_json_stream_feed(struct wr_json_stream *s, struct wr_span in) {
  enum wr_err err = (enum wr_err)s->err;
  size_t i = 0;
  while (err == WR_OK && i < in.len) {
    switch ((enum state)s->state) {
    case STATE_STRING:
      err = string_run(s, in, &i);
      break;
    case STATE_NUMBER:
      err = number_run(s, in, &i);
      break;
    case STATE_WORD:
      err = word_char(s, in.ptr[i], s->off + i);
      i++;
      break;
    case STATE_ESCAPE:
      err = escape_char(s, in.ptr[i++]);
      break;
    case STATE_HEX:
      err = hex_char(s, in.ptr[i++]);
      break;
    default:
      err = between(s, in.ptr[i], s->off + i);
      i++;
    }
  }
  s->off += i;
  s->err = (uint8_t)err;
  return err;
}

enum wr_err wr_json_stream_finish(struct wr_json_stream *s) {
  if (s->err) return (enum wr_err)s->err;
  if (s->state == STATE_NUMBER && s->depth == 0 && number_whole(s)) end_scalar(s, s->off);
  if (s->state != STATE_END) s->err = WR_E_JSON_SYNTAX;
  return (enum wr_err)s->err;
}

struct wr_span wr_json_stream_raw(const struct wr_json_stream *s, size_t i) {
  const struct wr_json_stream_value *v = &s->values[i];
  if (!v->captured) return wr_span_make(NULL, 0);
  return wr_span_make(s->cap + v->cap_off, (size_t)v->len);
}
