/* api.h: what the load generator has to know of each API: how to ask for a stream, which event is
 * the first with content, and which one ends it. Pure functions over tables; any thread. */
#ifndef WR_LOAD_API_H
#define WR_LOAD_API_H

#include "base/buf.h"
#include "base/span.h"

enum wr_load_api {
  WR_LOAD_CHAT,
  WR_LOAD_RESPONSES,
  WR_LOAD_MESSAGES,
  WR_LOAD_OLLAMA_CHAT,
  WR_LOAD_OLLAMA_GENERATE,
  WR_LOAD_APIS
};

enum wr_load_sign {
  WR_LOAD_PLAIN,
  WR_LOAD_ENDS, /* the stream is whole */
  WR_LOAD_FAILS /* the stream says that it failed */
};

/* "chat", "responses", "messages", "ollama-chat", "ollama-generate". */
const char *wr_load_api_name(enum wr_load_api api);
/* False: no such name. */
bool wr_load_api_find(struct wr_span name, enum wr_load_api *out);
/* The path that the API has with the official clients; also which API a path belongs to (by its
 * end), false when none. */
const char *wr_load_api_path(enum wr_load_api api);
bool wr_load_api_of_path(struct wr_span path, enum wr_load_api *out);
bool wr_load_api_is_sse(enum wr_load_api api);

/* Appends the JSON body of a request; tokens 0: no limit (Messages needs one and gets 1024). */
void wr_load_api_body(enum wr_load_api api, struct wr_span model, uint64_t tokens,
                      struct wr_buf *out);
/* Header lines that the API wants beside those of every request; or "". Static. */
const char *wr_load_api_fields(enum wr_load_api api);

/* name: of the `event:` line or empty. */
enum wr_load_sign wr_load_api_sign(enum wr_load_api api, struct wr_span name, struct wr_span data);
/* Does the event carry text (or a tool's arguments, or reasoning)? */
bool wr_load_api_has_content(enum wr_load_api api, struct wr_span name, struct wr_span data);

#endif
