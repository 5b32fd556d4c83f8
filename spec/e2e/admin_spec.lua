-- What the operator sees: the admin listener, the access log, and that no key is ever in either.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"
local json = require "cjson.safe"

local CLIENT_KEY, UPSTREAM_KEY = "sk-client-4d1f9c7700aa", "sk-upstream-93be51d2ff10"

describe("the admin listener #smoke", function()
  after_each(weir.kill_all)

  it("tells health, readiness, version and what runs", io_.test(function()
    local s = weir.run { workers = 2, conf = dialects.routes .. [[
      weir.upstream "up" { kind = "mock", mock = { tokens = 400, rate = 40 } }]] }
    assert.equal(200, s:admin "/healthz".status)
    assert.equal(200, s:admin "/readyz".status)
    assert.equal("table", type(json.decode(s:admin "/version".body)))
    assert.equal(404, s:admin "/nowhere".status)
    assert.equal("[]", (s:admin "/streams".body:gsub("%s", "")))
    local c = assert(io_.connect("127.0.0.1", s.port))
    c:send(http.request(weir.chat { port = s.port }))
    assert(c:recv_until '"content":"')
    local rows = json.decode(s:admin "/streams".body)
    assert.equal(1, #rows)
    assert.equal("chat", rows[1].route)
    assert.equal("up", rows[1].upstream)
    assert.equal("m", rows[1].model)
    assert.equal("stream", rows[1].step)
    assert.equal(200, rows[1].status)
    assert.is_true(rows[1].committed)
    assert.equal(1, s:metrics().weir_requests_active)
    c:close()
    assert.equal("client_gone", s:line(1).outcome)
    s:stop()
  end))

  it("refuses what a browser would send", io_.test(function()
    local s = weir.run { conf = dialects.routes .. 'weir.upstream "up" { kind = "mock" }' }
    local r = assert(http.fetch { port = s.admin_port, path = "/metrics", host = "evil.example" })
    assert.is_true(r.status >= 400)
    r = assert(http.fetch { port = s.admin_port, path = "/metrics", host = "127.0.0.1",
      headers = { "Origin: http://evil.example" } })
    assert.is_true(r.status >= 400)
    s:stop()
  end))

  it("traces what workers do, from the switch on to the switch off", io_.test(function()
    local s = weir.run { workers = 2, conf = dialects.routes .. 'weir.upstream "up" { kind = "mock", mock = { tokens = 5 } }' }
    local function ask(method, path)
      return assert(http.fetch { port = s.admin_port, method = method, path = path, host = "localhost" })
    end
    assert.equal(409, ask("GET", "/trace").status)
    assert.equal(2, json.decode(ask("POST", "/trace/on").body).workers)
    assert.equal(200, assert(http.fetch(weir.chat { port = s.port })).status)
    local seen = {}
    local file = json.decode(ask("GET", "/trace?seconds=60").body)
    for _, e in ipairs(file.traceEvents) do seen[e.ph .. " " .. e.name] = (seen[e.ph .. " " .. e.name] or 0) + 1 end
    assert.equal(1, seen["b stream"])
    assert.equal(seen["b stream"], seen["e stream"])
    assert.is_true(seen["X write"] >= 2)
    assert.is_true(seen["i block get"] > 0)
    assert.equal(0, json.decode(ask("POST", "/trace/off").body).workers)
    assert.equal(409, ask("GET", "/trace").status)
    s:stop()
  end))

  it("counts what the access log tells", io_.test(function()
    local s = weir.run { conf = dialects.routes .. 'weir.upstream "up" { kind = "mock", mock = { tokens = 30 } }' }
    for _, name in ipairs(dialects.names) do
      for _, stream in ipairs { true, false } do
        local r = assert(http.fetch(dialects.ask(name, s.port, nil, { stream = stream })))
        assert.is_true(r.clean)
      end
    end
    local events, bytes = 0, 0
    for _, l in ipairs(s:lines(6)) do
      assert.equal("complete", l.outcome)
      assert.equal(200, l.status)
      assert.equal("up", l.upstream)
      assert.equal("m", l.model)
      assert.equal("POST", l.method)
      if l.stream then
        assert.is_true(l.events > 30)
        assert.is_true(l.ttft_ms <= l.duration_ms)
      end
      events, bytes = events + l.events, bytes + l.bytes_out
    end
    local usage = 0
    for _, l in ipairs(s:lines(6)) do usage = usage + (l.usage and l.usage.output or 0) end
    assert.is_true(usage >= 60)
    local m = s:metrics()
    assert.equal(6, m.weir_requests_total)
    assert.equal(6, m.weir_requests_started_total)
    assert.equal(events, m.weir_events_total)
    assert.equal(bytes, m.weir_response_body_bytes_total)
    assert.equal(0, m.weir_expect_failures_total)
    assert.equal(0, m.weir_log_dropped_lines_total)
    s:stop()
  end))

  it("and nothing else ever shows a key", io_.test(function()
    local seen
    local up = io_.listen(function(c)
      while true do
        local r = http.read_request(c)
        if not r then return end
        seen = r.fields
        if r.target == "/v1/messages" then
          c:send(http.response(401, { "Content-Type: application/json" }, '{"error":{"message":"no"}}'))
        else
          c:send(http.stream_head() .. http.chunk 'data: {"choices":[{"delta":{"content":"x"}}]}\n\n')
          c:close() -- truncated
          return
        end
      end
    end)
    local s = weir.run { before = "export UPSTREAM_KEY=" .. UPSTREAM_KEY .. ";", workers = 2, conf = ([[
      weir.upstream "up" { kind = "openai-compatible", url = "%s", key = weir.secret.env "UPSTREAM_KEY" }
      weir.upstream "open" { kind = "openai-compatible", url = "%s" }
      weir.upstream "dead" { kind = "openai-compatible", url = "http://127.0.0.1:1", key = weir.secret.env "UPSTREAM_KEY" }
      weir.route "chat" { match = { path = "/v1/chat/completions" }, to = "up",
        on_event = function(ev) error("a hook that fails: " .. ev.kind) end }
      weir.route "messages" { match = { path = "/v1/messages" }, to = "open" }
      weir.route "responses" { match = { path = "/v1/responses" }, to = "dead" }
    ]]):format(up.url, up.url) }
    local h = { "Authorization: Bearer " .. CLIENT_KEY, "x-api-key: " .. CLIENT_KEY, "api-key: " .. CLIENT_KEY }
    local printed = {}
    for _, name in ipairs(dialects.names) do
      local c = assert(io_.connect("127.0.0.1", s.port))
      local ask = dialects.ask(name, s.port, h)
      ask.path = ask.path .. "?key=" .. CLIENT_KEY
      c:send(http.request(ask))
      printed[#printed + 1] = s:admin "/streams".body
      local r = http.read_response(c)
      printed[#printed + 1] = r and r.raw .. (r.body or "") or ""
      c:close()
      if name == "chat" then
        assert.equal("Bearer " .. UPSTREAM_KEY, seen.authorization)
      end
    end
    for _, l in ipairs { "GET /bad HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer " .. CLIENT_KEY .. "\r\n\r\n" } do
      local r = http.fetch { port = s.port, bytes = l }
      printed[#printed + 1] = r and r.raw .. (r.body or "") or ""
    end
    s:lines(4)
    printed[#printed + 1] = s:log()
    printed[#printed + 1] = s:err()
    printed[#printed + 1] = s:out()
    printed[#printed + 1] = s:admin "/metrics".body
    local p = assert(io.popen(("UPSTREAM_KEY=%s %s check -c %s/conf.lua --explain 2>&1"):format(UPSTREAM_KEY, weir.binary,
      s.dir)))
    printed[#printed + 1] = p:read "a"
    p:close()
    assert(printed[#printed]:find("ok (", 1, true), printed[#printed])
    for _, text in ipairs(printed) do
      assert.is_nil(text:find(UPSTREAM_KEY, 1, true), text)
      assert.is_nil(text:find(CLIENT_KEY, 1, true), text)
      assert.is_nil(text:find("93be51d2", 1, true), text)
    end
    s:stop()
  end))
end)
