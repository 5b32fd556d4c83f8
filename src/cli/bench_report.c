#include "cli/bench_report.h"

#include <stdio.h>

static const double shares[] = { 0.5, 0.9, 0.99, 0.999 };
#define SHARES (sizeof shares / sizeof shares[0])

/* The histograms by name; offsets would be shorter and harder to read. */
struct named_hist {
  const char *name;  /* static; in JSON */
  const char *label; /* static; in the table */
  const struct wr_load_hist *hist; /* borrowed: the totals' */
};
#define HISTS 4

static void name_hists(const struct wr_load_totals *t, struct named_hist out[static HISTS]) {
  out[0] = (struct named_hist){ "first_token", "first token", &t->first };
  out[1] = (struct named_hist){ "between_events", "between events", &t->gap };
  out[2] = (struct named_hist){ "delay", "server to here", &t->delay };
  out[3] = (struct named_hist){ "stream", "whole stream", &t->span };
}

static double rate(uint64_t n, double seconds) { return seconds > 0 ? (double)n / seconds : 0; }

static double per(uint64_t n, uint64_t of) { return of > 0 ? (double)n / (double)of : 0; }

/* Three digits and a unit, in nine columns. */
static void print_time(uint64_t ns) {
  double us = (double)ns / 1e3;
  if (us < 1e3)
    (void)printf("%7.*f us", us < 10 ? 2 : us < 100 ? 1 : 0, us);
  else if (us < 1e6)
    (void)printf("%7.*f ms", us < 1e4 ? 2 : us < 1e5 ? 1 : 0, us / 1e3);
  else
    (void)printf("%7.*f s ", us < 1e7 ? 2 : 1, us / 1e6);
}

static void print_usage(const struct wr_bench_result *r) {
  const struct wr_bench_usage *a = &r->before, *b = &r->after;
  uint64_t cpu_ns = b->cpu_ns - a->cpu_ns, events = r->totals->events;
  (void)printf("\nprocess     %.2f us CPU an event, %.2f of a core, %.3f switches an event\n",
               per(cpu_ns, events) / 1e3, rate(cpu_ns, r->seconds) / 1e9,
               per(b->switches - a->switches, events));
  (void)printf("            %.1f MB resident, %.1f MB its own (%+.0f KB", (double)b->rss_kb / 1024,
               (double)b->own_kb / 1024, (double)b->own_kb - (double)a->own_kb);
  if (r->open > 0)
    (void)printf(", %.2f KB an open stream",
                 ((double)b->own_kb - (double)a->own_kb) / (double)r->open);
  (void)printf(")\n");
  if (a->has_allocations && b->has_allocations)
    (void)printf("            %.4f allocations an event\n",
                 per(b->allocations - a->allocations, events));
}

static void print_faults(const struct wr_load_totals *t) {
  bool any = false;
  for (int i = 0; i < WR_LOAD_FAULTS; i++) {
    if (t->faults[i] == 0) continue;
    if (!any) (void)printf("\nfaults\n");
    any = true;
    (void)printf("  %-12s %10llu  %s", wr_load_fault_name((enum wr_load_fault)i),
                 (unsigned long long)t->faults[i], wr_load_fault_meaning((enum wr_load_fault)i));
    if (i == WR_LOAD_STATUS) (void)printf("; the last one was %u", (unsigned)t->last_status);
    (void)printf("\n");
  }
  if (!any) (void)printf("\nfaults      none\n");
}

static const char *checked(const struct wr_load_totals *t) {
  if (t->stamped == 0) return "not checked: the server sends no stamps";
  return "order, completeness and bytes checked";
}

void wr_bench_print_table(const struct wr_bench_result *r) {
  const struct wr_load_totals *t = r->totals;
  struct named_hist hists[HISTS];
  name_hists(t, hists);
  (void)printf("%s: %s, %u at a time, %.1f s", r->url, r->mode, r->plan->streams, r->seconds);
  if (r->plan->rate > 0) (void)printf(", %g a second", r->plan->rate);
  (void)printf("\n\nstreams  %12.1f/s  %llu whole, %llu failed, %llu left, %u open",
               rate(t->whole + t->failed + t->left, r->seconds), (unsigned long long)t->whole,
               (unsigned long long)t->failed, (unsigned long long)t->left, r->open);
  if (r->backlog > 0) (void)printf(", %llu never begun", (unsigned long long)r->backlog);
  (void)printf("\nevents   %12.1f/s  %llu, %s\nbytes    %12.1f/s  in bodies\n",
               rate(t->events, r->seconds), (unsigned long long)t->events, checked(t),
               rate(t->bytes, r->seconds));
  if (r->width >= 0)
    (void)printf("%-8s +- %.2f %% with 95 %% confidence\n", r->figure, r->width * 100);
  (void)printf("\n%16s      p50       p90       p99     p99.9       max\n", "");
  for (size_t i = 0; i < HISTS; i++) {
    if (hists[i].hist->count == 0) continue;
    (void)printf("%-15s", hists[i].label);
    for (size_t k = 0; k < SHARES; k++) print_time(wr_load_hist_at(hists[i].hist, shares[k]));
    print_time(hists[i].hist->max);
    (void)printf("\n");
  }
  if (r->probed) print_usage(r);
  print_faults(t);
  if (r->own_cpu > 0.9)
    (void)printf("\nnote: the load generator used %.2f of a core: it may be what limits\n",
                 r->own_cpu);
}

