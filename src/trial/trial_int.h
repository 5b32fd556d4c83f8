/* trial_int.h: the inside of a trial, for the files of this folder. */
#ifndef WR_TRIAL_TRIAL_INT_H
#define WR_TRIAL_TRIAL_INT_H

#include "base/list.h"
#include "base/rand.h"
#include "mem/depot.h"
#include "mem/ledger.h"
#include "mem/slab.h"
#include "net/conn.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/resolve.h"
#include "net/timer.h"
#include "policy/engine.h"
#include "relay/relay.h"
#include "relay/tally.h"
#include "trial/trial.h"

#define WR_TRIAL_MAGIC 0x741a10adu
#define WR_TRIAL_KEYS 64u
#define WR_TRIAL_NOTES 4096u
#define WR_TRIAL_SENT 32u

/* Bytes that grow; NULs are put behind nothing. */
struct wr_trial_bytes {
  char *ptr; /* owned */
  size_t len, cap;
  bool nomem;
};
void wr_trial_put(struct wr_trial_bytes *b, struct wr_span bytes);

/* A note whose texts are offsets into `words`, until the exchange is over. */
struct wr_trial_words {
  struct wr_extent text, model, error;
};

/* One upstream: a socket that answers. */
struct wr_trial_up {
  struct wr_trial *t;       /* borrowed: the trial */
  struct wr_listen *listen; /* owned; NULL: nobody listens */
  struct wr_addr addr;
  size_t index; /* of conf->upstreams */
  char path[108];
};

struct wr_trial {
  uint32_t magic;
  struct wr_depot *depot;       /* owned */
  struct wr_ledger *ledger;     /* owned */
  struct wr_slabs *slabs;       /* owned */
  struct wr_loop *loop;         /* owned */
  struct wr_resolver *resolver; /* owned */
  struct wr_conf *loaded;       /* owned */
  struct wr_conf conf;          /* the same with other upstreams and keys */
  struct wr_conf_upstream *upstreams; /* owned */
  struct wr_conf_url *urls;           /* owned */
  struct wr_conf_key *keys;           /* owned; room for WR_TRIAL_KEYS more */
  size_t key_room;
  struct wr_trial_bytes key_names; /* of keys that were added; never moves */
  struct wr_engine *engine;        /* owned; NULL: no hooks */
  struct wr_script *script;        /* borrowed: the engine's VM's; NULL: no hooks */
  struct wr_upstreams *set;        /* owned */
  struct wr_relay_shared shared;
  struct wr_relay_gen gen;
  struct wr_relay *relay;   /* owned */
  struct wr_trial_up *ups;  /* owned: one an upstream */
  struct wr_list conns;     /* of struct wr_trial_conn, owned */
  char dir[64];             /* of the sockets; "": none */
  struct wr_rand rand;
  uint64_t begin_us, unix_us; /* of the loop's clock, and what it is in the world */
  struct wr_hook_pressure pressure;
  struct wr_live live;
  struct wr_tallies *tallies; /* owned */
  struct wr_timer every;      /* weir.every */
  struct wr_live_upstream *states; /* owned: one an upstream */
  /* Of the exchange. */
  const struct wr_trial_ask *ask; /* borrowed: the caller's; NULL: none runs */
  uint32_t faults;
  size_t fault_at; /* index of the upstream that fails; SIZE_MAX: not known yet */
  struct wr_task task;
  struct wr_conn *client; /* owned */
  bool client_end, recorded, nomem;
  struct wr_trial_bytes got, body, words, log, requests;
  struct wr_trial_result result;
  struct wr_trial_note *notes;      /* owned */
  struct wr_trial_words *places;    /* owned: one a note */
  struct wr_trial_sent *sent;       /* owned */
  struct wr_extent *sent_at;        /* owned: one a request, of `requests` */
};

/* trial_up.c: the upstreams. */
WR_MUST_USE enum wr_err wr_trial_ups_open(struct wr_trial *t);
void wr_trial_ups_close(struct wr_trial *t);
/* Before an exchange: who is to refuse refuses, the others listen. */
WR_MUST_USE enum wr_err wr_trial_ups_begin(struct wr_trial *t, size_t refuse);
/* After it: every connection goes. */
void wr_trial_ups_end(struct wr_trial *t);

/* trial_note.c: what hooks and scripts say. */
void wr_trial_saw(void *trial, const struct wr_hook_seen *seen);
void wr_trial_log(void *trial, enum wr_script_level level, struct wr_span where,
                  struct wr_span text);
void wr_trial_notes_clear(struct wr_trial *t);
/* Texts move no more: offsets become spans. */
void wr_trial_notes_settle(struct wr_trial *t);

/* trial_run.c */
/* Turns until nobody has anything to do. */
void wr_trial_settle(struct wr_trial *t);
void wr_trial_client_run(struct wr_task *task);

#endif
