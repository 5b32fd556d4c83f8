/* locate.h: the line of an option inside a declaration of conf.lua.
 *
 * Lua remembers the line of a call, not of the fields of its table; this finds them again in the
 * text, so that an error in a long declaration points at the option. A guess from tokens: good for
 * messages, nothing else. Pure. */
#ifndef WR_POLICY_LOCATE_H
#define WR_POLICY_LOCATE_H

#include <stddef.h>

#include "base/span.h"

#define WR_LOCATE_DEPTH 6

/* line: where the declaration begins (1-based). path: names of nested options, outermost first, at
 * most WR_LOCATE_DEPTH. Returns the line of the deepest one that is found, or `line`. */
int wr_locate(struct wr_span source, int line, const char *const *path, size_t depth);

#endif
