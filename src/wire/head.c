#include "wire/head.h"

#include "base/check.h"
#include "wire/http1_chars.h"

_Static_assert(WR_FIELD_IDS <= 64, "head->seen has one bit an id");

static const struct wr_span field_names[WR_FIELD_IDS] = {
  [WR_FIELD_OTHER] = { "", 0 },
#define X(id, name, first, third) [WR_FIELD_##id] = { name, sizeof(name) - 1 },
  WR_FIELD_LIST(X)
#undef X
};

static const struct wr_span method_names[WR_METHODS] = {
  [WR_METHOD_OTHER] = { "", 0 },         [WR_METHOD_GET] = { "GET", 3 },
  [WR_METHOD_HEAD] = { "HEAD", 4 },      [WR_METHOD_POST] = { "POST", 4 },
  [WR_METHOD_PUT] = { "PUT", 3 },        [WR_METHOD_DELETE] = { "DELETE", 6 },
  [WR_METHOD_OPTIONS] = { "OPTIONS", 7 }, [WR_METHOD_PATCH] = { "PATCH", 5 },
};

#define KEY(len, first, third) ((uint32_t)(len) << 16 | (uint32_t)(first) << 8 | (uint32_t)(third))

/* The only name that can have this length and these two bytes. */
static enum wr_field_id field_candidate(uint32_t key) {
  switch (key) {
#define X(id, name, first, third)           \
  case KEY(sizeof(name) - 1, first, third): \
    return WR_FIELD_##id;
    WR_FIELD_LIST(X)
#undef X
    default: return WR_FIELD_OTHER;
  }
}

enum wr_field_id wr_field_id_of(struct wr_span name) {
  if (name.len < 2 || name.len > 32) return WR_FIELD_OTHER;
  unsigned char first = wr_char_lower(name.ptr[0]);
  unsigned char third = wr_char_lower(name.ptr[name.len > 2 ? name.len - 3 : 0]);
  enum wr_field_id id = field_candidate(KEY(name.len, first, third));
  const char *known = field_names[id].ptr;
  if (id == WR_FIELD_OTHER) return id;
  for (size_t i = 1; i < name.len; i++)
    if (wr_char_lower(name.ptr[i]) != (unsigned char)known[i]) return WR_FIELD_OTHER;
  return id;
}

struct wr_span wr_field_name(enum wr_field_id id) {
  return field_names[(unsigned)id < WR_FIELD_IDS ? id : WR_FIELD_OTHER];
}

enum wr_method wr_method_of(struct wr_span name) {
  for (unsigned m = WR_METHOD_GET; m < WR_METHODS; m++)
    if (wr_span_eq(name, method_names[m])) return (enum wr_method)m;
  return WR_METHOD_OTHER;
}

struct wr_span wr_method_name(enum wr_method method) {
  return method_names[(unsigned)method < WR_METHODS ? method : WR_METHOD_OTHER];
}

const struct wr_field *wr_head_find(const struct wr_head *h, enum wr_field_id id,
                                    const struct wr_field *after) {
  if (!wr_head_has(h, id)) return NULL;
  const struct wr_field *end = h->fields + h->field_count;
  for (const struct wr_field *f = after ? after + 1 : h->fields; f < end; f++)
    if (f->id == (uint8_t)id) return f;
  return NULL;
}

const struct wr_field *wr_head_find_name(const struct wr_head *h, const char *base,
                                         struct wr_span name, const struct wr_field *after) {
  enum wr_field_id id = wr_field_id_of(name);
  if (id != WR_FIELD_OTHER) return wr_head_find(h, id, after);
  const struct wr_field *f = after;
  while ((f = wr_head_find(h, WR_FIELD_OTHER, f)) != NULL)
    if (wr_span_ieq(wr_span_at(base, f->name), name)) return f;
  return NULL;
}

struct wr_span wr_head_value(const struct wr_head *h, const char *base, enum wr_field_id id) {
  const struct wr_field *f = wr_head_find(h, id, NULL);
  return f ? wr_span_at(base, f->value) : wr_span_make(NULL, 0);
}

static bool connection_lists(const struct wr_head *h, const char *base, struct wr_span name) {
  const struct wr_field *f = NULL;
  while ((f = wr_head_find(h, WR_FIELD_CONNECTION, f)) != NULL)
    if (wr_list_has(wr_span_at(base, f->value), name)) return true;
  return false;
}

bool wr_head_is_hop_by_hop(const struct wr_head *h, const char *base, const struct wr_field *f) {
  switch (f->id) {
    case WR_FIELD_CONNECTION:
    case WR_FIELD_KEEP_ALIVE:
    case WR_FIELD_PROXY_CONNECTION:
    case WR_FIELD_PROXY_AUTHENTICATE:
    case WR_FIELD_PROXY_AUTHORIZATION:
    case WR_FIELD_TE:
    case WR_FIELD_TRAILER:
    case WR_FIELD_TRANSFER_ENCODING:
    case WR_FIELD_UPGRADE:
    case WR_FIELD_HTTP2_SETTINGS: return true;
    default: return h->connection_names && connection_lists(h, base, wr_span_at(base, f->name));
  }
}

bool wr_head_is_rewritten(const struct wr_field *f) {
  return f->id == WR_FIELD_CONTENT_LENGTH || f->id == WR_FIELD_HOST || f->id == WR_FIELD_EXPECT;
}

bool wr_list_next(struct wr_span *list, struct wr_span *element) {
  while (list->len > 0) {
    const char *comma = memchr(list->ptr, ',', list->len);
    size_t n = comma ? (size_t)(comma - list->ptr) : list->len;
    size_t taken = comma ? n + 1 : n;
    *element = wr_span_trim(wr_span_sub(*list, 0, n));
    *list = wr_span_sub(*list, taken, list->len - taken);
    if (element->len > 0) return true;
  }
  return false;
}

bool wr_list_has(struct wr_span list, struct wr_span token) {
  struct wr_span element;
  while (wr_list_next(&list, &element))
    if (wr_span_ieq(element, token)) return true;
  return false;
}
