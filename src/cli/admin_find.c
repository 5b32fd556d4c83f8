#include "cli/admin_find.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/heap.h"
#include "base/text.h"
#include "cli/admin_call.h"

#define ANSWER_BYTES (8u << 20)

int wr_admin_args(struct wr_admin_args *a, int argc, char **argv) {
  const char *file = "conf.lua", *admin = NULL;
  int words = 0;
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) {
      fputs(a->usage, stdout);
      return 0;
    }
    if (i + 1 < argc && (!strcmp(argv[i], "-c") || !strcmp(argv[i], "--conf"))) {
      file = argv[++i];
    } else if (i + 1 < argc && !strcmp(argv[i], "--admin")) {
      admin = argv[++i];
    } else if (argv[i][0] != '-' && words < a->most_words) {
      a->words[words++] = argv[i];
    } else {
      fprintf(stderr, "weir %s: '%s' is not understood here; see weir %s --help\n", a->command,
              argv[i], a->command);
      return 2;
    }
  }
  int code = wr_admin_find(a->command, file, admin, &a->addr);
  return code ? code : -1;
}

unsigned wr_admin_ask(const struct wr_admin_args *a, const char *request,
                      struct wr_json_doc **out) {
  char name[128];
  uint64_t status = 0;
  struct wr_buf answer;
  *out = NULL;
  char *room = wr_heap_alloc(WR_HEAP_CLI, ANSWER_BYTES);
  wr_buf_init(&answer, room, room ? ANSWER_BYTES : 0);
  if (!wr_admin_call(&a->addr, request, &answer)) {
    fprintf(stderr, "weir %s: %s: %s\n", a->command, wr_addr_format(&a->addr, name, sizeof name),
            strerror(errno));
  } else if (answer.len < 12 ||
             wr_text_u64(wr_span_make(answer.ptr + 9, 3), 999, &status) != WR_OK) {
    fprintf(stderr, "weir %s: the admin listener gave no answer\n", a->command);
  } else if (wr_json_doc_parse(wr_admin_body(wr_buf_span(&answer)), 0, out) != WR_OK) {
    *out = NULL;
  }
  wr_heap_free(WR_HEAP_CLI, room);
  return (unsigned)status;
}
