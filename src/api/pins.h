/* pins.h: the views that the hooks of one stream have retained.
 *
 * Each is a reference to a block of the pool, or a copy in a block of its own when little of the
 * block would be used. They stand in C memory on the stream's list, because collected memory can't
 * give them back in time: a handle in Lua only names one (slot and serial number), so a handle that
 * outlives the stream, or is shown to another one, finds nothing. A view that is released goes at
 * the hook's end, since parts of it may still be in use there. Made by the first v:retain() of a
 * stream, freed at its end; the VM's thread. */
#ifndef WR_API_PINS_H
#define WR_API_PINS_H

#include "api/handle.h"

struct wr_pin {
  uint64_t serial;     /* 0: the slot is free */
  struct wr_view view; /* ref */
  char *copy;          /* owned; without a pool */
  uint32_t held_bytes; /* of the pool or the heap */
  bool dying;          /* released in the running hook */
};

struct wr_pins {
  struct wr_pin *slots; /* owned */
  uint32_t count;       /* slots, free ones too */
  size_t held_bytes;
};

/* A handle of a retained view. */
struct wr_lpin {
  struct wr_lview v;
  uint64_t serial;
  uint32_t slot;
};

/* Inside a protected call: pushes a retained view of these bytes for the running stream; raises
 * when there is no stream, no room, or the stream may keep no more. */
void wr_lpin_push(lua_State *L, struct wr_span bytes);
/* The bytes of a retained view; raises when it is dead. */
struct wr_span wr_lpin_bytes(lua_State *L, const struct wr_lpin *p);
/* The view is dead from now on; one that is dead already stays so. */
void wr_lpin_release(lua_State *L, const struct wr_lpin *p);

/* Gives back what the hook that just ended has released. session: NULL is fine. */
void wr_pins_settle(struct wr_script *script, struct wr_lsession *session);
/* Gives back everything; what was not released is counted. NULL is fine. */
void wr_pins_free(struct wr_script *script, struct wr_pins *pins);

#endif
