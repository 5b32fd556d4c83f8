/* Bodies that aren't an answer of a model: lists, health, embeddings. */
#include <time.h>

#include "base/hash.h"
#include "base/rand.h"
#include "mock/client.h"
#include "wire/json_doc.h"

#define EMBEDDING_NUMBERS 8u

static const char *const models[] = { "weir-mock", "gpt-4o-mini", "gpt-4o", "claude-sonnet-4-5",
                                      "llama3.2" };
#define MODELS (sizeof models / sizeof models[0])

static void put_model(const struct wr_mock_exchange *x, struct wr_span name, struct wr_buf *out) {
  bool anthropic = x->route.dialect == WR_MOCK_MESSAGES;
  wr_buf_put(out, anthropic ? WR_SPAN("{\"type\":\"model\",\"id\":") : WR_SPAN("{\"id\":"));
  wr_buf_json_string(out, name);
  if (anthropic) {
    wr_buf_put(out, WR_SPAN(",\"display_name\":"));
    wr_buf_json_string(out, name);
    wr_buf_put(out, WR_SPAN(",\"created_at\":\"2025-01-01T00:00:00Z\"}"));
  } else {
    wr_buf_put(out, WR_SPAN(",\"object\":\"model\",\"created\":1735689600,\"owned_by\":\"weir\"}"));
  }
}

static void put_models(const struct wr_mock_exchange *x, struct wr_buf *out) {
  bool anthropic = x->route.dialect == WR_MOCK_MESSAGES;
  wr_buf_put(out, anthropic ? WR_SPAN("{\"data\":[") : WR_SPAN("{\"object\":\"list\",\"data\":["));
  for (size_t i = 0; i < MODELS; i++) {
    if (i > 0) wr_buf_char(out, ',');
    put_model(x, wr_span_str(models[i]), out);
  }
  wr_buf_char(out, ']');
  if (anthropic)
    wr_buf_printf(out, ",\"has_more\":false,\"first_id\":\"%s\",\"last_id\":\"%s\"", models[0],
                  models[MODELS - 1]);
  wr_buf_char(out, '}');
}

static void put_tags(struct wr_buf *out) {
  wr_buf_put(out, WR_SPAN("{\"models\":["));
  for (size_t i = 0; i < MODELS; i++)
    wr_buf_printf(
        out,
        "%s{\"name\":\"%s\",\"model\":\"%s\",\"modified_at\":\"2025-01-01T00:00:00Z\","
        "\"size\":1,\"digest\":\"%016zx\",\"details\":{\"format\":\"gguf\",\"family\":\"mock\","
        "\"parameter_size\":\"1B\",\"quantization_level\":\"Q4_0\"}}",
        i > 0 ? "," : "", models[i], models[i], i + 1);
  wr_buf_put(out, WR_SPAN("]}"));
}

/* The same text, the same vector: numbers in -1 .. 1 from a hash of it. */
static void embed(struct wr_span text, float *out) {
  static const uint8_t key[16] = { 'w', 'e', 'i', 'r' };
  struct wr_rand rand;
  wr_rand_init(&rand, wr_siphash(key, text));
  for (size_t i = 0; i < EMBEDDING_NUMBERS; i++)
    out[i] = (float)((int)wr_rand_below(&rand, 2001) - 1000) / 1000.0f;
}

/* The numbers as little-endian floats in base64: what the SDKs ask for unless told otherwise. */
static void put_base64(const float *numbers, struct wr_buf *out) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint8_t bytes[EMBEDDING_NUMBERS * 4 + 3] = { 0 };
  size_t len = EMBEDDING_NUMBERS * 4;
  for (size_t i = 0; i < EMBEDDING_NUMBERS; i++) {
    uint32_t bits;
    memcpy(&bits, &numbers[i], sizeof bits);
    for (unsigned k = 0; k < 4; k++) bytes[i * 4 + k] = (uint8_t)(bits >> (8 * k));
  }
  wr_buf_char(out, '"');
  for (size_t i = 0; i < len; i += 3) {
    uint32_t group = (uint32_t)bytes[i] << 16 | (uint32_t)bytes[i + 1] << 8 | bytes[i + 2];
    for (unsigned k = 0; k < 4; k++) {
      bool padding = i + k > len;
      wr_buf_char(out, padding ? '=' : digits[group >> (18 - 6 * k) & 63]);
    }
  }
  wr_buf_char(out, '"');
}

