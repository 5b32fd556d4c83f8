-- Bad requests get the status that says why, an error in their dialect, and a closed connection where nobody could
-- say where the next request begins.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

local CONF = [[
weir.upstream "up" { kind = "mock", mock = { tokens = 3 } }
weir.route "chat" { match = { path = "/v1/chat/completions", methods = { "POST" } }, to = "up",
  limits = { body = "64KiB" } }
weir.route "messages" { match = { path = "/v1/messages", methods = { "POST" } }, to = "up", limits = { body = "64KiB" } }
weir.route "models" { match = { path = "/v1/models" }, to = "up" }
weir.route "slow" { match = { path = "/slow" }, to = "up", limits = { body_timeout = "300ms" } }
]]

local POST = "POST /v1/chat/completions HTTP/1.1\r\n"
local H = "Host: a\r\n"

-- what, bytes, status. Framing is in doubt in all of them: the connection must close.
local DOUBTFUL = {
  { "length and chunked", POST .. H .. "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 },
  { "two lengths", POST .. H .. "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400 },
  { "a list of lengths", POST .. H .. "Content-Length: 5, 5\r\n\r\nhello", 400 },
  { "a length with a sign", POST .. H .. "Content-Length: +5\r\n\r\nhello", 400 },
  { "an endless length", POST .. H .. "Content-Length: 99999999999999999999999\r\n\r\n", 400 },
  { "chunked twice", POST .. H .. "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400 },
  { "gzip, chunked", POST .. H .. "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400 },
  { "an underscore twin", POST .. H .. "Content_Length: 5\r\n\r\nhello", 400 },
  { "no host", POST .. "Content-Length: 0\r\n\r\n", 400 },
  { "two hosts", POST .. H .. "Host: b\r\nContent-Length: 0\r\n\r\n", 400 },
  { "a folded line", POST .. H .. "X: a\r\n b\r\nContent-Length: 0\r\n\r\n", 400 },
  { "a space before the colon", POST .. H .. "Content-Length : 0\r\n\r\n", 400 },
  { "a bare LF", POST .. "Host: a\nContent-Length: 0\r\n\r\n", 400 },
  { "a bare CR", POST .. H .. "X: a\rb\r\nContent-Length: 0\r\n\r\n", 400 },
  { "a NUL", POST .. H .. "X: a\0b\r\nContent-Length: 0\r\n\r\n", 400 },
  { "HTTP/2.0", "POST / HTTP/2.0\r\n" .. H .. "\r\n", 400 },
  { "HTTP/1.2", "GET / HTTP/1.2\r\n" .. H .. "\r\n", 400 },
  { "no version", "GET /\r\n\r\n", 400 },
  { "the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400 },
  { "a TLS hello", "\22\3\1\2\0\1\0\1\252\3\3\r\n\r\n", 400 },
  { "a bad chunk size", POST .. H .. "Transfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n", 400 },
  { "an overflowing chunk size", POST .. H .. "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400 },
  { "a chunk that is too long", POST .. H .. "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", 400 },
  { "framing in a trailer", POST .. H .. "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", 400 },
  { "a head that is too large", POST .. H .. "X: " .. ("a"):rep(20000) .. "\r\n\r\n", 431 },
  { "too many fields", POST .. H .. ("X: a\r\n"):rep(120) .. "\r\n", 431 },
  { "a body beyond the limit", POST .. H .. "Content-Length: 1000000\r\n\r\n", 413 },
  { "a chunked body beyond the limit",
    POST .. H .. "Transfer-Encoding: chunked\r\n\r\n" .. http.chunk(("x"):rep(70000)), 413 },
  { "an unknown expectation", POST .. H .. "Expect: tea\r\nContent-Length: 2\r\n\r\n{}", 417 },
}

describe("a bad request", function()
  after_each(weir.kill_all)

  it("of doubtful framing is refused and the connection closed", io_.test(function()
    local s = weir.run { conf = CONF }
    for _, d in ipairs(DOUBTFUL) do
      local what = d[1]
      local c = assert(io_.connect("127.0.0.1", s.port))
      -- A second request behind it must never be answered.
      c:send(d[2] .. "GET /v1/models HTTP/1.1\r\nHost: smuggled\r\n\r\n")
      local r, err = http.read_response(c)
      assert(r, what .. ": no answer: " .. tostring(err))
      assert.equal(d[3], r.status, what)
      assert.is_true(r.clean, what)
      dialects.error_of("chat", r)
      assert.equal("close", r.fields.connection, what)
      local more = c:recv_all(10)
      assert.equal("", more, what)
      c:close()
    end
    assert.is_nil(s:log():find("smuggled", 1, true))
    for _, l in ipairs(s:lines(#DOUBTFUL)) do assert.equal("refused", l.outcome) end
    s:stop()
  end))

  it("is refused also when it comes byte by byte", io_.test(function()
    local s = weir.run { conf = CONF }
    for i = 1, #DOUBTFUL, 3 do
      local d = DOUBTFUL[i]
      local c = assert(io_.connect("127.0.0.1", s.port))
      local reader
      for at = 1, math.min(#d[2], 400) do
        if not c:send(d[2]:sub(at, at)) then break end
        io_.pause()
      end
      if #d[2] > 400 then c:send(d[2]:sub(401)) end
      reader = assert(http.read_response(c), d[1])
      assert.equal(d[3], reader.status, d[1])
      c:close()
    end
    s:stop()
  end))

  it("that is well framed keeps its connection", io_.test(function()
    local s = weir.run { conf = CONF }
    local c = assert(io_.connect("127.0.0.1", s.port))
    for _, q in ipairs {
      { "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404 }, { "GET /v1/chat/completions HTTP/1.1\r\nHost: a\r\n\r\n", 405 },
      { "DELETE /v1/messages HTTP/1.1\r\nHost: a\r\n\r\n", 405, "messages" },
      { "GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", 200 }, { "GET /v1/../nowhere HTTP/1.1\r\nHost: a\r\n\r\n", nil },
    } do
      c:send(q[1])
      local r, err = http.read_response(c)
      assert(r, q[1] .. tostring(err))
      if q[2] then assert.equal(q[2], r.status, q[1]) end
      assert.is_true(r.status ~= 200 or q[2] == 200)
      if r.status >= 400 then dialects.error_of(q[3] or "chat", r) end
      if r.fields.connection == "close" then break end
    end
    s:stop()
  end))

  it("names the error in the dialect of its path", io_.test(function()
    local s = weir.run { conf = CONF }
    for _, name in ipairs { "chat", "messages" } do
      local d = dialects.list[name]
      local r = assert(http.fetch { port = s.port, path = d.path, method = "POST", body = ("x"):rep(70000) })
      assert.equal(413, r.status)
      dialects.error_of(name, r)
    end
    s:stop()
  end))

  it("whose body never comes is 408", io_.test(function()
    local s = weir.run { conf = CONF }
    local r = assert(http.fetch { port = s.port,
      bytes = "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc" })
    assert.equal(408, r.status)
    assert.equal("close", r.fields.connection)
    s:stop()
  end))

  it("without a key is 401 where keys are declared, and the right key passes", io_.test(function()
    local p = io.popen("printf %s sk-right-one | sha256sum", "r")
    local sum = p:read "a":match("%x+")
    p:close()
    local s = weir.run { conf = CONF .. ('weir.keys { ["team"] = { sha256 = "%s" } }'):format(sum) }
    for _, h in ipairs { "X: y", "Authorization: Bearer sk-wrong-one", "Authorization: Basic sk-right-one",
                         "x-api-key: sk-right-on" } do
      local r = assert(http.fetch(dialects.ask("messages", s.port, { h })))
      assert.equal(401, r.status, h)
      dialects.error_of("messages", r)
    end
    for _, h in ipairs { "Authorization: Bearer sk-right-one", "x-api-key: sk-right-one" } do
      assert.equal(200, assert(http.fetch(dialects.ask("messages", s.port, { h }))).status, h)
    end
    s:stop()
  end))
end)
