/* field.h: reading one option out of a checked configuration by its row of the schema: what
 * explain.c and dump.c share. Pure. */
#ifndef WR_CONF_FIELD_H
#define WR_CONF_FIELD_H

#include "base/buf.h"
#include "conf/schema.h"

/* The field's number, of 4 or 8 bytes. */
uint64_t wr_field_uint(const void *at, size_t width);
const void *wr_field_pointer(const void *at);
/* Of a MAP, WORDS, PRICES, URLS. base: the struct that the schema describes. */
size_t wr_field_count(const struct wr_option *f, const void *base);
/* INTEGER, SHARE, DURATION, SIZE, SIZE32: a number, or a quoted text with its unit, as conf.lua and
 * JSON say it alike. */
void wr_field_put_number(struct wr_buf *b, const struct wr_option *f, const void *at);
/* A header or an option whose value is likely a credential is treated as one. */
bool wr_field_is_secret(const char *name);

#endif
