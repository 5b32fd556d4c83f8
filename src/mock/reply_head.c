/* The head of an answer, with the fields that each provider sends. */
#include <stdio.h>
#include <time.h>

#include "base/check.h"
#include "mock/client.h"
#include "wire/http1_write.h"

static void put(struct wr_buf *out, const char *name, const char *value) {
  enum wr_err err = wr_http1_put_field(out, wr_span_str(name), wr_span_str(value));
  (void)WR_EXPECT(err == WR_OK);
}

static void put_number(struct wr_buf *out, const char *name, uint64_t value) {
  enum wr_err err = wr_http1_put_field_u64(out, wr_span_str(name), value);
  (void)WR_EXPECT(err == WR_OK);
}

static void put_date(struct wr_buf *out) {
  char text[64];
  struct tm parts;
  time_t now = time(NULL);
  if (gmtime_r(&now, &parts) == NULL) return;
  if (strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts) > 0) put(out, "date", text);
}

static void put_provider_fields(const struct wr_mock_exchange *x, struct wr_buf *out) {
  char id[32];
  (void)snprintf(id, sizeof id, "req_%016llx", (unsigned long long)x->id);
  switch (x->route.dialect) {
    case WR_MOCK_MESSAGES:
      put(out, "request-id", id);
      put(out, "anthropic-organization-id", "org_mock");
      put(out, "anthropic-ratelimit-requests-limit", "10000");
      put(out, "anthropic-ratelimit-requests-remaining", "9999");
      return;
    case WR_MOCK_OLLAMA_CHAT:
    case WR_MOCK_OLLAMA_GENERATE: return;
    default:
      put(out, "x-request-id", id);
      put(out, "openai-organization", "org_mock");
      put(out, "openai-processing-ms", "1");
      put(out, "openai-version", "2020-10-01");
      put(out, "x-ratelimit-limit-requests", "10000");
      put(out, "x-ratelimit-remaining-requests", "9999");
  }
}

static void put_framing(enum wr_mock_framing_said says, uint64_t body_bytes, struct wr_buf *out) {
  if (says == WR_MOCK_SAYS_LENGTH || says == WR_MOCK_SAYS_BOTH)
    put_number(out, "content-length", body_bytes);
  if (says == WR_MOCK_SAYS_CHUNKED || says == WR_MOCK_SAYS_BOTH)
    put(out, "transfer-encoding", "chunked");
}

static void put_cors(const struct wr_mock_exchange *x, struct wr_buf *out) {
  if (!x->has_origin && x->route.place != WR_MOCK_AT_OPTIONS) return;
  put(out, "access-control-allow-origin", "*");
  if (x->route.place != WR_MOCK_AT_OPTIONS) return;
  put(out, "access-control-allow-methods", "GET, HEAD, POST, OPTIONS");
  put(out, "access-control-allow-headers", "*, authorization");
}

void wr_mock_reply_head(const struct wr_mock_exchange *x, unsigned status, const char *content_type,
                        enum wr_mock_framing_said says, uint64_t body_bytes, struct wr_buf *out) {
  enum wr_err err = wr_http1_put_status(out, status, wr_span_make(NULL, 0));
  (void)WR_EXPECT(err == WR_OK);
  put_date(out);
  put(out, "server", "weir-mock");
  if (content_type != NULL) put(out, "content-type", content_type);
  put_provider_fields(x, out);
  if (x->streams) put(out, "cache-control", "no-cache");
  if (status == 429 || status == 503) put(out, "retry-after", "1");
  if (status == 405) put(out, "allow", x->route.post ? "POST, OPTIONS" : "GET, HEAD, OPTIONS");
  if (x->knobs.fault.kind == WR_MOCK_FAULT_GZIP_CLAIM) put(out, "content-encoding", "gzip");
  put_cors(x, out);
  if (status != 204 && status != 304) put_framing(says, body_bytes, out);
  if (!x->keep) put(out, "connection", "close");
  if (x->keep && x->old) put(out, "connection", "keep-alive");
  err = wr_http1_put_end(out);
  (void)WR_EXPECT(err == WR_OK);
}
