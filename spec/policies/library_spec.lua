-- The standard library, module by module, but for weir.filters.redact (redact_spec.lua).
local t = require "weir.test"

local PRICED = { upstreams = {
  openai = { kind = "openai", url = "https://api.openai.com", models = { fast = "mini" }, price = { fast = { 1, 4 } } },
  claude = { kind = "openai-compatible", url = "http://127.0.0.1:8001", models = { fast = "haiku" }, price = { fast = { 2, 5 } } },
  ["local"] = { kind = "openai-compatible", url = "http://127.0.0.1:8000", models = { fast = "llama" }, price = { fast = { 9, 9 } } },
}, to = "local" }

describe("weir.filters.stop_words", function()
  for _, kind in ipairs(t.kinds) do
    it("ends the stream before the word, however tokens are cut: " .. kind, function()
      local p = t.policy("weir.filters.stop_words", { words = { "project falcon", "100%" } })
      t.every_cut("a pro Project Falcon is on", function(parts)
        local r = p:stream { kind = kind, text = parts }
        assert.same({}, r.errors)
        assert.equal("stopped", r.outcome)
        assert.equal("a pro ", r.text)
      end)
      assert.equal("sure: ", p:stream({ kind = kind, text = "sure: 100% so" }).text)
    end)
  end

  it("lets everything else pass whole", function()
    local p = t.policy("weir.filters.stop_words", { words = { "falcon" }, ignore_case = false })
    t.every_cut("Falcon, falco, f", function(parts)
      local r = p:stream { text = parts, reasoning = parts }
      assert.equal("Falcon, falco, f", r.text)
      assert.equal("Falcon, falco, f", r.reasoning)
      assert.equal("complete", r.outcome)
    end)
  end)

  it("says why, and checks its words", function()
    local p = t.policy("weir.filters.stop_words", { words = { "x" }, reason = "length" })
    assert.equal("over_budget", p:stream({ text = "a x" }).outcome)
    assert.has_error(function() t.policy("weir.filters.stop_words", {}) end)
    assert.has_error(function() t.policy("weir.filters.stop_words", { words = { "" } }) end)
  end)
end)

describe("weir.filters.coalesce", function()
  it("joins after a while, and gives up", function()
    local p = t.policy("weir.filters.coalesce", { after = "2s", give_up = "10s" })
    assert.equal("wait", p:slow({ age = 1, bytes = 9000, events = 9 }).verdict)
    assert.equal("coalesce", p:slow({ age = 2, bytes = 9000, events = 9 }).verdict)
    assert.equal("stop", p:slow({ age = 10, bytes = 9000, events = 9 }).verdict)
  end)
end)

describe("weir.filters.usage", function()
  it("counts by what it is told, for whoever wants to know", function()
    local p = t.policy("weir.filters.usage", { by = { "key", "route", "upstream", "model" }, log = true }, { declare = [[
      local o = { window = "1h", keys = 4000 }
      local n, i, u = weir.counter("weir.usage.requests", o), weir.counter("weir.usage.input", o), weir.counter("weir.usage.output", o)
      weir.use { weir.plugin { name = "seen", api = 1, on_end = function()
        weir.log.info("%d %d %d %d %d", n:get "key:a", i:get "key:a", u:get "key:a", u:get "route:test", u:get "model:fast")
      end } {} }]] })
    local r = p:stream { text = "hi", key = "a", usage = { input = 5, output = 20 } }
    assert.same({}, r.errors)
    assert.is_truthy(r.log[1]:find("key=a model=fast route=test input=5 output=20 status=complete outcome=complete", 1, true), r.log[1])
    local log = table.concat(p:stream({ text = "hi", key = "a", usage = { input = 5, output = 20 } }).log, "\n")
    assert.is_truthy(log:find("2 10 40 40 40", 1, true), log)
  end)
end)

