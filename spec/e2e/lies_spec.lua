-- An upstream that hangs, crawls or lies, in every way that the mock knows, in every dialect: the right deadline, the right
-- class of error, the client's own words for it. The same again while hooks look at everything.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local json = require "cjson.safe"
local weir = require "spec.e2e.support.weir"

local APIS = { "chat", "responses", "messages", "ollama" }

local UP = [[
weir.upstream "up" { kind = "openai-compatible", url = "%s", breaker = { failures = 0, rate = 0, retry_after = "0s" },
  timeout = { connect = "5s", first_byte = "300ms", first_token = "400ms", idle = "600ms" } }
]]

local HOOKS = [[
weir.use { weir.plugin { name = "watch", api = 1, needs = { "text", "reasoning", "tool" }, hold = 16,
  on_request = function(req, s) s.ctx.n = #req.path end,
  on_response_start = function(resp, s) s.ctx.status = resp.status end,
  on_event = function(ev, s) s.ctx.n = s.ctx.n + 1 end,
  on_text = function(win, s) if not win:last() then return "hold", math.min(#win, 4) end end,
  on_upstream_error = function(err, s) s.ctx.why = err.status end,
  on_slow_client = function() end, on_pressure = function() end,
  on_end = function(fin, s) s.ctx.done = fin.outcome end } {} }
]]

local function ask(name, port, fault, stream)
  local o
  if name == "ollama" then
    o = { port = port, path = "/api/chat", method = "POST",
          body = ('{"model":"m","stream":%s,"messages":[]}'):format(tostring(stream ~= false)), headers = {} }
  else
    o = dialects.ask(name, port, nil, { stream = stream ~= false })
  end
  for _, l in ipairs { "x-mock-fault: " .. fault, "x-mock-numbered: true", "x-mock-tokens: 40" } do
    o.headers[#o.headers + 1] = fault == "none" and l:find "fault" and "x-none: 1" or l
  end
  return http.fetch(o)
end

local function last_event(name, body)
  if name == "ollama" then return json.decode(body:match("([^\n]*)\n?$") or "") end
  local events = dialects.events(body)
  return events[#events]
end

local function is_error_event(name, body)
  local ev = last_event(name, body)
  if name == "ollama" then return type(ev) == "table" and ev.error ~= nil end
  return ev ~= nil and dialects.is_error_event(name, ev)
end

local function text_of(name, body)
  if name ~= "ollama" then return dialects.text(name, body) end
  local out = {}
  for line in body:gmatch("[^\n]+") do
    local d = json.decode(line)
    if d and d.message then out[#out + 1] = d.message.content end
  end
  return table.concat(out)
end

-- Fault, then what it is before any content: status, outcome, label of the error. The upstream's own refusals pass as they are.
local EARLY = {
  { "status:400", 400, "upstream_error", "upstream_status" }, { "status:401", 401, "upstream_error", "upstream_status" },
  { "status:404", 404, "upstream_error", "upstream_status" }, { "status:429", 429, "upstream_error", "upstream_status" },
  { "status:500", 500, "upstream_error", "upstream_status" }, { "status:503", 503, "upstream_error", "upstream_status" },
  { "status:529", 529, "upstream_error", "upstream_status" }, { "status:599", 599, "upstream_error", "upstream_status" },
  { "hang", 504, "stalled", "first_byte_timeout" }, { "slow-head:5000", 504, "stalled", "first_byte_timeout" },
  { "stall@0", 504, "stalled", "first_token_timeout" },
  { "close", 502, "upstream_error", "reset" }, { "garbage", 502, "upstream_error", "upstream_syntax" },
  { "both-lengths", 502, "upstream_error", "upstream_framing" },
  { "gzip-claim", 502, "upstream_error", "content_encoding" }, { "cut@0", 502, "truncated", "truncated" },
  { "reset@0", 502 }, { "truncate@0", 502, "truncated", "truncated" },
  { "bad-chunk@0", 502, "upstream_error", "upstream_framing" }, { "bad-json@0", 502, "upstream_error", "event_syntax" },
}

-- Behind it. The event that says so is the last, and nothing looks like an end.
local LATE = {
  { "stall@12", "stalled", "idle_timeout" }, { "cut@12", "truncated", "truncated" },
  { "truncate@12", "truncated", "truncated" }, { "reset@12", "truncated" },
  { "bad-chunk@12", "upstream_error", "upstream_framing" }, { "bad-json@12", "upstream_error", "event_syntax" },
  { "error@12", "upstream_error", "upstream_error" },
}

local ENDINGS = { chat = "[DONE]", responses = "response.completed", messages = "message_stop", ollama = '"done":true' }

-- What no relay can know: the answer is whole as to its form. Nothing may be repaired, or broken, on the way.
local FORMAL = { "drop@12", "twice@12", "swap@12", "garble@12", "split-head", "slow-head:20" }

local WHOLE = { "close", "hang", "garbage", "both-lengths", "early-end", "truncate", "reset", "bad-chunk", "stall" }

local function check_early(name, s, list)
  for _, f in ipairs(list or EARLY) do
    local r = assert(ask(name, s.port, f[1]))
    local what = name .. " " .. f[1]
    assert.equal(f[2], r.status, what)
    assert.is_true(r.clean, what)
    if name == "ollama" then
      assert.is_string((json.decode(r.body) or {}).error, what .. r.body)
    else
      dialects.error_of(name, r)
    end
    s.asked = s.asked + 1
    local line = s:line(s.asked)
    assert.equal(f[2], line.status, what)
    if f[3] then assert.equal(f[3], line.outcome, what) end
    if f[4] then assert.equal(f[4], line.error, what) end
    s.errors[line.error] = (s.errors[line.error] or 0) + 1
  end
end

local function check_late(name, s, list)
  for _, f in ipairs(list or LATE) do
    local r = assert(ask(name, s.port, f[1]))
    local what = name .. " " .. f[1]
    assert.equal(200, r.status, what)
    assert.is_true(is_error_event(name, r.body), what .. ": " .. r.body:sub(-300))
    assert.equal(1, text_of(name, r.body):find("t0 t1", 1, true), what)
    assert.is_nil(r.body:find(ENDINGS[name], 1, true), what)
    if f[1] ~= "error@12" then assert.is_false(r.clean, what) end
    s.asked = s.asked + 1
    local line = s:line(s.asked)
    assert.equal(f[2], line.outcome, what)
    if f[3] then assert.equal(f[3], line.error, what) end
    s.errors[line.error] = (s.errors[line.error] or 0) + 1
  end
end

local function check_formal(name, s, mock)
  for _, f in ipairs(FORMAL) do
    local r, direct = assert(ask(name, s.port, f)), assert(ask(name, mock.port, f))
    local what = name .. " " .. f
    assert.equal(200, r.status, what)
    assert.is_true(r.clean, what)
    assert.equal(text_of(name, direct.body), text_of(name, r.body), what)
    s.asked = s.asked + 1
    assert.equal("complete", s:line(s.asked).outcome, what)
  end
end

local function check_whole(name, s, list)
  for _, f in ipairs(list or WHOLE) do
    local r = ask(name, s.port, f, false)
    local what = name .. " " .. f
    if r and r.status == 200 then
      assert.is_false(r.clean, what)
    elseif r then
      assert.is_true(r.status >= 500, what)
    end
    s.asked = s.asked + 1
    local line = s:line(s.asked)
    assert.not_equal("complete", line.outcome, what)
    if line.error then s.errors[line.error] = (s.errors[line.error] or 0) + 1 end
  end
end

-- The server's own count of what the log has said.
local function check_counters(s)
  io_.hang_up()
  s:assert_clean()
  local m = s:metrics()
  assert.equal(s.asked, m.weir_requests_total)
  for label, n in pairs(s.errors) do
    assert.equal(n, m[('weir_errors_total{error="%s"}'):format(label)], label)
  end
  -- A kept connection that closes at once may have been dead for long: that is no second attempt.
  assert.equal(m['weir_retries_total{why="stale"}'] or 0, m.weir_retries_total)
  assert.equal(0, m.weir_hook_errors_total or 0)
  assert.equal(0, m.weir_expect_failures_total or 0)
end

local function run(conf, o)
  o = o or {}
  o.conf = conf
  local s = weir.run(o)
  s.asked, s.errors = 0, {}
  return s
end

describe("an upstream that lies", function()
  after_each(weir.kill_all)

  for _, name in ipairs(APIS) do
    for _, hooks in ipairs { false, true } do
      it(("is found out: %s%s"):format(name, hooks and ", with hooks on" or ""), io_.test(function()
        local mock = weir.mock ""
        local s = run(UP:format(mock.url) .. (hooks and HOOKS or "") ..
          'weir.route "all" { match = { path = "/*" }, to = "up" }\n')
        check_early(name, s)
        check_late(name, s)
        check_formal(name, s, mock)
        check_whole(name, s)
        check_counters(s)
        s:stop()
        mock:stop()
      end, 120))
    end
  end

  -- Those that need no deadline to be found out, for checkers that make everything slow.
  it("is found out, whoever watches, with hooks on #threads #smoke", io_.test(function()
    local mock = weir.mock ""
    local s = run(UP:format(mock.url):gsub(" timeout = %b{}", "") .. HOOKS ..
      'weir.route "all" { match = { path = "/*" }, to = "up" }\n')
    local function at_once(list)
      local quick = {}
      for _, f in ipairs(list) do
        if not (f[1] or f):find "^hang" and not (f[1] or f):find "^slow" and not (f[1] or f):find "^stall" then
          quick[#quick + 1] = f
        end
      end
      return quick
    end
    check_early("chat", s, at_once(EARLY))
    check_late("messages", s, at_once(LATE))
    check_formal("responses", s, mock)
    check_whole("chat", s, at_once(WHOLE))
    check_counters(s)
    s:stop()
    mock:stop()
  end, 120))

  it("by accepting and saying nothing, before and behind its head, or one byte at a time", io_.test(function()
    local what = {
      { "first_byte_timeout", function(c) c:recv_all() end },
      { "first_byte_timeout", function(c) -- a head that never ends
        c:send "HTTP/1.1 200 OK\r\n"
        while c:send "x" do io_.pause(0.05) end
      end },
      { "first_token_timeout", function(c) http.read_request(c) c:send(http.stream_head()) c:recv_all() end },
      { "first_token_timeout", function(c) -- alive, and of no use
        http.read_request(c)
        c:send(http.stream_head())
        while c:send(http.chunk ": ping\n\n") do io_.pause(0.05) end
      end },
      { "first_token_timeout", function(c) -- an event that never ends
        http.read_request(c)
        c:send(http.stream_head() .. http.chunk "data: ")
        while c:send(http.chunk "x") do io_.pause(0.05) end
      end },
    }
    for i, w in ipairs(what) do
      local up = io_.listen(w[2])
      local s = run(UP:format(up.url) .. dialects.routes)
      for _, name in ipairs(dialects.names) do
        local r = assert(http.fetch(dialects.ask(name, s.port)))
        assert.equal(504, r.status, name .. i)
        dialects.error_of(name, r)
        s.asked = s.asked + 1
        local line = s:line(s.asked)
        assert.equal(w[1], line.error, name .. i)
        assert.equal("stalled", line.outcome)
        -- Not before its time.
        assert.is_true(line.duration_ms >= (w[1] == "first_byte_timeout" and 290 or 390), name .. line.duration_ms)
        s.errors[w[1]] = (s.errors[w[1]] or 0) + 1
      end
      check_counters(s)
      s:stop()
      up:close()
    end
  end, 120))
end)
