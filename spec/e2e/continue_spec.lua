-- A stream that breaks off behind its first content: another upstream goes on, and the client reads one whole answer.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

local NAMES = { "chat", "messages" }
local BODY = '{"model":"m","max_tokens":4000,"stream":true,"messages":[{"role":"user","content":"hi"}],"input":"hi"}'
local TOKENS = 20

-- The routes of all dialects with more of each.
local function routes(more)
  return (dialects.routes:gsub('to = "up"', function(to) return to .. ", " .. more end))
end

-- The first breaks off with a fault, `last` goes on; both say t0 to t19.
local function conf(fault, o)
  o = o or {}
  return ([[
local redact = require "weir.filters.redact"
weir.upstream "bad" { kind = "mock", mock = { tokens = 20, numbered = true, %s },
  timeout = { idle = "300ms" }, breaker = { failures = 0, rate = 0 } }
weir.upstream "good" { kind = "mock", prefill = %s, mock = { tokens = 20, numbered = true, %s } }
weir.group "up" { "bad", last = "good", retry = { budget = 1 } }
]]):format(fault and ('fault = "%s"'):format(fault) or "", o.prefill or "true", o.good or "")
    .. routes("continue = true, " .. (o.route or ""))
end

local function ask(name, port, o)
  o = o or {}
  o.body = o.body or BODY
  return dialects.ask(name, port, nil, o)
end

