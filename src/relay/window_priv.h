/* window_priv.h: what the files of the text filter share (window.h). */
#ifndef WR_RELAY_WINDOW_PRIV_H
#define WR_RELAY_WINDOW_PRIV_H

#include "relay/relay_priv.h"
#include "relay/session.h"
#include "relay/window.h"

#define WR_WINDOW_SLOTS 2
/* What is remembered of a Responses window for the repeats of its text. */
#define WR_WINDOW_MEMORY_BYTES (4u << 20)

/* --- window_read.c: where the text of an event is --- */

struct wr_window_found_text {
  struct wr_span literal; /* borrowed: the event's; without quotes */
  uint8_t kind;           /* enum wr_event_kind */
  bool raw;               /* a JSON value that is no string: its bytes are the text */
  bool json;              /* the text is itself JSON */
  uint32_t index, sub;
};

enum wr_window_ends { WR_WINDOW_GOES_ON, WR_WINDOW_ENDS_INDEX, WR_WINDOW_ENDS_ALL };

struct wr_window_found {
  uint8_t count;
  uint8_t ends;             /* enum wr_window_ends: after this event's own text */
  uint32_t ends_index;
  uint32_t unknown;         /* enum wr_text_need: text of these kinds may be where nobody looks */
  bool repeats;             /* may repeat whole texts (Responses) */
  struct wr_span repeat;    /* borrowed: the event's; the literal that must be one, with quotes */
  uint8_t repeat_kind;
  struct wr_span logprobs;  /* borrowed: the event's; says the text once more; empty: none */
  struct wr_window_found_text texts[WR_WINDOW_SLOTS];
};

/* WR_E_NOMEM; WR_E_EVENT_SYNTAX. */
WR_MUST_USE enum wr_err wr_window_read(struct wr_relay *relay, enum wr_dialect dialect,
                                       const struct wr_event *ev, struct wr_window_found *out);

/* --- the windows --- */

struct wr_window_bytes {
  char *ptr; /* owned */
  size_t len, cap;
};
WR_MUST_USE enum wr_err wr_window_room(struct wr_window_bytes *b, size_t more);
WR_MUST_USE enum wr_err wr_window_put(struct wr_window_bytes *b, struct wr_span bytes);

/* Where a piece of JSON text stands: what a tool's arguments are cut into says nothing. */
struct wr_window_json {
  bool in_string;
  uint8_t escape; /* bytes that still belong to an escape; 6: its letter comes next */
};

struct wr_text_window {
  uint8_t kind;
  bool json;
  bool changed;                  /* what was sent is not what came */
  uint32_t index, sub;
  uint32_t touched;              /* the event that brought text last */
  size_t clear[WR_CONF_TEXTS];   /* each stage has let go of so much of `text`; never more than the
                                    one before */
  struct wr_window_bytes text;   /* of the events that wait */
  struct wr_window_json state;   /* in front of `text` */
  char half[6];                  /* the first escape of a surrogate pair whose second comes later */
  bool has_half;
  struct wr_window_bytes came, sent; /* Responses: from the start */
};

struct wr_text_slot {
  uint32_t window;  /* index */
  uint32_t off, len; /* the literal's inside of the event */
  uint32_t bytes;   /* of the window's text */
  bool edited;
  bool raw;
};

struct wr_text_entry {
  struct wr_view view; /* owned; empty: nothing but the text's literal goes out */
  uint8_t kind;
  uint8_t lead;
  uint8_t count;
  bool content;        /* real content; of a piece: its event's */
  struct wr_extent logprobs;
  struct wr_text_slot slots[WR_WINDOW_SLOTS];
};

struct wr_windows {
  struct wr_text_entry *entries; /* owned; a ring */
  uint32_t head, count, cap;     /* cap: a power of two, or 0 */
  size_t bytes;                  /* of the events that wait */
  struct wr_text_window *windows; /* owned */
  uint32_t window_count, window_cap;
  uint32_t events;
  bool begun; /* content has left */
  struct wr_window_bytes tmp;
};

static inline struct wr_text_entry *wr_window_entry(const struct wr_windows *ws, uint32_t i) {
  return &ws->entries[(ws->head + i) & (ws->cap - 1)];
}

/* Appends an entry; the view moves to it also on an error. */
WR_MUST_USE enum wr_err wr_window_push(struct wr_windows *ws, struct wr_text_entry *take_entry);

/* Bytes that are copied into blocks of the pool, as entries without text. */
struct wr_window_copy {
  struct wr_session *s;   /* borrowed: the caller's */
  struct wr_block *block; /* owned; NULL: none open */
  size_t len;
  uint8_t kind;
  bool one_line;          /* line ends become spaces: data that was several lines */
  enum wr_err err;        /* the first that happened */
};
/* What stands before and behind the data of an event whose lines were joined; else nothing. */
void wr_window_copy_open(struct wr_window_copy *c, const struct wr_window_event *event);
void wr_window_copy(struct wr_window_copy *c, struct wr_span bytes);
void wr_window_copy_end(struct wr_window_copy *c, const struct wr_window_event *event);

/* --- window_edit.c --- */

/* Puts the text of a literal, decoded, behind what the window has. A surrogate pair that was cut
 * apart is put together: it all goes with its second half, *edited is set. */
WR_MUST_USE enum wr_err wr_window_decode(struct wr_windows *ws, struct wr_text_window *w,
                                         const struct wr_window_found_text *t, bool *edited);

/* Puts text in place of the bytes a to b of a window and marks the events that held them. */
WR_MUST_USE enum wr_err wr_window_splice(struct wr_windows *ws, uint32_t window, size_t a,
                                         size_t b, struct wr_span text);
/* A script's range becomes whole characters and, where the text is JSON, whole escapes within one
 * string or whole values outside; `text` is then encoded for its place into ws->tmp. WR_E_ARG: it
 * would break the JSON. from: what is before is not touched. */
WR_MUST_USE enum wr_err wr_window_fit(struct wr_windows *ws, const struct wr_text_window *w,
                                      size_t from, size_t *a, size_t *b, struct wr_span *text);
/* The last place at or before `at`, not before `from`, where text may be cut. */
size_t wr_window_cut(const struct wr_text_window *w, size_t from, size_t at);
void wr_window_json_pass(struct wr_window_json *state, struct wr_span bytes);

/* --- window_repeat.c --- */

/* Pushes an event that repeats texts, with those that changed rewritten. WR_E_AGAIN: nothing has
 * to be changed, nothing was pushed. */
WR_MUST_USE enum wr_err wr_window_repeat(struct wr_session *s, const struct wr_window_event *event);
/* Is the literal the whole of a text that came? */
bool wr_window_known(struct wr_windows *ws, struct wr_span literal);

#endif
