/* trouble.h: errors as each provider words them: the body of an error status, and the event inside
 * a stream.
 *
 * Pure functions; private to mock. */
#ifndef WR_MOCK_TROUBLE_H
#define WR_MOCK_TROUBLE_H

#include "base/buf.h"
#include "base/span.h"
#include "mock/answer.h"

/* status: 400..599. code and param: may be NULL. request_id as in the head of the answer. */
void wr_mock_trouble_body(enum wr_mock_dialect dialect, unsigned status, const char *message,
                          const char *param, const char *code, uint64_t request_id,
                          struct wr_buf *out);
/* The payload of an error in a stream, and the event's name. sequence: events before it. */
struct wr_span wr_mock_trouble_event(enum wr_mock_dialect dialect, uint32_t sequence,
                                     struct wr_buf *out);
/* A text for a status that was asked for. */
const char *wr_mock_trouble_text(unsigned status);

#endif
