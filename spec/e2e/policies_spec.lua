-- The policies of examples/policies in the real binary, as they stand.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

local KEYS = [[
local base = "$PWD/examples/policies/?.lua"
weir.lua { path = base }
weir.keys { team = { sha256 = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683", class = "paid" } }
]]

local function run(conf)
  local p = assert(io.popen "pwd")
  local pwd = p:read "l"
  p:close()
  return weir.run { conf = (KEYS .. conf):gsub("$PWD", pwd) }
end

local function ask(s, max, model)
  return assert(http.fetch(dialects.ask("chat", s.port, { "authorization: Bearer key" }, { body =
    ('{"model":"%s","max_tokens":%d,"stream":true,"messages":[],"stream_options":{"include_usage":true}}'):format(
      model or "m", max) })))
end

describe("the example policies", function()
  after_each(weir.kill_all)

  it("budget: reserves, charges what was used, and refuses when the hour's tokens are gone", io_.test(function()
    local s = run [[
      weir.upstream "up" { kind = "mock", mock = { tokens = 40, numbered = true } }
      local budget = require "budget"
      weir.route "all" { match = { path = "*" }, to = "up", use = { budget { tokens = 1000 } } }]]
    for i = 1, 4 do -- 600 each would be too much, what they use is not
      local r = ask(s, 600)
      assert.equal(200, r.status, i)
      assert.is_true(r.clean)
    end
    local r = ask(s, 900)
    assert.equal(429, r.status, r.body)
    assert(dialects.error_of("chat", r):find "token budget: %d+ left")
    local wait = tonumber(r.fields["retry-after"])
    assert.is_true(wait > 0 and wait <= 3600)
    assert.equal(0, s:metrics().weir_hook_errors_total or 0)
    s:stop()
  end))

  it("cost: the cheapest, then the next when that fails", io_.test(function()
    local s = run [[
      weir.upstream "dead" { kind = "openai-compatible", url = "http://127.0.0.1:1", models = { m = "m" }, price = { m = { 1, 1 } } }
      weir.upstream "dear" { kind = "mock", mock = { tokens = 9, numbered = true }, models = { m = "m" }, price = { m = { 9, 9 } } }
      weir.upstream "fair" { kind = "mock", mock = { tokens = 5, numbered = true }, models = { m = "m" }, price = { m = { 2, 2 } } }
      local cost = require "cost"
      weir.route "all" { match = { path = "*" }, to = "dear", use = { cost { order = { "dear", "dead", "fair" } } } }]]
    local r = ask(s, 100)
    assert.equal(200, r.status, r.body)
    assert.is_true(r.clean)
    local line = s:line(1)
    assert.equal("fair", line.upstream)
    assert.equal(2, line.attempts)
    r = ask(s, 1000000)
    assert.equal(402, r.status, r.body)
    s:stop()
  end))
end)
