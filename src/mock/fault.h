/* fault.h: the ways in which the stand-in server misbehaves when it is asked to.
 *
 * Text form: a name, then "@N" (after N events) or ":N" (a status or milliseconds), as in
 * `stall@5`, `status:429`. Plain values; nothing is owned; any thread. */
#ifndef WR_MOCK_FAULT_H
#define WR_MOCK_FAULT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

/* X(ID, name, what follows the name: 0 nothing, '@' an event count, ':' a number; smallest and
 * largest number, the number when none is given, help) */
#define WR_MOCK_FAULT_LIST(X)                                                                      \
  X(NONE, "none", 0, 0, 0, 0, "behave")                                                            \
  X(STALL, "stall", '@', 0, 1000000, 8, "after N events nothing more; the connection stays open")  \
  X(RESET, "reset", '@', 0, 1000000, 8, "a TCP reset after N events")                              \
  X(CUT, "cut", '@', 0, 1000000, 8, "a clean end of the body after N events, no terminator")       \
  X(NO_DONE, "no-done", 0, 0, 0, 0, "everything but the terminator, then a clean end of the body") \
  X(TRUNCATE, "truncate", '@', 0, 1000000, 8,                                                      \
    "close in the middle of event N+1, inside its chunk")                                          \
  X(BAD_CHUNK, "bad-chunk", '@', 0, 1000000, 8, "event N+1 has a chunk size that is no number")    \
  X(BAD_JSON, "bad-json", '@', 0, 1000000, 8,                                                      \
    "after N events one whose data isn't JSON, then go on")                                        \
  X(ERROR, "error", '@', 0, 1000000, 8, "after N events the dialect's error event, then the end")  \
  X(DROP, "drop", '@', 0, 1000000, 8, "event N+1 is left out")                                     \
  X(TWICE, "twice", '@', 0, 1000000, 8, "event N+1 comes twice")                                   \
  X(SWAP, "swap", '@', 0, 1000000, 8, "event N+2 comes before event N+1")                          \
  X(GARBLE, "garble", '@', 0, 1000000, 8, "a letter of event N+1 is another one")                  \
  X(STATUS, "status", ':', 200, 599, 500, "answer with this status and the dialect's error body")  \
  X(SLOW_HEAD, "slow-head", ':', 0, 3600000, 1000, "wait so many ms before the answer's head")     \
  X(HANG, "hang", 0, 0, 0, 0, "take the request and never answer")                                 \
  X(CLOSE, "close", 0, 0, 0, 0, "close right after the request")                                   \
  X(GARBAGE, "garbage", 0, 0, 0, 0, "answer with bytes that aren't HTTP, then close")              \
  X(BOTH_LENGTHS, "both-lengths", 0, 0, 0, 0, "content-length beside transfer-encoding")           \
  X(EARLY_END, "early-end", 0, 0, 0, 0,                                                            \
    "a content-length that is longer than the body, then close")                                   \
  X(SPLIT_HEAD, "split-head", 0, 0, 0, 0, "the answer's head in writes of one byte")               \
  X(GZIP_CLAIM, "gzip-claim", 0, 0, 0, 0, "says content-encoding: gzip, sends plain text")

enum wr_mock_fault_kind {
#define X(id, name, mark, min, max, normal, help) WR_MOCK_FAULT_##id,
  WR_MOCK_FAULT_LIST(X)
#undef X
      WR_MOCK_FAULTS
};

struct wr_mock_fault {
  uint32_t n;   /* events, a status, or ms: what the kind says */
  uint8_t kind; /* enum wr_mock_fault_kind */
};

/* why (why_bytes, may be NULL with 0): one sentence. WR_E_TEXT_SYNTAX, WR_E_TEXT_RANGE; *out is
 * untouched then. */
WR_MUST_USE enum wr_err wr_mock_fault_parse(struct wr_span text, struct wr_mock_fault *out,
                                            char *why, size_t why_bytes);
/* Name, mark (0, '@' or ':') and help of a kind; static. */
const char *wr_mock_fault_name(enum wr_mock_fault_kind kind);
char wr_mock_fault_mark(enum wr_mock_fault_kind kind);
const char *wr_mock_fault_help(enum wr_mock_fault_kind kind);

#endif
