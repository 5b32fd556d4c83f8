/* route.h: what the stand-in server serves, by method and path. Pure; private to mock. */
#ifndef WR_MOCK_ROUTE_H
#define WR_MOCK_ROUTE_H

#include <stdbool.h>

#include "base/span.h"
#include "mock/answer.h"
#include "wire/head.h"

enum wr_mock_place {
  WR_MOCK_AT_ANSWER, /* an answer in the route's dialect */
  WR_MOCK_AT_EMBEDDINGS,
  WR_MOCK_AT_COUNT,  /* Anthropic's count_tokens */
  WR_MOCK_AT_MODELS, /* OpenAI's and Anthropic's list */
  WR_MOCK_AT_MODEL,  /* one of them */
  WR_MOCK_AT_TAGS,   /* Ollama's list */
  WR_MOCK_AT_VERSION,
  WR_MOCK_AT_HEALTH,
  WR_MOCK_AT_OPTIONS,     /* OPTIONS, whatever the path */
  WR_MOCK_AT_NOTHING,     /* 404 */
  WR_MOCK_AT_OTHER_METHOD /* 405 */
};

struct wr_mock_route {
  enum wr_mock_place place;
  enum wr_mock_dialect dialect; /* of errors too */
  bool post;                    /* for AT_OTHER_METHOD: what would be allowed */
};

/* anthropic: the request carries anthropic-version. The prefix /v1 of OpenAI's paths may be left
 * out. */
struct wr_mock_route wr_mock_route_find(enum wr_method method, struct wr_span path, bool anthropic);

#endif
