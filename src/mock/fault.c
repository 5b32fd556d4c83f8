#include "mock/fault.h"

#include <stdio.h>

#include "base/text.h"

struct fault_row {
  const char *name; /* static */
  const char *help; /* static */
  uint32_t min, max, normal;
  char mark;
};

static const struct fault_row rows[WR_MOCK_FAULTS] = {
#define X(id, name, mark, min, max, normal, help) { name, help, min, max, normal, mark },
  WR_MOCK_FAULT_LIST(X)
#undef X
};

static enum wr_err refuse(enum wr_err err, char *why, size_t why_bytes, const char *text) {
  if (why_bytes > 0) (void)snprintf(why, why_bytes, "%s", text);
  return err;
}

/* Splits "name@5" in two; *mark is 0 when there is no number. */
static struct wr_span split_name(struct wr_span text, char *mark, struct wr_span *number) {
  *mark = 0;
  *number = wr_span_make(NULL, 0);
  for (size_t i = 0; i < text.len; i++) {
    if (text.ptr[i] != '@' && text.ptr[i] != ':') continue;
    *mark = text.ptr[i];
    *number = wr_span_sub(text, i + 1, text.len - i - 1);
    return wr_span_sub(text, 0, i);
  }
  return text;
}

enum wr_err wr_mock_fault_parse(struct wr_span text, struct wr_mock_fault *out, char *why,
                                size_t why_bytes) {
  char mark;
  struct wr_span number;
  struct wr_span name = split_name(wr_span_trim(text), &mark, &number);
  for (unsigned kind = 0; kind < WR_MOCK_FAULTS; kind++) {
    const struct fault_row *row = &rows[kind];
    if (!wr_span_ieq(name, wr_span_str(row->name))) continue;
    uint64_t n = row->normal;
    if (mark != 0) {
      /* "stall:5" means the same as "stall@5": nobody remembers which mark it was. */
      if (row->mark == 0)
        return refuse(WR_E_TEXT_SYNTAX, why, why_bytes, "this fault takes no number");
      enum wr_err err = wr_text_u64(number, row->max, &n);
      if (err != WR_OK)
        return refuse(err, why, why_bytes, "the fault's number is not in its range");
      if (n < row->min)
        return refuse(WR_E_TEXT_RANGE, why, why_bytes, "the fault's number is too small");
    }
    out->kind = (uint8_t)kind;
    out->n = (uint32_t)n;
    return WR_OK;
  }
  return refuse(WR_E_TEXT_SYNTAX, why, why_bytes,
                "no fault has this name; see --help for those there are");
}

const char *wr_mock_fault_name(enum wr_mock_fault_kind kind) { return rows[kind].name; }
char wr_mock_fault_mark(enum wr_mock_fault_kind kind) { return rows[kind].mark; }
const char *wr_mock_fault_help(enum wr_mock_fault_kind kind) { return rows[kind].help; }
