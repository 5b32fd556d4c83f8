-- edge.lua: a guarded edge for several tenants: keys with classes, budgets, redaction, limits, pressure, slow clients,
-- health and retries.
--
--   weir run -c examples/edge.lua
--   curl -N http://127.0.0.1:8080/v1/chat/completions -H 'authorization: Bearer demo-paid' \
--     -d '{"model":"chat","stream":true,"messages":[{"role":"user","content":"hello"}]}'
--
-- The keys are demo-paid, demo-free and demo-batch; the models are two servers and a spare one of your own. For the open
-- network take the comments of `tls` out and listen on ":8443".
weir.api(1)

local redact, budget = require "weir.filters.redact", require "weir.limits.budget"
local ladder, slow = require "weir.pressure.ladder", require "weir.slow.by_class"
local usage = require "weir.filters.usage"

weir.server { workers = "auto", memory = "128MiB", admin = "127.0.0.1:9901", log = "stderr", drain = "5m" }
weir.listen "127.0.0.1:8080" {
  -- tls = { cert = "tls/cert.pem", key = "tls/key.pem" },
  max_streams = 4000, max_streams_per_address = 200, requests_per_second_per_address = 100,
}

-- printf %s demo-paid | sha256sum
weir.keys {
  ["team-paid"]  = { sha256 = "b6210dbb540c3b8e37146aa7fe4326538e16ce844e802c71ee5d1d8161d0b17b", class = "paid" },
  ["team-free"]  = { sha256 = "e1f4fdb94683a17c8a5d9e6dc6cca27c4a2f827dbe26ede139c17a61127b1f4f", class = "free" },
  ["team-batch"] = { sha256 = "f3f767a83a51f8e9c8c2bb5fddfcfc7a13b05a6a5a7dd0a9298809fccbe6987e", class = "batch" },
}

weir.upstream "gpu" {
  kind = "openai-compatible", url = { "http://127.0.0.1:8000", "http://127.0.0.1:8001" },
  balance = "least_streams", models = { chat = "llama-3.1-70b" }, price = { chat = { 0.60, 2.40 } },
  timeout = { connect = "1s", first_token = "30s", idle = "30s" },
  limit = { "adaptive", min = 8, max = 256 },
  health = { path = "/health", every = "5s" }, breaker = { failures = 5, open = "5s" },
}
weir.upstream "small" {
  kind = "openai-compatible", url = "http://127.0.0.1:8002",
  models = { ["*"] = "llama-3.2-3b" }, limit = { 64 }, health = { path = "/health", every = "5s" },
}
weir.group "chat" { "gpu", last = "small",
  retry = { attempts = 3, on = { "connect", "429", "5xx", "first_token" }, budget = 0.2 },
}

weir.route "chat" {
  match = { path = "/v1/chat/completions", methods = { "POST" } }, to = "chat",
  limits = { body = "4MiB", output_tokens = 8192, streams_per_key = 50, requests_per_second_per_key = 20 },
  slow_client = { high = "64KiB", low = "16KiB", action = "coalesce", give_up = "30s" },
  use = {
    budget { tokens = 20000, classes = { paid = 2000000, batch = 500000 }, per = "1h" },
    slow { classes = { paid = "pause_upstream", batch = "stop" } },
    redact { tags = { email = "[address]" } },                 -- a guard: what it can't judge isn't shown
  },
}

weir.pressure "memory" {
  { at = 0.70, off = 0.60, "coalesce", "shrink_buffers" },
  { at = 0.80, off = 0.70, "shed:batch", cap_output = 1024 },
  { at = 0.90, off = 0.80, "shed:all" },
  { at = 0.96, off = 0.90, "stop_largest" },
}
weir.use {
  usage { by = { "key", "model" } },
  ladder { refuse = { batch = 1, free = 3 }, degrade = 2, to = "small", output = 1024 },
}
