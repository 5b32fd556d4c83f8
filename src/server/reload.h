/* reload.h: the configuration is read again while requests run.
 *
 * One reload runs at a time and at most one waits: whoever asks meanwhile gets the answer of the
 * one that waits. The file is loaded and checked first, then everything that it needs is made for
 * every worker (server/rollout.h); what fails on the way is said and changes nothing. Main thread
 * only. */
#ifndef WR_SERVER_RELOAD_H
#define WR_SERVER_RELOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "obs/log.h"
#include "server/rollout.h"

struct wr_reload;

/* Askers that wait at a time; more are refused. */
#define WR_RELOAD_ASKERS_MAX 64u

struct wr_reload_options {
  struct wr_loop *loop;                 /* borrowed: the main loop */
  struct wr_rollout *rollout;           /* borrowed: the process's; its `done` becomes ours */
  const struct wr_relay_shared *shared; /* borrowed: the process's */
  struct wr_log *log;                   /* borrowed: the process's */
  const char *file;                     /* borrowed: the configuration's name */
  const struct wr_conf_server *server;  /* borrowed: for the call; what holds until a restart */
  bool fixed; /* the text didn't come from the file: nothing to read again */
  bool quiet;                           /* nothing goes to stderr but what is wrong */
  /* The answer for everyone who asked with a token: an HTTP status and a JSON body, borrowed. */
  void (*answer)(void *ctx, uint64_t token, unsigned status, struct wr_span json);
  void *ctx;                            /* borrowed: the process */
};

enum wr_reload_result { WR_RELOAD_OK, WR_RELOAD_REFUSED, WR_RELOAD_ERROR, WR_RELOAD_RESULTS };
const char *wr_reload_result_name(enum wr_reload_result result);

WR_MUST_USE enum wr_err wr_reload_new(const struct wr_reload_options *options,
                                      struct wr_reload **out);
void wr_reload_free(struct wr_reload *reload);
/* token 0: nobody waits for the answer. Asked several times in a turn, it runs once. */
void wr_reload_ask(struct wr_reload *reload, uint64_t token);
uint64_t wr_reload_count(const struct wr_reload *reload, enum wr_reload_result result);

#endif
