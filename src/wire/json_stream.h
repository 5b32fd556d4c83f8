/* json_stream.h: json_scan.h for a document that arrives in pieces: the same answers for any
 * split, in bounded memory.
 *
 * For request bodies: megabytes go by, a few small values are wanted. Everything is validated.
 * Values are reported by absolute offset; scalars up to WR_JSON_CAPTURE_MAX bytes are also kept in
 * the state, as long as its room lasts. A pure codec: caller's storage, any one thread, nothing to
 * free. */
#ifndef WR_WIRE_JSON_STREAM_H
#define WR_WIRE_JSON_STREAM_H

#include "wire/json_scan.h"

#define WR_JSON_CAPTURE_MAX 256   /* bytes of one literal, quotes included */
#define WR_JSON_CAPTURE_ROOM 768  /* of all together */

struct wr_json_stream_value {
  uint64_t off;     /* of the literal's first byte, from the document's first */
  uint64_t len;
  uint16_t cap_off; /* private */
  uint8_t type;     /* enum wr_json_type */
  bool escaped;
  bool captured;    /* wr_json_stream_raw gives the bytes */
};

/* Private: an array or object that a path leads into. */
struct wr_json_frame {
  uint32_t index; /* of the current element */
  uint32_t lock;  /* paths that an earlier element settled */
  uint8_t node;
};

struct wr_json_stream {
  const struct wr_json_prog *prog; /* borrowed: outlives the stream's last call */
  uint64_t off;                    /* bytes fed */
  uint64_t kinds;                  /* one bit a nesting level: 1 for an object */
  uint64_t value_off;              /* of the scalar that is being read */
  uint32_t found;
  uint32_t nulls;
  uint32_t targets;                /* paths that want the current scalar */
  uint32_t code;                   /* code unit of the \u escape that is being read */
  uint16_t high;                   /* a high surrogate that waits for its low one, or 0 */
  uint16_t cap_used;
  uint16_t cap_len; /* bytes of the current scalar in the capture room; UINT16_MAX: too many */
  uint8_t state;
  uint8_t sub;                     /* place within a number, literal or escape */
  uint8_t depth;
  uint8_t interest;                /* frames in use: levels that a path leads into */
  uint8_t node;                    /* node of the value that comes next; 0: no path */
  uint8_t key_len;                 /* decoded bytes; above WR_JSON_MAX_KEY: matches nothing */
  uint8_t name; /* the current string: 0 a value, 1 a name to match, 2 any other name */
  uint8_t type;                    /* enum wr_json_type of the current scalar */
  bool escaped;
  uint8_t err;
  struct wr_json_frame frames[WR_JSON_MAX_STEPS + 1];
  char key[WR_JSON_MAX_KEY + 4];
  struct wr_json_stream_value values[WR_JSON_MAX_PATHS];
  char cap[WR_JSON_CAPTURE_ROOM];
};

void wr_json_stream_init(struct wr_json_stream *s, const struct wr_json_prog *prog);
/* WR_OK: all bytes were taken (white space may follow a document). WR_E_JSON_SYNTAX,
 * WR_E_JSON_DEPTH: the document is malformed; the stream stays in this error. */
WR_MUST_USE enum wr_err wr_json_stream_feed(struct wr_json_stream *s, struct wr_span in);
/* At the end of the bytes. WR_OK: they were one whole document. Values may be read earlier, but a
 * later duplicate wins. */
WR_MUST_USE enum wr_err wr_json_stream_finish(struct wr_json_stream *s);
/* Value of the i-th path, i < n of the program. An array or object has a length only once it is
 * closed (0 before). */
static inline const struct wr_json_stream_value *wr_json_stream_value(
    const struct wr_json_stream *s, size_t i) {
  return &s->values[i];
}
/* The literal's bytes if they were captured, else the empty span; borrowed from the stream, until
 * the next feed. */
struct wr_span wr_json_stream_raw(const struct wr_json_stream *s, size_t i);

#endif
