/* poison.h: tells the address sanitizer which bytes nobody may touch; nothing in other builds. */
#ifndef WR_MEM_POISON_H
#define WR_MEM_POISON_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define WR_POISON_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WR_POISON_ASAN 1
#endif
#endif

#ifdef WR_POISON_ASAN
#include <sanitizer/asan_interface.h>
static inline void wr_poison(const void *p, size_t n) { __asan_poison_memory_region(p, n); }
static inline void wr_unpoison(const void *p, size_t n) { __asan_unpoison_memory_region(p, n); }
#else
static inline void wr_poison(const void *p, size_t n) {
  (void)p;
  (void)n;
}
static inline void wr_unpoison(const void *p, size_t n) {
  (void)p;
  (void)n;
}
#endif

#endif
