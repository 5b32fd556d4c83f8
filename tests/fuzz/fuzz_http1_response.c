#include "fuzz/fuzz_http1_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size > 65536) return 0;
  fuzz_message(data, size, true, WR_METHOD_POST);
  bool taken = whole.head_ok;
  fuzz_message(data, size, true, WR_METHOD_HEAD);
  WR_CHECK(taken == whole.head_ok);
  if (taken) WR_CHECK(whole.head.framing == WR_FRAMING_NONE && whole.body_len == 0);
  return 0;
}
