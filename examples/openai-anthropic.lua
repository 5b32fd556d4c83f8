-- openai-anthropic.lua: one address for OpenAI and Anthropic. Clients send their own keys, and weir passes them on.
--
--   weir run -c examples/openai-anthropic.lua
--   OPENAI_BASE_URL=http://127.0.0.1:8080/v1 ANTHROPIC_BASE_URL=http://127.0.0.1:8080 your-application
--
-- To keep the providers' keys here instead, take the three marked comments out: then clients show a key of yours.
weir.api(1)

weir.server { workers = "auto", memory = "64MiB", admin = "127.0.0.1:9901", log = "stderr" }
weir.listen "127.0.0.1:8080" {}

weir.upstream "openai" {
  kind = "openai", url = "https://api.openai.com",
  -- key = weir.secret.env "OPENAI_API_KEY",     -- 1
  timeout = { connect = "3s", first_token = "2m" },
}

weir.upstream "anthropic" {
  kind = "anthropic", url = "https://api.anthropic.com",
  -- key = weir.secret.env "ANTHROPIC_API_KEY",  -- 2
  timeout = { connect = "3s", first_token = "2m" },
}

-- weir.keys { file = "keys.lua" }               -- 3: return { ["team-a"] = { sha256 = "…", class = "paid" } }

weir.route "messages"  { match = { path = "/v1/messages" }, to = "anthropic" }
weir.route "tokens"    { match = { path = "/v1/messages/*" }, to = "anthropic" }
weir.route "chat"      { match = { path = "/v1/chat/completions" }, to = "openai" }
weir.route "responses" { match = { path = "/v1/responses" }, to = "openai" }
-- Models, embeddings, files: whatever else an OpenAI client asks for.
weir.route "openai"    { match = { path = "/v1/*" }, to = "openai", limits = { body = "512MiB" } }
