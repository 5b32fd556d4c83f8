#include "cli/cmd_reload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/heap.h"
#include "cli/admin_call.h"
#include "net/addr.h"
#include "wire/json_doc.h"

#define ANSWER_BYTES (1u << 20)

static const char usage[] =
    "usage: weir reload [-c conf.lua | --admin ADDR]\n"
    "\n"
    "Asks a running weir to read its configuration again, and prints what came of it. Requests "
    "that\n"
    "run keep the configuration that they began with. Exit code 1: nothing has changed, and why.\n"
    "\n"
    "  -c, --conf FILE  the configuration that names the admin listener (default: conf.lua)\n"
    "      --admin ADDR the admin listener itself: 127.0.0.1:9901, [::1]:9901, "
    "unix:/run/weir.sock\n";

/* The message of the answer, or all of it. */
static int tell(struct wr_span answer) {
  struct wr_span body = wr_admin_body(answer);
  bool ok = answer.len > 12 && memcmp(answer.ptr, "HTTP/1.1 200", 12) == 0;
  if (!body.ptr || answer.len < 12) {
    fprintf(stderr, "weir reload: the admin listener gave no answer\n");
    return 1;
  }
  struct wr_json_doc *doc = NULL;
  struct wr_span text = body;
  if (wr_json_doc_parse(body, 0, &doc) == WR_OK) {
    const struct wr_json_item *root = wr_json_doc_root(doc);
    struct wr_span said = wr_json_item_str(wr_json_item_at(root, ok ? "message" : "error.message"));
    if (said.ptr) text = said;
  }
  while (text.len > 0 && text.ptr[text.len - 1] == '\n') text.len--;
  fprintf(ok ? stdout : stderr, "%.*s\n", (int)text.len, text.ptr);
  if (!ok) fprintf(stderr, "weir reload: nothing has changed\n");
  wr_json_doc_free(doc);
  return ok ? 0 : 1;
}

static int reload(const struct wr_addr *addr) {
  char name[128];
  struct wr_buf answer;
  char *room = wr_heap_alloc(WR_HEAP_SERVER, ANSWER_BYTES);
  wr_buf_init(&answer, room, room ? ANSWER_BYTES : 0);
  int code = 1;
  if (wr_admin_call(addr, "POST /reload", &answer))
    code = tell(wr_buf_span(&answer));
  else
    fprintf(stderr, "weir reload: %s: %s\n", wr_addr_format(addr, name, sizeof name),
            strerror(errno));
  wr_heap_free(WR_HEAP_SERVER, room);
  return code;
}

int wr_cmd_reload(int argc, char **argv) {
  const char *file = "conf.lua", *admin = NULL;
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) {
      fputs(usage, stdout);
      return 0;
    }
    bool conf = !strcmp(argv[i], "-c") || !strcmp(argv[i], "--conf");
    if (i + 1 < argc && conf) {
      file = argv[++i];
    } else if (i + 1 < argc && !strcmp(argv[i], "--admin")) {
      admin = argv[++i];
    } else {
      fprintf(stderr, "weir reload: '%s' is not understood here; see weir reload --help\n",
              argv[i]);
      return 2;
    }
  }
  struct wr_addr addr;
  int code = wr_admin_find("reload", file, admin, &addr);
  return code ? code : reload(&addr);
}
