-- What outlives a hook, over workers and reloads; timers; VMs that are full; attacks beside other streams.
local dialects = require "spec.e2e.support.dialects"
local files = require "spec.e2e.support.files"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"
local json = require "cjson.safe"

local BINARY = os.getenv "WEIR" or os.getenv "WEIR_BIN" or "build/release/weir"

-- name: of a dialect; routes differ by their paths.
local function chat(s, model, name, on_data)
  return assert(http.fetch(dialects.ask(name or "chat", s.port, nil, { on_data = on_data,
    body = ('{"model":"%s","stream":true,"max_tokens":4000,"messages":[],"input":"hi"}'):format(model) })))
end

-- A route that answers with what a Lua expression gives.
local PEEK = [[
weir.route "peek" { match = { path = "/v1/messages" }, to = "up",
  on_request = function(req, s) return "answer", tostring(%s) end }
]]
local function peek(s, model) return dialects.text("messages", chat(s, model or "x", "messages").body) end

local UP = 'weir.upstream "up" { kind = "mock", mock = { tokens = 20, numbered = true, rate = %d } }\n'

describe("state #threads", function()
  after_each(weir.kill_all)

  it("is exact over workers, and settled with what was used", io_.test(function()
    local s = weir.run { workers = 2, conf = UP:format(2000) .. [[
      local tokens = weir.budget("tokens", { per = "31d" })
      local seen = weir.counter "seen"
      weir.route "chat" { match = { path = "/v1/responses" }, to = "up",
        on_request = function(req, s)
          seen:add("requests", 1)
          local ok, left, reset = tokens:reserve(s, "team", 1000, 40000)
          if not ok then return "reject", 429, left .. " left", { ["retry-after"] = reset } end
          if req.model == "fails" then error "after it has reserved" end
        end,
        on_end = function(fin)
          seen:add(fin.usage.status, 1)
          seen:add("charged", fin.usage.charged)
        end }
    ]] .. PEEK:format('("%d %d %d %d"):format(tokens:get("team"), seen:get("requests"), seen:get("charged"), ' ..
                      'seen:get("complete"))') }
    local list, ok, refused = {}, 0, 0
    for i = 1, 60 do
      list[i] = io_.go(function()
        local r = chat(s, i % 20 == 0 and "fails" or "m", "responses")
        if r.status == 200 then ok = ok + 1 else refused = refused + 1 end
        if r.status ~= 200 then
          assert.equal(429, r.status)
          assert.truthy(r.body:find "%d+ left")
          assert.is_true(tonumber(r.fields["retry-after"]) > 0)
        end
      end)
    end
    io_.join(list)
    assert.is_true(ok >= 40, "granted: " .. ok)
    s:assert_idle()
    local spent, requests, charged, complete = peek(s):match "^(%d+) (%d+) (%d+) (%d+)$"
    assert.equal(60, tonumber(requests))
    assert.equal(ok, tonumber(complete))
    assert.equal(tonumber(charged), tonumber(spent))
    assert.is_true(tonumber(spent) > 0 and tonumber(spent) < 1000 * ok)
    local m
    io_.eventually("the calls to be counted", function()
      m = s:metrics()
      return m['weir_hook_calls_total{plugin="conf.lua",hook="on_request"}'] == 61 -- and the look at them
    end)
    assert.equal(1, m['weir_state_keys{type="budget",name="tokens"}'])
    assert.equal(0, m['weir_state_evictions_total{type="counter",name="seen"}'])
    assert.is_true(m['weir_hook_errors_total{plugin="conf.lua",hook="on_request",kind="error"}'] > 0)
    s:stop()
  end))

  it("survives a reload by its name and options", io_.test(function()
    local function conf(options)
      return UP:format(1000) .. ('local c = weir.counter("c", { %s })\n'):format(options) .. PEEK:format 'c:add("k", 1)'
    end
    local s = weir.run { workers = 2, conf = conf "keys = 10" }
    for i = 1, 5 do assert.equal(tostring(i), peek(s)) end
    assert.equal(200, (s:reload()))
    assert.equal("6", peek(s))
    s:configure(conf "keys = 11")
    assert.equal(200, (s:reload()))
    assert.equal("1", peek(s))
    s:configure(conf 'keys = 12, per = "1h"')
    local r = assert(s:admin("/reload", { method = "POST" }))
    assert.equal(422, r.status)
    assert.truthy(r.body:find("counter 'c': unknown option 'per'", 1, true), r.body)
    assert.equal("2", peek(s))
    s:stop()
  end))

  it("is switched on the admin listener and by weir flag", io_.test(function()
    local s = weir.run { workers = 2, conf = UP:format(1000) ..
      'local night, open = weir.flag "night", weir.flag("open", { on = true })\n' ..
      PEEK:format 'tostring(night:on()) .. " " .. tostring(open:on())' }
    assert.equal("false true", peek(s))
    local function post(path)
      local r = assert(s:admin(path, { method = "POST" }))
      return r.status, r.body
    end
    assert.equal(200, (post "/flags/night/on"))
    for _ = 1, 4 do assert.equal("true true", peek(s)) end
    assert.equal(404, (post "/flags/nigth/on"))
    assert.equal(404, (post "/flags/night"))
    assert.equal(404, (post "/flags/night/maybe"))
    assert.equal(405, assert(s:admin "/flags/night/on").status)
    local admin = "--admin 127.0.0.1:" .. s.admin_port
    local out = files.shell(("%s flag open off %s"):format(BINARY, admin))
    assert.equal("open is off\nrc=0\n", out)
    assert.equal("true false", peek(s))
    assert.equal(200, (s:reload()))
    assert.equal("true false", peek(s))
    out = files.shell(("%s flag no on -c %s/conf.lua --admin 127.0.0.1:%d"):format(BINARY, s.dir, s.admin_port))
    assert.equal("weir flag: no: no policy has a flag of that name\nrc=1\n", out)
    assert.truthy(files.shell(("%s flag night up %s"):format(BINARY, admin)):find "rc=2")
    local flags = assert(json.decode(assert(s:admin "/flags").body))
    table.sort(flags, function(a, b) return a.name < b.name end)
    assert.same({ { name = "night", on = true }, { name = "open", on = false } }, flags)
    assert.equal(1, s:metrics()['weir_flag{name="night"}'])
    out = files.shell(("%s status %s"):format(BINARY, admin))
    assert.truthy(out:find "^weir %d+%.%d+%.%d+, up %d+ %a+, configuration 2", out)
    assert.truthy(out:find("\nworker 1: %d+ connections, %d+ requests, Lua %d+%.%d of 16%.0 MiB\n"), out)
    assert.truthy(out:find("\nflag night: on\n", 1, true), out)
    assert.truthy(out:find "rc=0", out)
    assert.truthy(files.shell(BINARY .. " status --admin 127.0.0.1:1"):find "weir status: .*refused.*rc=1")
    s:stop()
  end))

  it("has timers, one a worker, that end with their generation", io_.test(function()
    local s = weir.run { workers = 2, conf = UP:format(1000) .. [[
      local c = weir.counter "c"
      weir.every("100ms", function() c:add("old", 1) end)
      weir.every("100ms", function() c:add("bad", 1) error "no" end)
    ]] .. PEEK:format 'c:get(req.model)' }
    local function count(key) return tonumber(peek(s, key)) end
    io_.eventually("the timers to run", function() return count "old" >= 6 and count "bad" >= 6 end)
    io_.eventually("the failures to be counted", function()
      local m = s:metrics()
      for name in pairs(m) do
        if name:find('weir_hook_errors_total{plugin="[^"]*conf.lua:%d+",hook="every",kind="error"}') then return true end
      end
    end)
    s:configure(UP:format(1000) .. 'local c = weir.counter "c"\n' .. PEEK:format 'c:get(req.model)')
    assert.equal(200, (s:reload()))
    io_.eventually("the old generation to go", function() return s:metrics().weir_generations_live == 1 end)
    io_.eventually("the old VMs to go", function()
      local last = count "old"
      io_.pause(0.5)
      return count "old" == last
    end)
    s:stop()
  end))
end)

