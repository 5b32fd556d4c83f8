-- Bounded memory: slow readers pause their upstream, large bodies flow by, an exhausted pool refuses new work only.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

local ALL = [[
weir.upstream "up" { kind = "openai-compatible", url = "%s" }
weir.route "all" { match = { path = "/*" }, to = "up", limits = { body = "64MiB" } }
]]
-- Address sanitizers and valgrind hold freed memory back: resident sizes say nothing there.
local PLAIN = not (weir.binary:find "asan" or weir.binary:find "tsan" or weir.binary:find "valgrind")

-- A body without end markers in it, whose every part differs.
local function numbered(bytes)
  local parts, n = {}, 0
  while n < bytes do
    local p = ("%09d "):format(n)
    parts[#parts + 1], n = p, n + #p
  end
  return table.concat(parts):sub(1, bytes)
end

describe("memory stays bounded", function()
  after_each(weir.kill_all)

  it("while a client reads nothing, and it gets every byte later #smoke", io_.test(function()
    local event = 'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
    local total, sent, parts = 12 * 1024 * 1024, 0, {}
    local one = event:format(numbered(900))
    local up = io_.listen(function(c)
      while http.read_request(c) do
        c:send(http.stream_head())
        while sent < total do
          if not c:send(http.chunk(one)) then return end
          sent = sent + #one
        end
        c:send(http.chunk(event:gsub('"delta":{[^}]*}', '"delta":{},"finish_reason":"stop"') .. "data: [DONE]\n\n") ..
          http.last_chunk)
      end
    end)
    local s = weir.run { memory = "8MiB", conf = ALL:format(up.url) }
    local c = assert(io_.connect("127.0.0.1", s.port, { rcvbuf = 4096 }))
    c:send(http.request(weir.chat { port = s.port }))
    io_.eventually("the pause", function() return s:metrics().weir_upstream_pauses_total >= 1 end, 20)
    -- It stays where it is: nothing but the kernels' buffers has been filled.
    local before = -1
    io_.eventually("the upstream to stand still", function()
      local same = sent == before
      before = sent
      if not same then io_.pause(0.1) end
      return same
    end, 20)
    assert.is_true(sent < total)
    local m = s:metrics()
    assert.is_true(m.weir_pool_bytes < 1024 * 1024, "pool: " .. m.weir_pool_bytes)
    local json = require "cjson.safe"
    -- It pauses and goes on until the kernel's buffers are full; a slow machine is still at it.
    io_.eventually("a stream that is paused", function()
      return json.decode(s:admin "/streams".body)[1].paused
    end)
    local r = assert(http.read_response(c))
    assert.is_true(r.clean)
    assert.is_true(#r.body >= total)
    for i = 1, 40 do parts[i] = one end
    local head = table.concat(parts)
    assert.equal(head, r.body:sub(1, #head))
    assert.equal(#one * math.ceil(total / #one), (r.body:find('data: {"choices":[{"index":0,"delta":{},', 1, true)) - 1)
    assert.equal("complete", s:line(1).outcome)
    s:stop()
  end, 120))

  it("and a client that never reads on is given up", io_.test(function()
    local up = io_.listen(function(c)
      http.read_request(c)
      c:send(http.stream_head())
      while c:send(http.chunk('data: {"choices":[{"index":0,"delta":{"content":"' .. ("w"):rep(4000) .. '"}}]}\n\n')) do
        io_.pause()
      end
    end)
    local s = weir.run { conf = ([[
      weir.upstream "up" { kind = "openai-compatible", url = "%s" }
      weir.route "all" { match = { path = "/*" }, to = "up", slow_client = { give_up = "400ms" } }]]):format(up.url) }
    local c = assert(io_.connect("127.0.0.1", s.port, { rcvbuf = 4096 }))
    c:send(http.request(weir.chat { port = s.port }))
    local line = s:line(1)
    assert.equal("client_gone", line.outcome)
    assert.equal("client_slow", line.error)
    s:stop()
  end))

  for _, chunked in ipairs { false, true } do
    it("while 20 MB are uploaded " .. (chunked and "in chunks" or "with a length"), io_.test(function()
      local total = 20 * 1000 * 1000
      local block = numbered(50000)
      local got, right, after
      local up = io_.listen(function(c)
        local head = http.read_request(c, true)
        -- Reads slowly at first: what isn't taken must wait with the client.
        local want = chunked and "transfer-encoding" or "content-length"
        right = head.fields[want] ~= nil
        got = 0
        local same = true
        if chunked then
          local r = http.read_body(c, { fields = head.fields, on_data = function(d) got = got + #d end }, true)
          same = r.clean and #r.body == total and r.body:sub(1, 50000) == block and r.body:sub(-50000) == block
        else
          while got < total do
            local d = c:recv_exactly(math.min(50000, total - got))
            if not d then return end
            same = same and d == block
            got = got + #d
          end
        end
        right = right and same
        c:send(http.response(200, { "Content-Type: application/json" }, '{"ok":true}'))
        after = true
      end)
      local s = weir.run { memory = "8MiB", conf = ALL:format(up.url) }
      local c = assert(io_.connect("127.0.0.1", s.port))
      -- The first small request brings what any request costs.
      local before = s:rss_kb()
      local answer
      local reader = io_.go(function() answer = http.read_response(c) end)
      c:send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" ..
        (chunked and "Transfer-Encoding: chunked\r\n\r\n" or "Content-Length: " .. total .. "\r\n\r\n"))
      for _ = 1, total // #block do
        assert(c:send(chunked and http.chunk(block) or block))
      end
      if chunked then c:send(http.last_chunk) end
      io_.join { reader }
      assert.equal(200, answer.status)
      assert.equal('{"ok":true}', answer.body)
      assert.is_true(after and right)
      local line = s:line(1)
      assert.equal(total, line.bytes_in)
      assert.equal("complete", line.outcome)
      local m = s:metrics()
      assert.is_true(m.weir_pool_peak_bytes < 2 * 1024 * 1024, "pool: " .. m.weir_pool_peak_bytes)
      if PLAIN then assert.is_true(s:rss_kb() - before < 8192, "grew by KiB: " .. s:rss_kb() - before) end
      s:stop()
    end, 120))
  end

  it("in streams of very many very small events", io_.test(function()
    local want = ("data: 1\n\n: c\n\n"):rep(600000)
    local up = io_.listen(function(c)
      while http.read_request(c) do c:send(http.stream_head() .. http.chunk(want) .. http.last_chunk) end
    end)
    local s = weir.run { conf = ([[
      weir.upstream "up" { kind = "sse", url = "%s" }
      weir.route "all" { match = { path = "/*" }, to = "up" }]]):format(up.url) }
    for _, rcvbuf in ipairs { 0, 2048 } do
      local c = assert(io_.connect("127.0.0.1", s.port, { rcvbuf = rcvbuf > 0 and rcvbuf or nil }))
      c:send(http.request { path = "/x", body = "{}" })
      if rcvbuf > 0 then
        io_.eventually("the pause", function() return s:metrics().weir_upstream_pauses_total >= 1 end)
      end
      local r = assert(http.read_response(c))
      assert.is_true(r.clean)
      assert.equal(#want, #r.body)
      assert.is_true(want == r.body)
      c:close()
    end
    s:stop()
  end))
end)

describe("an exhausted pool", function()
  after_each(weir.kill_all)

  -- The small pool: streams that wait for memory must not wait for each other. The other one: new work is refused.
  for _, size in ipairs { { "1MiB", "256KiB", "64KiB" }, { "4MiB", "1MiB", "256KiB" } } do
    it("refuses new requests and breaks no stream that runs: " .. size[1], io_.test(function()
      -- More than the kernels' buffers take on the way to a client that doesn't read.
      local event = 'data: {"choices":[{"index":0,"delta":{"content":"' .. ("w"):rep(4000) .. '"}}]}\n\n'
      local tail = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
      local events = 2000
      local want = event:rep(events) .. tail
      local up = io_.listen(function(c)
        while http.read_request(c) do
          c:send(http.stream_head())
          for _ = 1, events do
            if not c:send(http.chunk(event)) then return end
          end
          c:send(http.chunk(tail) .. http.last_chunk)
        end
      end)
      local s = weir.run { memory = size[1], conf = ([[
        weir.upstream "up" { kind = "openai-compatible", url = "%s" }
        weir.route "all" { match = { path = "/*" }, to = "up", slow_client = { high = "%s", low = "%s" } }]]):format(
        up.url, size[2], size[3]) }
      local conns = {}
      io_.eventually("a refusal", function()
        local c = assert(io_.connect("127.0.0.1", s.port, { rcvbuf = 2048 }))
        c:send(http.request(weir.chat { port = s.port }))
        conns[#conns + 1] = c
        local n = #conns
        io_.eventually("a pause or a refusal", function()
          local m = s:metrics()
          return m.weir_upstream_pauses_total >= n or m.weir_refused_total >= 1 or m.weir_pool_refusals_total >= 20
        end)
        return s:metrics().weir_refused_total >= 1 or n >= 40
      end, 60)
      local whole, refused, list = 0, 0, {}
      for i, c in ipairs(conns) do
        list[i] = io_.go(function()
          local r, err = http.read_response(c)
          assert(r, err)
          if r.status == 200 then
            assert.is_true(r.clean, "a stream was broken: " .. r.body:sub(-300))
            assert.is_true(r.body == want)
            whole = whole + 1
          else
            assert.equal(503, r.status)
            assert(r.fields["retry-after"])
            dialects.error_of("chat", r)
            refused = refused + 1
          end
          c:close()
        end)
      end
      io_.join(list)
      assert.is_true(whole > 0 and (refused > 0 or size[1] == "1MiB"), ("%d whole, %d refused"):format(whole, refused))
      -- And afterwards there is room again.
      io_.eventually("room", function()
        local r = http.fetch(weir.chat { port = s.port })
        return r and r.status == 200 and r.clean
      end)
      s:stop()
    end, 120))
  end

  for _, switch in ipairs { "block", "heap" } do
    it("or heap that fails on demand ends requests, never the process: " .. switch, io_.test(function()
      local nth = {}
      for n = 1, 40 do nth[#nth + 1] = tostring(n) end
      for _, n in ipairs { "5/every", "13/every", "100" } do nth[#nth + 1] = n end
      for _, n in ipairs(nth) do
        local s = weir.run { conf = dialects.routes .. [[
          weir.upstream "up" { kind = "mock", mock = { tokens = 20 } }]], args = ("--debug-fail-%s %s"):format(switch, n),
          tolerant = true }
        local list = {}
        for i = 1, 4 do
          list[i] = io_.go(function()
            local r = http.fetch(dialects.ask(dialects.names[i % 3 + 1], s.port))
            if r and r.status == 200 and r.clean then
              assert(#dialects.text(dialects.names[i % 3 + 1], r.body) > 0)
            elseif r and r.status == 200 then
              assert.is_false(r.clean)
            elseif r then
              assert.is_true(r.status >= 500, n .. ": " .. r.status)
            end
          end)
        end
        io_.join(list)
        if not n:find "every" then
          local r = io_.eventually("service after the failure " .. n, function()
            local r = http.fetch(dialects.ask("chat", s.port))
            return r and r.status == 200 and r.clean and r
          end)
          assert(r.body:find("[DONE]", 1, true))
        end
        s:stop()
      end
    end, 120))
  end

  it("of file descriptors makes new connections wait; accepted streams complete", io_.test(function()
    local s = weir.run { before = "ulimit -n 40;", conf = dialects.routes .. [[
      weir.upstream "up" { kind = "mock", mock = { tokens = 20, rate = 100 } }]] }
    local list, whole, other = {}, 0, 0
    for i = 1, 60 do
      list[i] = io_.go(function()
        local r = http.fetch(dialects.ask("chat", s.port))
        if r and r.status == 200 then
          assert.is_true(r.clean)
          assert(r.body:find("data: [DONE]\n\n", 1, true))
          whole = whole + 1
        else
          other = other + 1
          if r then assert.is_true(r.status >= 500, "status " .. r.status) end
        end
      end)
    end
    io_.join(list)
    assert.is_true(whole >= 10, whole .. " whole, " .. other .. " others")
    io_.eventually("service", function()
      local r = http.fetch(dialects.ask("chat", s.port))
      return r and r.status == 200
    end)
    s:stop()
  end, 60))
end)
