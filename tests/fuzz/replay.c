/* Runs a fuzz target over all files of the folders given: as they are, cut at every length, and
 * with every byte changed three ways. So the seeds are a regression test with any compiler,
 * without a fuzzer. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_BYTES (1u << 20)
/* A larger file is changed in about this many places, evenly spread. */
#define MAX_PLACES 2048u

static unsigned long runs;

/* From memory of exactly that size, so that a sanitizer sees one byte too many. */
static void run(const uint8_t *data, size_t size) {
  uint8_t *copy = malloc(size ? size : 1);
  if (!copy) abort();
  memcpy(copy, data, size);
  (void)LLVMFuzzerTestOneInput(copy, size);
  free(copy);
  runs++;
}

static void run_variants(uint8_t *data, size_t size) {
  static const uint8_t flips[] = { 0x01, 0x20, 0x80 };
  size_t stride = size / MAX_PLACES + 1;
  run(data, size);
  for (size_t n = 0; n < size; n += stride) run(data, n);
  for (size_t at = 0; at < size; at += stride) {
    for (size_t f = 0; f < sizeof flips; f++) {
      data[at] ^= flips[f];
      run(data, size);
      data[at] ^= flips[f];
    }
  }
}

static int run_file(const char *folder, const char *name, uint8_t *room) {
  char path[4096];
  int n = snprintf(path, sizeof path, "%s/%s", folder, name);
  if (n < 0 || (size_t)n >= sizeof path) return 1;
  FILE *f = fopen(path, "rb");
  if (!f) {
    perror(path);
    return 1;
  }
  size_t size = fread(room, 1, MAX_BYTES, f);
  fclose(f);
  run_variants(room, size);
  return 0;
}

static int run_folder(const char *folder, uint8_t *room, unsigned *files) {
  DIR *dir = opendir(folder);
  int rc = 0;
  if (!dir) {
    perror(folder);
    return 1;
  }
  for (struct dirent *e = readdir(dir); e && rc == 0; e = readdir(dir)) {
    if (e->d_name[0] == '.') continue;
    rc = run_file(folder, e->d_name, room);
    ++*files;
  }
  closedir(dir);
  return rc;
}

int main(int argc, char **argv) {
  uint8_t *room = malloc(MAX_BYTES);
  unsigned files = 0;
  int rc = !room;
  const char *slash = strrchr(argv[0], '/');
  for (int i = 1; i < argc && rc == 0; i++) rc = run_folder(argv[i], room, &files);
  free(room);
  printf("%s: %u seeds, %lu runs\n", slash ? slash + 1 : argv[0], files, runs);
  return rc || files == 0;
}
