/* json_shape.h: a short way through documents that look like one that was scanned before.
 *
 * The events of a stream repeat themselves: the same members in the same order, only a few
 * values differ. A shape is one scanned document with the places of its strings and numbers
 * (holes). A document matches when everything outside the holes is equal byte for byte and each
 * hole holds a value of the same type; then it is valid JSON exactly as the first one was, and
 * every path has its value at the shifted place: no scan is needed. What doesn't match is
 * scanned, and may become the shape. A hole that has differed once is read each time; runs
 * without such a hole are compared at once.
 *
 * About 1.5 KiB, caller's storage, nothing to free; one thread. */
#ifndef WR_WIRE_JSON_SHAPE_H
#define WR_WIRE_JSON_SHAPE_H

#include "wire/json_scan.h"

#define WR_JSON_SHAPE_BYTES 1024
#define WR_JSON_SHAPE_HOLES 40

struct wr_json_hole {
  uint16_t off, len; /* of the content in doc, without quotes */
  bool number;
  bool differs;      /* has been seen with another content */
};

struct wr_json_shape_value {
  uint16_t off, len; /* raw literal in doc */
  uint8_t path, type;
  bool escaped;
};

struct wr_json_shape {
  uint16_t len;      /* bytes of doc; 0: nothing learned yet */
  uint8_t n_holes, n_values;
  uint8_t n_differ;  /* of differ */
  uint32_t misses;   /* since it was learned or last matched */
  struct wr_json_hole holes[WR_JSON_SHAPE_HOLES];
  uint8_t differ[WR_JSON_SHAPE_HOLES]; /* the holes that have differed, in order */
  struct wr_json_shape_value values[WR_JSON_MAX_PATHS];
  char doc[WR_JSON_SHAPE_BYTES];
};

/* False: scan it. True: out has one value a path, as wr_json_scan of the same program would
 * give. n_paths: of the program whose values were learned. */
bool wr_json_shape_match(struct wr_json_shape *shape, struct wr_span doc, size_t n_paths,
                         struct wr_json_value *out);
/* Makes a document that wr_json_scan took, with its values, the shape. Those with escapes in a
 * name, or too large, are left: the shape is as before. */
void wr_json_shape_learn(struct wr_json_shape *shape, struct wr_span doc, size_t n_paths,
                         const struct wr_json_value *values);

#endif
