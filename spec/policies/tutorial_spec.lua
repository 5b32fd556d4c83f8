-- The plugins of docs/policies.md and docs/lua-api.md do what their pages say.
local t = require "weir.test"

local dir

setup(function()
  dir = assert(io.popen "mktemp -d"):read "l"
  for _, page in ipairs { "docs/policies.md", "docs/lua-api.md" } do
    local f = assert(io.open(page, "rb"))
    for name, text in f:read "a":gmatch "```lua\n%-%- policies/([%w_]+)%.lua\n(.-)```" do
      local out = assert(io.open(dir .. "/" .. name .. ".lua", "wb"))
      out:write(text)
      out:close()
    end
    f:close()
  end
end)

teardown(function() os.execute("rm -r " .. dir) end)

local function policy(name, options) return t.policy(dir .. "/" .. name .. ".lua", options or {}) end

describe("the tutorial", function()
  it("refuses large requests of batch keys", function()
    local p = policy("no_batch", { size = "1KiB" })
    local long = ("x"):rep(2000)
    assert.equal(413, p:request { prompt = long, key = { name = "b", class = "batch" } }.status)
    assert.is_nil(p:request { prompt = long, key = { name = "a", class = "paid" } }.verdict)
    assert.is_nil(p:request { prompt = "short", key = { name = "b", class = "batch" } }.verdict)
  end)

  it("takes keys out, however the text is cut", function()
    local p = policy "no_secrets"
    for _, kind in ipairs(t.kinds) do
      t.every_cut("use sk-a1-b, sk or sk-2", function(parts)
        local r = p:stream { kind = kind, text = parts }
        assert.equal("use [KEY], sk or [KEY]", r.text)
        assert.same({}, r.errors)
      end)
    end
  end)

  it("gives a crowd of one tenant a cheaper model, and each place back", function()
    local p = policy("crowd", { streams = 1, model = "small" })
    for _, ends in ipairs { "end", "cut", "reset", "hang", "end" } do
      local r = p:stream { text = "some words", ends = ends, key = "team-a" }
      assert.equal("openai", r.upstream)
      assert.same({}, r.errors)
    end
    assert.equal("openai", p:stream { text = "some words", leave_after = 1, key = "team-a" }.upstream)
    assert.equal("openai", p:request { key = "team-a" }.upstream)
    p = policy("crowd", { streams = 0, model = "small" })
    local r = p:request { key = "team-a" }
    assert.equal("local", r.upstream)
    assert.is_truthy(r.body:find('"model":"small"', 1, true))
  end)

  it("stops what is too long", function()
    local p = policy("stop_long", { tokens = 5 })
    local parts = {}
    for i = 1, 60 do parts[i] = "word " end
    local r = p:stream { text = parts, key = { name = "a", class = "free" } }
    assert.equal("over_budget", r.outcome)
    assert.same({}, r.errors)
    assert.is_truthy(r.log[1]:find("was stopped at", 1, true))
    assert.equal("complete", p:stream { text = parts, key = { name = "b", class = "paid" } }.outcome)
  end)
end)

describe("the reference", function()
  it("checks and applies options", function()
    local p = policy("lengths", { prompt = "1KiB", exempt = {}, tier = "free" })
    local long = ("x"):rep(2000)
    assert.equal(413, p:request { prompt = long, key = { name = "f", class = "free" } }.status)
    assert.is_nil(p:request { prompt = long, key = { name = "a", class = "paid" } }.verdict)
    local ok, why = pcall(policy, "lengths", { promt = "1KiB" })
    assert.is_false(ok)
    assert.is_truthy(why:find("plugin 'lengths': unknown option 'promt' (did you mean 'prompt'?)", 1, true), why)
  end)

  it("declares what outlives a hook", function()
    local p = policy "quota"
    local r = p:request { max_tokens = 1000, key = { name = "tutorial", class = "paid" } }
    assert.is_nil(r.verdict)
    assert.equal(429, p:request { max_tokens = 300000, key = { name = "tutorial", class = "paid" } }.status)
    p:flag("open-house", true)
    assert.is_nil(p:request { max_tokens = 300000, key = { name = "tutorial", class = "paid" } }.verdict)
  end)
end)
