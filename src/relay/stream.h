/* stream.h: a stream is a log of frames; a client is a reader, a cursor on it.
 *
 * Glossary: a frame is one encoded unit that leaves whole (an event with its blank line; in a
 * raw body any piece). An attempt appends frames; each reader takes them in order; what every
 * reader has passed is dropped at once. With one reader the log is that client's output queue;
 * with several it is fan-out; kept a little longer it is resume. Frames have numbers that never
 * repeat within a stream: the first is 0. To add a kind of reader, start here: wr_reader_init,
 * then wr_reader_peek and wr_reader_next until none is left. To add a filter between upstream
 * and log, start at relay/pump.h.
 *
 * One frame stands in the struct; more take a ring in a pool block that goes back when the log
 * is empty. One thread. */
#ifndef WR_RELAY_STREAM_H
#define WR_RELAY_STREAM_H

#include "base/list.h"
#include "mem/slab.h"
#include "mem/view.h"

#define WR_STREAM_MAGIC 0x57eau
/* As many as the largest block's ring has. */
#define WR_STREAM_FRAMES 2048u

struct wr_frame {
  struct wr_view view; /* one reference */
  uint8_t kind;        /* enum wr_event_kind; UNKNOWN also for a piece of an event */
  uint8_t framing;     /* bytes of view that are a chunk's head and line end, as the upstream wrote
                          them; 0: none */
};

struct wr_stream {
  uint32_t magic;
  uint32_t head;          /* ring index of the first frame */
  uint32_t count;
  uint32_t cap;           /* frames that the ring holds, a power of two; 1 without a ring */
  struct wr_slabs *slabs; /* borrowed: the worker's */
  struct wr_block *ring;  /* owned: frames; NULL while `one` is enough */
  struct wr_frame one;    /* the log of a client that keeps up */
  struct wr_list readers;
  uint64_t first;         /* number of the first frame in the log */
  size_t bytes;           /* in the log */
};

struct wr_reader {
  struct wr_list link;
  struct wr_stream *stream; /* borrowed: the reader is removed before the stream ends */
  uint64_t next;            /* number of the frame that comes next */
};

void wr_stream_init(struct wr_stream *stream, struct wr_slabs *slabs);
/* Drops what is left; no reader may be attached. */
void wr_stream_fini(struct wr_stream *stream);
/* The stream owns the view even on an error (POOL_FULL). Empty views are dropped. */
WR_MUST_USE enum wr_err wr_stream_append(struct wr_stream *stream, struct wr_view *take_view,
                                         uint8_t kind);
/* The same for a view that is one whole chunk as the upstream wrote it, with `framing` bytes of
 * head and line end. */
WR_MUST_USE enum wr_err wr_stream_append_framed(struct wr_stream *stream, struct wr_view *take_view,
                                                uint8_t kind, uint8_t framing);
/* Makes sure that n more frames find a place: the next n appends can't fail. POOL_FULL: not now,
 * or never when n is above wr_stream_max. */
WR_MUST_USE enum wr_err wr_stream_reserve(struct wr_stream *stream, size_t n);
/* Frames that a log can hold at most. */
size_t wr_stream_max(const struct wr_stream *stream);
/* Drops every frame, read or not (an attempt that failed before the commit point). */
void wr_stream_clear(struct wr_stream *stream);
/* Moves frames out of big blocks that they would pin into blocks of their own; adds to *copied. */
void wr_stream_compact(struct wr_stream *stream, enum wr_charge charge, uint64_t *copied);

/* The i-th frame, borrowed until the log changes; i < count. */
struct wr_frame *wr_stream_frame(struct wr_stream *stream, uint32_t i);
/* Puts another view, which has no framing of its own, in the place of a frame's; an empty one
 * stands for a frame that goes with wr_stream_squeeze, which follows before anything else does. */
void wr_stream_set(struct wr_stream *stream, uint32_t i, struct wr_view *take_view);
/* Frames without bytes go; those behind them move up, with their numbers. At most one reader, which
 * has read none of them. */
void wr_stream_squeeze(struct wr_stream *stream);

/* Starts at the oldest frame of the log. */
void wr_reader_init(struct wr_reader *reader, struct wr_stream *stream);
void wr_reader_fini(struct wr_reader *reader);
/* The i-th unread frame, borrowed until the log changes; NULL when there are not that many. */
const struct wr_frame *wr_reader_peek(const struct wr_reader *reader, size_t i);
static inline size_t wr_reader_left(const struct wr_reader *reader) {
  return (size_t)(reader->stream->first + reader->stream->count - reader->next);
}
/* Passes n frames; what all readers have passed is dropped. */
void wr_reader_next(struct wr_reader *reader, size_t n);

#endif
