/* replay.h: recorded streams: a file with one event's payload a line, read whole and kept.
 *
 * A recording belongs to its set; the set belongs to the mock and ends with it. Empty lines are
 * skipped; a CR before the LF is not part of the payload. Private to mock; one thread. */
#ifndef WR_MOCK_REPLAY_H
#define WR_MOCK_REPLAY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/span.h"

#define WR_MOCK_RECORDING_MAX_BYTES (64u * 1024 * 1024)
#define WR_MOCK_RECORDINGS_MAX 256

struct wr_mock_recording;
struct wr_mock_recordings {
  struct wr_mock_recording *first; /* owned: a chain */
  unsigned count;
};

void wr_mock_recordings_init(struct wr_mock_recordings *set);
void wr_mock_recordings_fini(struct wr_mock_recordings *set);
/* Reads the file at path, or finds it among those read already. IO (none such, not a file, too
 * large, no payload in it), NOMEM. */
WR_MUST_USE enum wr_err wr_mock_recordings_open(struct wr_mock_recordings *set, const char *path,
                                                const struct wr_mock_recording **out);
/* The same for dir/name, where name has no slash and doesn't begin with a dot. WR_E_ARG otherwise.
 */
WR_MUST_USE enum wr_err wr_mock_recordings_open_in(struct wr_mock_recordings *set, const char *dir,
                                                   struct wr_span name,
                                                   const struct wr_mock_recording **out);

/* The payload at *off, which moves behind it; false at the end. Borrowed from the recording. */
bool wr_mock_recording_next(const struct wr_mock_recording *recording, size_t *off,
                            struct wr_span *line);
/* The payload's member "type" if it is a plain string, else empty; borrowed from line. */
struct wr_span wr_mock_recording_type(struct wr_span line);

#endif
