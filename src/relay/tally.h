/* tally.h: what policies count for the whole process: counters, budgets and flags.
 *
 * One table a process, made before the workers and freed after them. A tally is found by its kind,
 * name and options, so it outlives a reload that declares it again; one that nobody declares any
 * more stays until its place is needed. Its memory is taken when it is declared and never grows:
 * `keys` entries of 32 bytes. When all are taken, the one that was not used for the longest time is
 * given away, and counted. A key is any string: it becomes a tag of 64 bits by SipHash with a
 * secret of the process, so that nobody can choose keys that meet; the string isn't kept.
 *
 * Any thread may call any function here. A tally's entries stand under its own spin lock, which is
 * held for the few dozen instructions of one operation and never across a call that may wait: that
 * makes each operation exact also while an entry is given away or its window ends. Declaring takes
 * a mutex, and happens only while a configuration loads.
 *
 * Windows are fixed stretches that begin at a multiple of their length since 1970 (as the clock
 * stood when the table was made), so that an hour begins at the hour. Times are those of
 * wr_loop_now_us: a clock that is set doesn't move a window. */
#ifndef WR_RELAY_TALLY_H
#define WR_RELAY_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

enum wr_tally_kind { WR_TALLY_COUNTER, WR_TALLY_BUDGET, WR_TALLY_FLAG, WR_TALLY_KINDS };
const char *wr_tally_kind_name(enum wr_tally_kind kind); /* "counter" */

#define WR_TALLIES_MAX 128u
#define WR_TALLY_KEYS_MAX 100000u
/* Over all tallies of a process. */
#define WR_TALLY_ENTRIES_MAX 500000u
#define WR_TALLY_NAME_MAX_BYTES 64u

struct wr_tally_options {
  enum wr_tally_kind kind;
  const char *name;   /* borrowed: for the call; 1 .. WR_TALLY_NAME_MAX_BYTES */
  uint32_t window_ms; /* 0: all time; a budget has one */
  uint32_t keys;      /* 1 .. WR_TALLY_KEYS_MAX; a flag has none */
  bool on;            /* a flag: how it begins */
};

struct wr_tallies;
struct wr_tally;

/* wall_us: since 1970; mono_us: of the clock that the other functions get, at the same moment.
 * IO: the system has no random numbers. */
WR_MUST_USE enum wr_err wr_tallies_new(uint64_t wall_us, uint64_t mono_us, struct wr_tallies **out);
/* Every tally must have been put back. */
void wr_tallies_free(struct wr_tallies *tallies);

/* The tally of these options, made if it isn't there. ARG: there is no room for another, or for
 * so many keys; NOMEM. */
WR_MUST_USE enum wr_err wr_tally_get(struct wr_tallies *tallies,
                                     const struct wr_tally_options *options, struct wr_tally **out);
struct wr_tally *wr_tally_ref(struct wr_tally *tally);
void wr_tally_put(struct wr_tally *tally);

/* Never 0. */
uint64_t wr_tally_tag(const struct wr_tally *tally, struct wr_span key);

/* Adds n >= 0 (up to INT64_MAX, where it stays) and gives the sum of this window. */
int64_t wr_tally_add(struct wr_tally *tally, uint64_t tag, int64_t n, uint64_t now_us);
/* The sum of this window; makes no entry. */
int64_t wr_tally_read(struct wr_tally *tally, uint64_t tag, uint64_t now_us);

struct wr_tally_grant {
  bool ok;
  int64_t left;      /* below the limit, after what was granted; never negative */
  uint64_t reset_ms; /* until the window ends */
  uint32_t window;   /* for wr_tally_settle */
};
/* Takes n >= 0 of what is left below the limit, or nothing. */
void wr_tally_reserve(struct wr_tally *tally, uint64_t tag, int64_t n, int64_t limit,
                      uint64_t now_us, struct wr_tally_grant *out);
/* Puts `used` in the place of what was reserved in that window. When the window has ended, or the
 * entry was given away, nothing is left to correct. */
void wr_tally_settle(struct wr_tally *tally, uint64_t tag, uint32_t window, int64_t reserved,
                     int64_t used);

/* Of a flag. */
bool wr_tally_is_on(const struct wr_tally *tally);
/* Every flag of that name; false: there is none. */
bool wr_tallies_switch(struct wr_tallies *tallies, struct wr_span name, bool on);

struct wr_tally_info {
  enum wr_tally_kind kind;
  const char *name;   /* borrowed: for the call */
  uint32_t window_ms, keys, used;
  uint64_t evictions; /* entries given away while their window was not over */
  bool on;
  bool declared; /* somebody holds it, and no newer one of that kind and name */
};
void wr_tallies_each(struct wr_tallies *tallies,
                     void (*fn)(void *ctx, const struct wr_tally_info *info), void *ctx);

#endif
