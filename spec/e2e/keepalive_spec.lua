-- Connections that are kept, on both sides, and what HTTP/1.1 asks of who keeps them.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

local MOCK = dialects.routes .. [[
weir.upstream "up" { kind = "mock", mock = { tokens = 5 } }
weir.route "rest" { match = { path = "/v1/*" }, to = "up" }
]]
local RAW = [[
weir.upstream "up" { kind = "openai-compatible", url = "%s" }
weir.route "all" { match = { path = "/*" }, to = "up" }
]]

describe("a kept connection", function()
  after_each(weir.kill_all)

  it("serves streams and whole answers one after the other, and so does the upstream's", io_.test(function()
    local s = weir.run { conf = MOCK }
    local c = assert(io_.connect("127.0.0.1", s.port))
    for i = 1, 6 do
      local ask = dialects.ask("chat", s.port, nil, { stream = i % 2 == 0 })
      c:send(http.request(ask))
      local r = assert(http.read_response(c))
      assert.equal(200, r.status)
      assert.is_true(r.clean)
      assert.not_equal("close", r.fields.connection)
      if i % 2 == 0 then
        assert(r.body:find("[DONE]", 1, true))
      else
        assert(r.body:find('"object":"chat.completion"', 1, true), r.body)
      end
      assert.equal(i > 1, s:line(i).reused, "request " .. i)
    end
    assert.equal(1, s:metrics().weir_connections_total)
    s:stop()
  end))

  it("answers pipelined requests in order", io_.test(function()
    local s = weir.run { conf = MOCK }
    local c = assert(io_.connect("127.0.0.1", s.port))
    local asks = {}
    for i = 1, 20 do
      asks[i] = http.request { path = "/v1/models/name-" .. i }
    end
    c:send(table.concat(asks))
    for i = 1, 20 do
      local r = assert(http.read_response(c))
      assert.equal(200, r.status)
      assert(r.body:find('"name-' .. i .. '"', 1, true), r.body)
    end
    s:stop()
  end))

  it("takes the next request after one with a chunked body and trailers", io_.test(function()
    local bodies = {}
    local up = io_.listen(function(c)
      while true do
        local r = http.read_request(c)
        if not r then return end
        bodies[#bodies + 1] = r.body
        c:send(http.response(200, { "Content-Type: application/json" }, "{}"))
      end
    end)
    local s = weir.run { conf = RAW:format(up.url) }
    local c = assert(io_.connect("127.0.0.1", s.port))
    for i = 1, 3 do
      local body = '{"n":' .. i .. "}"
      c:send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" .. http.chunk(body:sub(1, 3)) ..
        http.chunk(body:sub(4)) .. "0\r\nX-Sum: 1\r\n\r\n")
      local r = assert(http.read_response(c))
      assert.equal(200, r.status)
    end
    assert.same({ '{"n":1}', '{"n":2}', '{"n":3}' }, bodies)
    s:stop()
  end))

  it("to the upstream that went stale costs nobody an answer", io_.test(function()
    -- The upstream answers once a connection and closes it when the next request comes.
    local seen = 0
    local up = io_.listen(function(c)
      if not http.read_request(c) then return end
      seen = seen + 1
      c:send(http.response(200, { "Content-Type: application/json" }, '{"n":' .. seen .. "}"))
      c:recv()
      c:close()
    end)
    local s = weir.run { conf = RAW:format(up.url) }
    for i = 1, 5 do
      local r = assert(http.fetch { port = s.port, path = "/x", method = "POST", body = "{}" })
      assert.equal(200, r.status, "request " .. i)
      assert.equal('{"n":' .. i .. "}", r.body)
      assert.equal("complete", s:line(i).outcome)
    end
    s:stop()
  end))

  it("that the upstream closed meanwhile is not used again", io_.test(function()
    local up = io_.listen(function(c)
      http.read_request(c)
      c:send(http.response(200, {}, "ok"))
      c:close()
    end)
    local s = weir.run { conf = RAW:format(up.url) }
    for i = 1, 5 do
      local r = assert(http.fetch { port = s.port, path = "/x" })
      assert.equal("ok", r.body)
      assert.equal(1, s:line(i).attempts)
    end
    assert.equal(5, up.count)
    s:stop()
  end))

  it("closes when the client asks", io_.test(function()
    local s = weir.run { conf = MOCK }
    local c = assert(io_.connect("127.0.0.1", s.port))
    c:send(http.request { path = "/v1/models", headers = { "Connection: close" } })
    local r = assert(http.read_response(c))
    assert.equal("close", r.fields.connection)
    assert.equal("", c:recv_all(5))
    s:stop()
  end))
end)

