#include "mock/text.h"

#include <stdio.h>

#include "base/hash.h"

/* A sentence is a string of word classes. Each class is a list of words; a capital letter begins a
 * sentence, and the last word takes its full stop along. */
static const char *const patterns[] = { "danvpdan",     "dnvdn",    "pdndnvl",  "dnapvdnl",
                                        "dnvpdanwdnvl", "lwdnvdan", "danpdnvdn" };

static const char *const articles[] = { "the", "a", "this", "each", "one", "that", "every" };
static const char *const adjectives[] = { "slow",   "patient", "narrow", "silver", "cold",  "deep",
                                          "gentle", "steady",  "muddy",  "clear",  "green", "old",
                                          "broad",  "quiet",   "rising", "wooden" };
static const char *const nouns[] = { "river",  "weir",   "stream", "dam",      "current", "bank",
                                     "sluice", "delta",  "heron",  "spring",   "meadow",  "mill",
                                     "reed",   "bridge", "pool",   "spillway", "tide",    "gauge",
                                     "boat",   "gate",   "pebble", "levee" };
static const char *const verbs[] = { "carries", "slows",   "feeds",    "crosses",
                                     "follows", "holds",   "measures", "lifts",
                                     "turns",   "widens",  "gathers",  "calms",
                                     "watches", "divides", "reaches",  "remembers" };
static const char *const prepositions[] = { "beside", "below", "above", "along",
                                            "near",   "past",  "under", "behind" };
static const char *const adverbs[] = { "slowly", "again",  "downstream", "today",    "quietly",
                                       "evenly", "always", "upstream",   "in spring" };
static const char *const joints[] = { "and", "while", "because", "until", "so" };

struct word_class {
  const char *const *words; /* static */
  size_t count;
};
#define CLASS(list) \
  { list, sizeof(list) / sizeof((list)[0]) }

static struct word_class class_of(char letter) {
  static const struct word_class classes[] = { CLASS(articles), CLASS(adjectives),   CLASS(nouns),
                                               CLASS(verbs),    CLASS(prepositions), CLASS(adverbs),
                                               CLASS(joints) };
  static const char letters[] = "danvplw";
  const char *at = strchr(letters, letter);
  return classes[at != NULL ? at - letters : 0];
}

static uint64_t next_number(struct wr_mock_text *text) {
  text->state += UINT64_C(0x9e3779b97f4a7c15);
  return wr_hash_mix64(text->state);
}

void wr_mock_text_init(struct wr_mock_text *text, uint64_t seed, bool numbered) {
  *text = (struct wr_mock_text){ 0 };
  text->state = wr_hash_mix64(seed + 1);
  text->numbered = numbered;
}

static struct wr_span numbered_next(struct wr_mock_text *text, char *room) {
  int n = snprintf(room, WR_MOCK_TOKEN_BYTES, text->index > 0 ? " t%u" : "t%u", text->index);
  text->index++;
  return wr_span_make(room, n > 0 ? (size_t)n : 0);
}

struct wr_span wr_mock_text_next(struct wr_mock_text *text, char room[static WR_MOCK_TOKEN_BYTES]) {
  if (text->numbered) return numbered_next(text, room);
  uint64_t random = next_number(text);
  bool begins = text->place == 0;
  if (begins) text->pattern = (uint8_t)(random >> 32) % (sizeof patterns / sizeof patterns[0]);
  const char *pattern = patterns[text->pattern];
  struct word_class words = class_of(pattern[text->place]);
  struct wr_span word = wr_span_str(words.words[(uint32_t)random % words.count]);
  size_t len = 0;
  if (text->index > 0) room[len++] = ' ';
  memcpy(room + len, word.ptr, word.len);
  if (begins && room[len] >= 'a') room[len] = (char)(room[len] - 'a' + 'A');
  len += word.len;
  text->place++;
  if (pattern[text->place] == 0) {
    room[len++] = '.';
    text->place = 0;
  }
  text->index++;
  return wr_span_make(room, len);
}

void wr_mock_text_put(struct wr_mock_text *text, uint32_t n, struct wr_buf *out) {
  char room[WR_MOCK_TOKEN_BYTES];
  for (uint32_t i = 0; i < n && !out->overflow; i++) wr_buf_put(out, wr_mock_text_next(text, room));
}
