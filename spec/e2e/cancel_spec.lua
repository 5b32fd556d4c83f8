-- A client that goes away ends its upstream at once, in every state; one that leaves after the last word has heard all.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

local ROUTE = [[
weir.upstream "up" { kind = "openai-compatible", url = "%s" }
weir.route "all" { match = { path = "/*" }, to = "up" }
]]

local DELTA = 'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
local STOP = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'

local function chat(s) return http.request(weir.chat { port = s.port }) end

-- An upstream that notes what it sees; serve(c, seen) follows each request.
local function watcher(serve)
  local seen = { requests = 0 }
  local up = io_.listen(function(c)
    while true do
      local r = http.read_request(c)
      if not r then break end
      seen.requests = seen.requests + 1
      serve(c, seen)
    end
    seen.ended = (seen.ended or 0) + 1
  end)
  return up, seen
end

local ENDS = {
  closes = function(c) c:close() end,
  resets = function(c) c:reset() end,
}

describe("a client that #smoke", function()
  after_each(weir.kill_all)

  for how, leave in pairs(ENDS) do
    it(how .. " while the first byte is waited for ends the upstream's connection", io_.test(function()
      local up, seen = watcher(function() end)
      local s = weir.run { conf = ROUTE:format(up.url) }
      local c = assert(io_.connect("127.0.0.1", s.port))
      c:send(chat(s))
      io_.eventually("the request", function() return seen.requests == 1 end)
      leave(c)
      io_.eventually("the upstream's connection to end", function() return seen.ended end, 3)
      assert.equal("client_gone", s:line(1).outcome)
      s:stop()
    end))

    it(how .. " in the middle of a stream ends the upstream's connection", io_.test(function()
      local up, seen = watcher(function(c)
        c:send(http.stream_head() .. http.chunk(DELTA))
      end)
      local s = weir.run { conf = ROUTE:format(up.url) }
      local c = assert(io_.connect("127.0.0.1", s.port))
      c:send(chat(s))
      assert(c:recv_until "word ")
      leave(c)
      io_.eventually("the upstream's connection to end", function() return seen.ended end, 3)
      local line = s:line(1)
      assert.equal("client_gone", line.outcome)
      assert.equal(200, line.status)
      s:stop()
    end))

    it(how .. " while its upload is under way ends the upstream's connection", io_.test(function()
      local got, ended = 0, nil
      local up = io_.listen(function(c)
        while true do
          local data = c:recv()
          if not data then break end
          got = got + #data
        end
        ended = true
      end)
      local s = weir.run { conf = ROUTE:format(up.url) }
      local c = assert(io_.connect("127.0.0.1", s.port))
      c:send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n" .. ("x"):rep(2000000))
      io_.eventually("part of the body", function() return got > 100000 end)
      leave(c)
      io_.eventually("the upstream's connection to end", function() return ended end, 3)
      assert.equal("client_gone", s:line(1).outcome)
      s:stop()
    end))
  end

  it("closes while the upstream connects is noticed", io_.test(function()
    -- A listener whose backlog is full answers no SYN: the connection stays half open.
    local full = io_.listen(nil, 0)
    for _ = 1, 4 do io_.go(function() io_.connect("127.0.0.1", full.port) end) end
    local s = weir.run { conf = ([[
      weir.upstream "up" { kind = "openai-compatible", url = "%s", timeout = { connect = "20s" } }
      weir.route "all" { match = { path = "/*" }, to = "up" }]]):format(full.url) }
    local c = assert(io_.connect("127.0.0.1", s.port))
    c:send(chat(s))
    local json = require "cjson.safe"
    io_.eventually("the dial", function()
      local rows = json.decode(s:admin "/streams".body)
      return rows[1] and rows[1].step == "dial"
    end)
    c:close()
    assert.equal("client_gone", s:line(1).outcome)
    s:stop()
  end))

  it("closes right after the terminator has heard all", io_.test(function()
    local up, seen = watcher(function(c)
      -- The terminator, but not yet the end of the body.
      c:send(http.stream_head() .. http.chunk(DELTA .. STOP .. "data: [DONE]\n\n"))
    end)
    local s = weir.run { conf = ROUTE:format(up.url) }
    local c = assert(io_.connect("127.0.0.1", s.port))
    c:send(chat(s))
    assert(c:recv_until "[DONE]\n\n")
    c:close()
    assert.equal("complete", s:line(1).outcome)
    io_.eventually("the upstream's connection to end", function() return seen.ended end, 3)
    s:stop()
  end))

  it("closes a stream of a thousand others only ends its own", io_.test(function()
    local s = weir.run { workers = 2, conf = dialects.routes .. [[
      weir.upstream "up" { kind = "mock", mock = { tokens = 60, rate = 100 } }]] }
    local ok, list = 0, {}
    for i = 1, 60 do
      list[i] = io_.go(function()
        local c = assert(io_.connect("127.0.0.1", s.port))
        c:send(chat(s))
        if i % 3 == 0 then
          c:recv_until "\r\n\r\n"
          c:reset()
        else
          local r = assert(http.read_response(c))
          assert.is_true(r.clean)
          assert(r.body:find("data: [DONE]\n\n", 1, true))
          ok = ok + 1
          c:close()
        end
      end)
    end
    io_.join(list)
    assert.equal(40, ok)
    local gone = 0
    for _, l in ipairs(s:lines(60)) do gone = gone + (l.outcome == "client_gone" and 1 or 0) end
    assert.equal(20, gone)
    s:stop()
  end))
end)
