/* ask.h: reads what the stand-in server needs from a request's body while the body goes by.
 *
 * Of a body of any size only a few scalars are kept (wire/json_stream.h). Private to mock. One
 * thread. */
#ifndef WR_MOCK_ASK_H
#define WR_MOCK_ASK_H

#include "mock/answer.h"
#include "wire/json_stream.h"

/* Compiled once a mock. WR_E_ARG never happens with the paths as they are. */
WR_MUST_USE enum wr_err wr_mock_ask_compile(struct wr_json_prog *prog);

/* What was asked, from a body that has been read whole; dialect and body_bytes are the caller's. A
 * value of the wrong type counts as not given. WR_E_TEXT_RANGE: the model's name is longer than
 * WR_MOCK_MODEL_BYTES. */
WR_MUST_USE enum wr_err wr_mock_ask_read(const struct wr_json_stream *body,
                                         enum wr_mock_dialect dialect, uint64_t body_bytes,
                                         struct wr_mock_ask *out);

#endif
