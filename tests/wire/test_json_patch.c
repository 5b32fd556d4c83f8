#include "recordings.h"

#include "base/buf.h"
#include "wire/json_patch.h"
#include "wire/json_scan.h"

static void join(struct wr_span doc, const struct wr_json_edit *edits, size_t n, const char *want) {
  struct wr_span pieces[WR_JSON_PATCH_PIECES(8)];
  char a[512];
  char b[512];
  size_t count;
  size_t bytes;
  struct wr_buf out;
  assert_int_equal(wr_json_patch(doc, edits, n, pieces, &count, &bytes), WR_OK);
  assert_true(count <= WR_JSON_PATCH_PIECES(n));
  wr_buf_init(&out, a, sizeof a);
  for (size_t i = 0; i < count; i++) {
    assert_true(pieces[i].len > 0);
    wr_buf_put(&out, pieces[i]);
  }
  assert_int_equal(out.len, bytes);
  if (!wr_span_eq(wr_buf_span(&out), wr_span_str(want))) fail_msg("%.*s", (int)out.len, a);
  wr_buf_init(&out, b, sizeof b);
  assert_int_equal(wr_json_patch_write(&out, doc, edits, n), WR_OK);
  assert_true(wr_span_eq(wr_buf_span(&out), wr_span_str(want)));
  wr_buf_init(&out, b, bytes - 1);
  assert_int_equal(wr_json_patch_write(&out, doc, edits, n), WR_E_AGAIN);
}

static void replace_scanned_values(void **state) {
  (void)state;
  static const char *const paths[] = { "model", "messages[0].content", "stream", "n" };
  struct wr_span doc =
      WR_SPAN("{\"model\":\"a\",\"messages\":[{\"content\":\"x\"}], \"stream\": false}");
  struct wr_json_prog prog;
  struct wr_json_value v[4];
  assert_int_equal(wr_json_compile(&prog, paths, 4), WR_OK);
  assert_int_equal(wr_json_scan(&prog, doc, v), WR_OK);
  struct wr_json_edit edits[8];
  edits[0] = wr_json_patch_replace(v[2].raw, WR_SPAN("true"));
  edits[1] = wr_json_patch_replace(v[0].raw, WR_SPAN("\"gpt\""));
  edits[2] = wr_json_patch_replace(v[1].raw, WR_SPAN("[]"));
  struct wr_extent whole = { 0, (uint32_t)doc.len };
  assert_int_equal(wr_json_patch_insert(doc, whole, WR_SPAN("\"n\":1"), &edits[3]), WR_OK);
  assert_int_equal(wr_json_patch_insert(doc, whole, WR_SPAN("\"m\":2"), &edits[4]), WR_OK);
  wr_json_patch_sort(edits, 5);
  join(doc, edits, 5,
       "{\"n\":1,\"m\":2,\"model\":\"gpt\",\"messages\":[{\"content\":[]}], \"stream\": true}");
  join(doc, edits, 0, doc.ptr);
  join(doc, edits, 1,
       "{\"n\":1,\"model\":\"a\",\"messages\":[{\"content\":\"x\"}], \"stream\": false}");
  assert_int_equal(v[3].type, WR_JSON_MISSING);
}

static void insert_into_empty(void **state) {
  (void)state;
  struct wr_json_edit e;
  struct wr_span doc = WR_SPAN("[{ }]");
  struct wr_extent object = { 1, 3 };
  assert_int_equal(wr_json_patch_insert(doc, object, WR_SPAN("\"a\":1"), &e), WR_OK);
  join(doc, &e, 1, "[{\"a\":1 }]");
  assert_int_equal(
      wr_json_patch_insert(WR_SPAN("{}"), (struct wr_extent){ 0, 2 }, WR_SPAN("\"a\":1"), &e),
      WR_OK);
  join(WR_SPAN("{}"), &e, 1, "{\"a\":1}");
}

static void whole_document(void **state) {
  (void)state;
  struct wr_json_edit e = wr_json_patch_replace((struct wr_extent){ 0, 4 }, WR_SPAN("[1]"));
  join(WR_SPAN("null"), &e, 1, "[1]");
}

static void refused(void **state) {
  (void)state;
  struct wr_span pieces[WR_JSON_PATCH_PIECES(2)];
  size_t n;
  struct wr_json_edit e[2];
  struct wr_span doc = WR_SPAN("[1,2]");
  assert_int_equal(wr_json_patch_insert(doc, (struct wr_extent){ 0, 5 }, WR_SPAN("x"), e),
                   WR_E_ARG);
  assert_int_equal(wr_json_patch_insert(doc, (struct wr_extent){ 4, 9 }, WR_SPAN("x"), e),
                   WR_E_ARG);
  assert_int_equal(wr_json_patch_insert(WR_SPAN("{ "), (struct wr_extent){ 0, 2 }, WR_SPAN("x"), e),
                   WR_E_ARG);
  e[0] = wr_json_patch_replace((struct wr_extent){ 3, 1 }, WR_SPAN("9"));
  e[1] = wr_json_patch_replace((struct wr_extent){ 1, 1 }, WR_SPAN("8"));
  assert_int_equal(wr_json_patch(doc, e, 2, pieces, &n, NULL), WR_E_ARG);
  e[1] = wr_json_patch_replace((struct wr_extent){ 4, 2 }, WR_SPAN("8"));
  assert_int_equal(wr_json_patch(doc, e, 2, pieces, &n, NULL), WR_E_ARG);
  struct wr_buf out;
  char room[16];
  wr_buf_init(&out, room, sizeof room);
  assert_int_equal(wr_json_patch_write(&out, doc, e, 2), WR_E_ARG);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(replace_scanned_values),
    cmocka_unit_test(insert_into_empty),
    cmocka_unit_test(whole_document),
    cmocka_unit_test(refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
