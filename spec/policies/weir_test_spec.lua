-- weir.test itself: what each call promises, with small policies made for it.
local t = require "weir.test"

local dir
local function policy(name, body, options, conf, before)
  local f = assert(io.open(("%s/%s.lua"):format(dir, name), "wb"))
  f:write(before or "", "\nreturn weir.plugin { name = '", name, "', api = 1,\n", body, "\n}\n")
  f:close()
  return t.policy(("%s/%s.lua"):format(dir, name), options, conf)
end

-- That this process has open.
local function descriptors()
  local p = assert(io.popen "ls /proc/$PPID/fd | wc -l")
  local n = p:read "n"
  p:close()
  return n
end

setup(function()
  local p = assert(io.popen "mktemp -d")
  dir = p:read "l"
  p:close()
end)
teardown(function() os.execute("rm -r " .. dir) end)

describe("weir.test", function()
  it("brings no file, socket or message along that a test would see", function()
    policy("none", ""):close()                       -- what is made once a process is made
    local before = descriptors()
    local p = policy("none", "")
    assert.is_true(descriptors() > before)
    assert.equal("hello", p:stream({ text = "hello" }).text)
    p:close()
    assert.is_true(descriptors() <= before)
    assert.has_error(function() p:stream { text = "x" } end, "this policy was closed")
  end)

  it("cuts a text in every way, never inside a character", function()
    local seen, n = {}, 0
    t.every_cut("aé🙂", function(parts)
      assert.equal("aé🙂", table.concat(parts))
      for _, part in ipairs(parts) do assert.is_truthy(utf8.len(part)) end
      seen[table.concat(parts, "|")], n = true, n + 1
    end)
    assert.is_true(seen["aé🙂"] and seen["a|é🙂"] and seen["aé|🙂"] and seen["a|é|🙂"])
    assert.equal(5, n)
  end)

  it("loads a policy as the server does", function()
    local body = "schema = { limit = { 'integer', default = 1, min = 0, max = 9 } }"
    assert.is_truthy(policy("schema", body, { limit = 9 }))
    for options, why in pairs {
      [{ limit = 10 }] = "at most 9", [{ limt = 1 }] = "did you mean 'limit'", [{ limit = "x" }] = "whole number",
    } do
      local ok, message = pcall(policy, "schema", body, options)
      assert.is_false(ok)
      assert.is_truthy(message:find(why, 1, true), message)
    end
    local ok, message = pcall(policy, "sandbox", "on_event = function() end, x = io.open('/etc/passwd')")
    assert.is_false(ok)
    assert.is_truthy(message:find("io", 1, true), message)
  end)

  it("shows what a policy does wrong", function()
    local p = policy("wrong", [[on_text = function(win, s)
      s.ctx.n = (s.ctx.n or 0) + 1
      if s.ctx.n == 1 then return "hodl" end
      if s.ctx.n == 2 then while true do end end
      local old = s.ctx.old
      s.ctx.old = win
      return old and old:find("x") and nil
    end]])
    local r = p:stream { text = { "a", "b", "c", "d" } }
    assert.equal("abcd", r.text)
    assert.is_truthy(r.errors[1]:find('returned "hodl"; expected', 1, true), r.errors[1])
    assert.is_truthy(r.errors[2]:find("over the limit: 100000 instructions", 1, true), r.errors[2])
    assert.is_truthy(r.errors[3]:find("expired", 1, true), r.errors[3])
    assert.equal("verdict", r.verdicts[1].fail)
    assert.equal("instructions", r.verdicts[2].fail)
    assert.equal(3, #r.errors)
    assert.is_true(r.max_instructions >= 100000 and p.max_instructions >= 100000)
    assert.is_true(#r.log >= 3)
  end)

  it("tells of each failure, also when a plugin is put aside", function()
    local p = policy("often", [[on_event = function() weir.log.info "here" error "no" end]])
    for _ = 1, 3 do
      local r = p:stream { text = "a" }
      assert.is_truthy(#r.errors >= 3)
      assert.equal(#r.errors, #r.verdicts)
    end
    local r = p:stream { text = "a" }
    assert.equal("quarantine", r.verdicts[1].fail)
    assert.is_truthy(r.errors[1]:find("put aside", 1, true))
    t.clock:advance(31)
    r = p:stream { text = "a" }
    assert.equal("error", r.verdicts[1].fail)
    assert.is_truthy(table.concat(r.log, "\n"):find("here", 1, true))
  end)

  it("knows keys by name and class", function()
    local p = policy("keys", [[on_request = function(req, s) return "reject", 418, s.key.name .. "/" .. s.key.class end]])
    assert.equal("anonymous/", p:request({}).text)
    assert.equal("team-a/", p:request({ key = "team-a" }).text)
    assert.equal("team-b/batch", p:request({ key = { name = "team-b", class = "batch" } }).text)
    assert.equal(418, p:request({}).status)
  end)

  it("gives what the upstream got", function()
    local p = policy("route", [[on_request = function(req)
      if req.max_tokens then return "route", "claude", { model = "opus", max_tokens = 7 } end
    end]])
    local r = p:request { max_tokens = 100, model = "fast", kind = "anthropic" }
    assert.equal("route", r.verdict)
    assert.equal("claude", r.route)
    assert.equal("opus", r.model)
    assert.equal(7, r.max_tokens)
    assert.same({ "claude" }, r.upstreams)
    assert.is_truthy(r.body:find('"max_tokens":7', 1, true))
    assert.is_nil(p:request({}).verdict)
  end)

  it("asks on_upstream_error about each way to fail", function()
    local p = policy("fallback", [[on_upstream_error = function(err, s)
      weir.log.info("%s %d %s", err.kind, err.status or 0, tostring(err.committed))
      if err.committed then return "fail" end
      if err.retry_after == 2 then return "retry", err.retry_after end
      return "fallback", "local"
    end]])
    for _, kind in ipairs { "connect", "status", "first_token", "truncated", "protocol" } do
      local r = p:upstream_error { error = kind, status = 503, upstream = "openai" }
      assert.same({}, r.errors)
      assert.equal("fallback", r.verdict, kind)
      assert.equal("local", r.upstream, kind)
      assert.equal("ok", r.text, kind)
      assert.equal("complete", r.outcome, kind)
      assert.is_truthy(r.log[1]:find(kind .. " ", 1, true), r.log[1])
    end
    local r = p:upstream_error { error = "truncated", text = "half an ans" }
    assert.equal("fail", r.verdict)
    assert.equal("truncated", r.outcome)
    assert.is_truthy(r.log[1]:find("truncated %d+ true"), r.log[1])
  end)

  it("asks on_slow_client and on_pressure with the figures of the test", function()
    local slow = policy("slow", [[schema = { give_up = { "duration", default = "30s" } },
      on_slow_client = function(q, s, conf)
        if q.age > conf.give_up then return "stop", "too slow" end
        if s.key.class == "paid" then return "pause_upstream" end
        if q.events > 8 then return "coalesce" end
        return "wait"
      end]])
    assert.equal("stop", slow:slow({ age = 31 }).verdict)
    assert.equal("too slow", slow:slow({ age = 31 }).text)
    assert.equal("pause_upstream", slow:slow({ key = { name = "a", class = "paid" } }).verdict)
    assert.equal("coalesce", slow:slow({ events = 9 }).verdict)
    assert.equal("wait", slow:slow({ events = 8, age = 30 }).verdict)

    local ladder = policy("ladder", [[
      on_pressure = function(p) if p.loop_lag > 0.05 and p.step < 2 then return "step", 2 end end,
      on_request = function() if weir.live.pressure().step >= 2 then return "reject", 503, "busy" end end]],
      {}, { worker = true })
    assert.equal(2, ladder:pressure({ step = 1, loop_lag = 0.1 }).step)
    assert.is_nil(ladder:pressure({ step = 1 }).verdict)
    assert.equal(200, ladder:request({}).status)
    ladder:pressure { step = 3 }
    assert.equal(503, ladder:request({}).status)
  end)

  it("lets a test say how upstreams are", function()
    local p = policy("live", [[on_request = function()
      for _, name in ipairs { "openai", "claude" } do
        local u = weir.live.upstream(name)
        if u.healthy and u.room > 0 then return "route", name end
      end
      return "reject", 503, "no room"
    end]])
    assert.equal("openai", p:request({}).route)
    p:upstream("openai", { healthy = false })
    assert.equal("claude", p:request({}).route)
    p:upstream("claude", { room = 0 })
    assert.equal(503, p:request({}).status)
    assert.has_error(function() p:upstream("nobody", {}) end, "no upstream 'nobody'")
  end)

  it("owns time and chance", function()
    local p = policy("clock", [[on_request = function()
      return "reject", 418, ("%d %s %d"):format(weir.now(), weir.date("%H:%M"), weir.random(1000000))
    end]])
    t.seed(7)
    local first = p:request({}).text
    t.clock:advance(3600)
    local later = p:request({}).text
    t.seed(7)
    assert.equal(first:match "%d+$", p:request({}).text:match "%d+$")
    assert.equal(3600, tonumber(later:match "^%d+") - tonumber(first:match "^%d+"))
    assert.are_not.equal(first:match " (%S+) ", later:match " (%S+) ")
    -- A policy that is loaded later lives at the same time.
    local other = policy("clock2", [[on_request = function() return "reject", 418, tostring(weir.now()) end]])
    assert.equal(tonumber(later:match "^%d+"), math.floor(tonumber(other:request({}).text)))
  end)

  it("counts, reserves, and runs what runs every so often", function()
    local p = policy("state", [[
      on_request = function(_, s)
        if flag:on() then return "reject", 503, "closed" end
        local ok, left = tokens:reserve(s, s.key.name, 60, 100)
        if not ok then return "reject", 429, ("%d left, %d ticks"):format(left, ticks:get "all") end
      end]], {}, nil, [[
      local flag = weir.flag "closed"
      local tokens = weir.budget("tokens", { per = "1h", keys = 10 })
      local ticks = weir.counter("ticks", { keys = 10 })
      weir.every("10s", function() ticks:add("all", 1) end)]])
    local ask = { key = "team-a" }
    assert.equal(200, p:request(ask).status)
    p:upstream_error { error = "status", status = 500, key = "team-a" }  -- nothing was used: what was reserved comes back
    t.clock:advance(100)
    assert.equal(200, p:request({ key = "team-b" }).status)
    p:request(ask)
    local r
    for _ = 1, 20 do r = p:request(ask) end
    assert.equal(429, r.status)
    assert.is_truthy(r.text:find "^%d+ left, %d+ ticks$", r.text)
    t.clock:advance(3600)
    assert.equal(200, p:request(ask).status)
    p:flag("closed", true)
    assert.equal(503, p:request(ask).status)
    p:flag("closed", false)
    assert.equal(200, p:request(ask).status)
    assert.has_error(function() p:flag("open", true) end, "no flag 'open'")
    p:close()
  end)

  it("lets the client leave", function()
    local p = policy("leave", [[on_end = function(fin) weir.log.info("%s", fin.outcome) end]])
    local r = p:stream { text = { "a", "b", "c" }, pace = 1, leave_after = 300 }
    assert.equal("client_gone", r.outcome)
    assert.is_truthy(r.log[1]:find("client_gone", 1, true))
    assert.is_nil(r.text:find("c", 1, true))
  end)

  it("lets go of policies that nobody holds", function()
    collectgarbage()                               -- what earlier specs left would count as what one policy takes
    collectgarbage()
    local before = descriptors()
    local p = policy("many", "")
    local each = descriptors() - before
    p:close()
    for _ = 1, 60 do policy("many", "") end
    assert.is_true(descriptors() < before + 50 * each, descriptors() .. " descriptors are open")
  end)

  it("waits for nothing", function()
    local p = policy("wait", [[on_event = function(ev, s) if s.age > 100 then return "stop", "length" end end]])
    local began = os.time()
    assert.equal("over_budget", p:stream({ text = { "a", "b", "c", "d" }, pace = 40 }).outcome)
    assert.equal("stalled", p:stream({ text = "a", ends = "hang" }).outcome)
    assert.is_true(os.time() - began < 60)
  end)
end)
