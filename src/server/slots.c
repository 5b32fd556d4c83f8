#include "server/slots.h"

#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/heap.h"

/* Chains count from 1: zeroed heads are an empty table. Slots stay untouched until used. */
#define NONE 0u

struct slot {
  char *name;    /* owned; NULL: free */
  uint32_t refs;
  uint32_t next; /* in its chain, or in the list of free ones; 1 is the first slot */
};

struct wr_slots {
  uint32_t capacity;
  uint32_t used;
  uint32_t begun;     /* slots that were ever used */
  uint32_t free_head; /* of those that are free again */
  struct slot *slots; /* owned */
  uint32_t *heads;    /* owned: of chains, by hash */
};

/* Operators choose the names, nobody aims at a bucket. */
static uint32_t bucket(const struct wr_slots *s, const char *name) {
  static const uint8_t key[16];
  return (uint32_t)(wr_siphash(key, wr_span_str(name)) % s->capacity);
}

enum wr_err wr_slots_new(uint32_t capacity, struct wr_slots **out) {
  WR_CHECK(capacity > 0 && capacity < UINT32_MAX);
  struct wr_slots *s = wr_heap_zalloc(WR_HEAP_SERVER, sizeof *s);
  if (!s) return WR_E_NOMEM;
  s->capacity = capacity;
  s->slots = wr_heap_alloc(WR_HEAP_SERVER, capacity * sizeof *s->slots);
  s->heads = wr_heap_zalloc(WR_HEAP_SERVER, capacity * sizeof *s->heads);
  if (!s->slots || !s->heads) {
    wr_slots_free(s);
    return WR_E_NOMEM;
  }
  *out = s;
  return WR_OK;
}

void wr_slots_free(struct wr_slots *s) {
  if (!s) return;
  for (uint32_t i = 0; s->slots && i < s->begun; i++)
    wr_heap_free(WR_HEAP_SERVER, s->slots[i].name);
  wr_heap_free(WR_HEAP_SERVER, s->slots);
  wr_heap_free(WR_HEAP_SERVER, s->heads);
  wr_heap_free(WR_HEAP_SERVER, s);
}

enum wr_err wr_slots_take(struct wr_slots *s, const char *name, uint32_t *number) {
  uint32_t b = bucket(s, name);
  for (uint32_t i = s->heads[b]; i != NONE; i = s->slots[i - 1].next) {
    if (strcmp(s->slots[i - 1].name, name) != 0) continue;
    s->slots[i - 1].refs++;
    *number = i - 1;
    return WR_OK;
  }
  *number = b; /* shared with whoever has it */
  if (s->used == s->capacity) return WR_OK;
  char *copy = wr_heap_strndup(WR_HEAP_SERVER, name, strlen(name));
  if (!copy) return WR_E_NOMEM;
  uint32_t i = s->free_head;
  if (i != NONE)
    s->free_head = s->slots[i - 1].next;
  else
    i = ++s->begun;
  WR_CHECK(i <= s->capacity);
  s->slots[i - 1] = (struct slot){ .name = copy, .refs = 1, .next = s->heads[b] };
  s->heads[b] = i;
  s->used++;
  *number = i - 1;
  return WR_OK;
}

void wr_slots_give(struct wr_slots *s, const char *name, uint32_t number) {
  WR_CHECK(number < s->capacity);
  if (number >= s->begun) return;
  struct slot *slot = &s->slots[number];
  if (!slot->name || strcmp(slot->name, name) != 0) return; /* it was a shared one */
  WR_CHECK(slot->refs > 0);
  if (--slot->refs > 0) return;
  uint32_t *at = &s->heads[bucket(s, name)];
  while (*at != number + 1) {
    WR_CHECK(*at != NONE);
    at = &s->slots[*at - 1].next;
  }
  *at = slot->next;
  wr_heap_free(WR_HEAP_SERVER, slot->name);
  slot->name = NULL;
  slot->next = s->free_head;
  s->free_head = number + 1;
  s->used--;
}

uint32_t wr_slots_used(const struct wr_slots *s) { return s->used; }
