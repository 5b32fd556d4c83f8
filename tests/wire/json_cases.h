/* json_cases.h: documents after RFC 8259, with what must become of them. */
#ifndef WR_TESTS_WIRE_JSON_CASES_H
#define WR_TESTS_WIRE_JSON_CASES_H

#include "base/span.h"

struct json_case {
  struct wr_span doc;
  bool accept;
};

#define YES(text) { { text, sizeof(text) - 1 }, true }
#define NO(text) { { text, sizeof(text) - 1 }, false }
#define OPEN8 "[[[[[[[["
#define SHUT8 "]]]]]]]]"
#define OPEN64 OPEN8 OPEN8 OPEN8 OPEN8 OPEN8 OPEN8 OPEN8 OPEN8
#define SHUT64 SHUT8 SHUT8 SHUT8 SHUT8 SHUT8 SHUT8 SHUT8 SHUT8

static const struct json_case JSON_CASES[] = {
  /* Whole values at the top. */
  YES("null"), YES("true"), YES("false"), YES("0"), YES("-0"), YES("1"), YES("\"\""), YES("[]"),
  YES("{}"), YES(" \t\r\n[ ]\t\r\n "), YES("\"a string that is longer than sixteen bytes\""),
  NO(""), NO(" "), NO("\n"), NO("nul"), NO("nulll"), NO("Null"), NO("tru"), NO("truefalse"),
  NO("True"), NO("fals"), NO("undefined"), NO("NaN"), NO("Infinity"), NO("-Infinity"),
  NO("\xef\xbb\xbf{}"), NO("null null"), NO("1 2"), NO("{}{}"), NO("[]]"), NO("{}}"), NO(","),
  NO("]"), NO("}"), NO(":"), NO("\f1"), NO("1\v"), NO("\xc2\xa0"),
  /* Numbers. */
  YES("10"), YES("123456789012345678901234567890"), YES("-1"), YES("0.0"), YES("-0.5"),
  YES("1e1"), YES("1E1"), YES("1e+1"), YES("1e-1"), YES("0e0"), YES("1.5e+10"), YES("[0,-0,1]"),
  NO("01"), NO("-"), NO("--1"), NO("+1"), NO("-01"), NO("00"), NO("1."), NO(".5"), NO("1.e1"),
  NO("1e"), NO("1e+"), NO("1e-"), NO("1e1.5"), NO("0x10"), NO("1_000"), NO("1a"), NO("- 1"),
  NO("1e 1"), NO("[1.]"), NO("[-]"), NO("1,"), NO("0e"), NO("{\"a\":01}"),
  /* Strings. */
  YES("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), YES("\"\\u0000\""), YES("\"\\uD83D\\uDE00\""),
  YES("\"\\ud83d\""), YES("\"\\ude00\\ud83d\""), YES("\"\\u00e9\\u00E9\""),
  YES("\"\xc3\xa9 \xf0\x9f\x98\x80\""), YES("\"\x7f\""), YES("\"/\""), YES("\"0123456789abcde\\\"\""),
  NO("\""), NO("\"a"), NO("\"\\"), NO("\"\\\""), NO("\"\\x41\""), NO("\"\\a\""), NO("\"\\'\""),
  NO("\"\\u\""), NO("\"\\u1\""), NO("\"\\u12\""), NO("\"\\u123\""), NO("\"\\u123g\""),
  NO("\"\\U0041\""), NO("\"\\u 041\""), NO("\"\n\""), NO("\"\t\""), NO("\"a\0b\""), NO("\"\x1f\""),
  NO("'a'"), NO("\"a\"b\""), NO("\"0123456789abcdef\n\""), NO("\"0123456789abcdef"), NO("a"),
  NO("\"\\0\""), NO("\"\\ \""),
  /* Arrays. */
  YES("[1]"), YES("[1,2]"), YES("[ 1 , 2 ]"), YES("[[],[[]],{}]"), YES("[null,true,false,\"\"]"),
  NO("["), NO("[1"), NO("[1,"), NO("[,"), NO("[,1]"), NO("[1,]"), NO("[1,,2]"), NO("[1 2]"),
  NO("[1:2]"), NO("[1}"), NO("[\"a\":1]"), NO("[[]"), NO("[{]}"), NO("[1;2]"), NO("[]1"),
  /* Objects. */
  YES("{\"a\":1}"), YES("{ \"a\" : 1 , \"b\" : [ ] }"), YES("{\"\":0}"), YES("{\"a\":1,\"a\":2}"),
  YES("{\"a\":{\"a\":{\"a\":{}}}}"), YES("{\"\\u0061\":1}"), YES("{\"a\":\"}\",\"b\":\"]\"}"),
  NO("{"), NO("{\"a\""), NO("{\"a\":"), NO("{\"a\":1"), NO("{\"a\":1,"), NO("{\"a\":1,}"),
  NO("{,}"), NO("{\"a\"}"), NO("{\"a\",1}"), NO("{\"a\":1 \"b\":2}"), NO("{a:1}"), NO("{'a':1}"),
  NO("{1:1}"), NO("{null:1}"), NO("{\"a\":}"), NO("{\"a\"::1}"), NO("{\"a\":1]"), NO("{:1}"),
  NO("{\"a\":1,,\"b\":2}"), NO("{\"a\" 1}"), NO("{\"a\":1}{"), NO("{[]:1}"), NO("{\"a\\\":1}"),
  NO("{/**/}"), NO("//\n{}"), NO("{\"a\":1/**/}"), NO("{\"x\":[{\"y\":tru}]}"),
  /* Nesting. */
  YES(OPEN64 SHUT64), YES(OPEN8 "{\"a\":" OPEN8 "1" SHUT8 "}" SHUT8),
  NO("[" OPEN64 SHUT64 "]"), NO(OPEN64 "{}" SHUT64), NO(OPEN64 "1" SHUT8), NO(OPEN64 OPEN64),
};
enum { JSON_CASE_COUNT = sizeof JSON_CASES / sizeof JSON_CASES[0] };

