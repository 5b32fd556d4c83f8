/* dump.h: the effective configuration as JSON, for programs: `weir dump`.
 *
 * Every option that has a value, defaults too, under the names of conf.lua; durations and sizes as
 * texts with their units. Secrets are {"secret": where it comes from}. Pure. */
#ifndef WR_CONF_DUMP_H
#define WR_CONF_DUMP_H

#include "conf/conf.h"
#include "conf/schema.h"

void wr_conf_dump(const struct wr_conf *conf, wr_conf_out_fn out, void *ctx);

#endif
