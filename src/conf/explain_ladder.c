/* The ladders, as conf.lua would say them. */
#include "base/buf.h"
#include "base/text.h"
#include "conf/explain.h"

static void put_mark(struct wr_buf *b, enum wr_meter meter, uint32_t mark) {
  if (!wr_meter_is_time(meter)) {
    wr_buf_printf(b, "%.4g", (double)mark / WR_LADDER_FULL);
    return;
  }
  wr_buf_char(b, '"');
  wr_text_put_duration(b, mark);
  wr_buf_char(b, '"');
}

static void put_actions(struct wr_buf *b, const struct wr_conf *conf,
                        const struct wr_conf_step *step) {
  for (unsigned a = 0; a < WR_ACTIONS; a++) {
    if (!(step->actions >> a & 1u)) continue;
    const char *name = wr_action_name((enum wr_action)a);
    if (a == WR_ACTION_CAP_OUTPUT)
      wr_buf_printf(b, ", cap_output = %u", step->cap_tokens);
    else if (a == WR_ACTION_ROUTE)
      wr_buf_printf(b, ", \"route:%s\"", conf->groups[step->route].name);
    else if (a == WR_ACTION_SHED)
      for (uint32_t i = 0; i < step->shed_count; i++)
        wr_buf_printf(b, ", \"shed:%.80s\"", step->shed[i]);
    else
      wr_buf_printf(b, ", \"%s%s\"", name, a == WR_ACTION_SHED_ALL ? ":all" : "");
  }
}

static void put_ladder(const struct wr_conf *conf, enum wr_meter meter, wr_conf_out_fn out,
                       void *ctx) {
  const struct wr_conf_ladder *ladder = &conf->ladders[meter];
  char store[8192];
  struct wr_buf b;
  wr_buf_init(&b, store, sizeof store);
  wr_buf_printf(&b, "weir.pressure \"%s\" {", wr_meter_name(meter));
  if (ladder->line) wr_buf_printf(&b, "  -- line %d\n", ladder->line);
  else wr_buf_printf(&b, "  -- default\n");
  for (uint32_t i = 0; i < ladder->count; i++) {
    wr_buf_printf(&b, "  { at = ");
    put_mark(&b, meter, ladder->steps[i].at);
    wr_buf_printf(&b, ", off = ");
    put_mark(&b, meter, ladder->steps[i].off);
    put_actions(&b, conf, &ladder->steps[i]);
    wr_buf_printf(&b, " },\n");
    out(ctx, wr_buf_span(&b));
    wr_buf_init(&b, store, sizeof store);
  }
  wr_buf_printf(&b, "}\n\n");
  out(ctx, wr_buf_span(&b));
}

void wr_conf_explain_ladders(const struct wr_conf *conf, wr_conf_out_fn out, void *ctx) {
  for (unsigned m = 0; m < WR_METERS; m++)
    if (conf->ladders[m].count || conf->ladders[m].line)
      put_ladder(conf, (enum wr_meter)m, out, ctx);
}
