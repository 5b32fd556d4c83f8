-- What a policy says of attempts that fail and of answers that are about to begin, in the real binary.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

local function ups(fault)
  return ([[
weir.upstream "bad" { kind = "mock", mock = { tokens = 20, fault = "%s" },
  timeout = { first_byte = "300ms", first_token = "300ms", idle = "300ms" } }
weir.upstream "good" { kind = "mock", mock = { tokens = 20, numbered = true } }
]]):format(fault)
end

local function routes(hooks)
  local out = {}
  for _, name in ipairs(dialects.names) do
    out[#out + 1] = ('weir.route "%s" { match = { path = "%s" }, to = "bad", %s }'):format(name,
      dialects.list[name].path, hooks)
  end
  return table.concat(out, "\n") .. "\n"
end

describe("a policy", function()
  after_each(weir.kill_all)

  it("turns any failure before content into another attempt", io_.test(function()
    local kinds = {
      ["status:500"] = "status", hang = "first_byte", ["stall@1"] = "first_token", close = "reset",
      ["error@1"] = "error", ["cut@1"] = "truncated", garbage = "protocol",
    }
    for fault, kind in pairs(kinds) do
      local s = weir.run { conf = ups(fault) .. routes [[on_upstream_error = function(err, s)
        weir.log.info("kind=%s status=%s committed=%s model=%s", err.kind, tostring(err.status), tostring(err.committed),
          s.request.model)
        if s:tried "good" then return "fail" end
        return "fallback", "good"
      end]] }
      for i, name in ipairs(dialects.names) do
        local r = assert(http.fetch(dialects.ask(name, s.port)))
        assert.equal(200, r.status, fault)
        assert.is_true(dialects.text(name, r.body):find("t0 t1 ", 1, true) == 1, fault)
        assert.equal("bad,good", s:line(i).tried)
      end
      io_.eventually("the hook's line", function()
        return (s:log() .. s:err()):find("kind=" .. kind, 1, true)
      end)
      assert.equal(3, s:metrics().weir_fallbacks_total)
      assert.equal(0, s:metrics().weir_hook_errors_total or 0)
      s:stop()
    end
  end))

  it("says what the client is told", io_.test(function()
    local s = weir.run { conf = ups "status:503" .. routes [[on_upstream_error = function(err)
      return "fail", 418, "seconds: " .. err.retry_after
    end]] }
    for _, name in ipairs(dialects.names) do
      local r = assert(http.fetch(dialects.ask(name, s.port)))
      assert.equal(418, r.status)
      assert.equal("seconds: 1", (dialects.error_of(name, r):gsub("%.0$", "")))
    end
    s:stop()
  end))

  it("that never gives up is stopped at ten attempts", io_.test(function()
    local s = weir.run { conf = ups "status:500" .. 'weir.group "g" { "bad", retry = { budget = 1 } }\n' ..
      routes([[on_upstream_error = function() return "retry", 0.001 end]]):gsub('to = "bad"', 'to = "g"') }
    local r = assert(http.fetch(dialects.ask("chat", s.port)))
    assert.equal(500, r.status)
    assert.equal(10, s:line(1).attempts)
    s:stop()
  end))

  it("looks at the answer before the client does", io_.test(function()
    local s = weir.run { conf = ups "none" .. routes [[on_response_start = function(resp, s)
      assert(resp.status == 200 and resp:header "content-type" == "text/event-stream; charset=utf-8" or
             resp:header "content-type" == "text/event-stream", resp:header "content-type")
      if s.upstream == "bad" then
        assert(resp.first_token and resp.first_token < 60)
        return "fallback", "good"
      end
      if s.model == "no" then return "reject", 451, "not that" end
    end]] }
    for i, name in ipairs(dialects.names) do
      local r = assert(http.fetch(dialects.ask(name, s.port)))
      assert.equal(200, r.status)
      assert.is_true(dialects.text(name, r.body):find("t0 t1 ", 1, true) == 1)
      assert.equal("good", s:line(i).upstream)
    end
    local r = assert(http.fetch(dialects.ask("chat", s.port, nil, {
      body = '{"model":"no","stream":true,"messages":[]}' })))
    assert.equal(451, r.status)
    assert.equal("not that", (dialects.error_of("chat", r)))
    local m = s:metrics()
    assert.equal(0, m.weir_hook_errors_total or 0)
    assert.equal(4, m['weir_retries_total{why="policy"}'])
    s:stop()
  end))

  it("that fails itself leaves it to the rules", io_.test(function()
    local s = weir.run { conf = ups "status:429" .. 'weir.group "g" { "bad", last = "good" }\n' ..
      routes([[on_upstream_error = function() error "oops" end]]):gsub('to = "bad"', 'to = "g"') }
    local r = assert(http.fetch(dialects.ask("chat", s.port)))
    assert.equal(200, r.status)
    assert.equal("bad,good", s:line(1).tried)
    io_.eventually("the hook's error", function() return s:metrics().weir_hook_errors_total == 1 end)
    s:stop()
  end))
end)
