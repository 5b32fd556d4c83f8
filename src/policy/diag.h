/* diag.h: what is wrong with a configuration: all of it, not only the first.
 *
 * A list of findings, each with a file, a line and a sentence. The holder inits and finishes it;
 * one thread. Running out of memory is remembered (`nomem`) rather than returned, so that a check
 * can go on to its end. */
#ifndef WR_POLICY_DIAG_H
#define WR_POLICY_DIAG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/span.h"

enum wr_diag_grade { WR_DIAG_ERROR, WR_DIAG_WARNING };

struct wr_diag_entry {
  char *text; /* owned; one line, no file, no line */
  char *file; /* owned */
  int line;   /* 0: of the whole file */
  enum wr_diag_grade grade;
};

struct wr_diag {
  struct wr_diag_entry *entries; /* owned */
  size_t count, cap;
  size_t errors; /* also those that were not kept, above WR_DIAG_KEPT */
  size_t warnings;
  bool nomem;
};

#define WR_DIAG_KEPT 200

void wr_diag_init(struct wr_diag *diag);
void wr_diag_fini(struct wr_diag *diag);
void wr_diag_error(struct wr_diag *diag, const char *file, int line, const char *format, ...)
    WR_PRINTF(4, 5);
void wr_diag_warn(struct wr_diag *diag, const char *file, int line, const char *format, ...)
    WR_PRINTF(4, 5);
/* By file, line and text: tables of Lua have no order, the list has one. */
void wr_diag_sort(struct wr_diag *diag);

/* One call a line, "conf.lua:6: upstream 'openai': …", warnings as "conf.lua:6: warning: …";
 * without a line feed. */
typedef void (*wr_diag_out_fn)(void *ctx, struct wr_span line);
void wr_diag_print(const struct wr_diag *diag, wr_diag_out_fn out, void *ctx);

#endif
