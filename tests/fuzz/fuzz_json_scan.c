/* JSON: the scan, the stream at any split, and the tree library agree. The first byte of the input
 * is the size of the pieces. */
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "base/buf.h"
#include "base/check.h"
#include "wire/json_stream.h"

/* Of these the library is asked for the ones that it can answer (see check_library). */
static const char *const PATHS[] = { "a",   "a.b",  "a[0]",     "a[].b", "",
                                     "[0]", "[].a", "a.b[1].c", "b.0" };
enum { N = sizeof PATHS / sizeof PATHS[0] };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_stream(const struct wr_json_prog *prog, struct wr_span doc, size_t piece,
                         enum wr_err want, const struct wr_json_value *v) {
  struct wr_json_stream s;
  wr_json_stream_init(&s, prog);
  enum wr_err err = WR_OK;
  for (size_t at = 0; at < doc.len && err == WR_OK; at += piece) {
    size_t n = doc.len - at < piece ? doc.len - at : piece;
    err = wr_json_stream_feed(&s, wr_span_sub(doc, at, n));
  }
  if (err == WR_OK) err = wr_json_stream_finish(&s);
  WR_CHECK(err == want);
  if (err != WR_OK) return;
  for (size_t i = 0; i < N; i++) {
    const struct wr_json_stream_value *w = wr_json_stream_value(&s, i);
    WR_CHECK(w->type == v[i].type && w->escaped == v[i].escaped);
    WR_CHECK(w->off == v[i].raw.off && w->len == v[i].raw.len);
    if (w->captured) {
      WR_CHECK(wr_span_eq(wr_json_stream_raw(&s, i), wr_json_raw(doc, &v[i])));
    }
  }
}

/* What the library refuses though it is JSON: a lone surrogate, and a number too long for its
 * buffer. */
static bool is_beyond_library(struct wr_span doc) {
  size_t run = 0;
  for (size_t i = 0; i < doc.len; i++) {
    if (i + 1 < doc.len && doc.ptr[i] == '\\' && doc.ptr[i + 1] == 'u') return true;
    run = doc.ptr[i] >= '0' && doc.ptr[i] <= '9' ? run + 1 : doc.ptr[i] == '.' ? run + 1 : run;
    if (doc.ptr[i] == ',' || doc.ptr[i] == ']' || doc.ptr[i] == '}') run = 0;
    if (run > 50) return true;
  }
  return false;
}

static const cJSON *member(const cJSON *object, const char *name) {
  const cJSON *found = NULL;
  const cJSON *n = NULL;
  if (!cJSON_IsObject(object)) return NULL;
  cJSON_ArrayForEach(n, object) {
    if (strcmp(n->string, name) == 0) found = n;
  }
  return found;
}

static void check_item(const cJSON *item, struct wr_span raw, const struct wr_json_value *v) {
  if (!item) {
    WR_CHECK(v->type == WR_JSON_MISSING);
    return;
  }
  switch (v->type) {
  case WR_JSON_STRING: {
    WR_CHECK(cJSON_IsString(item));
    WR_CHECK(wr_json_string_eq(raw, wr_span_str(item->valuestring)));
    char *room = malloc(raw.len);
    WR_CHECK(room != NULL);
    struct wr_buf out;
    wr_buf_init(&out, room, raw.len);
    WR_CHECK(wr_json_string_decode(raw, &out) == WR_OK);
    WR_CHECK(wr_span_eq(wr_buf_span(&out), wr_span_str(item->valuestring)));
    free(room);
    break;
  }
  case WR_JSON_NUMBER: {
    char text[128];
    WR_CHECK(cJSON_IsNumber(item) && raw.len < sizeof text);
    memcpy(text, raw.ptr, raw.len);
    text[raw.len] = '\0';
    double d = strtod(text, NULL);
    WR_CHECK(memcmp(&d, &item->valuedouble, sizeof d) == 0);
    uint64_t u;
    if (wr_json_u64(raw, &u) == WR_OK) WR_CHECK((double)u == d || u > (1u << 30));
    break;
  }
  case WR_JSON_NULL: WR_CHECK(cJSON_IsNull(item)); break;
  case WR_JSON_BOOL: WR_CHECK(cJSON_IsBool(item) && cJSON_IsTrue(item) == (*raw.ptr == 't')); break;
  case WR_JSON_OBJECT: WR_CHECK(cJSON_IsObject(item)); break;
  case WR_JSON_ARRAY: WR_CHECK(cJSON_IsArray(item)); break;
  default: WR_CHECK(false);
  }
}

static void check_library(struct wr_span doc, const struct wr_json_value *v) {
  if (is_beyond_library(doc)) return;
  cJSON *root = cJSON_ParseWithLength(doc.ptr, doc.len);
  WR_CHECK(root != NULL);
  const cJSON *a = member(root, "a");
  check_item(a, wr_json_raw(doc, &v[0]), &v[0]);
  check_item(member(a, "b"), wr_json_raw(doc, &v[1]), &v[1]);
  const cJSON *first = cJSON_IsArray(a) ? a->child : NULL;
  check_item(first, wr_json_raw(doc, &v[2]), &v[2]);
  check_item(root, wr_json_raw(doc, &v[4]), &v[4]);
  check_item(cJSON_IsArray(root) ? root->child : NULL, wr_json_raw(doc, &v[5]), &v[5]);
  cJSON_Delete(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct wr_json_prog prog;
  if (prog.n_paths == 0) WR_CHECK(wr_json_compile(&prog, PATHS, N) == WR_OK);
  if (size < 2) return 0;
  struct wr_span doc = wr_span_make(data + 1, size - 1);
  struct wr_json_value v[N];
  struct wr_json_value w[N];
  enum wr_err err = wr_json_scan(&prog, doc, v);
  check_stream(&prog, doc, 1, err, v);
  check_stream(&prog, doc, 1 + data[0] % 29u, err, v);
  enum wr_err fast = wr_json_scan_with(&prog, doc, WR_JSON_SKIP_FAST, w);
  err = wr_json_scan_with(&prog, doc, WR_JSON_SKIP_FAST | WR_JSON_STOP_WHEN_FOUND, w);
  WR_CHECK(err == WR_OK || fast != WR_OK);
  err = wr_json_scan(&prog, doc, v);
  (void)wr_json_utf8_valid(doc);
  if (err != WR_OK) return 0;
  WR_CHECK(fast == WR_OK);
  WR_CHECK(wr_json_scan_with(&prog, doc, WR_JSON_SKIP_FAST, w) == WR_OK);
  for (size_t i = 0; i < N; i++) {
    WR_CHECK(v[i].type == w[i].type && v[i].escaped == w[i].escaped);
    WR_CHECK(v[i].raw.off == w[i].raw.off && v[i].raw.len == w[i].raw.len);
  }
  check_library(doc, v);
  return 0;
}
