-- A second attempt beside one that is late to its first token: the client sees one answer, whole and soon, and never more than
-- the share is asked twice.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

-- The routes of all dialects, hedged.
local function routes(hedge) return (dialects.routes:gsub('to = "up"', 'to = "up", hedge = { ' .. hedge .. " }")) end

local function conf(slow, hedge)
  return ([[
weir.upstream "slow" { kind = "mock", mock = { tokens = 20, %s } }
weir.upstream "fast" { kind = "mock", mock = { tokens = 20, numbered = true } }
weir.group "up" { "slow", "fast" }
]]):format(slow) .. routes(hedge)
end

describe("hedging", function()
  after_each(weir.kill_all)

  for _, name in ipairs(dialects.names) do
    for what, slow in pairs { ["hangs"] = 'fault = "hang"', ["stalls before content"] = 'fault = "stall@1"' } do
      it("answers in spite of one that " .. what .. ": " .. name, io_.test(function()
        local s = weir.run { conf = conf(slow, 'after = "50ms", max = 1') }
        for i = 1, 4 do -- in turn, so half of them are slow
          local r = assert(http.fetch(dialects.ask(name, s.port)))
          assert.equal(200, r.status)
          assert.is_true(r.clean)
          assert.is_true(dialects.text(name, r.body):find("t0 t1 t2 ", 1, true) == 1, r.body)
          local line = s:line(i)
          assert.equal("complete", line.outcome)
          assert.equal("fast", line.upstream)
          assert.equal(1, line.attempts)
        end
        local m = s:metrics()
        assert.equal(2, m['weir_hedges_total{result="won"}'])
        assert.equal(2, m.weir_hedges_total)
        assert.is_true(m.weir_hedge_wasted_input_tokens_total > 0)
        assert.equal(0, m['weir_peer_streams{upstream="slow",url="mock"}'])
        s:stop()
      end))
    end
  end

  it("keeps to its share #threads", io_.test(function()
    local s = weir.run { workers = 1, conf = [[
weir.upstream "one" { kind = "mock", mock = { tokens = 3, ttft = 60 } }
weir.upstream "two" { kind = "mock", mock = { tokens = 3, ttft = 60 } }
weir.group "up" { "one", "two" }
]] .. routes 'after = "5ms", max = 0.1' }
    assert.equal(40, s:burst("chat", 40))
    local m = s:metrics()
    assert.equal(4, m.weir_hedges_total)
    assert.equal(36, m['weir_hedges_skipped_total{why="budget"}'])
    s:stop()
  end))

  it("isn't done while a pressure step forbids it #threads #smoke", io_.test(function()
    local s = weir.run { conf = conf('fault = "hang"', 'after = "20ms", max = 1') .. [[
weir.pressure "memory" { { at = 0.001, off = 0.0001, "no_hedge" } }
]] }
    for _ = 1, 2 do io_.go(function() http.fetch(dialects.ask("chat", s.port)) end) end
    io_.eventually("one to be late", function()
      return s:metrics()['weir_hedges_skipped_total{why="pressure"}'] >= 1
    end)
    assert.equal(0, s:metrics().weir_hedges_total)
    io_.hang_up()
    s:stop()
  end))

  it("ends both when the client leaves #threads #smoke", io_.test(function()
    local s = weir.run { conf = [[
weir.upstream "one" { kind = "mock", mock = { fault = "hang" } }
weir.upstream "two" { kind = "mock", mock = { fault = "hang" } }
weir.group "up" { "one", "two" }
]] .. routes 'after = "20ms", max = 1' }
    io_.go(function() http.fetch(dialects.ask("chat", s.port)) end)
    local function streams(m)
      return m['weir_peer_streams{upstream="one",url="mock"}'] + m['weir_peer_streams{upstream="two",url="mock"}']
    end
    io_.eventually("two attempts", function() return streams(s:metrics()) == 2 end)
    io_.hang_up()
    io_.eventually("none", function() return streams(s:metrics()) == 0 end)
    assert.equal(1, s:metrics()['weir_hedges_total{result="dropped"}'])
    assert.equal("dropped", s:line(1).hedge)
    s:stop()
  end))
end)
