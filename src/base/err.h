/* err.h: the one table of errors (err.def) that feeds replies, retries, metrics, logs and Lua. */
#ifndef WR_BASE_ERR_H
#define WR_BASE_ERR_H

#if defined(__GNUC__)
#define WR_MUST_USE __attribute__((warn_unused_result))
#define WR_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define WR_NORETURN __attribute__((noreturn))
#else
#define WR_MUST_USE
#define WR_PRINTF(f, a)
#define WR_NORETURN
#endif

enum wr_err {
#define X(name, status, retry, label, text) WR_E_##name,
#include "base/err.def"
#undef X
  WR_E_COUNT
};
#define WR_OK WR_E_OK

/* What kind of failure of an upstream an error is: what `retry.on` of a group names, and a policy
 * sees. */
enum wr_retry {
  WR_RETRY_NONE, /* the request itself is at fault, or weir */
  WR_RETRY_CONNECT,
  WR_RETRY_TLS,
  WR_RETRY_RESET,
  WR_RETRY_FIRST_BYTE,
  WR_RETRY_FIRST_TOKEN,
  WR_RETRY_IDLE,
  WR_RETRY_TRUNCATED,
  WR_RETRY_PROTOCOL,
  WR_RETRY_ERROR, /* the upstream says so itself, in its stream */
  WR_RETRY_SLOW,
  WR_RETRY_STATUS,
  WR_RETRY_NEVER, /* of the upstream, but not to be tried again */
  WR_RETRIES
};

/* The HTTP status that a client sees, 100..599, or 0 where the error never reaches one. */
int wr_err_status(enum wr_err err);
enum wr_retry wr_err_retry(enum wr_err err);
/* "connect", "first_token" …; static. */
const char *wr_retry_name(enum wr_retry retry);
/* snake_case, for metric labels and logs; static. */
const char *wr_err_label(enum wr_err err);
/* One sentence without a full stop, for people; static. */
const char *wr_err_text(enum wr_err err);

#endif
