-- Upstreams that fail and come back: who is asked meanwhile, and when they are asked again.
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local json = require "cjson.safe"
local weir = require "spec.e2e.support.weir"

local EVENT = 'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
local WHOLE = EVENT .. 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

-- An upstream of which the test decides what it does: up.mode is "well", "refuse" (a 500), "busy" (a 429) or "sick"
-- (well but for its checks).
local function upstream(mode)
  local up
  up = io_.listen(function(c)
    while true do
      local r = http.read_request(c)
      if not r then break end
      if r.target == "/health" then
        up.checks = up.checks + 1
        c:send(http.response(up.mode == "well" and 200 or 503, {}, "ok"))
      else
        up.asked = up.asked + 1
        up.bodies[#up.bodies + 1] = r.body
        if up.mode == "refuse" then
          c:send(http.response(500, { "Content-Type: application/json" }, '{"error":{"message":"no"}}'))
        elseif up.mode == "busy" then
          c:send(http.response(429, { "Retry-After: 30", "Content-Type: application/json" }, "{}"))
        else
          c:send(http.stream_head() .. http.chunk(WHOLE) .. http.last_chunk)
        end
      end
    end
    c:close()
  end)
  up.mode, up.asked, up.checks, up.bodies = mode or "well", 0, 0, {}
  return up
end

local function pair(a, b, options, group)
  return ([[
weir.upstream "a" { kind = "openai-compatible", url = "%s", %s }
weir.upstream "b" { kind = "openai-compatible", url = "%s", %s }
weir.group "both" { "a", "b", %s }
weir.route "all" { match = { path = "/*" }, to = "both" }
]]):format(a, options or "", b, options or "", group or "")
end

-- The row of an upstream at /upstreams.
local function row(s, name)
  for _, r in ipairs(json.decode(s:admin("/upstreams").body)) do
    if r.upstream == name then return r end
  end
end

local function state(s, name) return row(s, name).state end

local function ask(s, o)
  o = o or {}
  o.port = s.port
  return http.fetch(weir.chat(o))
end

local function is_whole(r) return r and r.status == 200 and r.clean and r.body:find("[DONE]", 1, true) end

describe("an upstream that fails", function()
  after_each(weir.kill_all)

  it("costs at most one request when it is killed under load, and is used within a second when it is back",
     io_.test(function()
    local a = weir.mock "--tokens 20 --rate 100"
    local b = weir.mock "--tokens 20 --rate 100"
    local port = a.port
    local s = weir.run { workers = 2, conf = pair(a.url, b.url) }
    local failed, done, running, stop = 0, 0, 0, false
    local killed
    for _ = 1, 30 do
      running = running + 1
      io_.go(function()
        while not stop do
          local began = io_.now()
          local r = ask(s)
          if killed and began > killed then
            done = done + 1
            if not is_whole(r) then failed = failed + 1 end
          end
        end
        running = running - 1
      end)
    end
    io_.eventually("both to be used", function()
      local m = s:metrics()
      local x = m[('weir_peer_streams{upstream="a",url="%s"}'):format(a.url)]
      local y = m[('weir_peer_streams{upstream="b",url="%s"}'):format(b.url)]
      return x > 5 and y > 5
    end)
    a:signal "KILL"
    a:wait_exit()
    killed = io_.now()
    io_.eventually("the breaker to open", function() return state(s, "a") == "open" end)
    io_.eventually("many requests without it", function() return done > 150 end, 30)
    assert(failed <= 1, failed .. " of " .. done .. " failed")
    -- Checks find out that it is back, whatever the breaker's time.
    local again = weir.mock("--tokens 20 --rate 100 --listen 127.0.0.1:" .. port)
    local back = io_.now()
    io_.eventually("it to be used again", function() return state(s, "a") == "ready" end)
    assert(io_.now() - back < 5, "after " .. io_.now() - back) -- a second where the machine has time for it
    stop = true
    io_.eventually("the load to end", function() return running == 0 end, 30)
    assert(failed <= 1, failed .. " of " .. done .. " failed")
    assert(row(s, "a").probes > 0)
    local log = s:log()
    assert(log:find('"upstream_state"', 1, true), "no line of the state")
    s:stop()
    again:stop()
    b:stop()
  end))

  it("is left alone at once when it refuses five times in a row, and the other serves #threads #smoke", io_.test(function()
    local a, b = upstream "refuse", upstream()
    local s = weir.run { workers = 2, conf = pair(a.url, b.url, 'breaker = { open = "10m", open_max = "10m" }') }
    local n = 0
    while state(s, "a") ~= "open" do
      n = n + 1
      assert(n < 40)
      ask(s)
    end
    local before = a.asked
    assert.equal(5, before)
    for _ = 1, 20 do assert(is_whole(ask(s))) end
    assert.equal(before, a.asked)
    assert.equal(1, s:metrics()[('weir_peer_breaker_opens_total{upstream="a",url="%s"}'):format(a.url)])
    s:stop()
  end))

  it("is asked all the same when it is the only one, and heard when it is well again", io_.test(function()
    local a = upstream "refuse"
    local s = weir.run { conf = ([[
weir.upstream "a" { kind = "openai-compatible", url = "%s", breaker = { open = "10ms", open_max = "10ms" } }
weir.route "all" { match = { path = "/*" }, to = "a" }
]]):format(a.url) }
    for i = 1, 20 do
      assert.equal(500, ask(s).status)
      assert.equal(i, a.asked)
    end
    a.mode = "well"
    assert(is_whole(ask(s)))
    io_.eventually("it to be ready", function() return is_whole(ask(s)) and state(s, "a") == "ready" end)
    s:stop()
  end))

  it("is left alone for as long as its retry-after says", io_.test(function()
    local a, b = upstream "busy", upstream()
    local s = weir.run { conf = pair(a.url, b.url) }
    for _ = 1, 20 do ask(s) end
    assert.equal(1, a.asked)
    local r = row(s, "a")
    assert.equal("busy", r.state)
    assert(r.for_ms > 5000 and r.for_ms <= 30000, r.for_ms)
    s:stop()
  end))

  it("is found by its checks before any request fails, and found again", io_.test(function()
    local a, b = upstream "sick", upstream()
    local s = weir.run { workers = 2, conf = pair(a.url, b.url,
      'health = { path = "/health", every = "100ms", rise = 2, fall = 2 }') }
    io_.eventually("the checks to fail", function() return state(s, "a") == "down" end)
    for _ = 1, 10 do assert(is_whole(ask(s))) end
    assert.equal(0, a.asked)
    assert(a.checks >= 2 and b.checks >= 1)
    a.mode = "well"
    io_.eventually("the checks to be well", function() return state(s, "a") == "ready" end)
    for _ = 1, 10 do assert(is_whole(ask(s))) end
    assert(a.asked >= 3, a.asked)
    s:stop()
  end))
end)

describe("an adaptive limit", function()
  after_each(weir.kill_all)

  it("lets streams in up to what it is, and answers the others with 503", io_.test(function()
    local s = weir.run { workers = 2, conf = [[
weir.upstream "up" { kind = "mock", mock = { tokens = 3, rate = 100 }, limit = { "adaptive", min = 2, max = 6 } }
weir.route "all" { match = { path = "/*" }, to = "up" }
]] }
    local stop, running, whole, shed, other = false, 0, 0, 0, 0
    for _ = 1, 12 do
      running = running + 1
      io_.go(function()
        while not stop do
          local r = ask(s)
          if is_whole(r) then whole = whole + 1
          elseif r and r.status == 503 and r.fields["retry-after"] then shed = shed + 1
          else other = other + 1 end
          io_.pause(0.01)
        end
        running = running - 1
      end)
    end
    -- How it moves is for tests with a clock of their own (tests/upstream/test_limit.c).
    io_.eventually("some to be served and some not", function() return whole > 20 and shed > 0 end, 40)
    local limit = s:metrics()['weir_upstream_limit{upstream="up"}']
    assert(limit and limit >= 2 and limit <= 6, tostring(limit))
    stop = true
    io_.eventually("the load to end", function() return running == 0 end, 30)
    assert.equal(0, other)
    s:stop()
  end))
end)

describe("balance", function()
  after_each(weir.kill_all)

  local function spread(balance, bodies, n)
    local a, b, c = upstream(), upstream(), upstream()
    local s = weir.run { workers = 2, conf = ([[
weir.upstream "up" { kind = "openai-compatible", url = { "%s", "%s", "%s" }, %s }
weir.route "all" { match = { path = "/*" }, to = "up" }
]]):format(a.url, b.url, c.url, balance) }
    local ups, where = { a, b, c }, {}
    for i = 1, n do
      local o = bodies(i)
      local before = { a.asked, b.asked, c.asked }
      assert(is_whole(ask(s, o)))
      for k, up in ipairs(ups) do
        if up.asked > before[k] then where[i] = k end
      end
    end
    s:stop()
    return where, { a.asked, b.asked, c.asked }
  end

  local function prompt(text)
    return { body = ('{"model":"m","stream":true,"temperature":%g,"messages":[{"role":"user","content":"%s"}]}'):format(
      math.random(), text) }
  end

  it("hash keeps a prompt's beginning at one place, whatever stands before and behind it", io_.test(function()
    local long = ("all work and no play "):rep(100)
    local where, counts = spread('balance = "hash", hash = { by = "prompt", bytes = 256 }', function(i)
      return prompt(("%02d %s %d"):format(i % 10, long, i))
    end, 60)
    for i = 11, 60 do assert.equal(where[(i - 1) % 10 + 1], where[i], "prompt " .. i % 10) end
    local used = 0
    for _, n in ipairs(counts) do used = used + (n > 0 and 1 or 0) end
    assert(used >= 2, "all went to one place")
  end))

  it("hash goes by a header", io_.test(function()
    local where = spread('balance = "hash", hash = { by = "session" }', function(i)
      return { headers = { "X-Session-Id: s" .. i % 10 } }
    end, 40)
    for i = 11, 40 do assert.equal(where[(i - 1) % 10 + 1], where[i], "session " .. i % 10) end
  end))

  it("weights are kept", io_.test(function()
    local _, counts = spread("weights = { 4, 1, 1 }", function() return {} end, 60)
    -- Two workers count for themselves.
    assert(counts[1] >= 38 and counts[1] <= 42, table.concat(counts, " "))
    assert(counts[2] >= 8 and counts[3] >= 8, table.concat(counts, " "))
  end))

  for _, word in ipairs { "least_streams", "first_token", "random" } do
    it(word .. " uses all of them", io_.test(function()
      local _, counts = spread(('balance = "%s"'):format(word), function() return {} end, 60)
      for k = 1, 3 do assert(counts[k] > 0, table.concat(counts, " ")) end
    end))
  end
end)
