local t = require "weir.test"

describe("ladder", function()
  local p
  local function policy(options) p = t.policy("examples/policies/ladder.lua", options, { worker = true }) end
  before_each(function() policy { night = true } end)
  local batch, paid = { name = "b", class = "batch" }, { name = "p", class = "paid" }

  it("lets everything pass while nothing presses", function()
    local r = p:request { key = batch }
    assert.is_nil(r.verdict)
    assert.equal("openai", r.upstream)
  end)

  it("refuses batch keys from the first step on", function()
    p:pressure { step = 1 }
    local r = p:request { key = batch }
    assert.same({}, r.errors)
    assert.equal("reject", r.verdict)
    assert.equal(503, r.status)
    assert.equal("30", r.headers["retry-after"])
    assert.is_nil(p:request({ key = paid }).verdict)
  end)

  it("degrades the others on the second, before it refuses them", function()
    p:pressure { step = 2 }
    local r = p:request { key = paid, max_tokens = 4000 }
    assert.equal("local", r.route)
    assert.equal(512, r.max_tokens)
    assert.equal(100, p:request({ key = paid, max_tokens = 100 }).max_tokens)
  end)

  it("goes up when the loop lags, and is milder at night", function()
    local r = p:pressure { step = 1, loop_lag = 0.06 }
    assert.same({}, r.errors)
    assert.equal("step", r.verdict)
    assert.equal(2, r.step)
    assert.equal(1, p:pressure({ step = 2 }).step) -- the tests' clock begins at midnight
    t.clock:advance(7 * 3600)
    assert.is_nil(p:pressure({ step = 2 }).verdict)
    policy {}
    assert.is_nil(p:pressure({ step = 2 }).verdict)
  end)
end)
