/* json_scan.h: finds the values of a few paths in JSON text, without a tree, an allocation or a
 * copy.
 *
 * A program is compiled once from paths and shared by any number of scans and threads. A scan
 * validates the document (RFC 8259: structure, literals, numbers, escapes, no raw control
 * characters in strings, nesting up to WR_JSON_MAX_DEPTH); UTF-8 is not looked at
 * (wr_json_utf8_valid does).
 *
 * Paths: `choices[0].delta.content`; `choices.0.delta` (a number between dots is an index of an
 * array, or a member's name in an object); `choices[].x` or `choices[*].x` or `choices.*.x` (every
 * index of an array, not of an object).
 *
 * Which value counts:
 * - a member that comes twice: the last one, and with it all that is found below; what the first
 *   one held is forgotten;
 * - under `[]`: the first element that has a value other than null; an element with null counts as
 *   one without. So such a path is MISSING when all are null;
 * - names are compared after escapes are decoded. */
#ifndef WR_WIRE_JSON_SCAN_H
#define WR_WIRE_JSON_SCAN_H

#include "base/err.h"
#include "base/span.h"

#define WR_JSON_MAX_PATHS 24
#define WR_JSON_MAX_DEPTH 64  /* arrays and objects within each other */
#define WR_JSON_MAX_STEPS 10  /* of one path */
#define WR_JSON_MAX_KEY 48    /* bytes of one name in a path */
#define WR_JSON_MAX_NODES 96
#define WR_JSON_MAX_EDGES 128
#define WR_JSON_TEXT_BYTES 1024

enum wr_json_type {
  WR_JSON_MISSING,
  WR_JSON_NULL,
  WR_JSON_BOOL,
  WR_JSON_NUMBER,
  WR_JSON_STRING,
  WR_JSON_OBJECT,
  WR_JSON_ARRAY
};

struct wr_json_value {
  struct wr_extent raw; /* the whole literal, a string with its quotes; from the document's start */
  uint8_t type;         /* enum wr_json_type */
  bool escaped;         /* a string with at least one backslash */
};

/* Private: what leads from a node to the next. */
struct wr_json_edge {
  uint64_t head;     /* the first eight bytes of the name, zeros behind */
  uint32_t index;
  uint16_t text_off;
  uint8_t len;
  uint8_t node;
};

/* Private: a set of paths that agree so far. Node 0 stands for "no path", node 1 for the
 * document. */
struct wr_json_node {
  uint64_t lens;      /* bit n: a name of n bytes leads on */
  uint32_t mask;      /* paths that lead through here */
  uint32_t ends;      /* those of them that end here */
  uint32_t wild_mask; /* those whose next step is `[]` */
  uint16_t first;     /* first edge: names, then indices */
  uint8_t n_keys;
  uint8_t n_indices;
  uint8_t wild;       /* node of the indices without an edge of their own */
};

/* About 7 KiB; copies what it needs of the paths. */
struct wr_json_prog {
  uint32_t all;     /* one bit a path */
  uint32_t wild;    /* paths with a `[]` anywhere */
  uint16_t n_edges;
  uint16_t text_len;
  uint8_t n_nodes;
  uint8_t n_paths;
  struct wr_json_node nodes[WR_JSON_MAX_NODES];
  struct wr_json_edge edges[WR_JSON_MAX_EDGES];
  char text[WR_JSON_TEXT_BYTES];
};

/* n: 1 .. WR_JSON_MAX_PATHS. The empty path is the document itself. WR_E_ARG: a path that is
 * malformed, or a limit above. */
WR_MUST_USE enum wr_err wr_json_compile(struct wr_json_prog *prog, const char *const *paths,
                                        size_t n);

enum wr_json_flag {
  /* Subtrees that no path leads into are skipped by their quotes and brackets only, unvalidated;
   * their depth is not limited. */
  WR_JSON_SKIP_FAST = 1,
  /* Ends with WR_OK once every path has a value; what follows isn't read, so a later duplicate
   * doesn't win. */
  WR_JSON_STOP_WHEN_FOUND = 2
};

/* out: one value a path, in the order of the paths; all written, also on an error (then what was
 * found so far). doc: the whole document, up to 4 GiB - 1, white space around it is fine.
 * WR_E_JSON_SYNTAX, WR_E_JSON_DEPTH. */
WR_MUST_USE enum wr_err wr_json_scan_with(const struct wr_json_prog *prog, struct wr_span doc,
                                          unsigned flags, struct wr_json_value *out);
/* Validates everything. */
WR_MUST_USE static inline enum wr_err wr_json_scan(const struct wr_json_prog *prog,
                                                   struct wr_span doc, struct wr_json_value *out) {
  return wr_json_scan_with(prog, doc, 0, out);
}

/* The bytes of a value, in the document that was scanned. */
static inline struct wr_span wr_json_raw(struct wr_span doc, const struct wr_json_value *v) {
  return v->type == WR_JSON_MISSING ? wr_span_make(NULL, 0) : wr_span_at(doc.ptr, v->raw);
}
/* The bytes between the quotes of a string literal. */
static inline struct wr_span wr_json_unquote(struct wr_span raw) {
  return raw.len < 2 ? wr_span_make(NULL, 0) : wr_span_sub(raw, 1, raw.len - 2);
}

struct wr_buf;
/* Appends the text of a string literal (with its quotes). A lone surrogate becomes U+FFFD. Never
 * longer than raw. WR_E_JSON_SYNTAX; WR_E_AGAIN: `out` is full. */
WR_MUST_USE enum wr_err wr_json_string_decode(struct wr_span raw, struct wr_buf *out);
/* Does the literal, decoded, equal the plain text? False for what is no string. */
bool wr_json_string_eq(struct wr_span raw, struct wr_span plain);
/* An integer in plain digits, or a number that equals one (1e3, 5.0). WR_E_TEXT_SYNTAX: no number;
 * WR_E_TEXT_RANGE: negative, fractional, or above 2^64 - 1. */
WR_MUST_USE enum wr_err wr_json_u64(struct wr_span number, uint64_t *out);
/* Well-formed UTF-8 (no overlong form, surrogate, or code point above U+10FFFF). */
bool wr_json_utf8_valid(struct wr_span s);

#endif
