-- docs/library.md: every module has a section, and its table of options is that of the module's schema.
--
--   WEIR_WRITE_DOCS=1 busted -p _spec spec/unit/library_spec.lua     writes the tables anew
local PAGE = "docs/library.md"

local function read(name)
  local f = assert(io.open(name, "rb"))
  local text = f:read "a"
  f:close()
  return text
end

local function modules()
  local list = {}
  for file in assert(io.popen "find lua/weir -name '*.lua' ! -path 'lua/weir/test*' | sort"):lines() do
    list[#list + 1] = { file = file, name = file:match("^lua/(.*)%.lua$"):gsub("/", ".") }
  end
  return list
end

-- What a module hands to weir.plugin.
local function plugin_of(file)
  local env = setmetatable({ weir = { plugin = function(p) return p end, counter = function() return {} end } }, { __index = _G })
  return assert(loadfile(file, "t", env))()
end

local function shown(value)
  if value == nil then return "" end
  if type(value) ~= "table" then return ("`%s`"):format(type(value) == "string" and ("%q"):format(value) or tostring(value)) end
  local out = {}
  for i, item in ipairs(value) do out[i] = ("%q"):format(item) end
  for key, item in pairs(value) do
    if type(key) == "string" then out[#out + 1] = ("%s = %s"):format(key, type(item) == "string" and ("%q"):format(item) or item) end
  end
  if #value == 0 then table.sort(out) end
  return #out == 0 and "`{}`" or ("`{ %s }`"):format(table.concat(out, ", "))
end

local function type_of(entry)
  local words = {}
  for i, word in ipairs(entry.one_of or {}) do words[i] = ("`%q`"):format(word) end
  if #words > 0 then return entry[1]:gsub("string$", "") .. table.concat(words, ", ") end
  local low, high = entry.min, entry.max
  return entry[1] .. (high and (", %s to %s"):format(low or "", high) or low and low ~= 0 and (", at least %s"):format(low) or "")
end

local function table_of(schema)
  local names, out = {}, { "| option | type | default | meaning |", "|---|---|---|---|" }
  for name in pairs(schema) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local entry = schema[name]
    out[#out + 1] = ("| `%s` | %s | %s | %s |"):format(name, type_of(entry), entry.required and "**required**" or shown(entry.default),
      assert(entry.doc, name .. ": without a doc"))
  end
  return table.concat(out, "\n") .. "\n"
end

describe("docs/library.md", function()
  local found = modules()
  it("is about something", function() assert.is_true(#found >= 9, #found) end)

  for _, module in ipairs(found) do
    it("has the options of " .. module.name, function()
      local page, plugin = read(PAGE), plugin_of(module.file)
      assert.is_truthy(page:find("\n## " .. module.name .. "\n", 1, true), "no section")
      assert.is_truthy(page:find(('require "%s"'):format(module.name), 1, true), "no example")
      local mark = ("<!-- options of %s; a test compares -->\n"):format(module.name)
      local _, from = page:find(mark, 1, true)
      assert.is_truthy(from, "the marks of the table are missing")
      local to = page:find("<!-- end -->", from, true)
      if os.getenv "WEIR_WRITE_DOCS" == "1" then
        local f = assert(io.open(PAGE, "wb"))
        f:write(page:sub(1, from), table_of(plugin.schema), page:sub(to))
        f:close()
      else
        assert.equal(table_of(plugin.schema), page:sub(from + 1, to - 1))
      end
    end)

    it("says what it is for, at the top: " .. module.name, function()
      local text = read(module.file)
      assert.equal("-- " .. module.name .. ": ", text:sub(1, #module.name + 5))
      assert.is_truthy(text:find(('require "%s"'):format(module.name), 1, true))
    end)
  end
end)
