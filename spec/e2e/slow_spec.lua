-- Clients that read slowly, or not at all: every action in every dialect, and the limits of who may ask.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local json = require "cjson.safe"
local weir = require "spec.e2e.support.weir"

local CONF = [[
weir.upstream "up" { kind = "openai-compatible", url = "%s" }
weir.route "all" { match = { path = "/*" }, to = "up", slow_client = { %s } }
]]

local function sse(name, data) return (name and "event: " .. name .. "\n" or "") .. "data: " .. data .. "\n\n" end

-- What an upstream says: one delta (n: its number), what comes first, and how it ends.
local APIS = {
  chat = {
    path = "/v1/chat/completions",
    delta = function(t) return sse(nil, ('{"id":"c","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}'):format(t)) end,
    open = sse(nil, '{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}'),
    close = sse(nil, '{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}') ..
      sse(nil, '{"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":7}}') .. sse(nil, "[DONE]"),
    cut = '"finish_reason":"length"', last = "data: [DONE]\n\n",
  },
  responses = {
    path = "/v1/responses",
    delta = function(t, n)
      return sse("response.output_text.delta", ('{"type":"response.output_text.delta","item_id":"i","output_index":0,' ..
        '"content_index":0,"delta":"%s","sequence_number":%d,"obfuscation":"%s"}'):format(t, n + 1, ("x"):rep(n % 7)))
    end,
    open = sse("response.created", '{"type":"response.created","response":{"id":"r"},"sequence_number":0}'),
    close = sse("response.completed", '{"type":"response.completed","response":{"id":"r","usage":{"input_tokens":3,' ..
      '"output_tokens":7}},"sequence_number":999999}'),
    cut = '"reason":"max_output_tokens"', last = "",
  },
  messages = {
    path = "/v1/messages",
    delta = function(t)
      return sse("content_block_delta", ('{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}'):format(t))
    end,
    open = sse("message_start", '{"type":"message_start","message":{"id":"m","usage":{"input_tokens":3}}}') ..
      sse("content_block_start", '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}'),
    close = sse("content_block_stop", '{"type":"content_block_stop","index":0}') ..
      sse("message_delta", '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}') ..
      sse("message_stop", '{"type":"message_stop"}'),
    cut = '"stop_reason":"max_tokens"', last = sse("message_stop", '{"type":"message_stop"}'),
  },
  ollama = {
    path = "/api/chat", ndjson = true,
    delta = function(t, n)
      return ('{"model":"m","created_at":"%d","message":{"role":"assistant","content":"%s"},"done":false}\n'):format(n, t)
    end,
    open = "",
    close = '{"model":"m","created_at":"z","message":{"role":"assistant","content":""},"done":true,"eval_count":7}\n',
    cut = '"done_reason":"length"', last = "",
  },
}

