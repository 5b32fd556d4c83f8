-- A policy that fails in each of its hooks, by each kind of failure, with a guard and without: what the contract says happens
-- to that stream, and nothing to any other. Who fails too often is put aside.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local json = require "cjson.safe"
local weir = require "spec.e2e.support.weir"

-- What a hook does wrong, and the label that it is counted with. "time" needs a limit of instructions that is out of reach,
-- so it runs in a process of its own.
local LOOP = "while true do end"
local CAUSES = {
  { "error", "error 'oops'" },
  { "instructions", LOOP },
  { "memory", "local t = 'x' while true do t = t .. t end" },
  { "verdict", "return 'make-coffee'" },
}
local TIME = { { "time", LOOP } }
-- An upstream that nobody declared, where a verdict can name one.
local MISSING = { on_request = "return 'route', 'nobody'", on_response_start = "return 'fallback', 'nobody'",
                  on_upstream_error = "return 'fallback', 'nobody'" }

-- The hooks, what the upstream does for them, and what a request meets when the hook fails: without a guard, and with one.
-- Status, outcome and error of the log. "told": the status is 200, the last event an error.
local WELL = { 200, "complete" }
local STOPPED = { 500, "stopped", "policy_error" }
local TOLD = { 200, "stopped", "policy_error", told = true }
local HOOKS = {
  on_request = { open = WELL, guard = { 500, "refused", "policy_error" } },
  on_response_start = { open = WELL, guard = STOPPED },
  on_event = { open = WELL, guard = STOPPED },
  -- The first text has come, but none of it was let go: the answer has not begun.
  on_text = { open = WELL, guard = STOPPED },
  -- Behind the commit point.
  late_event = { hook = "on_event", after = 9, open = WELL, guard = TOLD },
  late_text = { hook = "on_text", after = 9, open = WELL, guard = TOLD },
  on_upstream_error = { to = "both", open = WELL, guard = { 500, "upstream_error", "upstream_status" } },
  on_slow_client = { to = "fast", slow = true, open = WELL, guard = TOLD },
  on_end = { open = WELL, guard = WELL, mute = true },
}
local NAMES = { "on_request", "on_response_start", "on_event", "on_text", "late_event", "late_text", "on_upstream_error",
                "on_slow_client", "on_end" }

-- Every combination as { name, hook, cause, guard, body, want }; its name is that of its route, host and plugin.
local function cases(causes)
  local list = {}
  local function add(hook, cause, body, label)
    for _, mode in ipairs { "open", "guard" } do
      list[#list + 1] = { name = ("%s-%s-%s"):format(hook, cause, mode):gsub("_", "-"), hook = hook, kind = label or cause,
                          guard = mode == "guard", body = body, want = HOOKS[hook][mode], as = HOOKS[hook].hook or hook,
                          slow = HOOKS[hook].slow }
    end
  end
  for _, hook in ipairs(NAMES) do
    for _, c in ipairs(causes) do
      if not (c[1] == "verdict" and HOOKS[hook].mute) then add(hook, c[1], c[2]) end
    end
    if MISSING[hook] and #causes > 1 then add(hook, "missing", MISSING[hook], "verdict") end
  end
  return list
end