static void json_hist(const struct named_hist *h) {
  (void)printf(",\"%s_us\":", h->name);
  if (h->hist->count == 0) {
    (void)printf("null");
    return;
  }
  (void)printf("{\"count\":%llu,\"mean\":%.3f,\"min\":%.3f", (unsigned long long)h->hist->count,
               per(h->hist->sum, h->hist->count) / 1e3, (double)h->hist->min / 1e3);
  static const char *const names[SHARES] = { "p50", "p90", "p99", "p99_9" };
  for (size_t k = 0; k < SHARES; k++)
    (void)printf(",\"%s\":%.3f", names[k], (double)wr_load_hist_at(h->hist, shares[k]) / 1e3);
  (void)printf(",\"max\":%.3f,\"curve\":[", (double)h->hist->max / 1e3);
  /* For plots: evenly spaced in the logarithm of the share that is slower. */
  static const double curve[] = { 0,     0.1,    0.25,   0.5,     0.75,    0.9,     0.95,
                                  0.975, 0.99,   0.995,  0.9975,  0.999,   0.9995,  0.99975,
                                  0.9999, 0.99999 };
  for (size_t k = 0; k < sizeof curve / sizeof curve[0]; k++)
    (void)printf("%s[%g,%.3f]", k > 0 ? "," : "", curve[k],
                 (double)wr_load_hist_at(h->hist, curve[k]) / 1e3);
  (void)printf("]}");
}

static void json_usage(const struct wr_bench_result *r) {
  const struct wr_bench_usage *a = &r->before, *b = &r->after;
  uint64_t cpu_ns = b->cpu_ns - a->cpu_ns, events = r->totals->events;
  (void)printf(",\"process\":{\"cpu_s\":%.6f,\"cpu_us_per_event\":%.4f,\"cores\":%.4f,"
               "\"switches\":%llu,\"rss_kb\":%llu,\"own_kb\":%llu,\"own_kb_before\":%llu",
               (double)cpu_ns / 1e9, per(cpu_ns, events) / 1e3, rate(cpu_ns, r->seconds) / 1e9,
               (unsigned long long)(b->switches - a->switches), (unsigned long long)b->rss_kb,
               (unsigned long long)b->own_kb, (unsigned long long)a->own_kb);
  if (a->has_allocations && b->has_allocations)
    (void)printf(",\"allocations\":%llu,\"allocations_per_event\":%.6f",
                 (unsigned long long)(b->allocations - a->allocations),
                 per(b->allocations - a->allocations, events));
  (void)printf("}");
}

void wr_bench_print_json(const struct wr_bench_result *r) {
  const struct wr_load_totals *t = r->totals;
  struct named_hist hists[HISTS];
  char url[1024];
  struct wr_buf text;
  name_hists(t, hists);
  wr_buf_init(&text, url, sizeof url);
  wr_buf_json_string(&text, wr_span_str(r->url));
  (void)printf("{\"url\":%.*s,\"mode\":\"%s\",\"slots\":%u,\"seconds\":%.6f,"
               "\"streams\":{\"begun\":%llu,\"whole\":%llu,\"failed\":%llu,\"left\":%llu,"
               "\"open\":%u,\"never_begun\":%llu,\"per_s\":%.3f},\"connections\":%llu",
               text.len > 0 ? (int)text.len : 2, text.len > 0 ? url : "\"\"", r->mode,
               r->plan->streams, r->seconds, (unsigned long long)t->begun,
               (unsigned long long)t->whole, (unsigned long long)t->failed,
               (unsigned long long)t->left, r->open, (unsigned long long)r->backlog,
               rate(t->whole + t->failed + t->left, r->seconds), (unsigned long long)t->dials);
  (void)printf(",\"events\":{\"count\":%llu,\"stamped\":%llu,\"per_s\":%.3f,\"bytes\":%llu}",
               (unsigned long long)t->events, (unsigned long long)t->stamped,
               rate(t->events, r->seconds), (unsigned long long)t->bytes);
  (void)printf(",\"figure\":\"%s\",\"width\":", r->figure);
  if (r->width >= 0)
    (void)printf("%.6f", r->width);
  else
    (void)printf("null");
  for (size_t i = 0; i < HISTS; i++) json_hist(&hists[i]);
  if (r->probed) json_usage(r);
  (void)printf(",\"faults\":{");
  for (int i = 0; i < WR_LOAD_FAULTS; i++)
    (void)printf("%s\"%s\":%llu", i > 0 ? "," : "", wr_load_fault_name((enum wr_load_fault)i),
                 (unsigned long long)t->faults[i]);
  (void)printf("},\"own_cores\":%.4f}\n", r->own_cpu);
}

void wr_bench_progress(double at_s, const struct wr_load *load, double events_s, double width) {
  const struct wr_load_totals *t = wr_load_totals(load);
  uint64_t faults = 0;
  for (int i = 0; i < WR_LOAD_FAULTS; i++) faults += t->faults[i];
  (void)fprintf(stderr, "\r%6.1f s  %u streams  %.0f events/s  p99 between events %.0f us  "
                        "%llu faults",
                at_s, wr_load_open(load), events_s,
                (double)wr_load_hist_at(&t->gap, 0.99) / 1e3, (unsigned long long)faults);
  if (width >= 0) (void)fprintf(stderr, "  +- %.1f %%", width * 100);
  (void)fputs("\033[K", stderr);
}

void wr_bench_progress_end(void) { (void)fputs("\r\033[K", stderr); }
