/* secret.h: a credential. There is no printer for it: what shows it shows "•••". It is read in one
 * place, where the request for the upstream is written. The bytes live in the configuration's arena
 * and are wiped when that is freed. */
#ifndef WR_CONF_SECRET_H
#define WR_CONF_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

struct wr_secret {
  const char *bytes; /* borrowed: conf arena; not NUL-terminated; NULL: none */
  size_t len;
  const char *source; /* borrowed: conf arena; "env OPENAI_API_KEY": may be shown */
};

static inline bool wr_secret_is_set(const struct wr_secret *s) { return s->len > 0; }
/* For the writer of upstream requests only. */
static inline struct wr_span wr_secret_reveal(const struct wr_secret *s) {
  return wr_span_make(s->bytes, s->len);
}

#endif