describe("streams of an old generation #threads", function()
  after_each(weir.kill_all)

  it("lose their hooks when drain is over: guards stop, others go on without", io_.test(function()
    local function conf(more)
      return ([[
        weir.upstream "up" { kind = "mock", mock = { tokens = 60, numbered = true, rate = 20 } }
        local seen = weir.counter "seen"
        local function plugin(name, guard)
          return weir.plugin { name = name, api = 1, guard = guard,
            on_event = function(ev) if ev.kind == "text" then seen:add(name, 1) end end,
            on_end = function() seen:add(name .. " end", 1) end }
        end
        weir.route "guard" { match = { path = "/v1/chat/completions" }, to = "up", use = { plugin("guard", true) {} } }
        weir.route "plain" { match = { path = "/v1/responses" }, to = "up", use = { plugin("plain", false) {} } }
        %s
      ]]):format(more) .. PEEK:format 'seen:get("guard") .. " " .. seen:get("plain") .. " " .. seen:get("plain end")'
    end
    local s = weir.run { workers = 1, server = 'drain = "300ms",', conf = conf "" }
    local done, begun = {}, 0
    local list = {}
    for name, dialect in pairs { guard = "chat", plain = "responses" } do
      list[#list + 1] = io_.go(function()
        local first = true
        done[name] = chat(s, "m", dialect, function(data)
          if first and data:find("t1", 1, true) then
            first = false
            begun = begun + 1
          end
        end)
      end)
    end
    io_.eventually("both to run", function() return begun == 2 end)
    s:configure(conf "-- anew")
    assert.equal(200, (s:reload()))
    io_.join(list)
    assert.is_true(done.plain.clean)
    local text = dialects.text("responses", done.plain.body)
    for i = 0, 59 do assert(text:find(("t%d"):format(i), 1, true), text) end
    assert.is_false(dialects.text("chat", done.guard.body):find("t59", 1, true) ~= nil)
    local outcomes = {}
    io_.eventually("their lines", function()
      for _, l in ipairs(s:lines()) do
        if l.route then outcomes[l.route] = l.outcome end
      end
      return outcomes.guard and outcomes.plain
    end)
    assert.same({ guard = "stopped", plain = "complete" }, outcomes)
    local guard, plain, ended = peek(s):match "^(%d+) (%d+) (%d+)$"
    assert.is_true(tonumber(guard) < 60 and tonumber(plain) < 60)
    assert.equal("0", ended)
    io_.eventually("the calls that were not made to be counted", function()
      return (s:metrics()['weir_hook_errors_total{plugin="plain",hook="on_event",kind="retired"}'] or 0) > 0
    end)
    s:stop()
  end))
end)