/* Documents whose values matter, for every path of JSON_PATHS and at every split. */
static const char *const JSON_PATHS[] = {
  "choices[0].delta.content", "choices[0].delta", "choices[].finish_reason", "choices.1.index",
  "usage", "usage.total", "error.message", "a", "a.b", "a.0", "", "[0]", "[1].a", "[].a",
  "x[].y[].z", "a_name_that_is_longer_than_eight", "caf\xc3\xa9", "\xf0\x9f\x98\x80",
};
enum { JSON_PATH_COUNT = sizeof JSON_PATHS / sizeof JSON_PATHS[0] };

static const char *const JSON_DOCS[] = {
  "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\\n\"},\"finish_reason\":null}],\"usage\":null}",
  "{\"choices\":[{\"finish_reason\":null},{\"index\":7,\"finish_reason\":\"stop\"},"
  "{\"finish_reason\":\"length\"}],\"usage\":{\"total\":12.5e1,\"x\":[{\"}\":\"]\"}]}}",
  "{\"a\":1,\"a\":{\"b\":2,\"b\":3},\"a\":{\"c\":[]},\"error\":{\"message\":\"m\"},\"error\":[]}",
  "{\"a\":{\"b\":true},\"\\u0061\":{\"\\u0062\":false,\"0\":\"zero\"}}",
  "{\"a\":[10,20],\"a_name_that_is_longer_than_eight\":1,\"a_name_that_is_longer_than_nine.\":2}",
  "[{\"a\":null},{\"a\":1},{\"a\":2}]",
  "[{\"a\":null},{\"b\":1},{\"a\":null}]",
  "{\"x\":[{\"y\":[{\"z\":null},{}]},{\"y\":[{\"z\":1}],\"y\":[{\"z\":2},{\"z\":3}]},{\"y\":[{\"z\":4}]}]}",
  "{\"x\":[{\"y\":[{\"z\":1}]}],\"x\":[{\"y\":[]}]}",
  "{\"caf\\u00e9\":\"e\",\"\\ud83d\\ude00\":\"face\",\"\\ud83dx\":1,\"\\ude00\":2}",
  "{\"caf\xc3\xa9\":1,\"\xf0\x9f\x98\x80\":{\"a\":[1,{}]}}",
  " \"\\\"top\\\"\" ", "-12.50E-3", "null", "[[],[1],{\"a\":\"0123456789012345678901234567890\"}]",
  "{\"usage\":{\"total\":1},\"usage\":null,\"choices\":{\"1\":{\"index\":5}},\"choices\":[1,2]}",
};
enum { JSON_DOC_COUNT = sizeof JSON_DOCS / sizeof JSON_DOCS[0] };

#endif
