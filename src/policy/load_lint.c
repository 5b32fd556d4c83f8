/* What a policy's text shows to be a mistake that Lua runs without a word: a view that is compared
 * with a string, or a match that never fits what may be held. From tokens, so it knows the usual
 * ways to write a hook and says nothing about others. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "policy/load_int.h"
#include "policy/tokens.h"

#define KEPT 8
#define NAMES_MAX 16
#define HOLD_DEFAULT_BYTES 256

/* What a name stands for in the file. */
enum what { IS_NOTHING, IS_EVENT, IS_REQUEST, IS_VIEW, IS_WINDOW };

struct seen {
  enum wr_token type;
  char first;
  int line;
  struct wr_span value;
};

struct lint {
  struct load *l;                /* borrowed: the caller's */
  const char *file;              /* borrowed: the caller's */
  struct seen last[KEPT];        /* a ring */
  size_t count;
  struct wr_span names[NAMES_MAX];
  enum what whats[NAMES_MAX];
  size_t name_count;
  size_t longest_bytes; /* of a plain text that on_text looks for */
  int longest_line, find_line;
  uint64_t hold_bytes;
  bool on_text, holds, guard;
};

/* The token n before the last one. */
static const struct seen *back(const struct lint *t, size_t n) {
  static const struct seen none = { .type = WR_T_END };
  return n < t->count && n < KEPT ? &t->last[(t->count - 1 - n) % KEPT] : &none;
}

static bool is_name(const struct lint *t, size_t n, const char *name) {
  const struct seen *s = back(t, n);
  return s->type == WR_T_NAME && wr_span_eq(s->value, wr_span_str(name));
}

static bool is_char(const struct lint *t, size_t n, char c) {
  const struct seen *s = back(t, n);
  return s->type != WR_T_END && s->type != WR_T_NAME && s->type != WR_T_STRING && s->first == c;
}

static enum what what_of(const struct lint *t, size_t n) {
  const struct seen *s = back(t, n);
  for (size_t i = 0; s->type == WR_T_NAME && i < t->name_count; i++)
    if (wr_span_eq(t->names[i], s->value)) return t->whats[i];
  return IS_NOTHING;
}

static void name_is(struct lint *t, size_t n, enum what what) {
  const struct seen *s = back(t, n);
  size_t i = 0;
  while (i < t->name_count && !wr_span_eq(t->names[i], s->value)) i++;
  if (i == NAMES_MAX) return;
  if (i == t->name_count && what == IS_NOTHING) return;
  t->names[i] = s->value;
  t->whats[i] = what;
  if (i == t->name_count) t->name_count++;
}

/* on_event = function(NAME, or function on_event(NAME: the hook's first parameter. */
static void note_parameter(struct lint *t) {
  static const struct {
    const char *hook;
    enum what what;
  } hooks[] = { { "on_event", IS_EVENT }, { "on_text", IS_WINDOW }, { "on_request", IS_REQUEST } };
  if (back(t, 0)->type != WR_T_NAME || !is_char(t, 1, '(')) return;
  bool assigned = is_name(t, 2, "function") && is_char(t, 3, '=');
  if (!assigned && !is_name(t, 3, "function")) return;
  for (size_t i = 0; i < 3; i++) {
    if (!is_name(t, assigned ? 4 : 2, hooks[i].hook)) continue;
    name_is(t, 0, hooks[i].what);
    if (hooks[i].what == IS_WINDOW) t->on_text = true;
  }
}

/* Tokens of a view that ends n tokens back, 0 for none: win, ev.text. */
static size_t view_tokens(const struct lint *t, size_t n) {
  static const char *const fields[] = { "text", "raw", "data" };
  enum what what = what_of(t, n);
  if ((what == IS_VIEW || what == IS_WINDOW) && !is_char(t, n + 1, '.')) return 1;
  if (!is_char(t, n + 1, '.') || is_char(t, n + 3, '.')) return 0;
  what = what_of(t, n + 2);
  if (what == IS_REQUEST && is_name(t, n, "body")) return 3;
  for (size_t i = 0; what == IS_EVENT && i < 3; i++)
    if (is_name(t, n, fields[i])) return 3;
  return 0;
}

static bool is_comparison(const struct lint *t, size_t n) {
  return is_char(t, n, '=') && (is_char(t, n + 1, '=') || is_char(t, n + 1, '~'));
}

static void warn_view(struct lint *t, size_t at, size_t tokens, bool key) {
  const struct seen *s = back(t, at + tokens - 1), *field = back(t, at);
  char name[80];
  snprintf(name, sizeof name, "%.*s%s%.*s", (int)(s->value.len < 32 ? s->value.len : 32),
           s->value.ptr, tokens > 1 ? "." : "",
           tokens > 1 && field->value.len < 32 ? (int)field->value.len : 0, field->value.ptr);
  if (key)
    wr_diag_warn(t->l->diag, t->file, s->line,
                 "'%s' is a view, and a view as a key is found by no string: write tostring(%s)",
                 name, name);
  else
    wr_diag_warn(t->l->diag, t->file, s->line,
                 "'%s' is a view, and a view never equals a string: write %s:equals(\"…\")", name,
                 name);
}

