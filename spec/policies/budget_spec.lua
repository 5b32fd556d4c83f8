local t = require "weir.test"

describe("budget", function()
  local p
  before_each(function() p = t.policy("examples/policies/budget.lua", { tokens = 1000, tenants = { big = 100000 } }) end)

  it("refuses what a key may not have", function()
    local r = p:request { key = "a", max_tokens = 900 }
    assert.same({}, r.errors)
    assert.equal("openai", r.upstream)
    r = p:request { key = "a", max_tokens = 1100 }
    assert.equal("reject", r.verdict)
    assert.equal(429, r.status)
    assert.is_truthy(r.text:find("^token budget: %d+ left$"), r.text)
    assert.is_truthy(r.headers["retry-after"]:find "^%d+$")
    assert.equal("openai", p:request({ key = "big", max_tokens = 1100 }).upstream)
  end)

  it("charges what was used, not what was reserved, and forgets it with the hour", function()
    for _ = 1, 3 do
      local r = p:stream { key = "a", max_tokens = 600, text = "few words", usage = { input = 100, output = 20 } }
      assert.same({}, r.errors)
      assert.equal("complete", r.outcome)
    end
    local r = p:request { key = "a", max_tokens = 700 }
    assert.equal(429, r.status)
    assert.is_truthy(r.text:find("^token budget: 640 left$"), r.text)
    t.clock:advance(tonumber(r.headers["retry-after"]))
    assert.equal("openai", p:request({ key = "a", max_tokens = 700 }).upstream)
  end)

  it("ends an answer that is longer than was asked for", function()
    local parts = {}
    for i = 1, 30 do parts[i] = "word " end
    local r = p:stream { key = "a", max_tokens = 10, text = parts }
    assert.same({}, r.errors)
    assert.equal("over_budget", r.outcome)
    assert.is_true(#r.text >= 50 and #r.text <= 55, r.text)
  end)
end)
