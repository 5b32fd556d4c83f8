/* Compiles paths into a tree of nodes; a node stands for the set of paths that agree so far. */
#include "wire/json_lex.h"

enum step_kind { STEP_KEY, STEP_INDEX, STEP_EITHER, STEP_WILD };

struct step {
  uint32_t index;
  uint16_t text_off;
  uint8_t len;
  uint8_t kind;
};

struct path {
  struct step steps[WR_JSON_MAX_STEPS];
  uint8_t n;
};

struct compiler {
  struct wr_json_prog *prog; /* borrowed: the caller's */
  struct path paths[WR_JSON_MAX_PATHS];
  uint8_t depth[WR_JSON_MAX_NODES]; /* of each node: steps taken */
};

/* False where it is no index; at most nine digits. */
static bool index_of(const char *p, size_t len, uint32_t *out) {
  if (len == 0 || len > 9 || (len > 1 && p[0] == '0')) return false;
  uint32_t v = 0;
  for (size_t i = 0; i < len; i++) {
    if (p[i] < '0' || p[i] > '9') return false;
    v = v * 10 + (uint32_t)(p[i] - '0');
  }
  *out = v;
  return true;
}

static enum wr_err add_name(struct wr_json_prog *prog, struct path *path, const char *p,
                            size_t len) {
  if (len == 0 || len > WR_JSON_MAX_KEY || path->n == WR_JSON_MAX_STEPS) return WR_E_ARG;
  if (prog->text_len + len > sizeof prog->text) return WR_E_ARG;
  struct step *s = &path->steps[path->n++];
  if (len == 1 && p[0] == '*') {
    s->kind = STEP_WILD;
    return WR_OK;
  }
  s->kind = index_of(p, len, &s->index) ? STEP_EITHER : STEP_KEY;
  s->text_off = prog->text_len;
  s->len = (uint8_t)len;
  memcpy(prog->text + prog->text_len, p, len);
  prog->text_len = (uint16_t)(prog->text_len + len);
  return WR_OK;
}

static enum wr_err add_index(struct path *path, const char *p, size_t len) {
  if (path->n == WR_JSON_MAX_STEPS) return WR_E_ARG;
  struct step *s = &path->steps[path->n++];
  if (len == 0 || (len == 1 && p[0] == '*')) {
    s->kind = STEP_WILD;
    return WR_OK;
  }
  s->kind = STEP_INDEX;
  return index_of(p, len, &s->index) ? WR_OK : WR_E_ARG;
}

static enum wr_err parse_path(struct wr_json_prog *prog, struct path *path, const char *p) {
  bool first = true;
  while (*p) {
    enum wr_err err;
    if (*p == '[') {
      size_t n = strcspn(p, "]");
      if (p[n] == '\0') return WR_E_ARG;
      err = add_index(path, p + 1, n - 1);
      p += n + 1;
    } else {
      if (!first && *p++ != '.') return WR_E_ARG;
      size_t n = strcspn(p, ".[");
      err = add_name(prog, path, p, n);
      p += n;
    }
    if (err != WR_OK) return err;
    first = false;
  }
  return WR_OK;
}

static bool same_step(const struct wr_json_prog *prog, const struct step *a, const struct step *b,
                      bool key) {
  if (!key) return a->index == b->index;
  return a->len == b->len &&
         memcmp(prog->text + a->text_off, prog->text + b->text_off, a->len) == 0;
}

static bool has_kind(const struct step *s, bool key) {
  return s->kind == STEP_EITHER || s->kind == (key ? STEP_KEY : STEP_INDEX);
}

static unsigned new_node(struct compiler *c, uint32_t mask, unsigned depth) {
  struct wr_json_prog *prog = c->prog;
  if (prog->n_nodes == WR_JSON_MAX_NODES) return 0;
  unsigned id = prog->n_nodes++;
  prog->nodes[id].mask = mask;
  c->depth[id] = (uint8_t)depth;
  return id;
}

