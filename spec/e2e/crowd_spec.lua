-- Many clients, a tenth of which never read: memory is bounded, and the others hardly notice. WEIR_CROWD says how many, and
-- prints what was measured.
local dialects = require "spec.e2e.support.dialects"
local io_ = require "spec.e2e.support.io"
local json = require "cjson.safe"
local files = require "spec.e2e.support.files"
local weir = require "spec.e2e.support.weir"

-- Under a sanitizer neither times nor sizes are weir's.
local PLAIN = not (weir.binary:find "asan" or weir.binary:find "tsan")
local CROWD = tonumber(os.getenv "WEIR_CROWD") or (PLAIN and 2000 or 400)
local DEAF = CROWD // 10
local MORE_FILES = "ulimit -n 65536 2>/dev/null || ulimit -n $(ulimit -Hn);"
local SECONDS = CROWD > 2000 and 10 or 3
local RATE = CROWD > 2000 and 2 or 5
local ROUNDS = CROWD > 2000 and 3 or 1
-- Less than a turn of the system's scheduler says nothing of weir.
local TURN_US = 2500
-- The default mark, and what a client that never reads may cost beyond it.
local MARK, MOST = 2048, 8192

-- weir bench beside the test: its result, once it has ended, with the CPU seconds that it took.
local function bench(s, args)
  local dir = files.temp_dir()
  files.write(dir .. "/start", ("%s\n%s bench http://127.0.0.1:%d --json %s >out 2>err &\necho $! >pid\nwait $!\n" ..
    "times >cpu\necho $? >rc\n"):format(MORE_FILES, weir.binary, s.port, args))
  os.execute(("(cd %s && exec sh ./start) </dev/null >/dev/null 2>&1 &"):format(dir))
  return function(early)
    if early then os.execute("kill -INT $(cat " .. dir .. "/pid)") end
    io_.eventually("the load to end", function() return files.read(dir .. "/rc") end, 200)
    local r = assert(json.decode(files.read(dir .. "/out")), files.read(dir .. "/out") .. files.read(dir .. "/err"))
    local m1, s1, m2, s2 = files.read(dir .. "/cpu"):match("\n(%d+)m([%d.]+)s (%d+)m([%d.]+)s")
    r.cpu_s = 60 * (m1 + m2) + s1 + s2
    os.execute("rm -rf " .. dir)
    return r
  end
end

local function faults(r)
  local n = 0
  for _, v in pairs(r.faults) do n = n + v end
  return n
end

local function median(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  return sorted[#sorted // 2 + 1]
end

-- Clients that read a byte a second, and are sent as much as anybody takes.
local function deafen(s)
  local before = s:metrics().weir_upstream_pauses_total
  local stop = bench(s, ("--streams %d --tokens 0 --slow 1:1 --header 'x-mock-tokens: 1000000' --header 'x-mock-rate: 1000' " ..
    "--header 'x-mock-batch: 10' --time 300s --warmup 1s --timeout 300s --no-stamps"):format(DEAF))
  io_.eventually("clients that are paused for", function()
    return s:metrics().weir_upstream_pauses_total - before >= DEAF
  end, 120)
  return stop
end

describe("a crowd", function()
  after_each(weir.kill_all)

  it("doesn't suffer from those who never read", io_.test(function()
    local mock = weir.mock ""
    local s = weir.run { memory = "256MiB", workers = 2, before = MORE_FILES, conf = dialects.routes:gsub(
      'to = "up"', 'to = "up", slow_client = { give_up = "0s" }') ..
      ('weir.upstream "up" { kind = "openai-compatible", url = "%s" }'):format(mock.url) }
    local function held()
      local m = s:metrics()
      return m.weir_pool_bytes + m.weir_heap_live_bytes
    end
    -- Streams that are all there before the time begins, and last longer.
    local function listeners()
      local r = bench(s, ("--streams %d --tokens 0 --header 'x-mock-tokens: 100000' --header 'x-mock-rate: %d' " ..
        "--warmup %ds --time %ds --timeout 120s"):format(CROWD - DEAF, RATE, SECONDS // 2 + 1, SECONDS))()
      assert.equal(CROWD - DEAF, r.streams.open)
      assert.equal(0, faults(r))
      return r
    end
    -- What a worker has for all of its streams, and the pages that it lies in, are no stream's.
    bench(s, "--streams 20 --tokens 0 --header 'x-mock-tokens: 1000' --header 'x-mock-rate: 200' --time 1s --warmup 0s")()
    s:assert_idle()
    local at_rest, rss = held(), s:rss_kb()
    local deaf = deafen(s)
    local before = held()
    local each, each_rss = (before - at_rest) / DEAF, nil
    -- What was held on the way to the mark goes back to the system at the workers' ticks.
    pcall(io_.eventually, "what isn't held any more to be given back", function()
      each_rss = (s:rss_kb() - rss) * 1024 / DEAF
      return each_rss <= MARK + MOST
    end, 20)
    -- Both kinds of run take turns, so that whatever else the machine does is in both; what one round says against them must
    -- be what most rounds say.
    local gaps, delays, seen = {}, {}, {}
    local grown = 0
    for round = 1, 5 do
      if round > 1 then deaf = deafen(s) end
      local with = listeners()
      io_.eventually("only the deaf", function() return s:metrics().weir_requests_active == DEAF end, 60)
      if round == 1 then grown = held() - before end
      deaf(true)
      s:assert_idle()
      local without = listeners()
      s:assert_idle()
      gaps[round] = with.between_events_us.p99 / without.between_events_us.p99
      delays[round] = with.delay_us.p99 / math.max(without.delay_us.p99, TURN_US)
      seen[round] = { gap = { with.between_events_us.p99, without.between_events_us.p99 },
                      delay = { with.delay_us.p99, without.delay_us.p99 }, cpu_s = { with.cpu_s, without.cpu_s } }
      if round >= ROUNDS and median(gaps) <= 2 and median(delays) <= 2 or not PLAIN then break end
    end
    local told = json.encode { crowd = CROWD, deaf_bytes = each, deaf_rss_bytes = each_rss, grown = grown, rss_kb = s:rss_kb(),
                               peak = s:metrics().weir_pool_peak_bytes, rounds = seen, weir_s = s:cpu_s(), mock_s = mock:cpu_s() }
    if os.getenv "WEIR_CROWD" then print(told) end
    if PLAIN then
      -- By the ledger and the heap's counters to the byte; by the pages of the process with those that aren't full yet.
      assert.is_true(each <= MARK + MOST, told)
      assert.is_true(each_rss <= MARK + MOST + (1 << 20) / DEAF, told)
      -- Between two tokens of a stream, and of each from the upstream's write to the client's read.
      assert.is_true(median(gaps) <= 2, told)
      assert.is_true(median(delays) <= 2, told)
    end
    -- Nothing comes on top while they stay deaf.
    assert.is_true(grown <= 1 << 20, told)
    io_.hang_up()
    s:assert_clean()
    s:stop()
    mock:stop()
  end, 580))
end)
