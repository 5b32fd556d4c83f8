#include "api/pins.h"

#include "api/lib.h"
#include "base/check.h"
#include "base/heap.h"
#include "mem/slab.h"

#define SLOTS_MAX 4096u

static struct wr_pins *pins_of(struct wr_script *s) {
  const struct wr_lsession *session = s->stream ? s->stream->policy : NULL;
  return session ? session->pins : NULL;
}

static struct wr_pin *find(lua_State *L, const struct wr_lpin *p) {
  struct wr_pins *pins = pins_of(wr_script_of(L));
  if (!pins || p->slot >= pins->count || p->serial == 0) return NULL;
  struct wr_pin *pin = &pins->slots[p->slot];
  return pin->serial == p->serial ? pin : NULL;
}

struct wr_span wr_lpin_bytes(lua_State *L, const struct wr_lpin *p) {
  const struct wr_pin *pin = find(L, p);
  if (!pin)
    wr_lib_error(L, "weir: view expired (a retained view is valid in the hooks of its stream, "
                    "until it is released)");
  else if (pin->dying)
    wr_lib_error(L, "weir: view expired (it was released)");
  return wr_span_make(p->v.ptr, p->v.len);
}

void wr_lpin_release(lua_State *L, const struct wr_lpin *p) {
  struct wr_pin *pin = find(L, p);
  if (!pin) return;
  pin->dying = true;
  wr_script_of(L)->pins_dying = true;
}

static void drop(struct wr_pins *pins, struct wr_pin *pin) {
  WR_CHECK(pins->held_bytes >= pin->held_bytes);
  pins->held_bytes -= pin->held_bytes;
  wr_view_drop(&pin->view);
  wr_heap_free(WR_HEAP_LUA, pin->copy);
  memset(pin, 0, sizeof *pin);
}

void wr_pins_settle(struct wr_script *script, struct wr_lsession *session) {
  script->pins_dying = false;
  struct wr_pins *pins = session ? session->pins : NULL;
  for (uint32_t i = 0; pins && i < pins->count; i++)
    if (pins->slots[i].dying) drop(pins, &pins->slots[i]);
}

void wr_pins_free(struct wr_script *script, struct wr_pins *pins) {
  if (!pins) return;
  for (uint32_t i = 0; i < pins->count; i++) {
    if (!pins->slots[i].serial) continue;
    script->views_leaked += !pins->slots[i].dying;
    drop(pins, &pins->slots[i]);
  }
  WR_CHECK(pins->held_bytes == 0);
  wr_heap_free(WR_HEAP_LUA, pins->slots);
  wr_heap_free(WR_HEAP_LUA, pins);
}

/* A free slot; raises when there is none to be had. */
static uint32_t slot_of(lua_State *L, struct wr_pins *pins) {
  uint32_t i = 0;
  while (i < pins->count && pins->slots[i].serial) i++;
  wr_budget_charge(L, i / 4);
  if (i < pins->count) return i;
  uint32_t count = pins->count ? pins->count * 2 : 4;
  struct wr_pin *more = NULL;
  if (count <= SLOTS_MAX) more = wr_heap_realloc(WR_HEAP_LUA, pins->slots, count * sizeof *more);
  if (!more) wr_lib_error(L, "weir: no room for a retained view");
  memset(more + i, 0, (count - i) * sizeof *more);
  pins->slots = more;
  pins->count = count;
  return i;
}

/* Is this a good part of the block that the payload lies in? Then it can stay there. */
static bool may_share(const struct wr_view *home, struct wr_span bytes) {
  const struct wr_block *b = home ? home->block : NULL;
  if (!b || bytes.len < b->cap / 2) return false;
  return (uintptr_t)bytes.ptr >= (uintptr_t)b->data &&
         (uintptr_t)bytes.ptr + bytes.len <= (uintptr_t)b->data + b->cap;
}

/* Fills pin->view or ->copy; where the bytes stand now, or NULL when there is no memory. */
static const char *hold(const struct wr_script *s, struct wr_span bytes, struct wr_pin *pin) {
  if (may_share(s->home, bytes)) {
    pin->view = wr_view_take(wr_block_ref(s->home->block),
                             (size_t)(bytes.ptr - s->home->block->data), bytes.len);
    pin->held_bytes = s->home->block->cap;
    return bytes.ptr;
  }
  size_t size = bytes.len ? bytes.len : 1;
  char *to = NULL;
  if (!s->slabs) {
    to = pin->copy = wr_heap_alloc(WR_HEAP_LUA, size);
    pin->held_bytes = (uint32_t)size;
  } else if (size <= wr_slabs_max_block(s->slabs)) {
    struct wr_block *b = wr_slabs_alloc(s->slabs, size, WR_CHARGE_KEPT_VIEW);
    if (!b) return NULL;
    pin->view = wr_view_take(b, 0, bytes.len);
    pin->held_bytes = b->cap;
    to = b->data;
  }
  if (to && bytes.len) memcpy(to, bytes.ptr, bytes.len);
  return to;
}

void wr_lpin_push(lua_State *L, struct wr_span bytes) {
  struct wr_script *s = wr_script_of(L);
  struct wr_lsession *session = s->stream ? s->stream->policy : NULL;
  if (!session) wr_lib_error(L, "view:retain: only in a hook of a stream");
  WR_CHECK(session != NULL);
  if (bytes.len > s->retained_bytes) /* says so before anything is copied */
    wr_lib_error(L, "over the limit: retained (%d of %d bytes)", (int)bytes.len,
                 (int)s->retained_bytes);
  struct wr_lpin *p = wr_handle_new(L, WR_HANDLE_VIEW, sizeof *p, 1);
  p->v.h.flags = WR_VIEW_IS_PIN;
  p->v.h.epoch = 0;
  if (!session->pins) session->pins = wr_heap_zalloc(WR_HEAP_LUA, sizeof *session->pins);
  if (!session->pins) wr_lib_error(L, "weir: no room for a retained view");
  struct wr_pins *pins = session->pins;
  uint32_t slot = slot_of(L, pins);
  struct wr_pin pin = { .view = WR_VIEW_NONE };
  wr_budget_charge_bytes(L, bytes.len);
  const char *at = hold(s, bytes, &pin);
  if (!at) wr_lib_error(L, "weir: no room for a retained view of %d bytes", (int)bytes.len);
  size_t all = pins->held_bytes + pin.held_bytes;
  pins->held_bytes = all;
  if (all > s->retained_bytes) {
    drop(pins, &pin);
    wr_lib_error(L, "over the limit: retained (%d of %d bytes)", (int)all, (int)s->retained_bytes);
  }
  pin.serial = ++s->pin_serial;
  pins->slots[slot] = pin;
  p->v.ptr = at;
  p->v.len = bytes.len;
  p->slot = slot;
  p->serial = pin.serial;
  s->views_retained++;
}
