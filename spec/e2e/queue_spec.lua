-- An upstream with a limit, and requests that wait for room there: over several workers, by class, and with an end.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

local function conf(mock, queue)
  return ([[
weir.upstream "up" { kind = "mock", mock = { %s }, limit = { 2 }, queue = { %s } }
]]):format(mock, queue) .. dialects.routes
end

describe("a queue", function()
  after_each(weir.kill_all)

  it("serves a burst over all workers, two at a time, and loses nobody #threads", io_.test(function()
    local s = weir.run { workers = 2, conf = conf("tokens = 3, rate = 100", 'length = 100, wait = "60s"') }
    assert.equal(40, s:burst("chat", 40))
    local m = s:metrics()
    assert.equal(0, m.weir_queue_waiting)
    assert.is_true(m['weir_queue_total{result="served"}'] > 20)
    assert.is_true(m.weir_queue_wait_seconds_total > 0)
    local waited = 0
    for _, line in ipairs(s:lines(40)) do if line.queued_ms then waited = waited + 1 end end
    assert.is_true(waited > 20)
    s:stop()
  end))

  for _, name in ipairs(dialects.names) do
    it("ends in the client's dialect: " .. name, io_.test(function()
      local s = weir.run { conf = conf('fault = "hang"', 'length = 1, wait = "200ms"') }
      for _ = 1, 2 do io_.go(function() http.fetch(dialects.ask(name, s.port)) end) end
      io_.eventually("two to be asked", function()
        return s:metrics()['weir_peer_streams{upstream="up",url="mock"}'] == 2
      end)
      local r = assert(http.fetch(dialects.ask(name, s.port)))
      assert.equal(503, r.status)
      assert.is_string(r.fields["retry-after"])
      local message = dialects.error_of(name, r)
      assert.is_truthy(message:find "no room in time")
      assert.equal(1, s:metrics()['weir_queue_total{result="timeout"}'])
      io_.hang_up()
      s:stop()
    end))
  end

  it("forgets a client that leaves #threads #smoke", io_.test(function()
    local s = weir.run { conf = conf('fault = "hang"', 'length = 1, wait = "60s"') }
    for _ = 1, 3 do io_.go(function() http.fetch(dialects.ask("chat", s.port)) end) end
    io_.eventually("one to wait", function() return s:metrics().weir_queue_waiting == 1 end)
    io_.hang_up()
    io_.eventually("nobody to wait", function() return s:metrics().weir_queue_waiting == 0 end)
    s:stop()
  end))
end)
