-- Reload: a new configuration while requests run, and a bad one that changes nothing.
local dialects = require "spec.e2e.support.dialects"
local files = require "spec.e2e.support.files"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"
local json = require "cjson.safe"

local function add(s, text)
  local path = s.dir .. "/conf.lua"
  s.base = s.base or files.read(path)
  files.write(path, s.base .. text .. "\n")
end

-- Each policy leaves one word out: what a client reads says which policy its stream had.
local function policy(word, rate)
  return ([[
weir.upstream "up" { kind = "mock", mock = { tokens = 20, numbered = true, rate = %d } }
weir.route "chat" { match = { path = "/v1/chat/completions" }, to = "up",
  on_request = function(req, s) s.ctx.left_out = " %s" end,
  on_event = function(ev, s)
    if ev.kind == "text" and ev.text:equals(s.ctx.left_out) then return "drop" end
  end }
]]):format(rate or 100, word)
end

local function words(left_out)
  local out = {}
  for i = 0, 19 do
    local word = "t" .. i
    if word ~= left_out then out[#out + 1] = word end
  end
  return table.concat(out, " ")
end

local OK = { [words "t3"] = "t3", [words "t7"] = "t7" }

local function left_out(body)
  local text = dialects.text("chat", body)
  return OK[text] or error("not what a policy leaves: " .. text)
end

local function ask_on(c, port)
  assert(c:send(http.request(weir.chat { port = port })))
  local r = assert(http.read_response(c))
  assert.equal(200, r.status)
  assert.is_true(r.clean)
  return left_out(r.body), r
end

local function memory(s)
  local m = s:metrics()
  return { lua = m['weir_heap_live_bytes{tag="lua"}'], conf = m['weir_heap_live_bytes{tag="conf"}'],
           upstream = m['weir_heap_live_bytes{tag="upstream"}'], mock = m['weir_heap_live_bytes{tag="mock"}'],
           server = m['weir_heap_live_bytes{tag="server"}'], relay = m['weir_heap_live_bytes{tag="relay"}'],
           pool_lua = m['weir_pool_bytes{class="lua"}'] }
end

describe("a reload", function()
  after_each(weir.kill_all)

  it("changes what new requests get, on kept connections too, and nothing for those that run #threads",
     io_.test(function()
    local s = weir.run { workers = 2, conf = policy("t3", 20) }
    local kept = assert(io_.connect("127.0.0.1", s.port))
    assert.equal("t3", (ask_on(kept, s.port)))
    local old = assert(io_.connect("127.0.0.1", s.port))
    old:send(http.request(weir.chat { port = s.port }))
    local head = http.parse_head(assert(old:recv_until "\r\n\r\n"))
    s:configure(policy "t7")
    local status, answer = s:reload()
    assert.equal(200, status)
    assert.equal(2, answer.generation)
    assert.equal(2, s:metrics().weir_config_generation)
    assert.equal(2, s:metrics().weir_generations_live)
    assert.equal("t7", (ask_on(kept, s.port)))
    local r = http.read_body(old, head, true)
    assert.is_true(r.clean)
    assert.equal("t3", left_out(r.body))
    io_.eventually("the old generation to go", function() return s:metrics().weir_generations_live == 1 end)
    kept:close()
    old:close()
    s:stop()
  end))

  it("that is not valid leaves everything as it was and says why", io_.test(function()
    local s = weir.run { conf = policy "t3" }
    local c = assert(io_.connect("127.0.0.1", s.port))
    assert.equal("t3", (ask_on(c, s.port)))
    add(s, 'weir.upstream "b" { kind = "opnai" }\nweir.route "x" { to = "nowhere" }')
    local before = memory(s)
    local _, lines = files.read(s.dir .. "/conf.lua"):gsub("\n", "")
    local status, answer = s:reload()
    assert.equal(422, status)
    assert.is_true(#answer.findings >= 2)
    assert(answer.error.message:find(("conf.lua:%d: "):format(lines - 1), 1, true), answer.error.message)
    assert(answer.error.message:find(("conf.lua:%d: "):format(lines), 1, true), answer.error.message)
    assert.equal(lines - 1, answer.findings[1].line)
    assert.equal("t3", (ask_on(c, s.port)))
    local text = files.shell(("%s reload --admin 127.0.0.1:%d"):format(weir.binary, s.admin_port))
    assert(text:find("rc=1\n", 1, true) and text:find("opnai", 1, true) and text:find("nothing has changed", 1, true),
           text)
    s:signal "HUP"
    io_.eventually("the refusal", function()
      return s:metrics()['weir_reloads_total{result="error"}'] == 3
    end)
    assert(s:err():find("conf.lua:", 1, true), s:err())
    -- An address that can't be had is found out before anything changes.
    add(s, ('weir.listen "127.0.0.1:%d" {}'):format(s.admin_port + 0))
    add(s, 'weir.listen "192.0.2.1:80" {}')
    status, answer = s:reload()
    assert.equal(422, status)
    assert(answer.error.message:find("192.0.2.1", 1, true), answer.error.message)
    assert.equal(1, s:metrics().weir_config_generation)
    for name, bytes in pairs(memory(s)) do
      assert.is_true(bytes <= before[name] + 4096, ("%s: %d, was %d"):format(name, bytes, before[name]))
    end
    c:close()
    s:stop()
  end))

  it("opens new listeners, closes those that are gone, and names what needs a restart #threads", io_.test(function()
    local s = weir.run { workers = 2, conf = policy "t3" }
    local kept = assert(io_.connect("127.0.0.1", s.port))
    assert.equal("t3", (ask_on(kept, s.port)))
    add(s, ('weir.listen "unix:%s/socket" {}'):format(s.dir))
    assert.equal(200, (s:reload()))
    local raw = assert(require "socket.unix"())
    assert(raw:connect(s.dir .. "/socket"))
    local c = io_.wrap(raw)
    assert.equal("t3", (ask_on(c, s.port)))
    files.write(s.dir .. "/conf.lua", (s.base:gsub('memory = "64MiB"', 'memory = "32MiB"')))
    local status, answer = s:reload()
    assert.equal(200, status)
    assert.same({ "server.memory" }, answer.restart)
    assert.is_nil(io.open(s.dir .. "/socket"))
    assert.equal("t3", (ask_on(c, s.port))) -- what a listener accepted outlives it
    assert.equal("t3", (ask_on(kept, s.port)))
    -- The same addresses again: nothing is bound anew.
    files.write(s.dir .. "/conf.lua", s.base)
    assert.equal(200, (s:reload()))
    assert.equal("t3", (ask_on(kept, s.port)))
    s:stop()
  end))

  it("takes new certificates for handshakes to come; connections live on", io_.test(function()
    local dir = files.temp_dir()
    local function certificate(name)
      os.execute(([[openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=%s ]] ..
        [[-keyout %s/key.pem -out %s/cert.pem >/dev/null 2>&1]]):format(name, dir, dir))
    end
    local function connect(s)
      local c = assert(io_.connect("127.0.0.1", s.port, { tls = { protocol = "any", verify = "none" } }))
      local peer = c.raw:getpeercertificate()
      for _, part in ipairs(peer:subject()) do
        if part.name == "commonName" then return c, part.value end
      end
    end
    certificate "first"
    local s = weir.run { listen = ('tls = { cert = "%s/cert.pem", key = "%s/key.pem" }'):format(dir, dir),
                         conf = policy "t3" }
    local old, name = connect(s)
    assert.equal("first", name)
    assert.equal("t3", (ask_on(old, s.port)))
    certificate "second"
    assert.equal(200, (s:reload()))
    local new
    new, name = connect(s)
    assert.equal("second", name)
    assert.equal("t3", (ask_on(new, s.port)))
    assert.equal("t3", (ask_on(old, s.port)))
    files.write(dir .. "/cert.pem", "no certificate")
    local status, answer = s:reload()
    assert.equal(422, status)
    assert(answer.error.message:find("cert.pem", 1, true), answer.error.message)
    assert.equal("t3", (ask_on(connect(s), s.port)))
    io_.eventually("the handshakes to be counted", function() return s:metrics().weir_tls_handshakes_total == 3 end)
    s:stop()
    os.execute("rm -rf " .. dir)
  end))

  it("is refused while four configurations are in use", io_.test(function()
    local s = weir.run { conf = policy("t3", 2) }
    local held = {}
    local function hold()
      local c = assert(io_.connect("127.0.0.1", s.port))
      c:send(http.request(weir.chat { port = s.port }))
      assert(c:recv_until "\r\n\r\n")
      held[#held + 1] = c
    end
    for i = 2, 4 do
      hold()
      local status, answer = s:reload()
      assert.equal(200, status)
      assert.equal(i, answer.generation)
    end
    hold()
    assert.equal(4, s:metrics().weir_generations_live)
    local status, answer = s:reload()
    assert.equal(409, status)
    assert.equal("generations", answer.error.code)
    assert.equal(1, s:metrics()['weir_reloads_total{result="refused"}'])
    held[1]:close()
    io_.eventually("one to go", function() return s:metrics().weir_generations_live == 3 end)
    assert.equal(200, (s:reload()))
    s:stop()
  end))

  it("is refused by a process that drains", io_.test(function()
    local s = weir.run { conf = policy("t3", 10) }
    local c = assert(io_.connect("127.0.0.1", s.port))
    c:send(http.request(weir.chat { port = s.port }))
    local head = http.parse_head(assert(c:recv_until "\r\n\r\n"))
    s:signal "TERM"
    io_.eventually("the drain", function() return s:metrics().weir_draining == 1 end)
    local status, answer = s:reload()
    assert.equal(409, status)
    assert.equal("draining", answer.error.code)
    s:signal "HUP"
    local r = http.read_body(c, head, true)
    assert.is_true(r.clean)
    c:close()
    assert.equal(0, s:wait_exit(10))
    s:assert_quiet()
  end))

  it("is answered once for many who ask at the same time #threads", io_.test(function()
    local s = weir.run { workers = 2, conf = policy "t3" }
    local list, generations = {}, {}
    for i = 1, 40 do
      list[i] = io_.go(function()
        local status, answer = s:reload()
        assert.equal(200, status)
        generations[answer.generation] = true
      end)
    end
    io_.join(list)
    for _ = 1, 20 do s:signal "HUP" end
    local last = 0
    for n in pairs(generations) do last = math.max(last, n) end
    assert.is_true(last >= 2)
    io_.eventually("the signals", function() return s:metrics().weir_config_generation > last end)
    io_.eventually("the old ones to go", function() return s:metrics().weir_generations_live == 1 end)
    s:stop()
  end))

  it("again and again loses no stream, no request and no byte #threads", io_.test(function()
    local STREAMS, RELOADS = 300, tonumber(os.getenv "WEIR_TEST_RELOADS") or 100
    local s = weir.run { workers = 2, conf = policy("t3", 100) }
    local warm = {}
    for i = 1, 32 do -- both workers have worked
      warm[i] = io_.go(function()
        local c = assert(io_.connect("127.0.0.1", s.port))
        assert.equal("t3", (ask_on(c, s.port)))
        c:close()
      end)
    end
    io_.join(warm)
    s:configure(policy("t7", 100))
    assert.equal(200, (s:reload()))
    s:configure(policy("t3", 100))
    assert.equal(200, (s:reload()))
    io_.eventually("the old ones to go", function() return s:metrics().weir_generations_live == 1 end)
    local c = assert(io_.connect("127.0.0.1", s.port))
    local before = memory(s)
    local done, over = { t3 = 0, t7 = 0 }, false
    local list = {}
    for i = 1, STREAMS do
      list[i] = io_.go(function()
        local conn
        while not over do
          conn = conn or assert(io_.connect("127.0.0.1", s.port))
          local word = ask_on(conn, s.port)
          done[word] = done[word] + 1
          if i % 3 == 0 then -- a third of the clients come anew each time
            conn:close()
            conn = nil
          end
        end
        if conn then conn:close() end
      end)
    end
    local ok, refused = 0, 0
    while ok < RELOADS do
      s:configure(policy(ok % 2 == 0 and "t7" or "t3", 100))
      local status, answer = s:reload()
      if status == 200 then
        ok = ok + 1
        local newest = ok % 2 == 1 and "t7" or "t3"
        assert.equal(newest, (ask_on(c, s.port))) -- a kept connection sees it at once
      else
        assert.equal(409, status, json.encode(answer))
        refused = refused + 1
        io_.pause(0.02)
      end
    end
    over = true
    io_.join(list)
    assert.is_true(done.t3 > 0 and done.t7 > 0)
    io_.eventually("the old ones to go", function() return s:metrics().weir_generations_live == 1 end)
    local m = s:metrics()
    assert.equal(RELOADS + 2, m['weir_reloads_total{result="ok"}'])
    assert.equal(refused, m['weir_reloads_total{result="refused"}'])
    assert.equal(0, m.weir_retries_total)
    assert.is_nil(m.weir_hook_errors_total)
    c:close()
    s:assert_idle()
    s:configure(policy("t3", 100)) -- and once more: it closes the idle connections
    assert.equal(200, (s:reload()))
    local grown
    local function returned()
      grown = nil
      for name, bytes in pairs(memory(s)) do
        if bytes > before[name] + 4096 then grown = ("%s: %d, was %d"):format(name, bytes, before[name]) end
      end
      return not grown
    end
    if not pcall(io_.eventually, "memory", returned) then error("memory doesn't return to the start: " .. grown, 0) end
    s:stop()
  end, 300))
end)
