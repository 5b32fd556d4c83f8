-- What an upstream does wrong, and what the client sees of it: a true status, or the dialect's error, never half an
-- answer as a whole one.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

local CONF = dialects.routes .. [[
weir.upstream "up" { kind = "mock", mock = { tokens = 40 },
  timeout = { first_byte = "400ms", first_token = "600ms", idle = "400ms" } }
]]

-- Before the first content: the status is still true. outcome nil: any.
local EARLY = {
  { "status:429", 429, "upstream_error" }, { "status:500", 500, "upstream_error" }, { "status:503", 503, "upstream_error" },
  { "status:401", 401, "upstream_error" }, { "hang", 504, "stalled" }, { "slow-head:2000", 504, "stalled" },
  { "close", 502, "upstream_error" },
  { "garbage", 502, "upstream_error" }, { "both-lengths", 502, "upstream_error" },
  { "gzip-claim", 502, "upstream_error" }, { "cut@0", 502, "truncated" }, { "cut@1", 502, "truncated" },
  { "reset@1", 502 }, { "truncate@0", 502 }, { "bad-chunk@1", 502, "upstream_error" }, { "stall@1", 504, "stalled" },
  { "bad-json@0", 502, "upstream_error" },
}

-- After it: an error event of the dialect and no clean end. own: the upstream's error event passes as it is.
local LATE = {
  { "cut@12", "truncated" }, { "truncate@12", "truncated" }, { "reset@12", "truncated" },
  { "bad-chunk@12", "upstream_error" }, { "bad-json@12", "upstream_error" }, { "stall@12", "stalled" },
  { "error@12", "upstream_error", own = true },
}

-- All of it arrives in spite of the trouble.
local HARMLESS = { "split-head", "slow-head:20" }

-- Whole answers, not streamed: a status, or a body that is visibly cut.
local WHOLE = { "cut", "truncate", "reset", "bad-chunk", "stall", "early-end", "close", "hang", "garbage", "both-lengths" }

describe("an upstream's fault", function()
  after_each(weir.kill_all)

  for _, name in ipairs(dialects.names) do
    it("before content is a status and an error body: " .. name, io_.test(function()
      local s = weir.run { conf = CONF }
      for i, f in ipairs(EARLY) do
        local r = assert(http.fetch(dialects.ask(name, s.port, { "x-mock-fault: " .. f[1] })))
        assert.equal(f[2], r.status, f[1])
        assert.is_true(r.clean, f[1])
        dialects.error_of(name, r)
        local line = s:line(i)
        assert.equal(f[2], line.status, f[1])
        if f[3] then assert.equal(f[3], line.outcome, f[1]) end
      end
      s:stop()
    end))

    it("after content is the dialect's error event: " .. name, io_.test(function()
      local s = weir.run { conf = CONF }
      for i, f in ipairs(LATE) do
        local r = assert(http.fetch(dialects.ask(name, s.port, { "x-mock-fault: " .. f[1], "x-mock-numbered: true" })))
        assert.equal(200, r.status, f[1])
        local events = dialects.events(r.body)
        assert.is_true(dialects.is_error_event(name, events[#events]), f[1] .. ": " .. r.body:sub(-300))
        assert.is_true(dialects.text(name, r.body):find("t0 t1 ", 1, true) == 1, f[1])
        assert.is_nil(r.body:find("[DONE]", 1, true), f[1])
        if not f.own then assert.is_false(r.clean, f[1]) end
        assert.equal(f[2], s:line(i).outcome, f[1])
      end
      s:stop()
    end))

    it("that only looks like one does no harm: " .. name, io_.test(function()
      local s = weir.run { conf = CONF }
      local want
      for i, f in ipairs { "none", table.unpack(HARMLESS) } do
        local r = assert(http.fetch(dialects.ask(name, s.port,
          { i > 1 and "x-mock-fault: " .. f or "x-none: 1", "x-mock-numbered: true" })))
        assert.equal(200, r.status, f)
        assert.is_true(r.clean, f)
        local text = dialects.text(name, r.body)
        want = want or text
        assert.equal(want, text)
        assert.equal("complete", s:line(i).outcome)
      end
      s:stop()
    end))

    it("in a whole answer is never a whole answer: " .. name, io_.test(function()
      local s = weir.run { conf = CONF }
      for i, f in ipairs(WHOLE) do
        local r = http.fetch(dialects.ask(name, s.port, { "x-mock-fault: " .. f }, { stream = false }))
        local line = s:line(i)
        if r and r.status == 200 then
          -- `cut` has a matching length: nobody on the way can tell.
          assert.equal(f == "cut", r.clean, f)
        elseif r then
          assert.is_true(r.status >= 500, f)
          dialects.error_of(name, r)
        end
        if f ~= "cut" then assert.not_equal("complete", line.outcome, f) end
      end
      s:stop()
    end))
  end

  it("without the terminator counts as an end only after a finish reason", io_.test(function()
    local s = weir.run { conf = CONF }
    local r = assert(http.fetch(dialects.ask("chat", s.port, { "x-mock-fault: no-done" })))
    assert.is_true(r.clean)
    r = assert(http.fetch(dialects.ask("responses", s.port, { "x-mock-fault: no-done" })))
    assert.is_false(r.clean)
    assert.equal("truncated", s:line(2).outcome)
    s:stop()
  end))

  it("that nobody can connect to is 502, and the next member of the group is asked", io_.test(function()
    local dead = io_.listen(nil)
    local url = dead.url
    dead:close()
    local s = weir.run { conf = ([[
      weir.upstream "dead" { kind = "openai-compatible", url = "%s" }
      weir.upstream "up" { kind = "mock" }
      weir.group "both" { "dead", last = "up" }
      weir.route "one" { match = { path = "/v1/chat/completions" }, to = "dead" }
      weir.route "two" { match = { path = "/v1/*" }, to = "both" }]]):format(url) }
    local r = assert(http.fetch(dialects.ask("chat", s.port)))
    assert.equal(502, r.status)
    dialects.error_of("chat", r)
    assert.equal("upstream_error", s:line(1).outcome)
    r = assert(http.fetch(dialects.ask("responses", s.port)))
    assert.equal(200, r.status)
    local line = s:line(2)
    assert.equal(2, line.attempts)
    assert.equal("up", line.upstream)
    s:stop()
  end))
end)
