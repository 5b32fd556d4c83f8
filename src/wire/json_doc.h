/* json_doc.h: a JSON tree for cold paths (tests, `explain`, keys files); the sole user of the JSON
 * library.
 *
 * A document owns its nodes; a node is borrowed until wr_json_doc_free. It lives in the general
 * heap: never on the path of an event. One thread at a time. The library is lenient (white space
 * is any byte up to 0x20): the text is first checked by json_scan.h. */
#ifndef WR_WIRE_JSON_DOC_H
#define WR_WIRE_JSON_DOC_H

#include "wire/json_scan.h"

struct wr_json_doc;
/* Opaque: one value of the tree. */
struct wr_json_item;
struct wr_buf;

/* max_bytes: 0 means 16 MiB. WR_E_JSON_SYNTAX, WR_E_JSON_DEPTH, WR_E_BODY_TOO_LARGE, WR_E_NOMEM. */
WR_MUST_USE enum wr_err wr_json_doc_parse(struct wr_span text, size_t max_bytes,
                                          struct wr_json_doc **out);
void wr_json_doc_free(struct wr_json_doc *doc);
const struct wr_json_item *wr_json_doc_root(const struct wr_json_doc *doc);

/* `a.b[0].c` below an item; NULL when there is none. A path of the empty string is the item. A
 * member that comes twice: the last one. */
const struct wr_json_item *wr_json_item_at(const struct wr_json_item *item, const char *path);
/* WR_JSON_MISSING for NULL. */
enum wr_json_type wr_json_item_type(const struct wr_json_item *item);
/* Text of a string, up to its first NUL; otherwise the empty span (ptr NULL). */
struct wr_span wr_json_item_str(const struct wr_json_item *item);
/* False when the item is not of that type. */
bool wr_json_item_num(const struct wr_json_item *item, double *out);
bool wr_json_item_bool(const struct wr_json_item *item, bool *out);
/* Members or elements, in order: the first, and each one's next; NULL at the end. */
const struct wr_json_item *wr_json_item_first(const struct wr_json_item *item);
const struct wr_json_item *wr_json_item_next(const struct wr_json_item *item);
/* The name of a member; the empty span for an element. */
struct wr_span wr_json_item_name(const struct wr_json_item *item);
size_t wr_json_item_count(const struct wr_json_item *item);
/* Appends the item as text, compact or indented. WR_E_NOMEM; WR_E_AGAIN: `out` is full. */
WR_MUST_USE enum wr_err wr_json_item_print(const struct wr_json_item *item, bool indent,
                                           struct wr_buf *out);

/* The JSON library that runs. */
const char *wr_json_library_version(void);

#endif
