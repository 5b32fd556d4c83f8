#include "conf/conf.h"

#include "base/check.h"
#include "conf/arena.h"

const char *wr_kind_name(enum wr_kind kind) {
  static const char *const names[WR_KINDS] = { "openai",    "openai-compatible",
                                               "anthropic", "ollama",
                                               "sse",       "mock" };
  return (unsigned)kind < WR_KINDS ? names[kind] : "?";
}

void wr_conf_free(struct wr_conf *conf) {
  if (!conf) return;
  struct wr_conf_arena *arena = conf->arena; /* conf itself stands in it */
  WR_CHECK(arena != NULL);
  wr_conf_arena_free(arena);
}

uint32_t wr_conf_group_find(const struct wr_conf *conf, struct wr_span name) {
  for (size_t i = 0; i < conf->group_count; i++)
    if (wr_span_eq(name, wr_span_str(conf->groups[i].name))) return (uint32_t)i;
  return UINT32_MAX;
}
