#include "policy/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"

#define TEXT_MAX_BYTES 512

void wr_diag_init(struct wr_diag *diag) { memset(diag, 0, sizeof *diag); }

void wr_diag_fini(struct wr_diag *diag) {
  for (size_t i = 0; i < diag->count; i++) {
    wr_heap_free(WR_HEAP_CONF, diag->entries[i].text);
    wr_heap_free(WR_HEAP_CONF, diag->entries[i].file);
  }
  wr_heap_free(WR_HEAP_CONF, diag->entries);
  wr_diag_init(diag);
}

static bool grow(struct wr_diag *diag) {
  if (diag->count < diag->cap) return true;
  size_t cap = diag->cap ? diag->cap * 2 : 8;
  struct wr_diag_entry *more = wr_heap_realloc(WR_HEAP_CONF, diag->entries, cap * sizeof *more);
  if (!more) return false;
  diag->entries = more;
  diag->cap = cap;
  return true;
}

/* One line, whatever stood in the values that are quoted in it. */
static void one_line(char *text) {
  for (char *c = text; *c; c++)
    if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = ' ';
}

static void add(struct wr_diag *diag, enum wr_diag_grade grade, const char *file, int line,
                const char *format, va_list args) WR_PRINTF(5, 0);

static void add(struct wr_diag *diag, enum wr_diag_grade grade, const char *file, int line,
                const char *format, va_list args) {
  if (grade == WR_DIAG_ERROR) diag->errors++;
  if (grade == WR_DIAG_WARNING) diag->warnings++;
  if (diag->count >= WR_DIAG_KEPT) return;
  char text[TEXT_MAX_BYTES];
  int len = vsnprintf(text, sizeof text, format, args);
  WR_CHECK(len >= 0);
  one_line(text);
  struct wr_diag_entry e = { NULL, NULL, line, grade };
  e.text = wr_heap_strndup(WR_HEAP_CONF, text, strlen(text));
  e.file = wr_heap_strndup(WR_HEAP_CONF, file, strlen(file));
  if (!e.text || !e.file || !grow(diag)) {
    wr_heap_free(WR_HEAP_CONF, e.text);
    wr_heap_free(WR_HEAP_CONF, e.file);
    diag->nomem = true;
    return;
  }
  diag->entries[diag->count++] = e;
}

void wr_diag_error(struct wr_diag *diag, const char *file, int line, const char *format, ...) {
  va_list args;
  va_start(args, format);
  add(diag, WR_DIAG_ERROR, file, line, format, args);
  va_end(args);
}

void wr_diag_warn(struct wr_diag *diag, const char *file, int line, const char *format, ...) {
  va_list args;
  va_start(args, format);
  add(diag, WR_DIAG_WARNING, file, line, format, args);
  va_end(args);
}

static bool before(const struct wr_diag_entry *a, const struct wr_diag_entry *b) {
  int by_file = strcmp(a->file, b->file);
  if (by_file) return by_file < 0;
  return a->line != b->line ? a->line < b->line : strcmp(a->text, b->text) < 0;
}

/* Insertion: stable, and the list is short. */
void wr_diag_sort(struct wr_diag *diag) {
  for (size_t i = 1; i < diag->count; i++) {
    struct wr_diag_entry e = diag->entries[i];
    size_t j = i;
    for (; j > 0 && before(&e, &diag->entries[j - 1]); j--) diag->entries[j] = diag->entries[j - 1];
    diag->entries[j] = e;
  }
}

void wr_diag_print(const struct wr_diag *diag, wr_diag_out_fn out, void *ctx) {
  char store[TEXT_MAX_BYTES + 512];
  struct wr_buf b;
  for (size_t i = 0; i < diag->count; i++) {
    const struct wr_diag_entry *e = &diag->entries[i];
    wr_buf_init(&b, store, sizeof store);
    wr_buf_printf(&b, "%.400s:", e->file);
    if (e->line > 0) wr_buf_printf(&b, "%d:", e->line);
    wr_buf_printf(&b, " %s%s", e->grade == WR_DIAG_WARNING ? "warning: " : "", e->text);
    out(ctx, wr_buf_span(&b));
  }
  size_t found = diag->errors + diag->warnings;
  if (found <= diag->count) return;
  wr_buf_init(&b, store, sizeof store);
  wr_buf_printf(&b, "and %zu more", found - diag->count);
  out(ctx, wr_buf_span(&b));
}
