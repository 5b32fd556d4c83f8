/* list.h: an intrusive, circular, doubly linked list. The holder owns the nodes; the list owns
 * nothing. One thread at a time. */
#ifndef WR_BASE_LIST_H
#define WR_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct wr_list {
  struct wr_list *next; /* borrowed: members outlive their membership */
  struct wr_list *prev; /* borrowed: as above */
};

#define WR_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

/* Both heads and nodes are initialised so; a node out of any list points to itself. */
static inline void wr_list_init(struct wr_list *l) { l->next = l->prev = l; }
static inline bool wr_list_empty(const struct wr_list *l) { return l->next == l; }
static inline bool wr_list_linked(const struct wr_list *n) { return n->next != n; }

static inline void wr_list_insert(struct wr_list *after, struct wr_list *n) {
  n->prev = after;
  n->next = after->next;
  after->next->prev = n;
  after->next = n;
}
static inline void wr_list_push_front(struct wr_list *l, struct wr_list *n) {
  wr_list_insert(l, n);
}
static inline void wr_list_push_back(struct wr_list *l, struct wr_list *n) {
  wr_list_insert(l->prev, n);
}

/* Harmless on a node that is in no list. */
static inline void wr_list_remove(struct wr_list *n) {
  n->prev->next = n->next;
  n->next->prev = n->prev;
  wr_list_init(n);
}

/* NULL when the list is empty. */
static inline struct wr_list *wr_list_pop_front(struct wr_list *l) {
  struct wr_list *n = l->next;
  if (n == l) return NULL;
  wr_list_remove(n);
  return n;
}

/* Moves all of `from` to the back of `to`; `from` is empty afterwards. */
static inline void wr_list_splice(struct wr_list *to, struct wr_list *from) {
  if (wr_list_empty(from)) return;
  from->next->prev = to->prev;
  to->prev->next = from->next;
  from->prev->next = to;
  to->prev = from->prev;
  wr_list_init(from);
}

#endif