static void put_floats(const float *numbers, struct wr_buf *out) {
  for (size_t i = 0; i < EMBEDDING_NUMBERS; i++)
    wr_buf_printf(out, "%s%.3f", i > 0 ? "," : "[", (double)numbers[i]);
  wr_buf_char(out, ']');
}

static void put_embedding(struct wr_span text, unsigned index, bool base64, struct wr_buf *out) {
  float numbers[EMBEDDING_NUMBERS];
  embed(text, numbers);
  wr_buf_printf(
      out, "%s{\"object\":\"embedding\",\"index\":%u,\"embedding\":", index > 0 ? "," : "", index);
  if (base64)
    put_base64(numbers, out);
  else
    put_floats(numbers, out);
  wr_buf_char(out, '}');
}

const char *wr_mock_embeddings_check(const struct wr_mock_exchange *x) {
  struct wr_json_doc *doc;
  struct wr_span text = wr_span_make(x->intake->kept, x->intake->kept_len);
  if (wr_json_doc_parse(text, 0, &doc) != WR_OK)
    return "we could not parse the JSON body of your request";
  const struct wr_json_item *input = wr_json_item_at(wr_json_doc_root(doc), "input");
  enum wr_json_type type = wr_json_item_type(input);
  bool ok = type == WR_JSON_STRING || (type == WR_JSON_ARRAY && wr_json_item_count(input) > 0);
  wr_json_doc_free(doc);
  return ok ? NULL : "input: a string or an array of strings is required";
}

/* A list of numbers is one input, already cut into tokens: its first member stands for it. */
static bool is_tokens(const struct wr_json_item *input) {
  return wr_json_item_type(wr_json_item_first(input)) == WR_JSON_NUMBER;
}

static void put_embeddings(const struct wr_mock_exchange *x, struct wr_buf *out) {
  struct wr_json_doc *doc;
  struct wr_span text = wr_span_make(x->intake->kept, x->intake->kept_len);
  if (wr_json_doc_parse(text, 0, &doc) != WR_OK) return;
  const struct wr_json_item *root = wr_json_doc_root(doc);
  const struct wr_json_item *input = wr_json_item_at(root, "input");
  bool base64 =
      wr_span_eq(wr_json_item_str(wr_json_item_at(root, "encoding_format")), WR_SPAN("base64"));
  unsigned long long tokens = wr_mock_answer_prompt_tokens(&x->answer);
  wr_buf_put(out, WR_SPAN("{\"object\":\"list\",\"data\":["));
  if (wr_json_item_type(input) != WR_JSON_ARRAY || is_tokens(input)) {
    put_embedding(wr_json_item_str(input), 0, base64, out);
  } else {
    unsigned index = 0;
    for (const struct wr_json_item *i = wr_json_item_first(input); i != NULL;
         i = wr_json_item_next(i))
      put_embedding(wr_json_item_str(i), index++, base64, out);
  }
  wr_buf_put(out, WR_SPAN("],\"model\":"));
  wr_mock_answer_put_model(&x->answer, out);
  wr_buf_printf(out, ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}", tokens, tokens);
  wr_json_doc_free(doc);
}

const char *wr_mock_plain_body(const struct wr_mock_exchange *x, struct wr_buf *out) {
  switch (x->route.place) {
    case WR_MOCK_AT_MODELS: put_models(x, out); break;
    case WR_MOCK_AT_MODEL:
      put_model(x, wr_span_str(x->path + sizeof "/v1/models/" - 1), out);
      break;
    case WR_MOCK_AT_TAGS: put_tags(out); break;
    case WR_MOCK_AT_VERSION: wr_buf_put(out, WR_SPAN("{\"version\":\"0.0.0-weir-mock\"}")); break;
    case WR_MOCK_AT_EMBEDDINGS: put_embeddings(x, out); break;
    case WR_MOCK_AT_COUNT:
      wr_buf_printf(out, "{\"input_tokens\":%llu}",
                    (unsigned long long)wr_mock_answer_prompt_tokens(&x->answer));
      break;
    case WR_MOCK_AT_OPTIONS: return NULL;
    default: wr_buf_put(out, WR_SPAN("{\"status\":\"ok\"}")); break;
  }
  return "application/json";
}
