#include "conf/conf.h"

#include <string.h>

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

uint32_t wr_conf_upstream_find(const struct wr_conf *conf, struct wr_span name) {
  for (size_t i = 0; i < conf->upstream_count; i++)
    if (wr_span_eq(name, wr_span_str(conf->upstreams[i].name))) return (uint32_t)i;
  return UINT32_MAX;
}

const char *wr_hook_word(unsigned place) {
  static const char *const words[WR_HOOKS] = {
    "on_request",     "on_response_start", "on_event", "on_text",
    "on_slow_client", "on_upstream_error", "on_end",   "on_pressure",
  };
  WR_CHECK(place < WR_HOOKS);
  return words[place];
}

static bool serves(const struct wr_conf_upstream *up, struct wr_span model) {
  for (size_t i = 0; i < up->model_count; i++) {
    struct wr_span name = wr_span_str(up->models[i].client);
    if (wr_span_eq(name, model) || wr_span_eq(name, WR_SPAN("*"))) return true;
  }
  return up->model_count == 0;
}

bool wr_conf_price(const struct wr_conf_upstream *up, struct wr_span model, double input,
                   double output, double *dollars) {
  const struct wr_conf_price *any = NULL;
  if (!serves(up, model)) return false;
  *dollars = 0;
  if (up->price_count == 0) return true;
  for (size_t i = 0; i < up->price_count; i++) {
    const struct wr_conf_price *p = &up->prices[i];
    bool same = wr_span_eq(wr_span_str(p->model), model);
    if (same || strcmp(p->model, "*") == 0) any = p;
    if (same) break;
  }
  if (any) *dollars = (input * any->input + output * any->output) / 1e6;
  return any != NULL;
}
