-- Names of models and caps hold for every body: what stands behind the part that is held, comes twice, or is no JSON
-- must not slip past them. And a request that is half in never keeps what the pool lacks.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

local CONF = [[
weir.upstream "named" { kind = "mock", mock = { tokens = 9 }, models = { fast = "gpt-a" } }
weir.upstream "any" { kind = "mock", mock = { tokens = 9 } }
weir.upstream "dead" { kind = "openai", url = "http://127.0.0.1:1" }
weir.route "named" { match = { path = "/*", host = "named" }, to = "named" }
weir.route "any" { match = { path = "/*", host = "any" }, to = "any" }
weir.route "cap" { match = { path = "/*", host = "cap" }, to = "any", limits = { output_tokens = 5 } }
weir.route "dead" { match = { path = "/*", host = "dead" }, to = "dead" }
]]
local function prompt(bytes) return '"messages":[{"role":"user","content":"' .. ("x"):rep(bytes) .. '"}]' end
local LONG = prompt(1500000) -- longer than what is held
local MIDDLE = prompt(300000)

-- host, body, status, and the error or the number of tokens.
local BODIES = {
  { "named", '{"model":"fast",' .. LONG .. '}', 200, 9 },
  { "named", '{' .. LONG .. ',"model":"fast"}', 413, "unread" },
  { "named", '{' .. MIDDLE .. ',"model":"fast"}', 200, 9 },
  { "cap", '{' .. MIDDLE .. ',"max_tokens":50,"model":"fast"}', 200, 5 },
  { "named", '{"model":"fast",' .. LONG .. ',"model":"gpt-big"}', 413, "unread" },
  { "named", '{"x":NaN,"model":"gpt-big","messages":[]}', 400, "body_json" },
  { "any", '{' .. LONG .. ',"model":"fast"}', 200, 9 },
  { "cap", '{"model":"fast",' .. LONG .. '}', 200, 5 },
  { "cap", '{"model":"fast",' .. LONG .. ',"max_tokens":4}', 200, 4 },
  { "cap", '{"model":"fast",' .. LONG .. ',"max_tokens":50}', 413, "unread" },
  { "cap", '{' .. LONG .. ',"model":"fast"}', 413, "unread" },
}

describe("rules of a route and an upstream", function()
  after_each(weir.kill_all)

  it("hold for bodies that are longer than what is held", io_.test(function()
    local s = weir.run { conf = CONF }
    for i, b in ipairs(BODIES) do
      local c = assert(io_.connect("127.0.0.1", s.port))
      c:send(("POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"):format(b[1])
        .. ("Content-Length: %d\r\n\r\n"):format(#b[2]) .. b[2])
      local r = assert(http.read_response(c))
      assert.equal(b[3], r.status, i)
      if r.status == 200 then
        assert.equal(tostring(b[4]), r.body:match '"completion_tokens":(%d+)', i)
      else
        dialects.error_of("chat", r)
        assert.equal(b[4], s:line(i).error, i)
      end
      c:close()
    end
    s:stop()
  end))

  it("name the reason of the last try in the log", io_.test(function()
    local s = weir.run { conf = CONF }
    local r = http.fetch { port = s.port, method = "POST", path = "/v1/chat/completions", host = "dead",
      body = '{"model":"m"}' }
    assert.equal(502, r.status)
    assert.equal("connect", s:line(1).error)
    assert.equal("connection refused", s:line(1).why)
    s:stop()
  end))
end)

describe("requests that are half in", function()
  after_each(weir.kill_all)

  it("don't hold the pool among themselves", io_.test(function()
    local s = weir.run { memory = "1MiB", conf = CONF }
    local conns = {}
    io_.eventually("a refusal", function()
      local c = assert(io_.connect("127.0.0.1", s.port))
      c:send("POST /v1/chat/completions HTTP/1.1\r\nHost: any\r\nContent-Length: 70000\r\n\r\n" .. ("x"):rep(50000))
      conns[#conns + 1] = c
      return s:metrics().weir_refused_total >= 1
    end)
    for _, c in ipairs(conns) do c:close() end
    -- Long before the deadline of a body: each has noticed that its client is gone.
    io_.eventually("room", function()
      local r = http.fetch { port = s.port, method = "POST", path = "/v1/chat/completions",
        host = "any", body = '{"model":"m"}' }
      return r and r.status == 200
    end, 10)
    s:assert_idle()
    s:stop()
  end))
end)
