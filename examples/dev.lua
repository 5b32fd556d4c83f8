-- dev.lua: everything on this machine, for developing an application or a policy. No key, no network.
--
--   weir run -c examples/dev.lua
--   curl -N http://127.0.0.1:8080/v1/chat/completions -d '{"model":"m","stream":true,"messages":[]}'
--   curl -N http://127.0.0.1:8080/v1/chat/completions -H 'x-tier: slow' -d '{"model":"m","stream":true,"messages":[]}'
--   curl -N http://127.0.0.1:8080/v1/messages -H 'x-mock-fault: cut@6' -d '{"model":"m","stream":true,"messages":[]}'
--
-- Headers that begin with x-mock- reach the stand-in and change one answer: docs/mock.md lists them.
weir.api(1)

local router = require "router"                                 -- examples/policies/router.lua
local stop_words = require "weir.filters.stop_words"             -- built in

weir.server { workers = 1, memory = "16MiB", admin = "127.0.0.1:9901", log = "stderr", log_format = "logfmt", drain = "5s" }
weir.listen "127.0.0.1:8080" {}

weir.upstream "fast" { kind = "mock", mock = { tokens = 64, rate = 100, first_token_ms = 50 } }
weir.upstream "slow" { kind = "mock", mock = { tokens = 64, rate = 5, first_token_ms = 2000, jitter = 0.5 } }
-- One request in five ends before its answer does: an application must notice.
weir.upstream "flaky" { kind = "mock", mock = { tokens = 64, rate = 100, fault = "cut@10", fault_share = 0.2 } }

weir.route "chat" {
  match = { path = "/v1/chat/completions" }, to = "fast",
  use = {
    router { header = "x-tier", routes = { slow = "slow", flaky = "flaky" } },
    stop_words { words = { "project falcon" } },
  },
}
weir.route "rest" { match = { path = "*" }, to = "fast" }