local function whole_text()
  local t = {}
  for i = 0, TOKENS - 1 do t[#t + 1] = "t" .. i end
  return table.concat(t, " ")
end

local function count(text, what)
  local n = 0
  for _ in text:gmatch(what) do n = n + 1 end
  return n
end

-- One answer of the dialect, whole and with one beginning and one end.
local function expect_one(name, r, why)
  assert.equal(200, r.status, why)
  assert.is_true(r.clean, why .. "\n" .. r.body)
  for _, ev in ipairs(dialects.events(r.body)) do assert.is_false(dialects.is_error_event(name, ev), why .. r.body) end
  if name == "chat" then
    assert.equal(1, count(r.body, '"role":"assistant"'), why .. r.body)
    assert.equal(1, count(r.body, "%[DONE%]"), why)
    local ids = {}
    for id in r.body:gmatch '"id":"([^"]+)"' do ids[id] = true end
    assert.is_not_nil(next(ids), why)
    assert.is_nil(next(ids, next(ids)), why .. r.body)
  else
    for _, event in ipairs { "message_start", "content_block_start", "content_block_stop", "message_stop" } do
      assert.equal(1, count(r.body, "event: " .. event), why .. r.body)
    end
  end
end

describe("a stream that breaks off", function()
  after_each(weir.kill_all)

  for _, name in ipairs(NAMES) do
    it("goes on at another upstream: " .. name .. (name == "chat" and " #smoke #threads" or ""), io_.test(function()
      for _, fault in ipairs { "cut@9", "reset@9", "stall@9", "error@9", "bad-json@9", "bad-chunk@9", "truncate@9" } do
        local s = weir.run { conf = conf(fault) }
        local r = assert(http.fetch(ask(name, s.port)))
        expect_one(name, r, fault)
        assert.equal(whole_text(), dialects.text(name, r.body), fault)
        local line = s:line(1)
        assert.equal("complete", line.outcome, fault)
        assert.equal(2, line.attempts, fault)
        assert.equal("good", line.upstream, fault)
        assert.equal("bad,good", line.tried, fault)
        assert.is_string(line.retried, fault)
        assert.is_nil(line.error, fault)
        assert.equal(1, line.continued, fault)
        assert.is_true(line.continued_bytes > 10, fault)
        local m = s:metrics()
        assert.equal(1, m['weir_continued_total{result="joined"}'], fault)
        assert.equal(1, m.weir_continued_total, fault)
        assert.equal(1, m.weir_retries_total, fault)
        s:stop()
      end
    end))

    it("goes on wherever it breaks, also where the server says it all again: " .. name, io_.test(function()
      for _, good in ipairs { "", "echo = true" } do
        for n = 5, 20 do
          -- Less than 32 bytes are no repeat unless the upstream is known to repeat.
          local o = { good = good .. '}, prefill_echo = ' .. tostring(good ~= "") .. ', headers = { ["x-a"] = "b"' }
          local s = weir.run { conf = conf("cut@" .. n, o) }
          local r = assert(http.fetch(ask(name, s.port)))
          expect_one(name, r, good .. n)
          assert.equal(whole_text(), dialects.text(name, r.body), good .. n)
          s:stop()
        end
      end
    end))

    it("keeps what a text filter holds: " .. name, io_.test(function()
      local use = { route = 'use = { redact { patterns = { tag = "t1%d" } } },' }
      local s = weir.run { conf = conf(nil, use) }
      local expected = dialects.text(name, assert(http.fetch(ask(name, s.port))).body)
      assert.is_nil(expected:find("t12", 1, true))
      assert.is_truthy(expected:find("t9", 1, true))
      s:stop()
      for n = 6, 20, 2 do
        s = weir.run { conf = conf("cut@" .. n, use) }
        local r = assert(http.fetch(ask(name, s.port)))
        expect_one(name, r, n)
        assert.equal(expected, dialects.text(name, r.body), n)
        s:stop()
      end
    end))
  end

  it("goes on when its server is killed #threads", io_.test(function()
    local one, two = weir.mock "--tokens 400 --numbered --rate 200", weir.mock "--tokens 400 --numbered --rate 400"
    local s = weir.run { conf = ([[
weir.upstream "one" { kind = "openai-compatible", url = "%s", prefill = "prefix" }
weir.upstream "two" { kind = "openai-compatible", url = "%s", prefill = "vllm" }
weir.group "up" { "one", last = "two", retry = { budget = 1 } }
]]):format(one.url, two.url) .. routes "continue = true" }
    local done, expected = 0, {}
    for i = 0, 399 do expected[#expected + 1] = "t" .. i end
    expected = table.concat(expected, " ")
    local seen = 0
    for _ = 1, 20 do
      io_.go(function()
        local first = true
        local r = assert(http.fetch(ask("chat", s.port, { on_data = function()
          if first then seen = seen + 1 end
          first = false
        end })))
        expect_one("chat", r, "killed")
        assert.equal(expected, dialects.text("chat", r.body))
        done = done + 1
      end)
    end
    io_.eventually("all streams to run", function() return seen == 20 end, 30)
    one:signal "KILL"
    io_.eventually("all streams to end", function() return done == 20 end, 60)
    local m = s:metrics()
    assert.equal(20, m['weir_continued_total{result="joined"}'])
    local complete = 0
    for k, v in pairs(m) do
      if k:find('weir_requests_total{', 1, true) and k:find('outcome="complete"', 1, true) then complete = complete + v end
    end
    assert.equal(20, complete)
    s:stop()
    two:stop()
  end))

  it("never shows half an answer as a whole one, whatever breaks how often #threads", io_.test(function()
    local up = {}
    for i, fault in ipairs { "reset@14", "error@30", "cut@45" } do
      up[i] = ([[weir.upstream "u%d" { kind = "mock", prefill = true, breaker = { failures = 0, rate = 0 },
        mock = { tokens = 60, numbered = true, jitter = 1, rate = 2000, fault = "%s", fault_share = 0.6 } }
]]):format(i, fault)
    end
    local s = weir.run { workers = 2, conf = table.concat(up) .. [[
weir.group "up" { "u1", "u2", "u3", retry = { attempts = 4, budget = 1, backoff = "5ms" } }
]] .. routes "continue = true" }
    local done, whole, broken, expected = 0, 0, 0, {}
    for i = 0, 59 do expected[#expected + 1] = "t" .. i end
    expected = table.concat(expected, " ")
    for i = 1, 120 do
      io_.go(function()
        local name = NAMES[i % 2 + 1]
        local r = assert(http.fetch(ask(name, s.port)))
        local text = dialects.text(name, r.body)
        -- An error event that is the upstream's own, with nobody left to go on, has the upstream's clean end.
        local events = dialects.events(r.body)
        if not dialects.is_error_event(name, events[#events]) then
          expect_one(name, r, "mixed")
          assert.equal(expected, text)
          whole = whole + 1
        else
          assert.equal(expected:sub(1, #text), text)
          broken = broken + 1
        end
        done = done + 1
      end)
    end
    io_.eventually("all streams to end", function() return done == 120 end, 60)
    local m = s:metrics()
    assert.is_true(m['weir_continued_total{result="joined"}'] > 40)
    assert.is_true(whole > broken)
    assert.equal(broken, m['weir_continued_total{result="refused"}'])
    s:stop()
  end))

  it("goes on for a client that reads slowly", io_.test(function()
    for _, action in ipairs { "pause_upstream", "coalesce" } do
      local more = ('continue = true, slow_client = { action = "%s", high = "4KiB" }'):format(action)
      local s = weir.run { conf = [[
weir.upstream "bad" { kind = "mock", mock = { tokens = 3900, numbered = true, fault = "reset@3000" } }
weir.upstream "good" { kind = "mock", prefill = true, mock = { tokens = 3900, numbered = true } }
weir.group "up" { "bad", last = "good", retry = { budget = 1 } }
]] .. routes(more) }
      local expected, got = {}, 0
      for i = 0, 3899 do expected[#expected + 1] = "t" .. i end
      local r = assert(http.fetch(ask("messages", s.port, { rcvbuf = 4096, on_data = function(data)
        got = got + #data
        if got > 65536 then
          got = 0
          io_.pause(0.002)
        end
      end })))
      assert.is_true(r.clean, action)
      assert.is_true(table.concat(expected, " ") == dialects.text("messages", r.body), action)
      assert.equal(1, s:line(1).continued, action)
      s:stop()
    end
  end))

  it("ends as ever where nobody can go on", io_.test(function()
    for i, o in ipairs {
      { name = "responses" },                                          -- an API without messages
      { name = "chat", good = 'fault = "status:400"', failed = 1 },
      { name = "chat", route = 'limits = { continue = "64B" },', fault = "cut@40", tokens = 60 },
      { name = "chat", route = 'on_upstream_error = function(e) if e.committed then return "fail" end end,' },
      { name = "chat", body = BODY:gsub('"stream"', '"n":2,"stream"') },
    } do
      local c = conf(o.fault or "cut@9", o)
      if o.tokens then c = c:gsub("tokens = 20", "tokens = " .. o.tokens) end
      local s = weir.run { conf = c }
      local r = assert(http.fetch(ask(o.name, s.port, { body = o.body })))
      assert.equal(200, r.status, i)
      assert.is_false(r.clean, i)
      local events = dialects.events(r.body)
      assert.is_true(dialects.is_error_event(o.name, events[#events]), i .. r.body)
      assert.equal("truncated", s:line(1).outcome, i)
      local m = s:metrics()
      assert.equal(o.failed or 0, m['weir_continued_total{result="failed"}'], i)
      assert.equal(o.failed and 0 or 1, m['weir_continued_total{result="refused"}'], i)
      s:stop()
    end
  end))

  it("is let go of when its client leaves in between", io_.test(function()
    local s = weir.run { conf = conf("cut@9", { good = 'fault = "hang"' }) }
    local c = assert(io_.connect("127.0.0.1", s.port))
    c:send(http.request(ask("chat", s.port)))
    io_.eventually("the second upstream to be asked", function()
      return s:metrics()['weir_peer_streams{upstream="good",url="mock"}'] == 1
    end, 30)
    c:close()
    assert.equal("client_gone", s:line(1).outcome)
    io_.eventually("the second upstream to be left", function()
      return s:metrics()['weir_peer_streams{upstream="good",url="mock"}'] == 0
    end, 30)
    s:stop()
  end))
end)
