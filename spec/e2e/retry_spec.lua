-- Upstreams that fail before content: another one is asked, and nothing of the failure is to be seen; what may have been
-- done is not done twice unless the group says so.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

-- The first always fails; `last` is asked after it.
local function conf(fault, retry, o)
  o = o or {}
  return ([[
weir.upstream "bad" { kind = "mock", mock = { tokens = 20, fault = "%s" }, %s
  timeout = { first_byte = "300ms", first_token = "300ms", idle = "300ms" } }
weir.upstream "good" { kind = "mock", mock = { tokens = 20, numbered = true } }
weir.group "up" { "bad", last = "good", retry = { %s } }
]]):format(fault, o.upstream or "", retry) .. dialects.routes
end

-- Where the first content stands, and one event before it: what is held.
local HELD = { chat = 1, responses = 2, messages = 2 }

local function roles(name, text)
  local what = { chat = '"role"', responses = "event: response.created", messages = "event: message_start" }
  local n = 0
  for _ in text:gmatch(what[name]) do n = n + 1 end
  return n
end

local function expect_answer(name, s, n, why)
  local r = assert(http.fetch(dialects.ask(name, s.port)))
  assert.equal(200, r.status, why)
  assert.is_true(r.clean, why)
  assert.equal(1, roles(name, r.body), why .. r.body)
  assert.is_true(dialects.text(name, r.body):find("t0 t1 t2 ", 1, true) == 1, why)
  for _, ev in ipairs(dialects.events(r.body)) do assert.is_false(dialects.is_error_event(name, ev), why) end
  local line = s:line(n)
  assert.equal("complete", line.outcome, why)
  assert.equal(2, line.attempts, why)
  assert.equal("good", line.upstream, why)
  assert.equal("bad,good", line.tried, why)
  assert.is_nil(line.error, why)
  assert.is_string(line.retried, why)
end

