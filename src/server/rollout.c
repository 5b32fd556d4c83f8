#include "server/rollout.h"

#include <stdio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/heap.h"
#include "server/gen.h"
#include "server/strain.h"

enum wr_err wr_rollout_init(struct wr_rollout *r, struct wr_loop *loop,
                            struct wr_mailbox *mailbox) {
  *r = (struct wr_rollout){ .mailbox = mailbox };
  return wr_plans_init(&r->plans, loop);
}

void wr_rollout_close(struct wr_rollout *r) {
  wr_plan_unref(r->current);
  wr_plan_unref(r->next);
  r->current = r->next = NULL;
}

void wr_rollout_fini(struct wr_rollout *r) {
  WR_CHECK(!r->current && !r->next);
  wr_heap_free(WR_HEAP_SERVER, r->gens);
  wr_heap_free(WR_HEAP_SERVER, r->renewals);
  r->renewals = NULL;
  r->gens = NULL;
  wr_plans_fini(&r->plans);
}

/* Sockets that were only for preparing, and addresses that came to nothing. */
static void places_settle(struct wr_rollout *r, const struct wr_plan *plan, bool failed) {
  for (size_t i = 0; plan->plans && i < plan->listens; i++) {
    struct wr_place *place = &r->plans.places[plan->listen_numbers[i]];
    if (!place->known) continue;
    if (place->shared >= 0) close(place->shared);
    place->shared = -1;
    bool current = r->current && wr_plan_has_listen(r->current, plan->listen_numbers[i]);
    if (failed && !current && place->inherited < 0) place->known = false;
  }
}

static void gens_discard(struct wr_rollout *r) {
  for (uint32_t i = 0; r->gens && i < r->worker_count; i++) {
    if (!r->gens[i]) continue;
    wr_gen_close(r->gens[i]);
    wr_gen_free(r->gens[i]);
    r->gens[i] = NULL;
  }
}

enum wr_err wr_rollout_prepare(struct wr_rollout *r, struct wr_plan *take_plan, char *why,
                               size_t why_bytes) {
  WR_CHECK(!r->next && r->waiting == 0);
  if (!r->gens) r->gens = wr_heap_zalloc(WR_HEAP_SERVER, r->worker_count * sizeof(struct wr_gen *));
  enum wr_err err = r->gens ? WR_OK : WR_E_NOMEM;
  if (err == WR_OK && !take_plan->plans) err = wr_plan_open(take_plan, &r->plans, why, why_bytes);
  for (uint32_t i = 0; err == WR_OK && i < r->worker_count; i++)
    err = wr_worker_prepare(r->workers[i], take_plan, r->current, &r->gens[i], why, why_bytes);
  places_settle(r, take_plan, err != WR_OK);
  if (err != WR_OK) {
    gens_discard(r);
    wr_plan_unref(take_plan);
    return err;
  }
  r->next = take_plan;
  return WR_OK;
}

static void all_have_it(struct wr_rollout *r) {
  struct wr_plan *old = r->current;
  r->current = r->next;
  r->next = NULL;
  r->plans.last = r->current->number;
  wr_plan_unref(old);
  if (r->strain) wr_strain_take(r->strain, r->current->conf);
}

/* Letters come to the process through the worker that they are about. */
static void committed_run(struct wr_letter *letter) {
  struct wr_gen *gen = WR_CONTAINER(letter, struct wr_gen, committed);
  struct wr_rollout *r = wr_worker_rollout(gen->worker);
  WR_CHECK(r->waiting > 0 && r->next != NULL);
  if (--r->waiting > 0) return;
  all_have_it(r);
  if (r->done) r->done(r->ctx);
}

/* On the worker's thread. */
static void commit_run(struct wr_letter *letter) {
  struct wr_gen *gen = WR_CONTAINER(letter, struct wr_gen, commit);
  struct wr_rollout *r = wr_worker_rollout(gen->worker);
  wr_worker_take(gen->worker, gen);
  gen->committed.run = committed_run;
  wr_mailbox_post(r->mailbox, &gen->committed);
}

enum wr_err wr_rollout_begin(struct wr_rollout *r, char *why, size_t why_bytes) {
  WR_CHECK(r->next != NULL && r->current == NULL);
  r->renewals = wr_heap_zalloc(WR_HEAP_SERVER, r->worker_count * sizeof *r->renewals);
  enum wr_err err = r->renewals ? WR_OK : WR_E_NOMEM;
  for (uint32_t i = 0; err == WR_OK && i < r->worker_count; i++) {
    r->renewals[i].rollout = r;
    r->renewals[i].worker = i;
  }
  for (uint32_t i = 0; err == WR_OK && i < r->worker_count; i++) {
    struct wr_gen *gen = r->gens[i];
    r->gens[i] = NULL;
    err = wr_worker_begin(r->workers[i], gen, why, why_bytes);
  }
  if (err != WR_OK)
    gens_discard(r);
  else
    all_have_it(r);
  return err;
}

void wr_rollout_commit(struct wr_rollout *r) {
  WR_CHECK(r->next != NULL && r->waiting == 0);
  r->waiting = r->worker_count;
  for (uint32_t i = 0; i < r->worker_count; i++) {
    struct wr_gen *gen = r->gens[i];
    r->gens[i] = NULL;
    if (r->renewals[i].failed) atomic_store(&r->renewals[i].asked, false);
    r->renewals[i].failed = false;
    gen->commit.run = commit_run;
    wr_mailbox_post(wr_worker_mailbox(r->workers[i]), &gen->commit);
  }
}

/* On the worker's thread. */
static void renew_run(struct wr_letter *letter) {
  struct wr_gen *gen = WR_CONTAINER(letter, struct wr_gen, commit);
  struct wr_rollout *r = wr_worker_rollout(gen->worker);
  wr_worker_renew(gen->worker, gen);
  atomic_store(&r->renewals[wr_worker_index(gen->worker)].asked, false);
}

/* On the main thread. While a reload is under way there is a new VM soon anyway. */
static void renewal_run(struct wr_letter *letter) {
  struct wr_renewal *ask = WR_CONTAINER(letter, struct wr_renewal, letter);
  struct wr_rollout *r = ask->rollout;
  char why[256] = "";
  struct wr_gen *gen = NULL;
  if (r->stopped) return;
  if (r->next != NULL || r->waiting > 0 || !r->current) {
    atomic_store(&ask->asked, false);
    return;
  }
  enum wr_err err =
      wr_worker_prepare(r->workers[ask->worker], r->current, r->current, &gen, why, sizeof why);
  if (err != WR_OK) { /* it stays asked: once is enough until the next reload */
    ask->failed = true;
    fprintf(stderr, "weir: no fresh VM for worker %u: %s\n", ask->worker,
            why[0] ? why : wr_err_text(err));
    return;
  }
  gen->commit.run = renew_run;
  wr_mailbox_post(wr_worker_mailbox(r->workers[ask->worker]), &gen->commit);
}

void wr_rollout_ask_renewal(struct wr_rollout *r, uint32_t worker) {
  struct wr_renewal *ask = &r->renewals[worker];
  if (atomic_exchange(&ask->asked, true)) return;
  ask->letter.run = renewal_run;
  wr_mailbox_post(r->mailbox, &ask->letter);
}

static void retired_run(struct wr_letter *letter) {
  wr_gen_free(WR_CONTAINER(letter, struct wr_gen, retired));
}

void wr_rollout_retire(struct wr_rollout *r, struct wr_gen *gen) {
  gen->retired.run = retired_run;
  wr_mailbox_post(r->mailbox, &gen->retired);
}
