-- weir init and weir test: what is written works at once, and nothing is written twice.
local BINARY = os.getenv "WEIR" or os.getenv "WEIR_BIN" or "build/release/weir"

local dir, here

-- Exit code and all that was printed.
local function run(command)
  local p = assert(io.popen(("cd %s && %s 2>&1; echo \"rc=$?\""):format(dir, command)))
  local out = p:read "a"
  p:close()
  return tonumber(out:match "rc=(%d+)%s*$"), out
end

local function weir(args) return run(("LUA_PATH='%s/lua/?.lua;;' %s %s"):format(here, BINARY, args)) end

local function read(name)
  local f = assert(io.open(dir .. "/" .. name, "rb"))
  local text = f:read "a"
  f:close()
  return text
end

local function has(out, part) assert.is_truthy(out:find(part, 1, true), out) end

local FILES = { "conf.lua", "policies/hello.lua", "spec/hello_spec.lua", ".luarc.json", ".luacheckrc" }

setup(function()
  local p = assert(io.popen "mktemp -d; pwd")
  dir = p:read "l"
  here = p:read "l"
  p:close()
  if BINARY:sub(1, 1) ~= "/" then BINARY = here .. "/" .. BINARY end
end)

teardown(function() os.execute("rm -r " .. dir) end)

describe("weir init", function()
  it("writes files that check, lint and test without a change", function()
    local rc, out = weir "init new/project"
    assert.equal(0, rc, out)
    for _, name in ipairs(FILES) do has(out, "wrote  new/project/" .. name .. "\n") end
    for _, command in ipairs { "weir check", "weir test", "weir run" } do has(out, "\n  " .. command) end
    rc, out = run(("cd new/project && %s check && luacheck --no-color ."):format(BINARY))
    assert.equal(0, rc, out)
    has(out, "conf.lua: ok (1 listener, 1 upstream, 2 routes)")
    assert.is_nil(out:find("warning:", 1, true), out)
    has(out, "0 warnings / 0 errors in 3 files")
    rc, out = run(("cd new/project && LUA_PATH='%s/lua/?.lua;;' %s test"):format(here, BINARY))
    assert.equal(0, rc, out)
    has(out, "5 successes / 0 failures / 0 errors / 0 pending")
  end)

  it("says where the annotations are", function()
    local config = require "cjson".decode(read "new/project/.luarc.json")
    assert.is_truthy(config["workspace.library"][1]:find "^/.*/types$")
  end)

  it("leaves what is there as it is", function()
    local f = assert(io.open(dir .. "/conf.lua", "wb"))
    f:write "-- mine\n"
    f:close()
    local rc, out = weir "init"
    assert.equal(0, rc, out)
    has(out, "left   conf.lua (it was there)\n")
    has(out, "wrote  policies/hello.lua\n")
    assert.equal("-- mine\n", read "conf.lua")
    assert.equal(read "new/project/policies/hello.lua", read "policies/hello.lua")
    rc, out = weir "init"
    assert.equal(0, rc, out)
    assert.is_nil(out:find "wrote")
  end)

  it("says what can't be written, and what isn't understood", function()
    local rc, out = weir "init conf.lua/below"
    assert.equal(1, rc, out)
    has(out, "weir init: conf.lua/below/conf.lua: Not a directory")
    assert.is_nil(out:find("Next", 1, true))
    assert.equal(2, (weir "init a b"))
  end)
end)

describe("weir test", function()
  it("ends as busted does", function()
    local f = assert(io.open(dir .. "/spec/bad_spec.lua", "wb"))
    f:write 'it("fails", function() assert(_VERSION ~= "Lua 5.4") end)\n'
    f:close()
    local rc, out = weir "test spec/bad_spec.lua"
    assert.equal(1, rc, out)
    has(out, "0 successes / 1 failure / 0 errors / 0 pending")
  end)

  it("says what is missing", function()
    local rc, out = weir "test"
    assert.equal(1, rc, out)
    rc, out = run(("PATH=/nowhere:%s %s test"):format(dir, BINARY))
    assert.equal(127, rc, out)
    has(out, "busted is not installed")
    -- A tree of sources whose module isn't made yet.
    local tree = dir .. "/tree"
    assert.equal(0, (run(("mkdir -p %s/build/release %s/lua/weir && touch %s/lua/weir/test.lua && cp %s %s/build/release/weir")
      :format(tree, tree, tree, BINARY, tree))))
    rc, out = run(("env -u LUA_CPATH -u LUA_CPATH_5_4 %s/build/release/weir test"):format(tree))
    assert.equal(127, rc, out)
    has(out, "isn't built: make lua-test")
    assert.equal(0, (run(("cp /bin/true %s/busted"):format(dir))))
    rc, out = run(("PATH=%s %s test"):format(dir, BINARY))
    assert.equal(127, rc, out)
    has(out, "there is no lua5.4")
  end)
end)
