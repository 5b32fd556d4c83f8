local t = require "weir.test"

local FILE = "examples/policies/cost.lua"
local ORDER = { "openai", "claude", "local" }
local function world()
  return { upstreams = {
    openai = { kind = "openai", url = "https://api.openai.com", models = { fast = "gpt-4.1-mini" },
               price = { fast = { 0.40, 1.60 } } },
    claude = { kind = "anthropic", url = "https://api.anthropic.com", models = { fast = "claude-haiku-4-5" },
               price = { fast = { 1, 5 } } },
    ["local"] = { kind = "openai-compatible", url = "http://127.0.0.1:8000", models = { fast = "llama" },
                  price = { fast = { 5, 5 } } },
  }, to = "local" }
end

describe("cost", function()
  local p
  before_each(function() p = t.policy(FILE, { order = ORDER }, world()) end)

  it("asks the cheapest upstream", function()
    local r = p:request { model = "fast", max_tokens = 1000 }
    assert.same({}, r.errors)
    assert.equal("openai", r.upstream)
  end)

  it("that has room and is well", function()
    p:upstream("openai", { room = 0 })
    assert.equal("claude", p:request({ model = "fast" }).upstream)
    p:upstream("claude", { healthy = false })
    assert.equal("local", p:request({ model = "fast" }).upstream)
    p:upstream("local", { room = 0 })
    local r = p:request { model = "fast" }
    assert.equal("reject", r.verdict)
    assert.equal(503, r.status)
    assert.equal("no upstream has room", r.text)
  end)

  it("refuses what costs too much", function()
    local r = p:request { model = "fast", max_tokens = 1000000 }
    assert.equal(402, r.status)
    assert.is_truthy(r.text:find("^would cost about %$1%.60"), r.text)
  end)

  it("asks the next one when that fails, each of them once", function()
    local r = p:upstream_error { error = "connect", upstream = "openai", model = "fast" }
    assert.same({}, r.errors)
    assert.equal("claude", r.upstream)
    assert.equal(2, r.attempts)
    assert.equal("complete", r.outcome)
  end)

  it("waits for one that says it will be back at once", function()
    local r = p:upstream_error { error = "status", status = 429, retry_after = 1, times = 1, upstream = "openai",
                                 model = "fast" }
    assert.same({}, r.errors)
    assert.same({ "openai", "openai" }, r.upstreams)
  end)

  it("gives up when the client has read a part", function()
    local r = p:upstream_error { error = "idle", upstream = "openai", model = "fast", text = "half an ans" }
    assert.same({}, r.errors)
    assert.same({ "openai" }, r.upstreams)
  end)
end)