local function text_of(name, body)
  if name ~= "ollama" then return dialects.text(name, body) end
  local out = {}
  for line in body:gmatch("[^\n]+") do out[#out + 1] = assert(json.decode(line), line).message.content end
  return table.concat(out)
end

-- An upstream that writes large deltas until `full()`, then many small ones, then the end. The text stands in self.text.
-- gap: seconds between two of the large ones.
local function upstream(api, full, more, gap)
  local self = { parts = {} }
  local up = io_.listen(function(c)
    if not http.read_request(c) then return end
    c:send(api.ndjson and http.response(200, { "Content-Type: application/x-ndjson", "Transfer-Encoding: chunked" }) or
      http.stream_head())
    if api.open ~= "" then c:send(http.chunk(api.open)) end
    local n = 0
    local function say(t)
      self.parts[#self.parts + 1] = t
      n = n + 1
      return c:send(http.chunk(api.delta(t, n)))
    end
    repeat
      for _ = 1, 16 do
        if not say(("<%06d>"):format(n) .. ("w"):rep(3900)) then return end
        if gap then io_.pause(gap) end
      end
    until full()
    for _ = 1, more or 400 do
      if not say(("<%06d> "):format(n)) then return end
    end
    self.done = true
    c:send(http.chunk(api.close) .. http.last_chunk)
  end)
  self.url = up.url
  return self
end

local function ask(s, api)
  local c = assert(io_.connect("127.0.0.1", s.port, { rcvbuf = 4096 }))
  c:send(http.request { method = "POST", path = api.path, body = '{"model":"m","stream":true,"messages":[],"input":"x"}' })
  return c
end

-- How often it was done. An upstream may still ask when the test is over: then it is enough.
local function acted(s, action)
  local ok, m = pcall(s.metrics, s)
  return ok and m['weir_slow_client_actions_total{action="' .. action .. '"}'] or 1
end

describe("a slow client", function()
  after_each(weir.kill_all)

  for name, api in pairs(APIS) do
    for _, action in ipairs { "pause_upstream", "coalesce" } do
      it("gets the whole text when it reads again: " .. name .. ", " .. action, io_.test(function()
        local s
        local up = upstream(api, function() return acted(s, action) > 0 end)
        s = weir.run { conf = CONF:format(up.url, ('action = "%s", high = "8KiB", max = "256KiB"'):format(action)) }
        local c = ask(s, api)
        io_.eventually("slowness", function() return acted(s, action) > 0 end, 30)
        if action == "coalesce" then
          io_.eventually("events that are joined", function() return s:metrics().weir_coalesced_events_total > 300 end, 30)
          assert.is_true(up.done) -- the upstream was not held up by its client
        end
        local r = assert(http.read_response(c))
        assert.equal(200, r.status)
        assert.is_true(r.clean)
        local text = table.concat(up.parts)
        assert.is_true(text_of(name, r.body) == text, "the text differs")
        assert.equal(api.close, r.body:sub(-#api.close))
        local line = s:line(1)
        assert.equal("complete", line.outcome)
        if name ~= "ollama" then assert.equal(7, line.usage.output) end
        -- Numbers of events still rise.
        local before = -1
        for n in r.body:gmatch '"sequence_number":(%d+)' do
          assert.is_true(tonumber(n) > before)
          before = tonumber(n)
        end
        assert.equal(0, s:metrics().weir_slow_queued_bytes)
        s:stop()
      end, 90))
    end

    it("ends legally when the route says stop: " .. name, io_.test(function()
      local s
      local up = upstream(api, function() return acted(s, "stop") > 0 end)
      s = weir.run { conf = CONF:format(up.url, 'action = "stop"') }
      local c = ask(s, api)
      io_.eventually("the stop", function() return acted(s, "stop") > 0 end, 30)
      local r = assert(http.read_response(c))
      assert.is_true(r.clean)
      assert.is_truthy(r.body:find(api.cut, 1, true), r.body:sub(-300))
      assert.equal(api.last, r.body:sub(#r.body + 1 - #api.last))
      local text, whole = text_of(name, r.body), table.concat(up.parts)
      assert.is_true(#text > 100000 and whole:sub(1, #text) == text)
      local line = s:line(1)
      assert.equal("stopped", line.outcome)
      assert.equal("client_slow", line.error)
      s:stop()
    end, 90))
  end

  it("goes without reasoning when the route drops it", io_.test(function()
    local s
    local api = setmetatable({ delta = function(t, n)
      local field = n % 2 == 0 and t:find("w", 1, true) == nil and "reasoning_content" or "content"
      return sse(nil, ('{"choices":[{"index":0,"delta":{"%s":"%s"}}]}'):format(field, t))
    end }, { __index = APIS.chat })
    local up = upstream(api, function() return acted(s, "coalesce") > 0 end, 2000)
    s = weir.run { conf = CONF:format(up.url, 'action = "coalesce", max = "256KiB", drop = { "reasoning" }') }
    local c = ask(s, api)
    io_.eventually("events that are left out", function() return s:metrics().weir_slow_dropped_events_total > 500 end, 30)
    local r = assert(http.read_response(c))
    assert.is_true(r.clean)
    local want = {}
    for n, t in ipairs(up.parts) do
      if t:find("w", 1, true) or n % 2 == 1 then want[#want + 1] = t end
    end
    assert.is_true(dialects.text("chat", r.body) == table.concat(want))
    s:stop()
  end, 90))

  it("is what a script says it is #threads", io_.test(function()
    local s
    local up = upstream(APIS.chat, function()
      if acted(s, "wait") == 0 then return false end
      io_.eventually("a second", function() return acted(s, "coalesce") > 0 end, 30)
      return true
    end)
    s = weir.run { conf = ([[
      weir.upstream "up" { kind = "openai-compatible", url = "%s" }
      weir.route "all" { match = { path = "/*" }, to = "up", slow_client = { max = "1MiB" },
        on_slow_client = function(q, s)
          if s.ctx.asked then return "coalesce" end
          s.ctx.asked = q.bytes >= 2048 and q.age == 0
          return "wait"
        end }]]):format(up.url) }
    local c = ask(s, APIS.chat)
    io_.eventually("events that are joined", function() return s:metrics().weir_coalesced_events_total > 300 end, 30)
    assert.equal(1, acted(s, "wait"))
    assert.equal(1, acted(s, "coalesce"))
    local r = assert(http.read_response(c))
    assert.is_true(dialects.text("chat", r.body) == table.concat(up.parts))
    assert.is_true(s:line(1).joined > 300)
    s:stop()
  end, 90))

  it("that reads nothing is given up, whatever the action", io_.test(function()
    for _, action in ipairs { "pause_upstream", "coalesce" } do
      local s
      local up = upstream(APIS.chat, function() return false end)
      s = weir.run { conf = CONF:format(up.url, ('action = "%s", give_up = "300ms"'):format(action)) }
      local c = ask(s, APIS.chat)
      local line = s:line(1)
      assert.equal("client_gone", line.outcome)
      assert.equal("client_slow", line.error)
      assert.equal(1, acted(s, "give_up"))
      assert.equal(0, s:metrics().weir_slow_queued_bytes)
      c:close()
      s:stop()
    end
  end, 90))

  it("that reads nothing costs its marks and little more", io_.test(function()
    local clients = 8
    for _, action in ipairs { "pause_upstream", "coalesce" } do
      local s
      -- As a model writes, event by event: a burst may bring a whole read beyond the marks.
      local up = upstream(APIS.chat, function() return false end, 0, 0.002)
      s = weir.run { conf = CONF:format(up.url, ('action = "%s", give_up = "0s"'):format(action)) }
      local function held()
        local m = s:metrics()
        return m.weir_pool_bytes + m.weir_heap_live_bytes
      end
      local list = {}
      -- What only the first ones cost: the coalescer, shapes, tables.
      for _ = 1, 2 do list[#list + 1] = ask(s, APIS.chat) end
      local function still()
        io_.eventually("upstreams that stand still", function()
          local before = s:metrics()
          io_.pause(0.3)
          local after = s:metrics()
          return after.weir_upstream_pauses_total >= #list and after.weir_events_total == before.weir_events_total
        end, 60)
      end
      still()
      local before = held()
      local m0 = s:metrics()
      local function diff()
        local m1, out = s:metrics(), {}
        for k, v in pairs(m1) do
          if (k:find "^weir_pool_bytes" or k:find "^weir_heap_live_bytes") and v ~= m0[k] then
            out[#out + 1] = ("%s %d"):format(k, (v - (m0[k] or 0)) / clients)
          end
        end
        return table.concat(out, ", ")
      end
      for _ = 1, clients do list[#list + 1] = ask(s, APIS.chat) end
      still()
      -- The receive block, which all streams of the worker share, may or may not have been there before.
      local each = (held() - before - 65536) / clients
      local most = action == "coalesce" and 32768 + 4096 or 8192
      if not weir.binary:find "asan" then
        assert.is_true(each <= most, ("%s: %d bytes each; %s"):format(action, each, diff()))
      end
      for _, c in ipairs(list) do c:close() end
      s:stop()
    end
  end, 180))
end)

describe("limits", function()
  after_each(weir.kill_all)

  local function refused(s, name, want)
    local r
    for _ = 1, 30 do
      r = assert(http.fetch(dialects.ask(name, s.port)))
      if r.status == 429 then break end
      assert.equal(200, r.status)
    end
    assert.equal(429, r.status)
    assert.is_true(tonumber(r.fields["retry-after"]) >= 1)
    assert.is_true(tonumber(r.fields["retry-after-ms"]) >= 1)
    dialects.error_of(name, r)
    assert.equal(1, s:metrics()['weir_limit_refusals_total{limit="' .. want .. '"}'])
  end

  local MOCK = 'weir.upstream "up" { kind = "mock" }\n' ..
    'weir.route "all" { match = { path = "/*" }, to = "up", limits = { %s } }'

  for _, name in ipairs(dialects.names) do
    it("of a listener and of an address are 429 in the client's dialect: " .. name, io_.test(function()
      local s = weir.run { workers = 2, conf = MOCK:format "", listen = "requests_per_second = 3" }
      refused(s, name, "listener_rate")
      s:stop()
      s = weir.run { workers = 2, conf = MOCK:format "requests_per_second_per_address = 3" }
      refused(s, name, "address_rate")
      s:stop()
    end, 60))
  end

  it("of an address count its open streams over all workers", io_.test(function()
    local s = weir.run { workers = 2, conf = MOCK:format "", listen = "max_streams_per_address = 3" }
    local list = {}
    for _ = 1, 3 do
      local c = assert(io_.connect("127.0.0.1", s.port))
      c:send(http.request(dialects.ask("chat", s.port, { "x-mock-fault: stall@3" })))
      assert(c:recv_until("\n\n"))
      list[#list + 1] = c
    end
    local r = assert(http.fetch(weir.chat { port = s.port }))
    assert.equal(429, r.status)
    local _, kind = dialects.error_of("chat", r)
    assert.equal("rate_limit_error", kind)
    list[1]:close()
    io_.eventually("room", function()
      local again = http.fetch(weir.chat { port = s.port })
      return again and again.status == 200
    end)
    for i = 2, 3 do list[i]:close() end
    s:stop()
  end, 60))

  it("end requests that come a byte at a time", io_.test(function()
    local s = weir.run { server = 'head_timeout = "300ms"', conf = MOCK:format 'body_deadline = "300ms"' }
    for _, start in ipairs { "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nx-slow: ",
                             "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" } do
      local c = assert(io_.connect("127.0.0.1", s.port))
      c:send(start)
      local answer
      local reader = io_.go(function() answer = c:recv_until("\r\n") end)
      while not answer and c:send("x") do io_.pause(0.02) end
      io_.join { reader }
      assert.is_truthy(answer:find("HTTP/1.1 408", 1, true))
      c:close()
    end
    s:stop()
  end, 60))
end)
