-- conf.lua: what weir does. It runs as it is: the upstream below is a stand-in, which needs no key and no network.
--
--   weir check      what is wrong with this file; --explain: what it means in full
--   weir test       the specs in spec/
--   weir run        starts it; then, in another terminal:
--   curl -N http://127.0.0.1:8080/v1/chat/completions -d '{"model":"demo","stream":true,"messages":[]}'
--
-- Every call declares something. Order doesn't matter, except among routes (the first that matches serves) and in
-- `use`. Durations and sizes carry their unit: "30s", "64KiB".
weir.api(1)

-- policies/hello.lua is a policy of your own. Its options are checked here, where it is used.
local hello = require "hello"

weir.server {
  memory = "32MiB",            -- one pool for all streams, a hard limit
  admin  = "127.0.0.1:9901",   -- /metrics, /streams, /healthz
  log    = "stderr",           -- one line for each request; or a file's name
}

weir.listen "127.0.0.1:8080" {}

-- Where answers come from.
weir.upstream "demo" { kind = "mock", mock = { tokens = 64, rate = 30 } }

-- A real one: take it out of the comment and write to = "openai" below.
-- weir.upstream "openai" {
--   kind = "openai", url = "https://api.openai.com", key = weir.secret.env "OPENAI_API_KEY",
-- }

weir.route "chat" {
  match = { path = "/v1/chat/completions" }, to = "demo",
  use = { hello { word = "river", instead = "[RIVER]" } },
}

-- Everything else passes as it is.
weir.route "rest" { match = { path = "*" }, to = "demo" }
