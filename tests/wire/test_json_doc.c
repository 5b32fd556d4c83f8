#include "recordings.h"

#include "base/buf.h"
#include "base/heap.h"
#include "wire/json_doc.h"

static struct wr_json_doc *parse(struct wr_span text) {
  struct wr_json_doc *doc;
  assert_int_equal(wr_json_doc_parse(text, 0, &doc), WR_OK);
  return doc;
}

static void reads(void **state) {
  (void)state;
  struct wr_json_doc *doc =
      parse(WR_SPAN("{\"a\":{\"b\":[1.5,\"x\\n\",true,null,{}]},\"n\":1,\"n\":2}"));
  const struct wr_json_item *root = wr_json_doc_root(doc);
  double num;
  bool flag;
  assert_true(wr_json_item_num(wr_json_item_at(root, "a.b[0]"), &num) && num == 1.5);
  assert_true(wr_json_item_num(wr_json_item_at(root, "a.b.0"), &num) && num == 1.5);
  assert_true(wr_span_eq(wr_json_item_str(wr_json_item_at(root, "a.b[1]")), WR_SPAN("x\n")));
  assert_true(wr_json_item_bool(wr_json_item_at(root, "a.b[2]"), &flag) && flag);
  assert_int_equal(wr_json_item_type(wr_json_item_at(root, "a.b[3]")), WR_JSON_NULL);
  assert_int_equal(wr_json_item_type(wr_json_item_at(root, "a.b[4]")), WR_JSON_OBJECT);
  assert_int_equal(wr_json_item_type(wr_json_item_at(root, "a.b")), WR_JSON_ARRAY);
  assert_null(wr_json_item_at(root, "a.b[5]"));
  assert_null(wr_json_item_at(root, "a.c"));
  assert_null(wr_json_item_at(root, "a.b.x"));
  assert_null(wr_json_item_at(root, "n.x"));
  assert_ptr_equal(wr_json_item_at(root, ""), root);
  assert_true(wr_json_item_num(wr_json_item_at(root, "n"), &num) && num == 2);
  assert_false(wr_json_item_num(NULL, &num));
  assert_false(wr_json_item_bool(root, &flag));
  assert_null(wr_json_item_str(root).ptr);
  assert_int_equal(wr_json_item_type(NULL), WR_JSON_MISSING);
  assert_int_equal(wr_json_item_count(root), 3);
  const struct wr_json_item *first = wr_json_item_first(root);
  assert_true(wr_span_eq(wr_json_item_name(first), WR_SPAN("a")));
  assert_true(wr_span_eq(wr_json_item_name(wr_json_item_next(first)), WR_SPAN("n")));
  wr_json_doc_free(doc);
}

static void prints(void **state) {
  (void)state;
  char room[64];
  struct wr_buf buf;
  struct wr_json_doc *doc = parse(WR_SPAN(" { \"a\" : [ 1 , 2 ] } "));
  wr_buf_init(&buf, room, sizeof room);
  assert_int_equal(wr_json_item_print(wr_json_doc_root(doc), false, &buf), WR_OK);
  assert_true(wr_span_eq(wr_buf_span(&buf), WR_SPAN("{\"a\":[1,2]}")));
  wr_buf_init(&buf, room, sizeof room);
  assert_int_equal(wr_json_item_print(wr_json_doc_root(doc), true, &buf), WR_OK);
  assert_non_null(memchr(buf.ptr, '\n', buf.len));
  wr_buf_init(&buf, room, 5);
  assert_int_equal(wr_json_item_print(wr_json_doc_root(doc), false, &buf), WR_E_AGAIN);
  wr_json_doc_free(doc);
}

static void refuses(void **state) {
  (void)state;
  struct wr_json_doc *doc;
  assert_int_equal(wr_json_doc_parse(WR_SPAN("{\"a\":01}"), 0, &doc), WR_E_JSON_SYNTAX);
  assert_null(doc);
  assert_int_equal(wr_json_doc_parse(WR_SPAN("[\"\t\"]"), 0, &doc), WR_E_JSON_SYNTAX);
  assert_int_equal(wr_json_doc_parse(WR_SPAN("[1,2]"), 4, &doc), WR_E_BODY_TOO_LARGE);
  char deep[132];
  memset(deep, '[', 65);
  memset(deep + 65, ']', 65);
  assert_int_equal(wr_json_doc_parse(wr_span_make(deep, 130), 0, &doc), WR_E_JSON_DEPTH);
  wr_json_doc_free(NULL);
  assert_int_equal(wr_heap_live_count(WR_HEAP_BASE), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(reads),
    cmocka_unit_test(prints),
    cmocka_unit_test(refuses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
