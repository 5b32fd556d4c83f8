-- The recordings of real providers, for specs of policies that change text.
local M = { shared = os.getenv "WEIR_SHARED" or "../shared" }

function M.read(file)
  local f = assert(io.open(file, "rb"))
  local text = f:read "a"
  f:close()
  return text
end

---Their names.
function M.list()
  local list = {}
  local p = assert(io.popen(("ls %s/streams/*.jsonl 2>/dev/null"):format(M.shared)))
  for name in p:lines() do list[#list + 1] = name end
  p:close()
  return list
end

local KINDS = { ["openai-chat"] = "openai", ["openai-responses"] = "responses", anthropic = "anthropic" }

---The dialect of a recording, by its name; nil: one that policies don't see into.
function M.kind(name) return KINDS[name:match "^openai%-%a+" or name:match "^%a+"] end

local TEXTS = { text = true, content = true, delta = true }

---A text as if it were a recording.
function M.replay_text(p, text, kind)
  local name = os.tmpname()
  local f = assert(io.open(name, "wb"))
  f:write(text)
  f:close()
  local r = p:replay(name, { kind = kind })
  os.remove(name)
  return r
end

local function text_of(events)
  local list = {}
  for _, ev in ipairs(events) do
    if ev.kind == "text" then list[#list + 1] = ev.text end
  end
  return table.concat(list)
end

-- The recording with one of its words replaced by an address, wherever the word is said; nil: tokens cut all its words.
function M.with_addresses(p, file, kind)
  local recording = M.read(file)
  local said = p:replay(file).text
  for word in said:gmatch "%f[%w]%a%a%a%a+%f[^%w]" do
    local pattern = "%f[%w]" .. word .. "%f[^%w]"
    local expected = said:gsub(pattern, "me@example.com")
    if not expected:find "%S[%w._+@-]me@example" and not expected:find "me@example%.com[%w._+@-]" then
      local edited = recording:gsub('("([%w_]+)" *: *)(%b"")', function(field, of, value)
        return TEXTS[of] and field .. value:gsub("%f[%w]" .. word .. "%f[^%w]", "me@example.com")
      end)
      if text_of(M.replay_text(p, edited, kind).before) == expected then return edited end
    end
  end
end

return M
