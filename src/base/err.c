#include "base/err.h"

static const struct {
  short status;
  unsigned char retry;
  const char *label;
  const char *text;
} table[WR_E_COUNT] = {
#define X(name, status, retry, label, text) { status, WR_RETRY_##retry, label, text },
#include "base/err.def"
#undef X
};

static unsigned known(enum wr_err err) {
  return (unsigned)err < WR_E_COUNT ? (unsigned)err : WR_E_INTERNAL;
}

int wr_err_status(enum wr_err err) { return table[known(err)].status; }
enum wr_retry wr_err_retry(enum wr_err err) { return (enum wr_retry)table[known(err)].retry; }
const char *wr_retry_name(enum wr_retry retry) {
  static const char *const names[WR_RETRIES] = {
    "none",      "connect",  "tls",   "reset", "first_byte", "first_token", "idle",
    "truncated", "protocol", "error", "slow",  "status",     "never",
  };
  return names[(unsigned)retry < WR_RETRIES ? retry : WR_RETRY_NONE];
}
const char *wr_err_label(enum wr_err err) { return table[known(err)].label; }
const char *wr_err_text(enum wr_err err) { return table[known(err)].text; }
