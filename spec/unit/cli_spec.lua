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
      rc, out = run(name .. " --no-such-option")
      assert.equal(2, rc, name)
      assert.truthy(out:find("no-such-option", 1, true), name)
      n = n + 1
    end
    assert.is_true(n >= 5)
    assert.equal(2, (run "nonsense"))
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
