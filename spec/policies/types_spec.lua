-- types/weir.lua and the luacheck std of weir init name what there is, and nothing else: what can be listed is listed
-- by a policy in the sandbox, the rest is read from the tables of the source.
local t = require "weir.test"

local function read(name)
  local f = assert(io.open(name, "rb"))
  local text = f:read "a"
  f:close()
  return text
end

local function sorted(set)
  local out = {}
  for name in pairs(set) do out[#out + 1] = name end
  table.sort(out)
  return out
end

-- Every match of a pattern, as a sorted list without repeats.
local function names(text, pattern, into)
  local set = into or {}
  for name in text:gmatch(pattern) do set[name] = true end
  return sorted(set), set
end

local annotations, test_annotations = read "types/weir.lua", read "types/weir/test.lua"

-- The fields and methods of a class; `class` is its local name, too.
local function class(name, text)
  text = text or annotations
  local at = text:match("\n%-%-%-@class " .. name:gsub("%p", "%%%0") .. "[^\n]*\n(.-)\n\n")
  assert(at, "no class " .. name)
  local set = {}
  names(at, "%-%-%-@field ([%w_]+)", set)
  local own = at:match "local (%w+) = {}"
  if own then names(text, "\nfunction " .. own .. "[:.]([%w_]+)%(", set) end
  return sorted(set)
end

local policy = os.tmpname()
local listed = {}

-- A policy that logs the names in the tables it can reach.
setup(function()
  local f = assert(io.open(policy .. ".lua", "wb"))
  f:write [[
local function names(of)
  local out = {}
  for name in pairs(of) do out[#out + 1] = name end
  return table.concat(out, " ")
end
return weir.plugin {
  name = "lists", api = 1,
  on_request = function()
    weir.log.info("weir %s", names(weir))
    weir.log.info("log %s", names(weir.log))
    weir.log.info("live %s", names(weir.live))
    weir.log.info("secret %s", names(weir.secret))
    weir.log.info("string %s", names(string))
    weir.log.info("table %s", names(table))
    weir.log.info("math %s", names(math))
    weir.log.info("utf8 %s", names(utf8))
  end,
}
]]
  f:close()
  local r = t.policy(policy .. ".lua"):request {}
  assert.same({}, r.errors)
  for _, line in ipairs(r.log) do
    local what, list = line:match "(%l%w+) ([%w_ ]+)$"
    listed[what] = names(list, "[%w_]+")
  end
end)

teardown(function()
  os.remove(policy)
  os.remove(policy .. ".lua")
end)

describe("types/weir.lua", function()
  it("has the functions of weir", function()
    local set = {}
    names(annotations, "\nfunction weir%.([%w_]+)%(", set)
    names(annotations, "\nweir%.([%w_]+) = {}", set)
    assert.same(listed.weir, sorted(set))
    for _, inner in ipairs { "log", "live", "secret" } do
      assert.same(listed[inner], (names(annotations, "\nfunction weir%." .. inner .. "%.([%w_]+)%(")))
    end
  end)

  it("has the fields of what hooks are given", function()
    local function is(file) return names(read(file), '[^%w]IS%("([%w_]+)"%)') end
    assert.same(is "src/api/l_session.c", class "weir.Stream")
    assert.same(is "src/api/l_request.c", class "weir.Request")
    assert.same(is "src/api/l_event.c", class "weir.Event")
    local view = read "src/api/l_view.c"
    local methods = view:match "methods%[%] = (%b{})"
    assert.same((names(methods, '{ "([%w_]+)"')), class "weir.View")
    assert.same({ "index", "kind", "last" }, class "weir.Text")
    assert.same((names(view, 'strcmp%(key, "([%w_]+)"%)')), { "index", "kind" })
    assert.is_truthy(view:find('lua_setfield(L, -2, "last")', 1, true))
  end)

  it("has the fields of records", function()
    local source = read "src/api/l_record.c"
    for type, name in pairs { response = "Response", slow = "SlowClient", error = "UpstreamError", pressure = "Pressure",
                              upstream = "LiveUpstream" } do
      local record = source:match("record_type " .. type .. "_type = (%b{})")
      local set = {}
      names(record, '{ "([%w_]+)", AT', set)
      names(record, '%.method = "([%w_]+)"', set)
      assert.same(sorted(set), class("weir." .. name))
    end
  end)

  it("has the fields of on_end", function()
    local source = read "src/api/l_session.c":match "\nvoid wr_lend_push(.*)$"
    local usage = names(source, 'set_tokens%(L, "([%w_]+)"', { status = true })
    assert.same(usage, class "weir.Usage")
    assert.same((names(source, 'lua_setfield%(L, %-2, "([%w_]+)"', { cost = true, status = true })),
                (names(table.concat(class "weir.End", " "), "[%w_]+", { status = true })))
  end)

  it("has the methods of what outlives a hook", function()
    for file, name in pairs { counter = "Counter", budget = "Budget", flag = "Flag" } do
      local source = read("src/api/l_" .. file .. ".c"):match "methods%[%] = (%b{})"
      assert.same((names(source, '{ "([%w_]+)"')), class("weir." .. name))
    end
  end)

  it("has the fields of plugins and of their options", function()
    local fields = read "src/policy/load_plugin.c":match "plugin_fields%[%] = (%b{})"
    local set = {}
    for _, name in ipairs(class "weir.PluginSpec") do set[name] = true end
    for _, name in ipairs(class "weir.Hooks") do set[name] = true end
    assert.same((names(fields, '%.name = "([%w_]+)"')), sorted(set))
    local option = read "src/policy/load_option.c"
    assert.same((names(option:match "known%[%] = (%b{})", '"([%w_]+)"')), class "weir.Option")
    for word in option:match "base_names%[%] = (%b{})":gmatch '"(%w+)"' do
      assert.is_truthy(annotations:match "@alias weir.OptionType([^\n]*)":find('"' .. word .. '"', 1, true), word)
    end
  end)

  it("has every word", function()
    local function words(line) return (names(annotations:match(line .. "([^\n]*)"), '"([%w_]+)"')) end
    local kinds = read "src/relay/event.c":match "names%[WR_EVENT_KINDS%] = (%b{})"
    assert.same((names(kinds, '"([%w_]+)"')), words "@class weir.Event [^\n]*\n%-%-%-@field kind")
    local outcomes, set = names(read "src/relay/relay.c":match '"none",[^;]*', '"([%w_]+)"')
    assert.is_true(#outcomes > 5)
    set.none = nil
    assert.same(sorted(set), words "@alias weir.Outcome")
    local verdicts = read "src/policy/verdict.c"
    for alias, hook in pairs { Event = 'nil, "pass", "drop" or "stop"', Text = 'nil, "pass", "drop", "replace", "hold" or "stop"',
                               Request = 'nil, "route", "reject" or "answer"', Response = 'nil, "fallback" or "reject"',
                               Slow = 'nil, "wait", "pause_upstream", "coalesce" or "stop"',
                               Error = 'nil, "retry", "fallback" or "fail"' } do
      assert.is_truthy(verdicts:find(hook:gsub('"', '\\"'), 1, true), hook)
      assert.same((names(hook, '"([%w_]+)"')), words("@alias weir." .. alias .. "Verdict"))
    end
  end)

  it("is Lua", function()
    for _, name in ipairs { "types/weir.lua", "types/weir/test.lua", "share/init/hello.lua" } do
      assert.is_truthy(loadfile(name), name)
    end
  end)
end)

describe("types/weir/test.lua", function()
  it("has the functions of weir.test", function()
    local set = {}
    names(test_annotations, "\nfunction t%.([%w_]+)%(", set)
    names(test_annotations:match "@class weir.test\n(.-)local t", "@field ([%w_]+)", set)
    assert.same(sorted(t), sorted(set))
    local p = t.policy("examples/policies/pii.lua")
    local methods = getmetatable(p).__index
    local have = {}
    for name in pairs(methods) do if name:sub(1, 2) ~= "__" then have[name] = true end end
    for name in pairs(p) do if name ~= "trial" then have[name] = true end end
    assert.same(sorted(have), class("weir.test.Policy", test_annotations))
  end)

  it("has the fields of a result", function()
    local p = t.policy("examples/policies/pii.lua")
    local known = {}
    for _, name in ipairs(class("weir.test.Result", test_annotations)) do known[name] = true end
    for _, r in ipairs { p:stream {}, p:request {}, p:upstream_error { error = "status" } } do
      for name in pairs(r) do
        local inner = name == "head" or name == "left_over" or name == "stuck"
        assert.is_true(inner or known[name] or false, name)
      end
    end
  end)
end)

describe("the luacheck std of weir init", function()
  it("has the globals of the sandbox", function()
    local env = { stds = {}, files = {} }
    assert(load(read "share/init/luacheckrc", "luacheckrc", "t", env))()
    local std = env.stds.weir.read_globals
    local globals, libraries = {}, {}
    for key, value in pairs(std) do
      if type(key) == "number" then globals[value] = true else libraries[key] = value end
    end
    local wanted = { rawset = true, setmetatable = true, xpcall = true, print = true, require = true }
    names(read "src/policy/sandbox.c":match "names%[%] = (%b{})", '"([%w_]+)"', wanted)
    assert.same(sorted(wanted), sorted(globals))
    -- A Lua that is built for 5.3 too has more of math; that isn't promised.
    local compat = { atan2 = 1, cosh = 1, frexp = 1, ldexp = 1, log10 = 1, pow = 1, sinh = 1, tanh = 1 }
    for i = #listed.math, 1, -1 do
      if compat[listed.math[i]] then table.remove(listed.math, i) end
    end
    for _, name in ipairs { "string", "table", "math", "utf8", "weir" } do
      local set = {}
      for key, value in pairs(libraries[name].fields) do set[type(key) == "number" and value or key] = true end
      assert.same(listed[name], sorted(set))
      libraries[name] = nil
    end
    assert.same({}, libraries)
    for _, name in ipairs { "log", "live", "secret" } do
      local set = {}
      for _, value in ipairs(std.weir.fields[name].fields) do set[value] = true end
      assert.same(listed[name], sorted(set))
    end
  end)
end)
