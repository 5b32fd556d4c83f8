-- Policies in the real binary: what a hook decides, and that none costs nothing.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"
local json = require "cjson.safe"

local function routes(hooks)
  local out = {}
  for _, name in ipairs(dialects.names) do
    out[#out + 1] = ('weir.route "%s" { match = { path = "%s" }, to = "up", %s }'):format(name,
      dialects.list[name].path, hooks)
  end
  return table.concat(out, "\n") .. "\n"
end

local UP = 'weir.upstream "up" { kind = "mock", mock = { tokens = 30, numbered = true } }\n'

describe("a hook", function()
  after_each(weir.kill_all)

  it("rejects, answers, routes and renames the model", io_.test(function()
    local bodies = {}
    local other = io_.listen(function(c)
      while true do
        local r = http.read_request(c)
        if not r then return end
        bodies[#bodies + 1] = r.body
        c:send(http.response(200, { "Content-Type: application/json" }, '{"ok":true}'))
      end
    end)
    local s = weir.run { conf = UP .. ('weir.upstream "other" { kind = "openai-compatible", url = "%s" }\n'):format(other.url) ..
      routes [[on_request = function(req, s)
        if req.model == "no" then return "reject", 451, "not here", { ["x-why"] = "law" } end
        if req.model == "say" then return "answer", "said \"so\"" end
        if req.model == "old" then return "route", "other", { model = "new" } end
      end]] }
    for _, name in ipairs(dialects.names) do
      local function ask(model, stream)
        return assert(http.fetch(dialects.ask(name, s.port, nil, { body =
          ('{"stream":%s,"model" : "%s","messages":[],"input":"x","max_tokens":9}'):format(tostring(stream), model) })))
      end
      local r = ask("no", true)
      assert.equal(451, r.status)
      assert.equal("law", r.fields["x-why"])
      assert.equal("not here", (dialects.error_of(name, r)))
      r = ask("say", true)
      assert.equal(200, r.status)
      assert.is_true(r.clean)
      assert.equal('said "so"', dialects.text(name, r.body))
      r = ask("say", false)
      assert(json.decode(r.body), r.body)
      assert(r.body:find('said \\"so\\"', 1, true), r.body)
      r = ask("old", true)
      assert.equal('{"ok":true}', r.body)
      assert.equal('{"stream":true,"model" : "new","messages":[],"input":"x","max_tokens":9}', bodies[#bodies])
      r = ask("any", true)
      assert(dialects.text(name, r.body):find("t0 t1", 1, true))
    end
    s:stop()
  end))

  it("sees requests without a body too", io_.test(function()
    local s = weir.run { conf = UP .. [[weir.route "all" { match = { path = "*" }, to = "up",
      limits = { output_tokens = 10 },
      on_request = function(req) if req.body_bytes > 0 then return "reject", 418, "a body" end end }]] }
    assert.equal(200, assert(http.fetch { port = s.port, path = "/v1/models" }).status)
    local c = assert(io_.connect("127.0.0.1", s.port))
    c:send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert.equal(400, assert(http.read_response(c)).status) -- of the upstream: nothing isn't JSON
    s:stop()
  end))

  it("sees each event and may drop it", io_.test(function()
    local s = weir.run { conf = UP .. routes [[on_event = function(ev, s)
        if ev.kind == "text" and ev.text:find("t7", 1, true) then return "drop" end
      end]] }
    for i, name in ipairs(dialects.names) do
      local r = assert(http.fetch(dialects.ask(name, s.port)))
      assert.is_true(r.clean)
      local text = dialects.text(name, r.body)
      assert.is_nil(text:find("t7", 1, true), text)
      assert(text:find("t6 t8 ", 1, true), text)
      assert.equal("complete", s:line(i).outcome)
    end
    assert.equal(3, s:metrics().weir_events_dropped_total)
    s:stop()
  end))

  it("replaces text wherever it was cut", io_.test(function()
    local s = weir.run { conf = UP .. routes [[on_text = function(win)
        local i, j = win:find("6 t7 t", 1, true)
        if i then return "replace", "6 + ", i, j end
        local tail = not win:last() and win:tail("%w ")
        if tail then return "hold", tail end
      end]] }
    for i, name in ipairs(dialects.names) do
      local r = assert(http.fetch(dialects.ask(name, s.port)))
      assert.is_true(r.clean)
      local text = dialects.text(name, r.body)
      assert(text:find("t5 t6 + 8 t9", 1, true), text)
      assert.is_nil(r.body:find("t6 t7", 1, true), r.body)
      assert.equal("complete", s:line(i).outcome)
    end
    s:stop()
  end))

  for _, reason in ipairs { "length", "content_filter" } do
    it("may stop a stream, which then ends legally: " .. reason, io_.test(function()
      local s = weir.run { conf = UP .. routes(([[on_event = function(ev, s)
          if ev.kind == "text" and ev.text:find("t9", 1, true) then return "stop", "%s" end
        end]]):format(reason)) }
      for i, name in ipairs(dialects.names) do
        local r = assert(http.fetch(dialects.ask(name, s.port)))
        assert.is_true(r.clean, name)
        local text = dialects.text(name, r.body)
        assert(text:find("t8", 1, true) and not text:find("t9", 1, true), text)
        local events = dialects.events(r.body)
        for _, ev in ipairs(events) do assert.is_false(dialects.is_error_event(name, ev)) end
        local last = events[#events]
        if name == "chat" then
          assert.equal("[DONE]", last.data)
          assert.equal(reason, json.decode(events[#events - 1].data).choices[1].finish_reason)
        elseif name == "responses" then
          assert.equal("response.incomplete", last.name)
          assert.equal("incomplete", json.decode(last.data).response.status)
        else
          assert.equal("message_stop", last.name)
          local delta = json.decode(events[#events - 1].data)
          assert.equal(reason == "length" and "max_tokens" or delta.delta.stop_reason, delta.delta.stop_reason)
          assert.equal("content_block_stop", events[#events - 2].name)
        end
        assert.equal(reason == "length" and "over_budget" or "stopped", s:line(i).outcome, name)
      end
      s:stop()
    end))
  end

  it("that keeps failing in one route doesn't silence those of another", io_.test(function()
    local s = weir.run { workers = 1, conf = UP .. [[
      weir.route "bad" { match = { path = "/bad" }, to = "up", on_request = function() error "no" end }
      weir.route "good" { match = { path = "/good" }, to = "up", on_request = function() return "reject", 451, "no" end }]] }
    for _ = 1, 10 do assert(http.fetch { port = s.port, path = "/bad" }) end
    assert.equal(451, assert(http.fetch { port = s.port, path = "/good" }).status)
    s:stop()
  end))

  it("that fails, loops or eats memory costs its decision, not the stream", io_.test(function()
    local s = weir.run { conf = UP .. 'weir.lua { memory = "1MiB", instructions = 20000 }\n' .. routes [[
      on_request = function(req, s) while true do end end,
      on_event = function(ev, s)
        local t = {}
        for i = 1, 1e9 do t[i] = ("x"):rep(1000) .. i end
      end]] }
    for _, name in ipairs(dialects.names) do
      local r = assert(http.fetch(dialects.ask(name, s.port)))
      assert.equal(200, r.status)
      assert.is_true(r.clean, name .. r.body:sub(-300))
      assert(dialects.text(name, r.body):find("t0 t1", 1, true))
    end
    io_.eventually("the failures to be counted", function() return (s:metrics().weir_hook_errors_total or 0) > 0 end)
    s:stop()
  end))
end)

describe("an event on the plain path", function()
  after_each(weir.kill_all)

  -- The upstream sends one event a write and waits until the client has it: nothing lies in two reads.
  it("costs no allocation and copies no byte", io_.test(function()
    local client
    local at = {}
    local s
    local function counters()
      local m = s:metrics()
      return { heap = m.weir_heap_calls_total, copied = m.weir_copied_bytes_total, events = m.weir_events_total }
    end
    local up = io_.listen(function(c)
      while http.read_request(c) do
        c:send(http.stream_head())
        for i = 1, 1100 do
          local event = ('data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"t%d "},' ..
            '"finish_reason":null}]}\n\n'):format(i)
          c:send(http.chunk(event))
          assert(client:recv_until(("t%d "):format(i)))
          assert(client:recv_until "\n\n\r\n")
          if i == 50 then at.first = { counters(), counters() } end
          if i == 1050 then at.last = counters() end
        end
        at.done = true
        c:send(http.chunk 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n' ..
          http.last_chunk)
      end
    end)
    s = weir.run { conf = ([[
      weir.upstream "up" { kind = "openai-compatible", url = "%s" }
      weir.route "all" { match = { path = "/*" }, to = "up" }]]):format(up.url) }
    client = assert(io_.connect("127.0.0.1", s.port))
    client:send(http.request(weir.chat { port = s.port }))
    io_.eventually("the stream's end", function() return at.done end, 60)
    assert(client:recv_until "0\r\n\r\n")
    local a, b = at.first[2], at.last
    local page = a.heap - at.first[1].heap -- what asking for the counters costs
    assert.equal(1000, b.events - a.events)
    assert.equal(0, b.copied - a.copied)
    assert.is_true(b.heap - a.heap <= page + 2, ("%d allocations, %d of them for the counters' page"):format(
      b.heap - a.heap, page))
    assert.equal(0, s:line(1).copied_bytes)
    s:stop()
  end))

  it("in bursts copies only what straddles two reads", io_.test(function()
    local s = weir.run { conf = dialects.routes .. [[
      weir.upstream "up" { kind = "mock", mock = { tokens = 5000, batch_events = 16 } }]] }
    local before = s:metrics()
    local r = assert(http.fetch(dialects.ask("chat", s.port, nil,
      { body = '{"model":"m","stream":true,"messages":[]}' })))
    assert.is_true(r.clean)
    local m = s:metrics()
    assert.is_true(m.weir_events_total - before.weir_events_total >= 5000)
    assert.is_true(m.weir_heap_calls_total - before.weir_heap_calls_total < 200)
    assert.is_true(s:line(1).copied_bytes < #r.body / 20, "copied " .. s:line(1).copied_bytes .. " of " .. #r.body)
    s:stop()
  end))
end)
