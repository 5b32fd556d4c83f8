local t = require "weir.test"

describe("router", function()
  local p = t.policy("examples/policies/router.lua", {
    routes = { free = "local", gold = "openai" }, models = { free = "llama" },
  })

  it("sends a value of the header to its upstream, with its model", function()
    local r = p:request { headers = { ["x-tier"] = "free" }, model = "fast" }
    assert.equal("route", r.verdict)
    assert.equal("local", r.route)
    assert.equal("local", r.upstream)
    assert.is_truthy(r.body:find('"model":"llama"', 1, true))
  end)

  it("changes no model that it has no name for", function()
    local r = p:request { headers = { ["x-tier"] = "gold" }, model = "fast" }
    assert.equal("openai", r.upstream)
    assert.is_truthy(r.body:find('"model":"fast"', 1, true))
  end)

  it("leaves requests without the header to the route", function()
    local r = p:request {}
    assert.is_nil(r.verdict)
    assert.equal("openai", r.upstream)
  end)

  it("refuses what it doesn't know", function()
    local r = p:request { headers = { ["x-tier"] = "platinum" } }
    assert.equal("reject", r.verdict)
    assert.equal(403, r.status)
    assert.equal("x-tier: unknown value", r.text)
    assert.same({}, r.upstreams)
  end)

  it("can require the header", function()
    local strict = t.policy("examples/policies/router.lua", { routes = {}, required = true })
    assert.equal(400, strict:request({}).status)
  end)

  it("checks its options as the server does", function()
    assert.has_error(function() t.policy("examples/policies/router.lua", { routs = {} }) end)
    local ok, why = pcall(t.policy, "examples/policies/router.lua", { routes = { a = "nowhere" } })
    assert.is_false(ok)
    assert.is_truthy(why:find("nowhere", 1, true), why)
  end)
end)
