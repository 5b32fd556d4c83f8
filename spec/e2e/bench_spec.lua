-- weir bench against weir mock, through weir: counts are exact, what goes wrong is named, and JSON is JSON.
local dialects = require "spec.e2e.support.dialects"
local io_ = require "spec.e2e.support.io"
local json = require "cjson.safe"
local weir = require "spec.e2e.support.weir"

local function bench(url, args)
  local p = assert(io.popen(("%s bench %s %s 2>&1; echo \"rc=$?\""):format(weir.binary, url, args)))
  local text = p:read "a"
  p:close()
  local out, rc = text:match("^(.*)rc=(%d+)\n$")
  return out, tonumber(rc)
end

local function measure(url, args)
  local out, rc = bench(url, "--json " .. args)
  local r = json.decode(out)
  assert(r, "not JSON: " .. out)
  return r, rc
end

local function all_faults(r)
  local n = 0
  for _, v in pairs(r.faults) do n = n + v end
  return n
end

-- A test with both servers: f(mock, relay, the relay's URL).
local function with_both(f)
  return io_.test(function()
    local mock = weir.mock ""
    local relay = weir.run { conf = dialects.routes ..
      ('weir.upstream "up" { kind = "openai-compatible", url = "%s" }'):format(mock.url) }
    f(mock, relay, ("http://127.0.0.1:%d"):format(relay.port))
    relay:stop()
    mock:stop()
  end)
end

describe("weir bench", function()
  after_each(weir.kill_all)

  it("counts every event of every stream that a relay passes on", with_both(function(_, _, url)
    -- Events of an answer of 40 tokens.
    for api, events in pairs { chat = 43, responses = 48, messages = 46 } do
      local r, rc = measure(url, ("--api %s --tokens 40 --count 60 --streams 6 --must-stamp"):format(api))
      assert.equal(0, rc, api)
      assert.equal(60, r.streams.whole, api)
      assert.equal(0, r.streams.failed, api)
      assert.equal(60 * events, r.events.count, api)
      assert.equal(60 * (api == "chat" and events - 1 or events), r.events.stamped, api)
      assert.equal(0, all_faults(r), api)
      assert.equal(6, r.connections, api)
      assert.equal(60, r.first_token_us.count, api)
      assert.is_true(r.first_token_us.p50 <= r.first_token_us.p99 and r.first_token_us.p99 <= r.first_token_us.max)
      assert.equal(r.events.stamped, r.delay_us.count, api)
    end
  end))

  it("names what is wrong with a stream", with_both(function(mock, _, url)
    for fault, kind in pairs { ["drop@5"] = "lost", ["swap@5"] = "late", ["twice@5"] = "repeated", ["garble@5"] = "changed",
                               ["cut@5"] = "error_event", ["truncate@5"] = "error_event", ["status:503"] = "status" } do
      local r, rc = measure(url, ("--count 10 --streams 2 --header 'x-mock-fault: %s'"):format(fault))
      assert.equal(1, rc, fault)
      assert.equal(10, r.faults[kind], fault .. " is " .. kind)
      assert.equal(10, all_faults(r), fault)
    end
    -- The server itself, whose streams break without a word.
    for fault, kind in pairs { ["cut@5"] = "truncated", ["truncate@5"] = "reset", ["reset@5"] = "reset" } do
      local r, rc = measure(mock.url, ("--count 10 --streams 2 --header 'x-mock-fault: %s'"):format(fault))
      assert.equal(1, rc, fault)
      assert.equal(10, r.faults[kind], fault .. " is " .. kind)
    end
    local out, rc = bench(mock.url, "--count 3 --header 'x-mock-fault: drop@3'")
    assert.equal(1, rc)
    assert.is_truthy(out:find("lost +3"), out)
  end))

  it("measures a process by its id, and asks a weir for its allocations", with_both(function(_, relay, url)
    local r, rc = measure(url, ("--time 2s --warmup 200ms --streams 4 --tokens 200 --pid %d --admin 127.0.0.1:%d")
      :format(relay:pid(), relay.admin_port))
    assert.equal(0, rc)
    assert.is_true(r.process.cpu_us_per_event > 0)
    assert.is_true(r.process.rss_kb > 1000)
    assert.is_true(r.process.allocations_per_event < 0.1, "allocations per event: " .. r.process.allocations_per_event)
    assert.equal("cpu", r.figure)
  end))

  it("holds streams, reads slowly, goes away, and ends by itself", with_both(function(_, _, url)
    local r = measure(url, "--hold --streams 50 --time 300ms --warmup 700ms")
    assert.equal(50, r.streams.open)
    assert.equal(0, all_faults(r))
    r = measure(url, "--count 20 --leave 1:4")
    assert.equal(20, r.streams.left)
    assert.equal(0, all_faults(r))
    r = measure(url, "--count 4 --slow 1:40000 --streams 4 --tokens 64")
    assert.equal(4, r.streams.whole)
    assert.is_true(r.stream_us.min > 100000, "a slow reader took " .. r.stream_us.min .. " us")
    r = measure(url, "--rate 100 --count 30 --tokens 5")
    assert.equal("open loop", r.mode)
    assert.equal(30, r.streams.whole)
    r = measure(url, "--time 60s --warmup 100ms --until 90%")
    assert.is_true(r.seconds < 50, "did not end by itself")
    assert.is_true(r.width <= 0.9)
  end))

  it("speaks TLS and trusts whom it is told to", io_.test(function()
    local tls = weir.mock "--tls --tls-cert-out $DIR/mock.pem"
    local r, rc = measure(tls.url, ("--count 20 --ca %s/mock.pem --fresh"):format(tls.dir))
    assert.equal(0, rc)
    assert.equal(20, r.streams.whole)
    assert.equal(0, select(2, measure(tls.url, "--count 5 --insecure")))
    local out
    out, rc = bench(tls.url, "--count 2 --streams 1 --ca does-not-exist.pem")
    assert.is_truthy(out:find "does%-not%-exist", out)
    assert.equal(1, rc)
    tls:stop()
  end))

  it("refuses what it doesn't understand", io_.test(function()
    for _, args in ipairs { "--streams 0", "--streams x", "--rate -1", "--slow 2", "--until 0", "--figure cpu", "--nonsense 1",
                            "--header 'a b: c'", "--time 5", "--json=1", "--pid 1,x" } do
      local out, rc = bench("http://127.0.0.1:1", args)
      assert.equal(2, rc, args .. ": " .. out)
      assert.is_truthy(out:find("^weir bench: "), out)
    end
    local out, rc = bench("", "")
    assert.equal(2, rc)
    assert.is_truthy(out:find "a URL is needed", out)
  end))
end)
