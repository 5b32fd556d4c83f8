#include "cli/cmd_init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/embed.h"
#include "cli/beside.h"

static const char usage[] =
    "usage: weir init [DIR]\n"
    "\n"
    "Writes the files with which one begins: a configuration that runs at once, a first policy,\n"
    "its spec, and what editors and luacheck want to know. Files that are there stay as they are.\n"
    "  DIR        where; default: the current folder\n";

/* In share/init, and where it goes. */
static const struct {
  const char *from; /* borrowed: a literal */
  const char *to;   /* borrowed: a literal */
} files[] = {
  { "share/init/conf.lua", "conf.lua" },
  { "share/init/hello.lua", "policies/hello.lua" },
  { "share/init/hello_spec.lua", "spec/hello_spec.lua" },
  { "share/init/luarc.json", ".luarc.json" },
  { "share/init/luacheckrc", ".luacheckrc" },
};

static const char *text_of(const char *name) {
  for (const struct wr_embedded *e = wr_embedded_cli; e->name; e++)
    if (strcmp(e->name, name) == 0) return e->text;
  WR_CHECK(false);
  return NULL;
}

/* Each folder on the way to a file. */
static bool make_folders(char *path) {
  for (char *c = path + 1; *c; c++) {
    if (*c != '/') continue;
    *c = '\0';
    bool ok = mkdir(path, 0777) == 0 || errno == EEXIST;
    *c = '/';
    if (!ok) return false;
  }
  return true;
}

static bool put(int fd, const char *text, size_t len) {
  while (len > 0) {
    ssize_t n = write(fd, text, len);
    if (n <= 0) return false;
    text += n;
    len -= (size_t)n;
  }
  return true;
}

/* The text with the folder of the annotations in place of its mark. */
static bool put_text(int fd, const char *text) {
  static const char mark[] = "@TYPES@";
  static const char *const folders[] = { "../share/weir/types", "../../types", NULL };
  const char *at = strstr(text, mark);
  char types[WR_CLI_PATH_BYTES];
  if (!at) return put(fd, text, strlen(text));
  if (!wr_cli_beside(folders, types)) snprintf(types, sizeof types, "/usr/local/share/weir/types");
  return put(fd, text, (size_t)(at - text)) && put(fd, types, strlen(types)) &&
         put(fd, at + sizeof mark - 1, strlen(at + sizeof mark - 1));
}

static bool write_file(const char *dir, size_t i) {
  char path[WR_CLI_PATH_BYTES];
  bool here = strcmp(dir, ".") == 0;
  int len = snprintf(path, sizeof path, "%s%s%s", here ? "" : dir, here ? "" : "/", files[i].to);
  static const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
  bool ok = len > 0 && (size_t)len < sizeof path;
  if (!ok) errno = ENAMETOOLONG;
  int fd = ok && make_folders(path) ? open(path, flags, 0666) : -1;
  if (fd < 0 && errno == EEXIST) {
    printf("  left   %s (it was there)\n", path);
    return true;
  }
  ok = fd >= 0 && put_text(fd, text_of(files[i].from));
  if (fd >= 0 && close(fd) != 0) ok = false;
  if (ok) printf("  wrote  %s\n", path);
  else fprintf(stderr, "weir init: %s: %s\n", path, strerror(errno));
  return ok;
}

static void print_next(const char *dir) {
  printf("\nNext%s%s:\n"
         "  weir check    # is conf.lua right?\n"
         "  weir test     # the spec, without a server\n"
         "  weir run      # then, in another terminal:\n"
         "    curl -N http://127.0.0.1:8080/v1/chat/completions \\\n"
         "      -d '{\"model\":\"demo\",\"stream\":true,\"messages\":[]}'\n",
         strcmp(dir, ".") == 0 ? "" : ", in ", strcmp(dir, ".") == 0 ? "" : dir);
}

int wr_cmd_init(int argc, char **argv) {
  const char *dir = NULL;
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) {
      fputs(usage, stdout);
      return 0;
    }
    if (argv[i][0] == '-' || argv[i][0] == '\0' || dir) {
      fprintf(stderr, "weir init: %s: not understood\n%s", argv[i], usage);
      return 2;
    }
    dir = argv[i];
  }
  if (!dir) dir = ".";
  bool ok = true;
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) ok = write_file(dir, i) && ok;
  if (ok) print_next(dir);
  return ok ? 0 : 1;
}
