/* embed.h: text files that the binary carries. share/embed makes a list of them when weir is built,
 * one for each folder with files in the Makefile's EMBED_<folder>: wr_embedded_<folder>. Constant,
 * for any thread. */
#ifndef WR_BASE_EMBED_H
#define WR_BASE_EMBED_H

/* A name of NULL ends a list. */
struct wr_embedded {
  const char *name; /* borrowed: static; as in the tree, "share/init/conf.lua" */
  const char *text; /* borrowed: static; the file's text, with a NUL behind it */
};

extern const struct wr_embedded wr_embedded_cli[];
extern const struct wr_embedded wr_embedded_policy[]; /* the standard library, lua/weir */

#endif