describe("HTTP", function()
  after_each(weir.kill_all)

  it("says 100 Continue to those who wait for it", io_.test(function()
    local s = weir.run { conf = MOCK }
    local c = assert(io_.connect("127.0.0.1", s.port))
    local body = '{"model":"m","stream":false,"messages":[]}'
    c:send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: " .. #body ..
      "\r\n\r\n")
    local r = assert(http.read_response(c, { interim = true }))
    assert.equal(100, r.status)
    c:send(body)
    r = assert(http.read_response(c))
    assert.equal(200, r.status)
    -- Refused at once, without the body, when the answer is no anyway.
    c:send("POST /nowhere HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n")
    r = assert(http.read_response(c, { interim = true }))
    assert.equal(404, r.status)
    assert.equal("close", r.fields.connection)
    s:stop()
  end))

  it("1.0 clients get streams without chunks, ended by the connection", io_.test(function()
    local s = weir.run { conf = MOCK }
    local body = '{"model":"m","stream":true,"messages":[]}'
    local r = assert(http.fetch { port = s.port,
      bytes = "POST /v1/chat/completions HTTP/1.0\r\nHost: a\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body })
    assert.equal(200, r.status)
    assert.is_nil(r.fields["transfer-encoding"])
    assert.equal("data: [DONE]\n\n", r.body:sub(-14))
    s:stop()
  end))

  it("HEAD has no body, and the connection goes on", io_.test(function()
    local s = weir.run { conf = MOCK }
    local c = assert(io_.connect("127.0.0.1", s.port))
    c:send(http.request { path = "/v1/models", method = "HEAD" })
    local head = assert(http.read_response(c, { method = "HEAD" }))
    assert.equal(200, head.status)
    c:send(http.request { path = "/v1/models" })
    local r = assert(http.read_response(c))
    assert.equal(200, r.status)
    assert.equal(tostring(#r.body), head.fields["content-length"] or tostring(#r.body))
    c:send(http.request { path = "/nowhere", method = "HEAD" })
    assert.equal(404, assert(http.read_response(c, { method = "HEAD" })).status)
    s:stop()
  end))

  it("fields of one hop stay there, and the request is written anew", io_.test(function()
    local seen
    local up = io_.listen(function(c)
      while true do
        local r = http.read_request(c)
        if not r then return end
        seen = r
        c:send(http.response(200, { "Content-Type: text/plain", "Connection: x-hop", "X-Hop: 1", "X-Far: 2",
                                    "Keep-Alive: timeout=5" }, "ok"))
      end
    end)
    local s = weir.run { conf = RAW:format(up.url) }
    local r = assert(http.fetch { port = s.port, path = "/x?q=1", headers = {
      "Connection: keep-alive, X-Mine", "X-Mine: 1", "X-Yours: 2", "TE: trailers", "Proxy-Authorization: Basic abc",
      "Accept-Encoding: gzip", "Upgrade: websocket" } })
    assert.equal("ok", r.body)
    assert.is_nil(r.fields["x-hop"])
    assert.is_nil(r.fields["keep-alive"])
    assert.equal("2", r.fields["x-far"])
    assert.equal("/x?q=1", seen.target)
    assert.is_nil(seen.fields["x-mine"])
    assert.is_nil(seen.fields["proxy-authorization"])
    assert.is_nil(seen.fields.upgrade)
    assert.is_nil(seen.fields.te)
    assert.equal("2", seen.fields["x-yours"])
    assert.equal("identity", seen.fields["accept-encoding"] or "identity")
    assert.equal("127.0.0.1:" .. up.port, seen.fields.host)
    s:stop()
  end))

  it("heartbeats keep a silent stream alive", io_.test(function()
    local s = weir.run { conf = [[
      weir.upstream "up" { kind = "mock", mock = { tokens = 3, first_token_ms = 700 } }
      weir.route "all" { match = { path = "/v1/*" }, to = "up", commit = "alive", heartbeat = "100ms" }]] }
    for _, name in ipairs { "chat", "messages" } do
      local r = assert(http.fetch(dialects.ask(name, s.port)))
      assert.is_true(r.clean)
      local beat = name == "chat" and ":\n\n" or "event: ping"
      assert(r.body:find(beat, 1, true), r.body:sub(1, 300))
      assert(#dialects.text(name, r.body) > 0)
    end
    assert.is_true(s:metrics().weir_heartbeats_total >= 4)
    s:stop()
  end))
end)
