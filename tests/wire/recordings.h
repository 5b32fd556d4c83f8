/* recordings.h: the recorded streams that tests read, and the includes that cmocka needs first.
 *
 * The files are no part of the project: WEIR_SHARED names the folder above `streams` (default
 * ../shared); a test without them is skipped. */
#ifndef WR_TESTS_WIRE_RECORDINGS_H
#define WR_TESTS_WIRE_RECORDINGS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/span.h"

static const char *const RECORDINGS[] = {
  "anthropic-text",
  "anthropic-tool-no-args",
  "anthropic-web-search",
  "cohere-text",
  "google-text",
  "openai-chat-alibaba-tool-call",
  "openai-chat-azure-model-router",
  "openai-chat-deepseek-reasoning-tool-call",
  "openai-chat-mistral-text",
  "openai-chat-text",
  "openai-chat-xai-text",
  "openai-responses-error",
  "openai-responses-lmstudio",
  "openai-responses-web-search",
};
enum { RECORDING_COUNT = sizeof RECORDINGS / sizeof RECORDINGS[0] };

/* The file's bytes, to be freed by the caller; skips the test when it isn't there. */
static inline struct wr_span recording_load(const char *name) {
  const char *shared = getenv("WEIR_SHARED");
  char path[512];
  (void)snprintf(path, sizeof path, "%s/streams/%s.jsonl", shared ? shared : "../shared", name);
  FILE *f = fopen(path, "rb");
  if (!f) {
    print_message("no %s: skipped\n", path);
    skip();
  }
  char *bytes = malloc(1 << 20);
  assert_non_null(bytes);
  size_t n = fread(bytes, 1, 1 << 20, f);
  (void)fclose(f);
  assert_in_range(n, 1, (1 << 20) - 1);
  return wr_span_make(bytes, n);
}

/* Takes the next line (without its LF) off *rest; false at the end. */
static inline bool recording_line(struct wr_span *rest, struct wr_span *line) {
  while (rest->len && rest->ptr[0] == '\n') *rest = wr_span_sub(*rest, 1, rest->len - 1);
  if (rest->len == 0) return false;
  const char *lf = memchr(rest->ptr, '\n', rest->len);
  size_t n = lf ? (size_t)(lf - rest->ptr) : rest->len;
  *line = wr_span_make(rest->ptr, n);
  *rest = wr_span_sub(*rest, n, rest->len - n);
  return true;
}

static inline void recording_free(struct wr_span bytes) {
  free((void *)(uintptr_t)bytes.ptr);
}

#endif