/* Paths of `mask` (at this depth) whose step equals that of path i. */
static uint32_t alike(const struct compiler *c, uint32_t mask, unsigned depth, unsigned i,
                      bool key) {
  uint32_t same = 0;
  const struct step *s = &c->paths[i].steps[depth];
  for (unsigned j = 0; j < c->prog->n_paths; j++) {
    const struct step *t = &c->paths[j].steps[depth];
    if ((mask >> j & 1) && has_kind(t, key) && same_step(c->prog, s, t, key)) same |= 1u << j;
  }
  return same;
}

static enum wr_err add_edge(struct compiler *c, struct wr_json_node *node, unsigned depth,
                            const struct step *s, uint32_t mask, bool key) {
  struct wr_json_prog *prog = c->prog;
  if (prog->n_edges == WR_JSON_MAX_EDGES) return WR_E_ARG;
  struct wr_json_edge *e = &prog->edges[prog->n_edges++];
  unsigned to = new_node(c, mask, depth + 1);
  if (!to) return WR_E_ARG;
  e->node = (uint8_t)to;
  if (key) {
    e->text_off = s->text_off;
    e->len = s->len;
    e->head = wr_json_prog_head(prog->text + s->text_off, s->len);
    node->lens |= (uint64_t)1 << s->len;
    node->n_keys++;
  } else {
    e->index = s->index;
    node->n_indices++;
  }
  return WR_OK;
}

static enum wr_err add_edges(struct compiler *c, struct wr_json_node *node, unsigned depth,
                             uint32_t mask, bool key) {
  uint32_t done = 0;
  for (unsigned i = 0; i < c->prog->n_paths; i++) {
    const struct step *s = &c->paths[i].steps[depth];
    if (!(mask >> i & 1) || (done >> i & 1) || !has_kind(s, key)) continue;
    uint32_t same = alike(c, mask, depth, i, key);
    done |= same;
    enum wr_err err = add_edge(c, node, depth, s, key ? same : same | node->wild_mask, key);
    if (err != WR_OK) return err;
  }
  return WR_OK;
}

static enum wr_err build_node(struct compiler *c, unsigned id) {
  struct wr_json_prog *prog = c->prog;
  struct wr_json_node *node = &prog->nodes[id];
  unsigned depth = c->depth[id];
  uint32_t more = 0;
  for (unsigned i = 0; i < prog->n_paths; i++) {
    if (!(node->mask >> i & 1)) continue;
    if (c->paths[i].n == depth) {
      node->ends |= 1u << i;
      continue;
    }
    more |= 1u << i;
    if (c->paths[i].steps[depth].kind == STEP_WILD) node->wild_mask |= 1u << i;
  }
  node->first = prog->n_edges;
  enum wr_err err = more ? add_edges(c, node, depth, more, true) : WR_OK;
  if (err == WR_OK && more) err = add_edges(c, node, depth, more, false);
  if (err == WR_OK && node->wild_mask) {
    node->wild = (uint8_t)new_node(c, node->wild_mask, depth + 1);
    if (!node->wild) err = WR_E_ARG;
  }
  prog->wild |= node->wild_mask;
  return err;
}

bool wr_json_prog_tail(const char *text, const char *key, size_t len) {
  return memcmp(text + 8, key + 8, len - 8) == 0;
}

enum wr_err wr_json_compile(struct wr_json_prog *prog, const char *const *paths, size_t n) {
  struct compiler c;
  memset(prog, 0, sizeof *prog);
  if (n == 0 || n > WR_JSON_MAX_PATHS) return WR_E_ARG;
  memset(&c, 0, sizeof c);
  c.prog = prog;
  prog->n_paths = (uint8_t)n;
  prog->all = (1u << n) - 1;
  for (size_t i = 0; i < n; i++) {
    enum wr_err err = parse_path(prog, &c.paths[i], paths[i]);
    if (err != WR_OK) return err;
  }
  prog->n_nodes = 1;
  (void)new_node(&c, prog->all, 0);
  for (unsigned id = 1; id < prog->n_nodes; id++) {
    enum wr_err err = build_node(&c, id);
    if (err != WR_OK) return err;
  }
  return WR_OK;
}
