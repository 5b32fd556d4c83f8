/* check.h: assertions in grades.
 *
 * WR_CHECK   always on; memory and ownership. A failure ends the process: going on would corrupt.
 * WR_DCHECK debug and sanitizer builds only; for what is too hot or too obvious to test in a
 * release. WR_EXPECT an expression: false when the condition fails. The failure is counted and
 * reported once a site; the caller ends the one session that is concerned: `if (!WR_EXPECT(x))
 * return WR_E_INTERNAL;`
 *
 * WR_MAGIC fields stand first in long-lived structs; WR_MAGIC_CHECK tests them at entry. */
#ifndef WR_BASE_CHECK_H
#define WR_BASE_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

WR_NORETURN void wr_check_failed(const char *cond, const char *file, int line);
/* Counts, and prints the first failure of a process to standard error; always returns false. Any
 * thread. */
bool wr_expect_failed(const char *cond, const char *file, int line);
/* How many WR_EXPECT failed since the process began. */
uint64_t wr_expect_failures(void);

#define WR_CHECK(cond)                                                                             \
  ((void)(__builtin_expect(!!(cond), 1) || (wr_check_failed(#cond, __FILE__, __LINE__), 0)))
#define WR_EXPECT(cond)                                                                            \
  (__builtin_expect(!!(cond), 1) || wr_expect_failed(#cond, __FILE__, __LINE__))
#ifdef WR_DEBUG
#define WR_DCHECK(cond) WR_CHECK(cond)
#else
#define WR_DCHECK(cond) ((void)sizeof(!!(cond)))
#endif

#define WR_MAGIC_CHECK(obj, value) WR_CHECK((obj) != NULL && (obj)->magic == (value))

#endif
