-- Pressure: the ladder goes up and down once an overload, whatever the pool's size; who is shed hears it; only those that
-- stop_largest names end early; the policy bends the step.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local json = require "cjson.safe"
local weir = require "spec.e2e.support.weir"

local TAIL = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

-- An upstream whose streams have so many bytes, in events of about that size.
local function upstream(bytes, event_bytes)
  local event = 'data: {"choices":[{"index":0,"delta":{"content":"' .. ("w"):rep(event_bytes) .. '"}}]}\n\n'
  local block = event:rep(16)
  local blocks = bytes // #block + 1
  return io_.listen(function(c)
    while http.read_request(c) do
      c:send(http.stream_head())
      for _ = 1, blocks do
        if not c:send(http.chunk(block)) then return end
      end
      c:send(http.chunk(TAIL) .. http.last_chunk)
    end
  end), block:rep(blocks) .. TAIL
end

-- Every stream that was let in has ended so.
local function assert_ended(s, outcome)
  for _, line in ipairs(s:lines()) do
    if line.outcome and line.status ~= 503 then assert.equal(outcome, line.outcome, json.encode(line)) end
  end
end

local function step_of(s) return json.decode(s:admin "/pressure".body).step end

-- Clients that read nothing, one after the other, until `done`.
local function press(s, done)
  local conns = {}
  io_.eventually("enough clients that don't read", function()
    local c = assert(io_.connect("127.0.0.1", s.port, { rcvbuf = 2048 }))
    c:send(http.request(weir.chat { port = s.port }))
    conns[#conns + 1] = c
    io_.eventually("a pause or the end of it", function()
      return s:metrics().weir_upstream_pauses_total >= #conns or done()
    end, 60)
    return done() or #conns >= 40
  end, 120)
  return conns
end

-- What each client reads in the end, one after the other: what the pool holds only falls.
local function read_all(conns)
  local got = {}
  for i, c in ipairs(conns) do
    got[i] = http.read_response(c) or false
    c:close()
  end
  return got
end

describe("pressure", function()
  after_each(weir.kill_all)

  for _, size in ipairs { { "64KiB", 65536 }, { "1MiB", 1 << 20 }, { "64MiB", 64 << 20 } } do
    it("goes up and down once, and breaks nothing: " .. size[1], io_.test(function()
      local high = size[2] // 16
      -- More than the mark and the kernels' buffers take.
      local up, want = upstream(high * 2 + (6 << 20), math.max(1000, high // 1000))
      local s = weir.run { memory = size[1], conf = ([[
        weir.upstream "up" { kind = "openai-compatible", url = "%s" }
        weir.route "all" { match = { path = "/*" }, to = "up", show_degraded = true,
                           slow_client = { high = "%dB", low = "%dB", give_up = "0s" } }
        weir.pressure "memory" {
          { at = 0.45, off = 0.28, "empty_shelf" },
          { at = 0.52, off = 0.30, "no_hedge" },
          { at = 0.58, off = 0.32, "shed:all" },
        }
        weir.pressure "process" {}]]):format(up.url, high, high // 4) }
      assert.equal("ready\n", s:admin "/readyz".body)
      local conns = press(s, function() return step_of(s) == 3 end)
      assert.equal(3, step_of(s))
      -- Whoever comes now is told so, in the words of its API.
      local told = 0
      for _, name in ipairs(dialects.names) do
        local r = assert(http.fetch(dialects.ask(name, s.port)))
        assert.equal(503, r.status)
        assert(r.fields["retry-after"])
        -- A pool that has no block left for a head can't know the API.
        if not r.body:find("pool is exhausted", 1, true) then
          dialects.error_of(name, r)
          told = told + 1
        end
      end
      assert.is_true(told == #dialects.names or size[1] == "64KiB")
      local ready = s:admin "/readyz"
      assert.equal(503, ready.status)
      assert.truthy(ready.body:find("not ready: degraded, step 3, memory", 1, true), ready.body)
      assert.equal(200, s:admin "/healthz".status)
      local refused = 0
      for _, r in ipairs(read_all(conns)) do
        if r and r.status == 503 then
          refused = refused + 1
        else
          assert(r and r.status == 200)
          assert.is_true(r.clean, "a stream was broken: " .. r.body:sub(-300))
          assert.is_true(r.body == want)
        end
      end
      assert.is_true(refused < #conns)
      io_.eventually("calm", function() return step_of(s) == 0 end)
      -- A stream at full speed, and the answer of /metrics, are shares of a small pool that may begin a step of their own: they
      -- are no part of the overload.
      local turns, log = json.decode(s:admin "/pressure".body).meters.memory, s:log()
      local r = assert(http.fetch(weir.chat { port = s.port }))
      assert.is_true(r.status == 200 and r.clean and r.body == want)
      assert.is_true(size[1] == "64KiB" or r.fields["x-weir-degraded"] == nil)
      assert.equal(3, turns.ups)
      assert.equal(3, turns.downs)
      local m = s:metrics()
      assert.equal(0, m['weir_pressure_actions_total{action="stop_largest"}'])
      assert.is_true(m['weir_pressure_actions_total{action="shed:all"}'] >= told)
      assert.is_true(m['weir_pressure_step_seconds_total{step="3"}'] > 0)
      -- Each change is told, with its cause and its cost.
      local shed, last, turned = 0, 0, false
      for text in log:gmatch("[^\n]+") do
        local line = json.decode(text)
        if line.event == "pressure" then
          assert.equal("memory", line.meter)
          assert.equal(last, line.from)
          turned = turned or line.step < last
          assert.is_true(line.step ~= last and (line.step < last) == turned, "up again: " .. log)
          last, shed = line.step, shed + line.shed
        end
      end
      assert.is_true(turned and last == 0, log)
      assert.equal(m['weir_pressure_actions_total{action="shed:all"}'], shed)
      assert_ended(s, "complete")
      s:assert_clean()
      s:stop()
    end, 240))
  end

  for _, case in ipairs { { "64KiB", 65536, 1 }, { "1MiB", 1 << 20, 1 }, { "4MiB", 4 << 20, 2 }, { "64MiB", 64 << 20, 1 } } do
    it(("stops the streams that hold most, and no other: %s, %d workers"):format(case[1], case[3]), io_.test(function()
      -- Small enough that several stay, however many came between two samples.
      local high = case[2] // 32
      local up, want = upstream(high * 2 + (6 << 20), math.max(1000, high // 1000))
      local s = weir.run { memory = case[1], workers = case[3], conf = ([[
        weir.upstream "up" { kind = "openai-compatible", url = "%s" }
        weir.route "all" { match = { path = "/*" }, to = "up",
                           slow_client = { high = "%dB", low = "%dB", give_up = "0s" } }
        weir.pressure "memory" { { at = 0.40, off = 0.30, "stop_largest" } }
        weir.pressure "process" {}]]):format(up.url, high, high // 4) }
      local function stops() return s:metrics()['weir_pressure_actions_total{action="stop_largest"}'] end
      local conns = press(s, function() return stops() >= 1 end)
      io_.eventually("the end of it", function()
        return json.decode(s:admin "/pressure".body).meters.memory.value < 0.40
      end)
      local named = stops()
      local broken, whole, refused = 0, 0, 0
      for _, r in ipairs(read_all(conns)) do
        if r and r.status == 503 then
          refused = refused + 1
        elseif r and r.clean then
          assert.is_true(r.body == want, #r.body .. " of " .. #want)
          whole = whole + 1
        else
          broken = broken + 1
        end
      end
      assert.is_true(broken >= 1 and broken <= stops(), broken .. " of " .. stops())
      assert.is_true(named >= 1 and whole >= 1, named .. " named, " .. whole .. " whole: " .. s:log())
      local told = 0
      for _, line in ipairs(s:lines()) do
        if line.error == "pressure" then
          assert.equal("shed", line.outcome)
          told = told + 1
        elseif line.outcome and line.status ~= 503 then
          assert.equal("complete", line.outcome)
        end
      end
      assert.equal(broken, told)
      assert.equal(#conns, broken + whole + refused)
      s:assert_clean()
      s:stop()
    end, 240))
  end

  it("is bent by a policy, on each worker #threads", io_.test(function()
    local up = upstream(8 << 20, 1000)
    local s = weir.run { memory = "4MiB", workers = 2, conf = ([[
      weir.upstream "up" { kind = "openai-compatible", url = "%s" }
      weir.upstream "mock" { kind = "mock", mock = { tokens = 3 } }
      weir.route "quick" { match = { path = "/v1/messages" }, to = "mock" }
      weir.route "step" { match = { path = "/step" }, to = "mock", on_request = function()
        return "answer", "step " .. weir.live.pressure().step end }
      weir.route "all" { match = { path = "/*" }, to = "up",
                         slow_client = { high = "256KiB", low = "64KiB", give_up = "0s" } }
      weir.pressure "memory" { { at = 0.20, off = 0.10, "no_hedge" }, { at = 0.40, off = 0.30, "shed:all" } }
      weir.pressure "process" {}
      weir.use { weir.plugin { name = "ladder", api = 1, on_pressure = function(p)
        if p.step == 2 then return "step", 1 end
      end } {} }]]):format(up.url) }
    local function level()
      return json.decode(s:admin "/pressure".body).meters.memory.step
    end
    local conns = press(s, function() return level() == 2 end)
    io_.eventually("the policy's step", function()
      local p = json.decode(s:admin "/pressure".body)
      return p.workers[1].step == 1 and p.workers[2].step == 1
    end)
    for _ = 1, 4 do -- on either worker
      local r = assert(http.fetch(dialects.ask("messages", s.port)))
      assert.equal(200, r.status, r.body)
    end
    for _, c in ipairs(conns) do c:close() end
    io_.eventually("calm", function() return step_of(s) == 0 end)
    s:stop()
  end, 120))
end)
