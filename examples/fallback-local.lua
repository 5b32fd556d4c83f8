-- fallback-local.lua: one provider; a model on a machine of one's own answers when that doesn't.
--
--   weir run -c examples/fallback-local.lua
--   curl -N http://127.0.0.1:8080/v1/chat/completions -H "authorization: Bearer $OPENAI_API_KEY" \
--     -d '{"model":"gpt-4.1-mini","stream":true,"messages":[{"role":"user","content":"hello"}]}'
--
-- Without a network the local model answers at once. Clients send their own keys; to keep the provider's key here
-- instead, take the marked comment out.
weir.api(1)

weir.server { workers = "auto", memory = "64MiB", admin = "127.0.0.1:9901", log = "stderr" }
weir.listen "127.0.0.1:8080" {}

weir.upstream "openai" {
  kind = "openai", url = "https://api.openai.com",
  -- key = weir.secret.env "OPENAI_API_KEY",
  timeout = { connect = "3s", first_token = "30s" },
}
weir.upstream "local" {
  kind = "ollama", url = "http://127.0.0.1:11434",
  models = { ["*"] = "llama3.2" },                             -- whatever was asked for
  headers = { authorization = "Bearer ollama" },               -- not the client's key of the provider
  timeout = { connect = "1s", first_token = "2m" },            -- a model that isn't loaded yet takes its time
}
weir.group "chat" { "openai", last = "local",
  -- Nothing was answered yet, so nothing is said twice. A late first token may have been paid for; here that is worth it.
  retry = { attempts = 2, on = { "connect", "tls", "429", "5xx", "reset", "first_byte", "first_token" } },
}

weir.route "chat" { match = { path = "/v1/chat/completions" }, to = "chat" }
weir.route "rest" { match = { path = "/v1/*" }, to = "openai" }
