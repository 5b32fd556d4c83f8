-- The command line: exit codes, help, versions.
--
--   WEIR=build/release/weir busted -p _spec spec/unit/cli_spec.lua
local BINARY = os.getenv "WEIR" or os.getenv "WEIR_BIN" or "build/release/weir"

local function run(args)
  local p = assert(io.popen(("%s %s 2>&1; echo \"rc=$?\""):format(BINARY, args)))
  local out = p:read "a"
  p:close()
  return tonumber(out:match("rc=(%d+)%s*$")), out
end

describe("weir", function()
  it("check says which hook runs where, and in which order", function()
    local file = os.tmpname()
    local f = assert(io.open(file, "w"))
    f:write [[
local function plugin(name, hooks)
  hooks.name, hooks.api = name, 1
  return weir.plugin(hooks)
end
local function nop() end
weir.listen "127.0.0.1:0" {}
weir.upstream "up" { kind = "mock" }
weir.use { plugin("a", { on_pressure = nop, on_request = nop, on_slow_client = nop, on_upstream_error = nop }) {} }
weir.route "one" { match = { path = "/one" }, to = "up", on_end = nop,
  use = { plugin("b", { on_response_start = nop, on_upstream_error = nop, on_slow_client = nop }) {},
          plugin("c", { on_text = nop, hold = 99 }) {} } }
]]
    f:close()
    local line = "route one  on_request: a(Lua)  on_response_start: b(Lua)  on_text: c(Lua, window 99 B)  "
      .. "on_slow_client: a(Lua) b(Lua)  on_upstream_error: b(Lua) a(Lua)  on_end: conf.lua(Lua)\n"
    for _, args in ipairs { "check ", "check --explain " } do
      local rc, out = run(args .. file)
      assert.equal(0, rc, out)
      assert.truthy(out:find(line, 1, true), out)
      assert.truthy(out:find("weir.use  on_pressure: a(Lua)\n", 1, true), out)
      if args:find "explain" then
        for _, want in ipairs { "-- on_slow_client: a(Lua) b(Lua)\n", "-- on_pressure: a(Lua)\n",
                                "-- on_text: c(Lua, window 99 B)\n" } do
          assert.truthy(out:find(want, 1, true), out)
        end
      end
    end
    os.remove(file)
  end)

  it("dumps the checked configuration as JSON, without a secret", function()
    local json = require "cjson"
    local file = os.tmpname()
    local f = assert(io.open(file, "w"))
    f:write [[
weir.listen "127.0.0.1:0" {}
weir.keys { ["team-a"] = { sha256 = ("ab"):rep(32), class = "paid" } }
weir.upstream "one" { kind = "openai", url = { "http://127.0.0.1:1", "http://127.0.0.1:2" },
  key = weir.secret.env "WEIR_SPEC_KEY", price = { fast = { 0.4, 1.6 } }, headers = { ["x-auth"] = "sk-hidden" } }
weir.upstream "two" { kind = "mock" }
weir.group "both" { "one", last = "two" }
weir.route "chat" { match = { path = "/chat" }, to = "both", on_end = function() end }
weir.pressure "loop_lag" { { at = "50ms", off = "20ms", "shed:paid", cap_output = 256 } }
]]
    f:close()
    local p = assert(io.popen(("WEIR_SPEC_KEY=sk-secret %s dump -c %s"):format(BINARY, file)))
    local out = p:read "a"
    assert.is_true((p:close()))
    local d = json.decode(out)
    assert.is_nil(out:find("sk-", 1, true))
    assert.is_nil(out:find(("ab"):rep(32), 1, true))
    assert.same({ "http://127.0.0.1:1", "http://127.0.0.1:2" }, d.upstream.one.url)
    assert.same({ 0.4, 1.6 }, d.upstream.one.price.fast)
    assert.truthy(d.upstream.one.key.secret:find("WEIR_SPEC_KEY", 1, true))
    assert.same({ "one", "two" }, d.group.both.members)
    assert.equal("conf.lua(Lua)", d.route[1].hooks.on_end)
    assert.equal("64MiB", d.server.memory)
    assert.equal("paid", d.keys["team-a"].class)
    local step = d.pressure.loop_lag[1]
    assert.equal("50ms", step.at)
    assert.same({ "paid" }, step.shed)
    assert.equal(256, step.cap_output)
    local f2 = assert(io.open(file, "w"))
    f2:write 'weir.listen "127.0.0.1:0" { tmeout = 1 }'
    f2:close()
    assert.equal(1, (run("dump -c " .. file)))
    os.remove(file)
  end)

  it("check shows nobody the password or the query of a URL that it refuses", function()
    local file = os.tmpname()
    local f = assert(io.open(file, "w"))
    f:write 'weir.upstream "a" { kind = "openai", url = "https://joe:hunter2@llm.test/x?key=sk-1#f" }'
    f:close()
    local rc, out = run("check -c " .. file)
    assert.equal(1, rc)
    assert.truthy(out:find('not "…@llm.test/x"', 1, true), out)
    assert.is_nil(out:find("hunter2", 1, true) or out:find("sk-1", 1, true))
    os.remove(file)
  end)

  it("names itself and its libraries", function()
    for _, args in ipairs { "version", "--version" } do
      local rc, out = run(args)
      assert.equal(0, rc)
      for _, name in ipairs { "weir", "libuv", "mbedTLS", "c%-ares", "Lua", "cJSON" } do
        assert.truthy(("\n" .. out):find("\n" .. name .. " %d+%.%d+%.%d+\n"), name)
      end
    end
  end)

  it("has help for each command, and tells what it doesn't understand", function()
    local _, all = run "--help"
    local n = 0
    for name in all:gmatch "\n  (%l+)%s" do
      local rc, out = run(name .. " --help")
      assert.equal(0, rc, name)
      assert.truthy(out:find("usage: weir " .. name, 1, true), name)
      for _, other in ipairs { name .. " -h", "help " .. name } do
        local status, same = run(other)
        assert.equal(0, status, other)
        assert.equal(out, same, other)
      end
      -- What weir test doesn't know is busted's.
      rc, out = run(name .. " --no-such-option")
      assert.equal(name == "test" and 1 or 2, rc, name)
      assert.truthy(out:find("no-such-option", 1, true), name)
      n = n + 1
    end
    assert.is_true(n >= 5)
    for _, args in ipairs { "help", "-h", "help --help" } do assert.equal(all, select(2, run(args))) end
    assert.equal(2, (run "nonsense"))
    assert.equal(2, (run "help nonsense"))
    assert.equal(2, (run ""))
    assert.equal(1, (run "check -c /nowhere.lua"))
    assert.equal(1, (run "run -c /nowhere.lua"))
  end)

  it("doesn't share a mock's address with another mock", function()
    local p = assert(io.popen(([[
      out=$(mktemp); %s mock --listen 127.0.0.1:0 > $out & pid=$!
      for i in $(seq 500); do grep -q http $out && break; sleep 0.01; done
      timeout 5 %s mock --listen $(sed -n 's#.*http://##p' $out) 2>&1; echo "rc=$?"
      kill $pid; rm $out]]):format(BINARY, BINARY)))
    local out = p:read "a"
    p:close()
    assert.truthy(out:find("address already in use", 1, true), out)
    assert.truthy(out:find("rc=1", 1, true), out)
  end)
end)
