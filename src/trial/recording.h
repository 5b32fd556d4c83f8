/* recording.h: a stream that was recorded, as an upstream would write it again; and what became of
 * it, event by event. For tools; cold. */
#ifndef WR_TRIAL_RECORDING_H
#define WR_TRIAL_RECORDING_H

#include <stddef.h>

#include "relay/dialect.h"

/* The bytes of an answer's body from a recording: a captured event stream as it is, or one payload
 * a line, which gets its framing and the end that the dialect wants. *give_bytes: heap, tag CLI. */
WR_MUST_USE enum wr_err wr_trial_recording(enum wr_dialect dialect, struct wr_span text,
                                           char **give_bytes, size_t *len);
/* The dialect that a recording's name begins with ("openai-responses-…"); NONE: it doesn't. */
enum wr_dialect wr_trial_recording_dialect(const char *file);
/* The dialect whose words stand in a recording; NONE: there are none that only one has. */
enum wr_dialect wr_trial_recording_guess(struct wr_span text);

enum wr_trial_change { WR_TRIAL_SAME, WR_TRIAL_CHANGED, WR_TRIAL_REMOVED, WR_TRIAL_ADDED };
/* before or after are empty where there is none; place: from 1, of the event that went in, or that
 * came out where none went in. */
typedef void (*wr_trial_diff_fn)(void *ctx, enum wr_trial_change change, size_t place,
                                 struct wr_span before, struct wr_span after);
WR_MUST_USE enum wr_err wr_trial_diff(enum wr_dialect dialect, struct wr_span before,
                                      struct wr_span after, wr_trial_diff_fn fn, void *ctx);

#endif
