-- The whole configurations of examples/, each started in the real binary. Only what a test can't have is replaced: the
-- listener, the server's log, and the addresses of upstreams.
local dialects = require "spec.e2e.support.dialects"
local files = require "spec.e2e.support.files"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

local function here()
  local p = assert(io.popen "pwd")
  local pwd = p:read "l"
  p:close()
  return pwd
end

local function run(name, urls)
  local text = assert(files.read("examples/" .. name))
  local function once(pattern, with)
    local n
    text, n = text:gsub(pattern, with)
    assert(n == 1, pattern .. " stands " .. n .. " times in " .. name)
  end
  once("weir%.api%(1%)\n", ("weir.lua { path = %q }\n"):format(here() .. "/examples/policies/?.lua"))
  once("weir%.server %b{}\n", "")
  once('weir%.listen "127%.0%.0%.1:8080" %b{}\n', "")
  for from, to in pairs(urls or {}) do once('"' .. from:gsub("%p", "%%%0") .. '"', '"' .. to .. '"') end
  return weir.run { conf = text }
end

local function ask(s, o)
  local headers = {}
  for field, value in pairs(o.headers or {}) do headers[#headers + 1] = field .. ": " .. value end
  return assert(http.fetch(dialects.ask("chat", s.port, headers, { body =
    ('{"model":"%s","max_tokens":%d,"stream":true,"messages":[]}'):format(o.model or "m", o.max or 100) })))
end

-- A recording whose answer has an address and a card number in it, each cut by tokens.
local function recording()
  local file = files.temp_dir() .. "/openai-pii.jsonl"
  local lines = {}
  local function chunk(delta, finish)
    lines[#lines + 1] = ('{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
      .. '"delta":%s,"finish_reason":%s}]}'):format(delta, finish)
  end
  for _, part in ipairs { "write to bob@", "example", ".com, card 4111 11", "11 1111 1111", " thanks" } do
    chunk(('{"content":"%s"}'):format(part), "null")
  end
  chunk("{}", '"stop"')
  files.write(file, table.concat(lines, "\n") .. "\n")
  return file
end

describe("the example configurations", function()
  after_each(weir.kill_all)

  it("fallback-local: the provider, and the local model when that is away", io_.test(function()
    local openai = weir.mock "--tokens 8 --key secret"
    local ollama = weir.mock "--tokens 8 --key ollama"
    local URLS = { ["https://api.openai.com"] = openai.url, ["http://127.0.0.1:11434"] = ollama.url }
    local s = run("fallback-local.lua", URLS)
    local r = ask(s, { headers = { authorization = "Bearer secret" } })
    assert.equal(200, r.status, r.body)
    assert.is_true(r.clean)
    assert.equal("openai", s:line(1).upstream)
    s:stop()
    URLS["https://api.openai.com"] = "http://127.0.0.1:1"
    s = run("fallback-local.lua", URLS)
    r = ask(s, { headers = { authorization = "Bearer secret" } })
    assert.equal(200, r.status, r.body)
    assert.is_truthy(r.body:find("data: [DONE]", 1, true), r.body)
    assert.equal("local", s:line(1).upstream)
    assert.equal(2, s:line(1).attempts)
    s:stop()
    openai:stop()
    ollama:stop()
  end))

  it("edge: keys, redaction, budgets", io_.test(function()
    local gpu = weir.mock("--replay " .. recording())
    local s = run("edge.lua", { ["http://127.0.0.1:8000"] = gpu.url, ["http://127.0.0.1:8001"] = gpu.url,
                                ["http://127.0.0.1:8002"] = gpu.url })
    assert.equal(401, ask(s, {}).status)
    local r = ask(s, { model = "chat", headers = { authorization = "Bearer demo-paid" } })
    assert.equal(200, r.status, r.body)
    assert.is_true(r.clean)
    assert.equal("write to [address], card [CARD] thanks", dialects.text("chat", r.body))
    r = ask(s, { model = "chat", max = 30000, headers = { authorization = "Bearer demo-free" } })
    assert.equal(429, r.status, r.body)
    assert.is_truthy(dialects.error_of("chat", r):find "token budget: 20000 left")
    assert.equal(0, s:metrics().weir_hook_errors_total or 0)
    s:stop()
    gpu:stop()
  end))

  it("edge: the small model when the others are away", io_.test(function()
    local small = weir.mock "--tokens 6"
    local s = run("edge.lua", { ["http://127.0.0.1:8000"] = "http://127.0.0.1:1", ["http://127.0.0.1:8001"] = "http://127.0.0.1:2",
                                ["http://127.0.0.1:8002"] = small.url })
    local r = ask(s, { model = "chat", headers = { authorization = "Bearer demo-batch" } })
    assert.equal(200, r.status, r.body)
    assert.equal("small", s:line(1).upstream)
    s:stop()
    small:stop()
  end))

  it("dev: the stand-in, chosen by a header", io_.test(function()
    local s = run "dev.lua"
    local r = ask(s, {})
    assert.equal(200, r.status, r.body)
    assert.is_true(r.clean)
    assert.equal("fast", s:line(1).upstream)
    assert.equal(403, ask(s, { headers = { ["x-tier"] = "gold" } }).status)
    assert.equal("cut off", ask(s, { headers = { ["x-mock-fault"] = "cut@6" } }).body:find("[DONE]", 1, true) and "whole" or "cut off")
    s:stop()
  end))
end)
