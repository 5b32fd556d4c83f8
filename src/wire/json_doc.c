#include "wire/json_doc.h"

#include <cjson/cJSON.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "wire/json_lex.h"

/* The library's node and ours are one thing behind an opaque name. */
static const cJSON *node(const struct wr_json_item *item) {
  return (const cJSON *)(const void *)item;
}
static const struct wr_json_item *item(const cJSON *n) {
  return (const struct wr_json_item *)(const void *)n;
}

struct wr_json_doc {
  cJSON *root; /* owned */
};

static const char *const WHOLE[] = { "" };

enum wr_err wr_json_doc_parse(struct wr_span text, size_t max_bytes, struct wr_json_doc **out) {
  *out = NULL;
  if (text.len > (max_bytes ? max_bytes : (size_t)16 << 20)) return WR_E_BODY_TOO_LARGE;
  struct wr_json_prog prog;
  struct wr_json_value whole;
  enum wr_err err = wr_json_compile(&prog, WHOLE, 1);
  if (err == WR_OK) err = wr_json_scan(&prog, text, &whole);
  if (err != WR_OK) return err;
  struct wr_json_doc *doc = wr_heap_zalloc(WR_HEAP_BASE, sizeof *doc);
  if (!doc) return WR_E_NOMEM;
  doc->root = cJSON_ParseWithLength(text.ptr, text.len);
  if (!doc->root) {
    /* The library refuses a few valid documents: lone surrogates, numbers of over 63 digits. */
    wr_heap_free(WR_HEAP_BASE, doc);
    return WR_E_JSON_SYNTAX;
  }
  *out = doc;
  return WR_OK;
}

void wr_json_doc_free(struct wr_json_doc *doc) {
  if (!doc) return;
  cJSON_Delete(doc->root);
  wr_heap_free(WR_HEAP_BASE, doc);
}

const struct wr_json_item *wr_json_doc_root(const struct wr_json_doc *doc) {
  return item(doc->root);
}

static const cJSON *member(const cJSON *object, const char *name, size_t len) {
  const cJSON *found = NULL;
  const cJSON *n = NULL;
  cJSON_ArrayForEach(n, object) {
    if (strlen(n->string) == len && memcmp(n->string, name, len) == 0) found = n;
  }
  return found;
}

static const cJSON *element(const cJSON *array, const char *digits, size_t len) {
  size_t index = 0;
  if (len == 0 || len > 9) return NULL;
  for (size_t i = 0; i < len; i++) {
    if (digits[i] < '0' || digits[i] > '9') return NULL;
    index = index * 10 + (size_t)(digits[i] - '0');
  }
  const cJSON *n = array->child;
  while (n && index-- > 0) n = n->next;
  return n;
}

const struct wr_json_item *wr_json_item_at(const struct wr_json_item *from, const char *path) {
  const cJSON *n = node(from);
  while (n && *path) {
    bool bracket = *path == '[';
    if (bracket || *path == '.') path++;
    size_t len = strcspn(path, bracket ? "]" : ".[");
    if (cJSON_IsObject(n) && !bracket) {
      n = member(n, path, len);
    } else {
      n = cJSON_IsArray(n) ? element(n, path, len) : NULL;
    }
    path += len;
    if (bracket && *path == ']') path++;
  }
  return item(n);
}

enum wr_json_type wr_json_item_type(const struct wr_json_item *from) {
  const cJSON *n = node(from);
  if (!n) return WR_JSON_MISSING;
  if (cJSON_IsNull(n)) return WR_JSON_NULL;
  if (cJSON_IsBool(n)) return WR_JSON_BOOL;
  if (cJSON_IsNumber(n)) return WR_JSON_NUMBER;
  if (cJSON_IsString(n)) return WR_JSON_STRING;
  return cJSON_IsObject(n) ? WR_JSON_OBJECT : WR_JSON_ARRAY;
}

struct wr_span wr_json_item_str(const struct wr_json_item *from) {
  if (wr_json_item_type(from) != WR_JSON_STRING) return wr_span_make(NULL, 0);
  return wr_span_str(node(from)->valuestring);
}

bool wr_json_item_num(const struct wr_json_item *from, double *out) {
  if (wr_json_item_type(from) != WR_JSON_NUMBER) return false;
  *out = node(from)->valuedouble;
  return true;
}

bool wr_json_item_bool(const struct wr_json_item *from, bool *out) {
  if (wr_json_item_type(from) != WR_JSON_BOOL) return false;
  *out = cJSON_IsTrue(node(from));
  return true;
}

const struct wr_json_item *wr_json_item_first(const struct wr_json_item *from) {
  return from ? item(node(from)->child) : NULL;
}

const struct wr_json_item *wr_json_item_next(const struct wr_json_item *from) {
  return item(node(from)->next);
}

struct wr_span wr_json_item_name(const struct wr_json_item *from) {
  return wr_span_str(node(from)->string);
}

size_t wr_json_item_count(const struct wr_json_item *from) {
  size_t count = 0;
  const struct wr_json_item *i = wr_json_item_first(from);
  for (; i; i = wr_json_item_next(i)) count++;
  return count;
}

enum wr_err wr_json_item_print(const struct wr_json_item *from, bool indent, struct wr_buf *out) {
  char *text = indent ? cJSON_Print(node(from)) : cJSON_PrintUnformatted(node(from));
  if (!text) return WR_E_NOMEM;
  wr_buf_put(out, wr_span_str(text));
  cJSON_free(text);
  return out->overflow ? WR_E_AGAIN : WR_OK;
}

const char *wr_json_library_version(void) { return cJSON_Version(); }