describe("a VM that is full #threads", function()
  after_each(weir.kill_all)

  it("gets a successor, and the state of the process stays", io_.test(function()
    local s = weir.run { workers = 1, conf = 'weir.lua { memory = "1MiB", instructions = 10000000 }\n' .. UP:format(50) .. [[
      local kept
      local seen = weir.counter "seen"
      weir.use { weir.plugin { name = "hoarder", api = 1,
        on_request = function(req)
          seen:add("calls", 1)
          if req.model == "hoard" then for i = 1, 1e9 do kept = { kept } end end
        end } {} }
      weir.route "chat" { match = { path = "/v1/chat/completions" }, to = "up" }
    ]] .. PEEK:format 'seen:get("calls")' }
    local stream = io_.go(function() return chat(s, "m") end)
    -- A slow machine may meet the limit of time first, and go on hoarding in the next call.
    for _ = 1, 4 do assert.equal(200, chat(s, "hoard").status) end
    io_.eventually("the successor", function()
      return files.read(s.dir .. "/access.log"):find("policy_renewed", 1, true) ~= nil
    end)
    assert.equal(200, chat(s, "m").status)
    io_.eventually("hooks to run again", function() return (tonumber(peek(s)) or 0) >= 3 end)
    assert.equal(1, s:metrics().weir_generations_live)
    io_.eventually("the failure to be counted", function()
      return (s:metrics()['weir_hook_errors_total{plugin="hoarder",hook="on_request",kind="memory"}'] or 0) > 0
    end)
    io_.join { stream }
    s:stop()
  end))
end)

-- One stream attacks in each of its events; another on the same worker neither loses nor waits for ever.
describe("an attack", function()
  after_each(weir.kill_all)

  local ATTACKS = {
    loop = "while true do end",
    ["caught loop"] = "while true do pcall(function() while true do end end) end",
    ["pattern bomb"] = "return ('a'):rep(5000):find('.-.-.-.-.-.-b')",
    memory = "local t for i = 1, 1e9 do t = { t } end",
    ["big strings"] = "local s = 'x' while true do s = s .. s end",
    recursion = "local function f(n) return 1 + f(n + 1) end f(1)",
    error = "error(setmetatable({}, { __tostring = function() while true do end end }))",
  }
  for name, body in pairs(ATTACKS) do
    for _, guard in ipairs { true, false } do
      it(("leaves other streams of its worker alone: %s, guard = %s"):format(name, guard), io_.test(function()
        local s = weir.run { workers = 1, conf = 'weir.lua { memory = "4MiB" }\n' .. UP:format(200) .. ([[
          local attack = weir.plugin { name = "attack", api = 1, guard = %s, on_event = function() %s end }
          local order = weir.plugin { name = "order", api = 1, on_event = function(ev, s) s.ctx.n = (s.ctx.n or 0) + 1 end }
          weir.route "attack" { match = { path = "/v1/responses" }, to = "up", use = { attack {} } }
          weir.route "chat" { match = { path = "/v1/chat/completions" }, to = "up", use = { order {} } }
        ]]):format(guard, body) }
        local attacked, other
        io_.join {
          io_.go(function() attacked = chat(s, "m", "responses") end),
          io_.go(function() other = chat(s, "m") end),
        }
        assert.is_true(other.clean)
        local want = {}
        for i = 0, 19 do want[#want + 1] = "t" .. i end
        assert.equal(table.concat(want, " "), dialects.text("chat", other.body))
        if guard then
          assert.is_nil(attacked.body:find("t0", 1, true))
        else
          assert.is_true(attacked.clean)
          assert.equal(table.concat(want, " "), dialects.text("responses", attacked.body))
        end
        io_.eventually("the failure to be counted", function()
          for k, v in pairs(s:metrics()) do
            if k:find('hook_errors_total{plugin="attack",hook="on_event"', 1, true) and v > 0 then return true end
          end
        end)
        s:stop()
      end))
    end
  end
end)
