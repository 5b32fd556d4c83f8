-- conf.lua: what weir does. `weir check` says what is wrong with it, `weir check --explain` what it means in full.
-- It starts as it is: the upstream below is weir's own stand-in and needs no key and no network.
--
--   weir run
--   curl -N http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \
--     -d '{"model":"demo","stream":true,"messages":[{"role":"user","content":"hello"}]}'
--
-- Every call declares something; order doesn't matter, except among routes: the first one that matches serves.
-- Durations and sizes carry their unit ("30s", "64KiB"). All options: docs/configuration.md.
weir.api(1)

weir.server {
  workers = "auto",            -- threads; "auto": one a core
  memory  = "64MiB",           -- one pool for all streams, a hard limit
  admin   = "127.0.0.1:9901",  -- /healthz, /readyz, /metrics, /streams
  log     = "stderr",          -- one line for each request; or a file's name
}

weir.listen "127.0.0.1:8080" {}
-- weir.listen ":8443" { tls = { cert = "tls/cert.pem", key = "tls/key.pem" } }

-- Where answers come from. To use a real one: take its block out of the comment and name it in `to` of the routes below.

weir.upstream "demo" {
  kind = "mock",
  mock = { tokens = 64, rate = 50, first_token_ms = 200 },  -- 64 tokens, 50 a second
}

--[[ OpenAI: chat completions and Responses
weir.upstream "openai" {
  kind = "openai", url = "https://api.openai.com",
  key = weir.secret.env "OPENAI_API_KEY",
}
--]]

--[[ Anthropic: Messages
weir.upstream "anthropic" {
  kind = "anthropic", url = "https://api.anthropic.com",
  key = weir.secret.env "ANTHROPIC_API_KEY",
}
--]]

--[[ vLLM
weir.upstream "vllm" {
  kind = "openai-compatible", url = "http://127.0.0.1:8000",
}
--]]

--[[ llama.cpp: llama-server --port 8081
weir.upstream "llamacpp" {
  kind = "openai-compatible", url = "http://127.0.0.1:8081",
}
--]]

--[[ Ollama
weir.upstream "ollama" {
  kind = "ollama", url = "http://127.0.0.1:11434",
}
--]]

-- Several under one name: in turn, and `last` when all others have failed.
-- weir.group "chat" { "openai", "vllm", last = "llamacpp", retry = { attempts = 3 } }

-- Who may come in. With this line every route asks for a key, unless it says open = true.
-- weir.keys { file = "keys.lua" }  -- return { ["team-a"] = { sha256 = "…", class = "paid" } }

weir.route "chat"      { match = { path = "/v1/chat/completions", methods = { "POST" } }, to = "demo" }
weir.route "responses" { match = { path = "/v1/responses", methods = { "POST" } }, to = "demo" }
weir.route "messages"  { match = { path = "/v1/messages", methods = { "POST" } }, to = "demo" }
weir.route "ollama"    { match = { path = "/api/chat", methods = { "POST" } }, to = "demo" }

-- Everything else that an SDK asks for (models, embeddings, files) passes through as it is.
weir.route "v1" { match = { path = "/v1/*" }, to = "demo" }
