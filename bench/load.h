/* load.h: both ends of the benchmark in one process: an upstream that serves event streams, and
 * the clients that read them through a relay, check every byte and count.
 *
 * Because both ends are here, the tool knows how many events are under way (the window), when an
 * event left and when it came, and can read the relay's CPU time at the borders of the measured
 * interval. */
#ifndef WR_LOAD_H
#define WR_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EVENT_BYTES = 240, CHUNK_BYTES = EVENT_BYTES + 6, MAX_BATCH = 16, MAX_STREAMS = 4096 };

enum end_kind { END_LISTENER, END_UP, END_CLIENT, END_TIMER };

/* What an epoll event points to. */
struct end {
  enum end_kind kind;
  int fd;
};

struct stream;

/* One connection that the relay made to us. */
struct up {
  struct end end;
  struct stream *stream; /* borrowed: streams live as long as the process */
  size_t in_len;
  size_t out_len;
  size_t out_off;
  char in[4096];
  char out[MAX_BATCH * CHUNK_BYTES + 512];
};

enum decode_state { DEC_HEAD, DEC_SIZE, DEC_DATA, DEC_DATA_END, DEC_LAST, DEC_DONE, DEC_RAW };

struct client {
  struct end end;
  enum decode_state state;
  size_t chunk_left;
  size_t line_len;
  char line[2048];   /* the head, or a chunk's size line */
  size_t event_off;  /* within the event that is being checked */
  bool in_done;      /* the event is the terminator */
  bool in_comment;   /* a heartbeat */
  bool saw_done;
};

struct stream {
  int id;
  struct up *up;       /* borrowed: until either end closes */
  struct client client;
  uint64_t sent;       /* events written by the upstream */
  uint64_t got;        /* events read and checked by the client */
  uint64_t sent_at_ns; /* when the last write left */
  uint64_t due_ns;     /* paced: when the next write leaves */
  bool ended;          /* the terminator was written */
  bool complete;
};

struct options {
  const char *mode;    /* borrowed: argv */
  uint16_t relay_port;
  uint16_t up_port;
  int streams;
  int batch;           /* events a write */
  int window;          /* events under way a stream */
  int rate;            /* paced: events a second and stream */
  int per_stream;      /* short: events of a stream */
  double seconds;
  bool slow;           /* the clients do not read while it is measured */
};

extern struct options opt;
extern struct stream streams[MAX_STREAMS];
extern uint64_t events_got, streams_done, failures;

uint64_t now_ns(void);
void fail(const char *what, const struct stream *s);
void watch(struct end *end, int op, uint32_t events);

/* load_up.c: the upstream. */
void up_listen(uint16_t port);
void up_accept(struct end *listener);
void up_ready(struct up *u, uint32_t events);
/* Writes n events in one write; false when the socket is full or the stream has no connection
 * yet. */
bool up_send(struct stream *s, int n);
void up_finish(struct stream *s);

/* load_client.c: the clients. */
void client_start(struct stream *s);
void client_ready(struct client *c, uint32_t events);
void client_stop(struct stream *s);

/* load.c: told by the client after each read that completed events. */
void stream_progress(struct stream *s);
/* Told by the upstream when a request has come. */
void stream_opened(struct stream *s);

/* The bytes of one event; the digits of its number stand at event_digits. */
extern char event_text[EVENT_BYTES + 1];
extern size_t event_digits;
void event_init(void);
void event_number(char *event, uint64_t number);

#endif
