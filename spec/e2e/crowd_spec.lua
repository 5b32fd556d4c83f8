-- Many clients, a tenth of which never read: memory is bounded, and the others hardly notice. WEIR_CROWD says how many, and
-- prints what was measured.
local dialects = require "spec.e2e.support.dialects"
local io_ = require "spec.e2e.support.io"
local json = require "cjson.safe"
local files = require "spec.e2e.support.files"
local weir = require "spec.e2e.support.weir"

local CROWD = tonumber(os.getenv "WEIR_CROWD") or 1000
local MORE_FILES = "ulimit -n 65536 2>/dev/null || ulimit -n $(ulimit -Hn);"
local SECONDS = CROWD > 1000 and 12 or 3

-- weir bench beside the test: its result, once it has ended.
local function bench(s, args)
  local dir = files.temp_dir()
  files.write(dir .. "/start", ("%s\n%s bench http://127.0.0.1:%d --json %s >out 2>err &\necho $! >pid\nwait $!\necho $? >rc\n")
    :format(MORE_FILES, weir.binary, s.port, args))
  os.execute(("(cd %s && exec sh ./start) </dev/null >/dev/null 2>&1 &"):format(dir))
  return function(early)
    if early then os.execute("kill -INT $(cat " .. dir .. "/pid)") end
    io_.eventually("the load to end", function() return files.read(dir .. "/rc") end, 200)
    local r = assert(json.decode(files.read(dir .. "/out")), files.read(dir .. "/out") .. files.read(dir .. "/err"))
    os.execute("rm -rf " .. dir)
    return r
  end
end

local function faults(r)
  local n = 0
  for _, v in pairs(r.faults) do n = n + v end
  return n
end

describe("a crowd", function()
  after_each(weir.kill_all)

  it("doesn't suffer from those who never read", io_.test(function()
    local mock = weir.mock ""
    local s = weir.run { memory = "256MiB", workers = 2, before = MORE_FILES, conf = dialects.routes:gsub(
      'to = "up"', 'to = "up", slow_client = { give_up = "0s" }') ..
      ('weir.upstream "up" { kind = "openai-compatible", url = "%s" }'):format(mock.url) }
    local deaf = CROWD // 10
    local load = ("--streams %d --tokens 0 --header 'x-mock-tokens: %d' --header 'x-mock-rate: 2' " ..
      "--warmup %ds --time %ds --timeout 120s"):format(CROWD - deaf, 4 * SECONDS, SECONDS // 2, SECONDS)
    local function held()
      local m = s:metrics()
      return m.weir_pool_bytes + m.weir_heap_live_bytes
    end
    local without = bench(s, load)()
    s:assert_idle()
    local at_rest = held()
    -- The deaf: they read a byte a second, and are sent as much as anybody takes.
    local bench_deaf = bench(s, ("--streams %d --tokens 0 --slow 1:1 --header 'x-mock-tokens: 1000000' --header 'x-mock-rate: 1000' " ..
      "--header 'x-mock-batch: 10' --time 300s --warmup 1s --timeout 300s --no-stamps"):format(deaf))
    io_.eventually("clients that are paused for", function()
      return s:metrics().weir_upstream_pauses_total >= deaf
    end, 120)
    local before = held()
    local with = bench(s, load)()
    io_.eventually("only the deaf", function() return s:metrics().weir_requests_active == deaf end, 60)
    local each, grown = (before - at_rest) / deaf, held() - before
    if os.getenv "WEIR_CROWD" then
      print(json.encode { crowd = CROWD, deaf_bytes = each, grown = grown, peak = s:metrics().weir_pool_peak_bytes,
                          rss_kb = s:rss_kb(), p99_us = { without.between_events_us.p99, with.between_events_us.p99 },
                          delay_p99_us = { without.delay_us.p99, with.delay_us.p99 },
                          open = { without.streams.open, with.streams.open } })
    end
    -- A mark of 8 KiB, what one read of a burst brings beyond it, and 8 KiB; nothing comes on top while they stay deaf.
    if not weir.binary:find "asan" then assert.is_true(each <= 8192 + 65536 + 8192, each .. " bytes each") end
    assert.is_true(grown <= 1 << 20, grown .. " bytes more")
    local p99 = { without.between_events_us.p99, with.between_events_us.p99 }
    assert.is_true(p99[2] <= 2 * p99[1], ("p99 %g µs, without them %g µs"):format(p99[2], p99[1]))
    assert.equal(CROWD - deaf, with.streams.open)
    bench_deaf(true)
    assert.equal(0, faults(without))
    assert.equal(0, faults(with))
    io_.hang_up()
    s:assert_clean()
    s:stop()
    mock:stop()
  end, 300))
end)
