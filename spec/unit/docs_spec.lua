-- What the documentation says, tried: every configuration in it passes `weir check`, its tables are those of the source,
-- its links lead somewhere.
--
-- A ```lua block of README.md and docs/*.md is one of these:
--   * a plugin, when its first line is `-- policies/NAME.lua`: it is loaded with `use = { NAME {} }`;
--   * what the line `<!-- fragment -->` before it says: a part of something, which is only compiled;
--   * what the line `<!-- spec -->` before it says: a spec for weir.test, which spec/policies/docs_spec.lua runs;
--   * else a configuration. What it leaves out (weir.api, a listener, the upstreams that it names, a route) is added.
--
--   WEIR=build/release/weir busted -p _spec spec/unit/docs_spec.lua
--   WEIR_WRITE_DOCS=1 …     writes the tables that come from the source anew
local BINARY = os.getenv "WEIR" or os.getenv "WEIR_BIN" or "build/release/weir"
local WRITE = os.getenv "WEIR_WRITE_DOCS" == "1"

local function read(name)
  local f = assert(io.open(name, "rb"))
  local text = f:read "a"
  f:close()
  return text
end

local function write(name, text)
  local f = assert(io.open(name, "wb"))
  f:write(text)
  f:close()
end

local function lines_of(command)
  local list = {}
  for line in assert(io.popen(command)):lines() do list[#list + 1] = line end
  return list
end

local function exists(name)
  local f = io.open(name, "rb")
  if f then f:close() end
  return f ~= nil
end

local dir = lines_of("mktemp -d")[1]
local pages = lines_of("ls README.md docs/*.md")

-- Exit code and what was printed. The variables are those that the documentation names.
local function check(conf)
  local p = assert(io.popen(("OPENAI_API_KEY=x ANTHROPIC_API_KEY=x %s check -c %s 2>&1; echo \"rc=$?\""):format(BINARY, conf)))
  local out = p:read "a"
  p:close()
  return tonumber(out:match("rc=(%d+)%s*$")), out
end

-- Every ```lua block of a page, with the number of its first line.
local function blocks(page)
  local list, block, previous, n = {}, nil, "", 0
  for line in (read(page) .. "\n"):gmatch("(.-)\n") do
    n = n + 1
    if block and line == "```" then
      block.text = table.concat(block, "\n") .. "\n"
      list[#list + 1], block = block, nil
    elseif block then
      block[#block + 1] = line
    elseif line == "```lua" then
      block = { page = page, line = n + 1, fragment = previous:find "<!%-%- %l+ %-%->" ~= nil }
    end
    if line ~= "" then previous = line end
  end
  assert(not block, page .. ": a block without an end")
  return list
end

-- The names of upstreams that a text uses but doesn't declare.
local function undeclared(text)
  local list, known = {}, {}
  for name in text:gmatch('weir%.upstream "([^"]+)"') do known[name] = true end
  for name in text:gmatch('weir%.group "([^"]+)"') do known[name] = true end
  local function need(name)
    if not known[name] then list[#list + 1], known[name] = name, true end
  end
  for name in text:gmatch('%f[%w]to = "([^"]+)"') do need(name) end
  for name in text:gmatch('last = "([^"]+)"') do need(name) end
  for name in text:gmatch('return "route", "([^"]+)"') do need(name) end
  for members in text:gmatch('weir%.group "[^"]+" (%b{})') do
    for name in members:gsub("%b{}", "", 0):gsub("%w+ = %b{}", ""):gsub('%w+ = "[^"]*"', ""):gmatch('"([^"]+)"') do need(name) end
  end
  return list
end

local function completed(text)
  local more = {}
  if not text:find "weir%.api" then more[#more + 1] = "weir.api(1)" end
  if not text:find "weir%.listen" then more[#more + 1] = 'weir.listen "127.0.0.1:0" {}' end
  for _, name in ipairs(undeclared(text)) do more[#more + 1] = ('weir.upstream "%s" { kind = "mock" }'):format(name) end
  if not text:find "weir%.route" then
    if not text:find "weir%.upstream" then more[#more + 1] = 'weir.upstream "any" { kind = "mock" }' end
    local name = text:match('weir%.upstream "([^"]+)"') or "any"
    more[#more + 1] = ('weir.route "added" { match = { path = "*" }, to = "%s" }'):format(name)
  end
  return text .. table.concat(more, "\n") .. "\n"
end

setup(function()
  os.execute(("mkdir -p %s/policies %s/tls %s/secrets"):format(dir, dir, dir))
  for _, name in ipairs { "cert", "key", "ca", "clients", "client", "client-key" } do write(("%s/tls/%s.pem"):format(dir, name), "") end
  write(dir .. "/secrets/openai", "x\n")
  write(dir .. "/keys.lua", 'return { ["team-a"] = { sha256 = ("0"):rep(64), class = "paid" } }\n')
  -- Plugins first: configurations require them.
  for _, page in ipairs(pages) do
    for _, block in ipairs(blocks(page)) do
      local name = block.text:match "^%-%- policies/([%w_]+)%.lua\n"
      if name then write(("%s/policies/%s.lua"):format(dir, name), block.text) end
    end
  end
end)

teardown(function() os.execute("rm -r " .. dir) end)

describe("the documentation", function()
  it("has a binary to be tried with", function() assert.is_true(exists(BINARY), BINARY .. " is missing: make, or WEIR=…") end)

  for _, page in ipairs(pages) do
    for _, block in ipairs(blocks(page)) do
      local where = ("%s:%d"):format(page, block.line)
      local plugin = block.text:match "^%-%- policies/([%w_]+)%.lua\n"
      if block.fragment then
        it("compiles: " .. where, function()
          local ok, why = load(block.text, "=" .. where)
          if not ok then ok, why = load("return {" .. block.text .. "}", "=" .. where) end
          assert.is_truthy(ok, why)
        end)
      else
        it((plugin and "loads: " or "checks: ") .. where, function()
          local conf = dir .. "/block.lua"
          local text = plugin and ('weir.use { (require "%s") {} }\n'):format(plugin) or block.text
          write(conf, completed(text))
          local rc, out = check(conf)
          assert.equal(0, rc, where .. "\n" .. out)
        end)
      end
    end
  end

  it("links to what is there", function()
    for _, page in ipairs(pages) do
      local folder = page:match "^(.*/)" or ""
      for target in read(page):gmatch "%]%(([^)%s]+)%)" do
        if not target:find "^%a+://" then
          local file, anchor = target:match "^([^#]*)#?(.*)$"
          local name = file == "" and page or folder .. file
          assert.is_true(exists(name), ("%s: link to %s"):format(page, target))
          if anchor ~= "" then
            local found = false
            for heading in ("\n" .. read(name)):gmatch "\n#+ ([^\n]*)" do
              local slug = heading:lower():gsub("[^%w%s_-]", ""):gsub("%s", "-")
              found = found or slug == anchor
            end
            assert.is_true(found, ("%s: no heading for %s"):format(page, target))
          end
        end
      end
    end
  end)

  it("names files of the source that are there", function()
    for _, page in ipairs(pages) do
      for name in read(page):gmatch "`([%w_./-]+)`" do
        local folder = name:match "^(%a+)/[^/]"
        if folder == "src" or folder == "tests" or folder == "spec" or folder == "examples" then
          local there = #lines_of(("ls -d %s 2>/dev/null"):format(name)) == 1
          assert.is_true(there, ("%s: %s"):format(page, name))
        end
      end
    end
  end)
end)

describe("metrics in the documentation", function()
  it("exist", function()
    local def = read "src/obs/metric.def"
    for _, page in ipairs(pages) do
      -- A field of the mock, and the metrics.
      for name in read(page):gsub("weir_mock", ""):gmatch "%f[%w_]weir_[%l_]+" do
        assert.is_truthy(def:find('"' .. name .. '"', 1, true), ("%s: %s"):format(page, name))
      end
    end
  end)
end)

describe("the examples", function()
  local confs = lines_of("ls examples/*.lua")
  confs[#confs + 1] = "conf.lua"
  for _, conf in ipairs(confs) do
    it("check without a key: " .. conf, function()
      local p = assert(io.popen(("env -u OPENAI_API_KEY -u ANTHROPIC_API_KEY %s check -c %s 2>&1"):format(BINARY, conf)))
      local out = p:read "a"
      assert.is_true(p:close() == true, out)
      assert.is_nil(out:find("warning", 1, true), out)
    end)
  end
end)

-- The rows of err.def that can be seen: by a client, in the log or in the metrics.
local function error_table()
  local retry = { NONE = "", NEVER = "never", STATUS = "`429`, `503`, `5xx`" }
  local never = { ok = true, again = true, ["end"] = true, argument = true, config = true }
  local out = { "| label | status | tried again | meaning |", "|---|---|---|---|" }
  for row in read "src/base/err.def":gmatch "\nX(%b())" do
    local status, class, label, text = row:match '^%(%s*[%u_]+%s*,%s*(%d+)%s*,%s*([%u_]+)%s*,%s*"([%l_]+)"%s*,%s*"(.*)"%)$'
    assert(status, "src/base/err.def: not understood: " .. row)
    local codec = label:find "^json_" or label:find "^text_"
    if not never[label] and not codec then
      out[#out + 1] = ("| `%s` | %s | %s | %s |"):format(label, status == "0" and "" or status,
        retry[class] or ("`%s`"):format(class:lower()), text)
    end
  end
  return table.concat(out, "\n") .. "\n"
end

describe("docs/operations.md", function()
  local page = "docs/operations.md"

  it("lists the errors of src/base/err.def", function()
    local text = read(page)
    local before, body, after = text:match "^(.*<!%-%- from src/base/err%.def; a test compares %-%->\n)(.-)(<!%-%- end %-%->.*)$"
    assert.is_truthy(body, "the marks of the table are missing")
    if WRITE then
      write(page, before .. error_table() .. after)
    else
      assert.equal(error_table(), body)
    end
  end)

  it("lists every outcome", function()
    local text = read(page)
    local names = read "src/relay/hooks.h":match "enum wr_outcome (%b{})"
    for name in names:gmatch "WR_OUTCOME_([%u_]+)" do
      if name ~= "NONE" then
        assert.is_truthy(text:find("\n| `" .. name:lower() .. "` |", 1, true), "outcome " .. name:lower())
      end
    end
  end)

  it("lists every field of the access log", function()
    local text = read(page)
    for name in read "src/obs/access.c":gmatch '%(line?, "([%l_]+)"' do
      assert.is_truthy(text:find("`" .. name .. "`", 1, true), "field " .. name)
    end
    for name in read "src/obs/access.c":gmatch '%(&line, "([%l_]+)"' do
      assert.is_truthy(text:find("`" .. name .. "`", 1, true), "field " .. name)
    end
  end)
end)