describe("weir.balance.cost", function()
  local p
  before_each(function()
    p = t.policy("weir.balance.cost", { order = { "openai", "claude", "local" }, ceiling = 0.05 }, PRICED)
  end)

  it("asks the cheapest that is well and has room", function()
    assert.equal("openai", p:request({ model = "fast" }).upstream)
    p:upstream("openai", { room = 0 })
    assert.equal("claude", p:request({ model = "fast" }).upstream)
    p:upstream("claude", { healthy = false })
    assert.equal("local", p:request({ model = "fast" }).upstream)
    p:upstream("local", { room = 0 })
    assert.equal(503, p:request({ model = "fast" }).status)
  end)

  it("refuses what costs more than the ceiling", function()
    local r = p:request { model = "fast", max_tokens = 1000000 }
    assert.equal(402, r.status)
    assert.is_truthy(r.text:find("^would cost about %$4"), r.text)
  end)

  it("asks the next one when one fails, and waits for one that is back at once", function()
    local r = p:upstream_error { error = "status", status = 500, upstream = "openai", model = "fast" }
    assert.same({}, r.errors)
    assert.same({ "openai", "claude" }, r.upstreams)
    r = p:upstream_error { error = "status", status = 429, retry_after = 1, times = 1, upstream = "openai", model = "fast" }
    assert.same({ "openai", "openai" }, r.upstreams)
    r = p:upstream_error { error = "status", status = 429, retry_after = 9, times = 1, upstream = "openai", model = "fast" }
    assert.same({ "openai", "claude" }, r.upstreams)
    r = p:upstream_error { error = "idle", upstream = "openai", model = "fast", text = "half an ans" }
    assert.same({ "openai" }, r.upstreams)
  end)
end)

describe("weir.balance.sticky", function()
  local function world() return t.policy("weir.balance.sticky", { order = { "openai", "claude", "local" } }) end
  local function ask(p, session) return p:request { headers = { ["x-session-id"] = session } }.upstream end

  it("gives a session the same upstream, and each upstream its share", function()
    local p, seen = world(), { openai = 0, claude = 0, ["local"] = 0 }
    for i = 1, 300 do
      local name = ask(p, "session-" .. i)
      seen[name] = seen[name] + 1
      assert.equal(name, ask(p, "session-" .. i))
    end
    for name, n in pairs(seen) do assert.is_true(n > 60 and n < 140, name .. " " .. n) end
  end)

  it("moves only the sessions of one that is away, and back again", function()
    local p, before = world(), {}
    for i = 1, 60 do before[i] = ask(p, "s" .. i) end
    p:upstream("claude", { healthy = false })
    for i = 1, 60 do
      local now = ask(p, "s" .. i)
      assert.not_equal("claude", now)
      if before[i] ~= "claude" then assert.equal(before[i], now) end
    end
    p:upstream("claude", { healthy = true })
    for i = 1, 60 do assert.equal(before[i], ask(p, "s" .. i)) end
  end)

  it("goes by the key where there is no session, and leaves others to the route", function()
    local p = world()
    assert.equal(p:request({ key = "team-a" }).upstream, ask(p, "team-a"))
    assert.is_nil(p:request({}).verdict)
  end)

  it("asks the session's next when one fails", function()
    local p = world()
    local first = ask(p, "s1")
    local r = p:upstream_error { error = "connect", upstream = first, headers = { ["x-session-id"] = "s1" } }
    assert.same({}, r.errors)
    assert.equal(2, r.attempts)
    assert.not_equal(first, r.upstream)
    p:upstream(first, { healthy = false })
    assert.equal(ask(p, "s1"), r.upstream)
  end)
end)

describe("weir.limits.budget", function()
  it("refuses when the tokens are gone, and begins anew", function()
    local p = t.policy("weir.limits.budget", { tokens = 1000, per = "1m", classes = { paid = 5000 }, keys = { vip = 100000 } })
    local big = { text = "x", key = "a", max_tokens = 500, usage = { input = 100, output = 700 } }
    assert.equal("over_budget", p:stream({ text = ("word "):rep(900), key = "z", max_tokens = 2 }).outcome)
    assert.equal(200, p:stream(big).status)
    local r = p:request { key = "a", max_tokens = 500 }
    assert.same({}, r.errors)
    assert.equal(429, r.status)
    assert.is_truthy(r.text:find "^token budget: %d+ left", r.text)
    assert.is_true(tonumber(r.headers["retry-after"]) >= 1)
    assert.equal(200, p:request({ key = { name = "b", class = "paid" }, max_tokens = 4000 }).status)
    assert.equal(200, p:request({ key = "vip", max_tokens = 90000 }).status)
    t.clock:advance(61)
    assert.equal(200, p:request({ key = "a", max_tokens = 500 }).status)
  end)

  it("goes elsewhere when it is told where", function()
    local p = t.policy("weir.limits.budget", { tokens = 100, output = 200, per = "1d", over = "local" })
    assert.equal("local", p:request({ key = "a" }).upstream)
    assert.equal("openai", p:request({ key = "a", max_tokens = 10 }).upstream)
  end)
end)