-- A route for each of them, with a plugin of its own: who fails too often is put aside.
local function conf(name, list, causes, fast, limit)
  local out = { ([[
weir.lua { instructions = %d, memory = "4MiB" }
weir.pressure "memory" { { at = 0.001, off = 0.0005, "no_hedge" } }
weir.upstream "well" { kind = "mock", mock = { tokens = 20, numbered = true } }
weir.upstream "busy" { kind = "mock", mock = { fault = "status:429" }, breaker = { retry_after = "0s" } }
weir.upstream "long" { kind = "mock", mock = { tokens = 60, rate = 20, numbered = true } }
weir.upstream "fast" { kind = "openai-compatible", url = "%s" }
weir.group "both" { "busy", last = "well" }
]]):format(limit, fast) }
  for _, c in ipairs(list) do
    out[#out + 1] = ([[
weir.route "%s" { match = { path = "%s", host = "%s" }, to = "%s", use = {
  weir.plugin { name = "%s", api = 1, %s
    %s = function(_, s) s.ctx.n = (s.ctx.n or 0) + 1 if s.ctx.n > %d then %s end end } {} } }
]]):format(c.name, dialects.list[name].path, c.name, HOOKS[c.hook].to or "well", c.name, c.guard and "guard = true," or "",
           c.as, HOOKS[c.hook].after or 0, c.body)
  end
  -- These have nothing to refuse, whatever they are called.
  for _, c in ipairs(causes) do
    for _, guard in ipairs { "", "guard = true," } do
      out[#out + 1] = ('weir.use { weir.plugin { name = "pressure-%s%s", api = 1, %s on_pressure = function() %s end } {} }\n')
        :format(c[1], guard == "" and "" or "-guard", guard, c[2])
    end
  end
  out[#out + 1] = 'weir.route "others" { match = { path = "*" }, to = "long" }\n'
  return table.concat(out)
end

local ENDINGS = { chat = "[DONE]", responses = "response.completed", messages = "message_stop" }

-- Half an answer that ends well is what no failure may look like.
local function check(name, r, line, c)
  local what, want = name .. " " .. c.name .. ": ", c.want
  assert.equal(want[1], r.status, what .. r.body:sub(-300))
  assert.equal(want[2], line.outcome, what)
  assert.equal(want[3], line.error, what)
  assert.equal(want[1], line.status, what)
  if want.told then
    local events = dialects.events(r.body)
    assert.is_true(dialects.is_error_event(name, events[#events]), what .. r.body:sub(-200))
    assert.is_nil(r.body:find(ENDINGS[name], 1, true), what)
    assert.is_false(r.clean, what)
    return
  end
  assert.is_true(r.clean, what)
  if want[1] == 200 then
    local text = dialects.text(name, r.body)
    assert.is_truthy(text:find(c.slow and "^<0>.*<end>$" or "^t0 t1.*t19$"), what .. text:sub(1, 40))
    assert.is_truthy(r.body:find(ENDINGS[name], 1, true), what)
  else
    local message = dialects.error_of(name, r)
    assert.is_truthy(message:find("policy of this gateway failed", 1, true), what .. message)
  end
end

-- One delta of each dialect, and what stands around them.
local DELTA = {
  chat = 'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n',
  responses = 'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","output_index":0,' ..
    '"content_index":0,"delta":"%s"}\n\n',
  messages = 'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",' ..
    '"text":"%s"}}\n\n',
}
local CLOSE = {
  chat = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
  responses = 'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r"}}\n\n',
  messages = 'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n' ..
    'event: message_stop\ndata: {"type":"message_stop"}\n\n',
}

-- Writes more than any kernel holds, until the case that asked has seen its hook fail.
local function fast_upstream(name, has_failed)
  return io_.listen(function(c)
    local r = http.read_request(c)
    if not r then return end
    local function say(text) return c:send(http.chunk(text)) end
    if not c:send(http.stream_head()) or not say(DELTA[name]:format "<0>") then return end
    local block = http.chunk((DELTA[name]:format(("w"):rep(3900))):rep(4))
    repeat
      if not c:send(block) then return end
    until has_failed[r.fields["x-case"]]
    c:send(http.chunk(DELTA[name]:format "<end>" .. CLOSE[name]) .. http.last_chunk)
  end)
end

-- On a machine that is busy with other things a loop or a full heap may meet the clock first.
local function failures(m, c)
  local function of(kind)
    return m[('weir_hook_errors_total{plugin="%s",hook="%s",kind="%s"}'):format(c.name, c.as, kind)] or 0
  end
  return of(c.kind) + ((c.kind == "instructions" or c.kind == "memory") and of "time" or 0)
end

local function request_of(name, s, c)
  local o = dialects.ask(name, s.port, { "x-case: " .. c.name })
  o.host = c.name
  return o
end

local function line_of(s, c)
  local line
  io_.eventually("the line of " .. c.name, function()
    for _, l in ipairs(s:lines()) do
      if l.route == c.name then line = l return true end
    end
  end, 30)
  return line
end

-- All the slow ones at once: nobody reads before each of the hooks was called.
local function ask_slowly(name, s, list, has_failed)
  local conns = {}
  for _, c in ipairs(list) do
    conns[#conns + 1] = assert(io_.connect("127.0.0.1", s.port, { rcvbuf = 4096 }))
    conns[#conns]:send(http.request(request_of(name, s, c)))
  end
  io_.eventually("all slow clients to be seen", function()
    local m, all = s:metrics(), true
    for _, c in ipairs(list) do
      has_failed[c.name] = has_failed[c.name] or failures(m, c) > 0
      all = all and has_failed[c.name]
    end
    return all
  end, 60)
  for i, c in ipairs(list) do
    local r = assert(http.read_response(conns[i]))
    check(name, r, line_of(s, c), c)
    conns[i]:close()
  end
end

local function run_all(name, causes, limit, others_too)
  local list, slow, has_failed = cases(causes), {}, {}
  local up = fast_upstream(name, has_failed)
  local s = weir.run { conf = conf(name, list, causes, up.url, limit) }
  local others, stop, running = 0, false, 0
  for i = 1, others_too and 6 or 0 do
    running = running + 1
    io_.go(function()
      local as = dialects.names[i % 3 + 1]
      while not stop do
        local r = assert(http.fetch(dialects.ask(as, s.port)))
        assert.equal(200, r.status, "another stream")
        assert.is_true(r.clean, "another stream")
        assert.is_truthy(dialects.text(as, r.body):find("t0 t1.*t59"), "another stream")
        others = others + 1
      end
      running = running - 1
    end)
  end
  for _, c in ipairs(list) do
    if c.slow then
      slow[#slow + 1] = c
    else
      local r = assert(http.fetch(request_of(name, s, c)))
      check(name, r, line_of(s, c), c)
    end
  end
  ask_slowly(name, s, slow, has_failed)
  stop = true
  io_.eventually("the others' end", function() return running == 0 end, 60)
  assert.is_true(not others_too or others >= 6)
  io_.hang_up()
  s:assert_clean()
  local m = s:metrics()
  assert.equal(#list + others, m.weir_requests_total)
  for _, c in ipairs(list) do assert.is_true(failures(m, c) >= 1, c.name .. " wasn't counted") end
  for _, c in ipairs(causes) do
    for _, guard in ipairs { "", "-guard" } do
      local p = { name = "pressure-" .. c[1] .. guard, as = "on_pressure", kind = c[1] }
      assert.is_true(failures(m, p) >= 1, p.name)
    end
  end
  assert.equal(0, m.weir_expect_failures_total or 0)
  s:stop()
end

-- A guard, whatever hook it has: its sixth request gets 503 before an upstream is asked, and so does no other's.
local function put_aside(name)
  local out = { [[
weir.upstream "well" { kind = "mock", mock = { tokens = 20, numbered = true } }
weir.upstream "busy" { kind = "mock", mock = { fault = "status:429" }, breaker = { retry_after = "0s" } }
weir.group "both" { "busy", last = "well" }
]] }
  local list = {}
  for _, hook in ipairs { "on_request", "on_response_start", "on_event", "on_text", "on_upstream_error", "on_end" } do
    for _, mode in ipairs { "open", "guard" } do
      local c = { name = hook:gsub("_", "-") .. "-" .. mode, as = hook, kind = "error", want = HOOKS[hook][mode],
                  refused = mode == "guard" and hook ~= "on_end" }
      list[#list + 1] = c
      -- One failure a request: on_event and on_text are skipped once they have failed.
      out[#out + 1] = ([[
weir.route "%s" { match = { path = "%s", host = "%s" }, to = "%s", use = { weir.plugin { name = "%s", api = 1, guard = %s,
  %s = function(_, s) if not s.ctx.failed then s.ctx.failed = true error "oops" end end } {} } }
]]):format(c.name, dialects.list[name].path, c.name, HOOKS[hook].to or "well", c.name, tostring(mode == "guard"), hook)
    end
  end
  local s = weir.run { conf = table.concat(out) }
  for _, c in ipairs(list) do
    for i = 1, 5 do
      local r = assert(http.fetch(request_of(name, s, c)))
      assert.equal(c.want[1], r.status, c.name .. i)
    end
    local r = assert(http.fetch(request_of(name, s, c)))
    assert.equal(c.refused and 503 or 200, r.status, c.name)
    if c.refused then
      local message = dialects.error_of(name, r)
      assert.is_truthy(message:find("policy of this gateway failed", 1, true), message)
      local after = tonumber(r.fields["retry-after"])
      assert.is_true(after > 1 and after <= 30, r.fields["retry-after"])
    end
  end
  s:assert_clean()
  local m, lines = nil, s:lines(6 * #list)
  io_.eventually("the worker's counts", function() -- it tells of them now and then
    m = s:metrics()
    return failures(m, list[#list]) == 5
  end)
  for i, c in ipairs(list) do
    local line = lines[6 * i]
    assert.equal(c.name, line.route)
    if c.refused then
      assert.equal("refused", line.outcome, c.name)
      assert.equal("policy_error", line.error, c.name)
      assert.equal(0, line.attempts or 0, c.name)
    else
      assert.equal("complete", line.outcome, c.name)
    end
    assert.equal(5, failures(m, c), c.name)
    local skipped = m[('weir_hook_errors_total{plugin="%s",hook="%s",kind="quarantine"}'):format(c.name, c.as)]
    assert.is_true((skipped or 0) >= 1, c.name)
    if c.refused then assert.equal(1, skipped, c.name) end
  end
  local status = json.decode(s:admin("/status").body)
  assert.equal(#list, status.workers[1].aside_count)
  s:stop()
end

describe("a policy that fails", function()
  after_each(weir.kill_all)

  for _, name in ipairs(dialects.names) do
    it("costs its own stream what the contract says, and no other: " .. name, io_.test(function()
      run_all(name, CAUSES, 5000, true)
    end, 120))
    local tags = name == "chat" and " #threads #smoke" or ""
    it("and is put aside when it does so too often: " .. name .. tags, io_.test(function() put_aside(name) end, 120))
  end

  it("costs no more when it takes too long", io_.test(function() run_all("messages", TIME, 1000000000) end, 120))
end)
