/* tls_trust.c: the certificates of authorities, read once for all contexts of a worker that trust
 * the same file: the system's bundle takes about a megabyte.
 *
 * Not shared between workers: checking a signature writes to tables inside the parsed key. */
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/heap.h"
#include "net/tls_priv.h"

struct wr_tls_trust {
  struct wr_tls_trust *next; /* borrowed: in `known`, which every holder keeps alive */
  const void *share;         /* borrowed: only compared; NULL: nobody shares it */
  char *file;                /* owned */
  struct stat stamp;         /* of the file as it was read */
  unsigned refs;
  mbedtls_x509_crt chain;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct wr_tls_trust *known;

/* A file that was replaced since is read anew. */
static bool same(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
         a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static struct wr_tls_trust *find(const void *share, const char *file, const struct stat *stamp) {
  for (struct wr_tls_trust *t = known; share && t; t = t->next)
    if (t->share == share && same(&t->stamp, stamp) && strcmp(t->file, file) == 0) return t;
  return NULL;
}

static void destroy(struct wr_tls_trust *t) {
  mbedtls_x509_crt_free(&t->chain);
  wr_heap_free(WR_HEAP_TLS, t->file);
  wr_heap_free(WR_HEAP_TLS, t);
}

static struct wr_tls_trust *read_file(const void *share, const char *file, int *rc) {
  struct wr_tls_trust *t = wr_heap_zalloc(WR_HEAP_TLS, sizeof *t);
  *rc = MBEDTLS_ERR_X509_ALLOC_FAILED;
  if (!t) return NULL;
  t->share = share;
  t->refs = 1;
  mbedtls_x509_crt_init(&t->chain);
  t->file = wr_heap_strndup(WR_HEAP_TLS, file, strlen(file));
  /* The stamp first: what changes while it is read is then read again by the next. */
  if (t->file && stat(file, &t->stamp) != 0) t->share = NULL;
  if (t->file) *rc = mbedtls_x509_crt_parse_file(&t->chain, file);
  if (*rc >= 0) return t;
  destroy(t);
  return NULL;
}

int wr_tls_trust_get(const void *share, const char *file, struct wr_tls_trust **out) {
  struct stat stamp;
  int rc = 0;
  pthread_mutex_lock(&lock);
  struct wr_tls_trust *t = stat(file, &stamp) == 0 ? find(share, file, &stamp) : NULL;
  if (t) {
    t->refs++;
  } else if ((t = read_file(share, file, &rc)) != NULL) {
    t->next = known;
    known = t;
  }
  pthread_mutex_unlock(&lock);
  *out = t;
  return t ? 0 : rc;
}

void wr_tls_trust_put(struct wr_tls_trust *t) {
  if (!t) return;
  pthread_mutex_lock(&lock);
  WR_CHECK(t->refs > 0);
  bool last = --t->refs == 0;
  struct wr_tls_trust **at = &known;
  while (last && *at != t) at = &(*at)->next;
  if (last) *at = t->next;
  pthread_mutex_unlock(&lock);
  if (last) destroy(t);
}

mbedtls_x509_crt *wr_tls_trust_chain(struct wr_tls_trust *t) {
  WR_DCHECK(t->refs > 0);
  return &t->chain;
}
