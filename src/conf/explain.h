/* explain.h: the effective configuration as text: every option, those left to their defaults too.
 * Secrets are shown as "•••" and where they come from. Pure; reads the configuration only. */
#ifndef WR_CONF_EXPLAIN_H
#define WR_CONF_EXPLAIN_H

#include "conf/conf.h"
#include "conf/schema.h"

void wr_conf_explain(const struct wr_conf *conf, wr_conf_out_fn out, void *ctx);
/* The part of the above that is about weir.pressure. */
void wr_conf_explain_ladders(const struct wr_conf *conf, wr_conf_out_fn out, void *ctx);

#endif