/* Goes the expression before this token on with it? */
static bool goes_on(const struct lint *t) {
  const struct seen *s = back(t, 0);
  if (s->type == WR_T_STRING || s->type == WR_T_OPEN || s->type == WR_T_BRACKET) return true;
  return s->type == WR_T_OTHER && strchr(".:(", s->first) != NULL;
}

static void look_at_views(struct lint *t) {
  size_t n;
  if (back(t, 0)->type == WR_T_STRING && is_comparison(t, 1) && (n = view_tokens(t, 3)) > 0)
    warn_view(t, 3, n, false);
  n = goes_on(t) ? 0 : view_tokens(t, 1);
  if (n == 0) return;
  if (is_comparison(t, n + 1) && back(t, n + 3)->type == WR_T_STRING) warn_view(t, 1, n, false);
  if (is_char(t, 0, ']') && is_char(t, n + 1, '[')) warn_view(t, 1, n, true);
}

/* local NAME = ev.text: a view by another name; any other local of that name is none. */
static void look_at_locals(struct lint *t) {
  if (back(t, 0)->type == WR_T_NAME && is_name(t, 1, "local")) name_is(t, 0, IS_NOTHING);
  size_t n = goes_on(t) || is_name(t, 0, "and") ? 0 : view_tokens(t, 1);
  if (n > 0 && is_char(t, n + 1, '=') && is_name(t, n + 3, "local")) name_is(t, n + 2, IS_VIEW);
}

/* win:find("text": how long a match is at least, where that can be seen. */
static void look_at_finds(struct lint *t) {
  const struct seen *s = back(t, 0);
  if (!is_char(t, 1, '(') || !is_name(t, 2, "find") || !is_char(t, 3, ':')) return;
  if (what_of(t, 4) != IS_WINDOW) return;
  if (t->find_line == 0) t->find_line = s->line;
  if (s->type != WR_T_STRING || s->value.len <= t->longest_bytes) return;
  for (size_t i = 0; i < s->value.len; i++)
    if (strchr("^$()%.[]*+-?\\", s->value.ptr[i])) return;
  t->longest_bytes = s->value.len;
  t->longest_line = s->line;
}

static void look_at_fields(struct lint *t) {
  uint64_t n;
  if (back(t, 0)->type == WR_T_STRING && wr_span_eq(back(t, 0)->value, WR_SPAN("hold")))
    t->holds = true;
  if (!is_char(t, 1, '=')) return;
  if (is_name(t, 2, "guard") && is_name(t, 0, "true")) t->guard = true;
  if (is_name(t, 2, "hold") && back(t, 0)->type == WR_T_NAME &&
      wr_text_u64(back(t, 0)->value, UINT32_MAX, &n) == WR_OK)
    t->hold_bytes = n;
}

/* return "route", "name" and weir.live.upstream "name": looked up when all is declared. */
static void look_at_names(lua_State *L, struct lint *t) {
  struct load *l = t->l;
  const struct seen *s = back(t, 0);
  const char *what = NULL;
  if (s->type != WR_T_STRING || memchr(s->value.ptr, '\\', s->value.len)) return;
  if (is_char(t, 1, ',') && back(t, 2)->type == WR_T_STRING && is_name(t, 3, "return")) {
    if (wr_span_eq(back(t, 2)->value, WR_SPAN("route"))) what = "the verdict \"route\"";
    if (wr_span_eq(back(t, 2)->value, WR_SPAN("fallback"))) what = "the verdict \"fallback\"";
  }
  size_t n = is_char(t, 1, '(') ? 2 : 1;
  if (is_name(t, n, "upstream") && is_char(t, n + 1, '.') && is_name(t, n + 2, "live"))
    what = "weir.live.upstream";
  if (!what) return;
  l->checks = load_grow(L, l, l->checks, l->check_count, &l->check_cap, sizeof *l->checks);
  struct name_check *c = &l->checks[l->check_count++];
  *c = (struct name_check){ .option = what, .line = s->line };
  c->name = load_copy(L, l, s->value);
  c->file = load_copy(L, l, wr_span_str(t->file));
}

static void conclude(const struct lint *t) {
  struct load *l = t->l;
  if (!t->on_text) return;
  if (t->longest_bytes > t->hold_bytes)
    wr_diag_warn(l->diag, t->file, t->longest_line,
                 "on_text looks for %zu bytes, but 'hold' is %llu: where the provider cuts such a "
                 "text in two, it isn't found",
                 t->longest_bytes, (unsigned long long)t->hold_bytes);
  if (t->guard && !t->holds && t->find_line)
    wr_diag_warn(l->diag, t->file, t->find_line,
                 "a guard's on_text that never returns \"hold\" doesn't see what the provider "
                 "cuts in two");
}

void load_lint(lua_State *L, struct load *l, const char *file, struct wr_span source) {
  struct lint t = { .l = l, .file = file, .hold_bytes = HOLD_DEFAULT_BYTES };
  struct wr_tokens s = { .text = source, .line = 1 };
  enum wr_token type;
  do {
    type = wr_tokens_next(&s);
    t.last[t.count++ % KEPT] = (struct seen){ type, type ? source.ptr[s.begin] : '\0',
                                              s.begin_line, s.value };
    note_parameter(&t);
    look_at_views(&t);
    look_at_locals(&t);
    look_at_finds(&t);
    look_at_fields(&t);
    look_at_names(L, &t);
  } while (type != WR_T_END);
  conclude(&t);
}