describe("weir.pressure.ladder", function()
  local p
  before_each(function()
    p = t.policy("weir.pressure.ladder", { refuse = { batch = 1, free = 2 }, degrade = 2, to = "local", output = 512, night = true },
      { worker = true })
  end)
  local function ask(class, max) return p:request { key = { name = class, class = class }, max_tokens = max } end

  it("does nothing while all is calm", function()
    assert.equal("openai", ask("batch").upstream)
  end)

  it("refuses classes one after the other, then degrades", function()
    p:pressure { step = 1 }
    local r = ask "batch"
    assert.equal(503, r.status)
    assert.equal("30", r.headers["retry-after"])
    assert.equal("openai", ask("free").upstream)
    p:pressure { step = 3 }
    assert.equal(503, ask("free").status)
    r = ask("paid", 4000)
    assert.same({}, r.errors)
    assert.equal("local", r.upstream)
    assert.is_truthy(r.body:find('"max_tokens":512', 1, true), r.body)
    assert.is_truthy(ask("paid", 100).body:find('"max_tokens":100', 1, true))
  end)

  it("bends the ladder: a late loop, and the night", function()
    assert.equal(2, p:pressure({ step = 1, loop_lag = 0.06 }).step)
    assert.is_nil(p:pressure({ step = 3, loop_lag = 0.06 }).verdict)
    assert.equal(1, p:pressure({ step = 2, loop_lag = 0 }).step) -- tests begin at midnight
    t.clock:advance(7 * 3600)
    assert.is_nil(p:pressure({ step = 2, loop_lag = 0 }).verdict)
    t.clock:advance(17 * 3600)
  end)
end)

describe("weir.slow.by_class", function()
  local p = t.policy("weir.slow.by_class", { classes = { paid = "pause_upstream", batch = "stop", slow = "wait" } })
  local function ask(class, bytes, age)
    return p:slow({ key = class and { name = class, class = class }, bytes = bytes or 9000, events = 9, age = age or 1 }).verdict
  end

  it("does as the class is told", function()
    assert.equal("pause_upstream", ask "paid")
    assert.equal("stop", ask "batch")
    assert.equal("wait", ask "slow")
    assert.equal("coalesce", ask "other")
    assert.equal("coalesce", ask())
  end)

  it("bounds what waits and how long", function()
    assert.equal("coalesce", ask("paid", 524288))
    assert.equal("stop", ask("paid", 9000, 31))
    assert.equal("stop", ask("slow", 9000, 31))
  end)
end)

describe("the standard library", function()
  local function refused(name)
    local ok, why = pcall(t.policy, name, {})
    assert.is_false(ok)
    return tostring(why)
  end

  it("is what is in the binary, and says so", function()
    assert.is_truthy(refused("weir.filters.redcat"):find("not in the standard library (did you mean 'weir.filters.redact'?)", 1, true))
    assert.is_truthy(refused("weir.test"):find("not in the standard library", 1, true))
  end)

  it("names its lines in errors as they are in the file", function()
    local ok, why = pcall(t.policy, "weir.filters.stop_words", { words = { "" } })
    assert.is_false(ok)
    local line = tonumber(tostring(why):match "weir/filters/stop_words%.lua:(%d+)") or 0
    local n = 0
    for text in io.lines "lua/weir/filters/stop_words.lua" do
      n = n + 1
      if n == line then assert.is_truthy(text:find "empty word", text) end
    end
    assert.is_true(line > 0 or tostring(why):find "empty word" ~= nil, tostring(why))
  end)
end)