describe("an attempt that fails before content", function()
  after_each(weir.kill_all)

  for _, name in ipairs(dialects.names) do
    it("is followed by another: " .. name .. (name == "chat" and " #threads" or ""), io_.test(function()
      local held = HELD[name]
      -- fault, what `on` must have, the label of the metric
      local cases = {
        { "status:429", nil, "429" }, { "status:503", nil, "503" }, { "error@" .. held, nil, "error" },
        { "error@0", nil, "error" },
        { "status:500", "5xx", "5xx" }, { "close", "reset", "reset" }, { "hang", "first_byte", "first_byte" },
        { "stall@" .. held, "first_token", "first_token" }, { "cut@" .. held, "truncated", "truncated" },
        { "reset@" .. held, "reset", "reset" }, { "garbage", "protocol", "protocol" },
        { "bad-chunk@" .. held, "protocol", "protocol" }, { "bad-json@0", "protocol", "protocol" },
      }
      for _, c in ipairs(cases) do
        local s = weir.run { conf = conf(c[1], c[2] and ('on = { "%s" }'):format(c[2]) or "") }
        expect_answer(name, s, 1, c[1])
        local m = s:metrics()
        assert.equal(1, m[('weir_retries_total{why="%s"}'):format(c[3])], c[1])
        assert.equal(1, m.weir_retries_total)
        assert.equal(1, m.weir_fallbacks_total)
        s:stop()
      end
    end))
  end

  it("isn't, where the group doesn't name it: the failure passes as it came", io_.test(function()
    local cases = { { "status:500", 500 }, { "close", 502 }, { "hang", 504 }, { "stall@1", 504 }, { "cut@1", 502 } }
    for _, c in ipairs(cases) do
      local s = weir.run { conf = conf(c[1], "") }
      local r = assert(http.fetch(dialects.ask("chat", s.port)))
      assert.equal(c[2], r.status, c[1])
      dialects.error_of("chat", r)
      assert.equal(1, s:line(1).attempts)
      assert.equal(0, s:metrics().weir_retries_total)
      s:stop()
    end
  end))

  it("isn't, once there was content", io_.test(function()
    local s = weir.run { conf = conf("reset@9", 'on = { "reset", "truncated" }') }
    for i, name in ipairs(dialects.names) do
      local r = assert(http.fetch(dialects.ask(name, s.port)))
      assert.equal(200, r.status)
      assert.is_false(r.clean)
      local events = dialects.events(r.body)
      assert.is_true(dialects.is_error_event(name, events[#events]))
      assert.equal(1, s:line(i).attempts)
    end
    s:stop()
  end))

  it("ends in what the last one said when all fail #smoke", io_.test(function()
    for _, name in ipairs(dialects.names) do
      local s = weir.run { conf = [[
        weir.upstream "one" { kind = "mock", mock = { fault = "status:503" } }
        weir.upstream "two" { kind = "mock", mock = { fault = "status:429" } }
        weir.group "up" { "one", last = "two" }
      ]] .. dialects.routes }
      local r = assert(http.fetch(dialects.ask(name, s.port)))
      assert.equal(429, r.status)
      dialects.error_of(name, r)
      assert.equal("1", r.fields["retry-after"])
      assert.equal("upstream_error", s:line(1).outcome)
      assert.equal(2, s:line(1).attempts)
      s:stop()
    end
  end))

  it("waits for the only one there is, as long as that says", io_.test(function()
    local s = weir.run { conf = [[
      weir.upstream "one" { kind = "mock", mock = { fault = "status:503", fault_first = 1 } }
      weir.group "up" { "one" }
    ]] .. dialects.routes }
    local r = assert(http.fetch(dialects.ask("chat", s.port)))
    assert.equal(200, r.status)
    local line = s:line(1)
    assert.equal(2, line.attempts)
    assert.is_true(line.duration_ms >= 1000, tostring(line.duration_ms))
    assert.equal(0, s:metrics().weir_fallbacks_total)
    s:stop()
  end))

  it("is one that crawls, where the route has a minimum rate", io_.test(function()
    local s = weir.run { conf = [[
      weir.upstream "bad" { kind = "mock", mock = { tokens = 400, rate = 4 } }
      weir.upstream "good" { kind = "mock", mock = { tokens = 200, numbered = true } }
      weir.group "up" { "bad", last = "good" }
    ]] .. dialects.routes:gsub('to = "up"', 'to = "up", min_rate = { chars = 300, window = "400ms" }') }
    for i, name in ipairs(dialects.names) do expect_answer(name, s, i, "crawl") end
    local m = s:metrics()
    assert.equal(3, m['weir_retries_total{why="slow"}'])
    s:stop()
  end))

  it("is bounded by the budget in an outage", io_.test(function()
    local s = weir.run { conf = conf("status:500", 'on = { "5xx" }, budget = 0.1',
      { upstream = "breaker = { failures = 0, rate = 0 }," }) }
    local passed = 0
    for _ = 1, 60 do
      local r = assert(http.fetch(dialects.ask("chat", s.port)))
      if r.status == 200 then passed = passed + 1 end
    end
    local m = s:metrics()
    -- A tenth, and ten in the window; a slow machine has two windows.
    assert.is_true(passed >= 10 and passed <= 36, tostring(passed))
    assert.equal(60 - passed, m.weir_retry_budget_exhausted_total)
    s:stop()
  end))

  it("can't be followed when the body was too long to keep", io_.test(function()
    local s = weir.run { conf = ([[
      weir.upstream "bad" { kind = "mock", mock = { fault = "status:503" } }
      weir.upstream "good" { kind = "mock" }
      weir.group "up" { "bad", last = "good" }
      weir.route "short" { match = { path = "/v1/chat/completions" }, to = "up", limits = { inspect = "8KiB" } }
      weir.route "long" { match = { path = "/v1/responses" }, to = "up" }
    ]]) }
    local body = ('{"model":"m","stream":true,"input":"hi","messages":[],"x":"%s"}'):format(("x"):rep(300000))
    local r = assert(http.fetch(dialects.ask("chat", s.port, nil, { body = body })))
    assert.equal(503, r.status)
    assert.equal(1, s:metrics().weir_retry_body_gone_total)
    -- The default of 1 MiB keeps it.
    local kept = assert(http.fetch(dialects.ask("responses", s.port, nil, { body = body })))
    assert.equal(200, kept.status)
    s:stop()
  end))
end)
