-- local-vllm-ollama.lua: models on machines of one's own: two vLLM servers in turn, and Ollama for the small ones.
--
--   weir run -c examples/local-vllm-ollama.lua
--   curl -N http://127.0.0.1:8080/v1/chat/completions -d '{"model":"small","stream":true,"messages":[{"role":"user","content":"hello"}]}'
weir.api(1)

weir.server { workers = 2, memory = "32MiB", admin = "127.0.0.1:9901", log = "stderr" }
weir.listen "127.0.0.1:8080" {}

weir.upstream "vllm" {
  kind = "openai-compatible",
  url = { "http://127.0.0.1:8000", "http://127.0.0.1:8001" },  -- equal servers, in turn
  models = { large = "meta-llama/Llama-3.1-70B-Instruct" },    -- what clients ask for = what the server calls it
  timeout = { connect = "1s", first_token = "2m" },
  limit = { 64 },                                              -- streams at a time; more go to the next of the group
  prefill = "vllm",                                            -- goes on with an answer that the other server began
}
weir.upstream "ollama" {
  kind = "ollama", url = "http://127.0.0.1:11434",
  models = { small = "llama3.2", ["*"] = "llama3.2" },
}
weir.group "chat" { "vllm", last = "ollama", retry = { attempts = 3 } }

-- OpenAI clients; Ollama speaks their language under the same path.
weir.route "chat" {
  match = { path = "/v1/chat/completions" }, to = "chat",
  continue = true,                                             -- when one server goes down in the middle of a stream
  on_request = function(req)
    if req.model == "small" then return "route", "ollama" end
  end,
}
weir.route "v1" { match = { path = "/v1/*" }, to = "chat" }
-- Ollama's own clients.
weir.route "ollama" { match = { path = "/api/*" }, to = "ollama" }
