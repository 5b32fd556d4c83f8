/* http_date.h: dates as HTTP writes them ("Sun, 06 Nov 1994 08:49:37 GMT", RFC 9110 5.6.7).
 *
 * Only this form, in which every sender has to write; the two obsolete ones are refused. Pure, any
 * thread. */
#ifndef WR_WIRE_HTTP_DATE_H
#define WR_WIRE_HTTP_DATE_H

#include "base/err.h"
#include "base/span.h"

/* Seconds since 1970, of years 1970 to 9999. WR_E_TEXT_SYNTAX: no such date. */
WR_MUST_USE enum wr_err wr_http_date_s(struct wr_span text, uint64_t *out);

#endif
