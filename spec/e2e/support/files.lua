-- Files and recordings.
local M = {}

M.shared = os.getenv "WEIR_SHARED" or "../shared"

function M.read(path)
  local f = io.open(path, "rb")
  if not f then return nil end
  local text = f:read "a"
  f:close()
  return text
end

function M.write(path, text)
  local f = assert(io.open(path, "wb"))
  assert(f:write(text))
  f:close()
end

-- What a command says, both ways, and "rc=N" behind it.
function M.shell(command)
  local p = assert(io.popen(command .. " 2>&1; echo rc=$?"))
  local text = p:read "a"
  p:close()
  return text
end

function M.temp_dir()
  local p = assert(io.popen("mktemp -d", "r"))
  local dir = p:read "l"
  p:close()
  return assert(dir)
end

-- The recordings whose names begin so: { name, file, lines }; nil where the folder is missing.
function M.recordings()
  local p = assert(io.popen(("ls %s/streams/*.jsonl 2>/dev/null"):format(M.shared), "r"))
  local list = {}
  for file in p:lines() do
    local lines = {}
    for line in M.read(file):gmatch("[^\n]+") do lines[#lines + 1] = (line:gsub("\r$", "")) end
    list[#list + 1] = { name = file:match("([^/]+)$"), file = file, lines = lines }
  end
  p:close()
  return #list > 0 and list or nil
end

local PATHS = { ["openai-chat"] = "/v1/chat/completions", ["openai-responses"] = "/v1/responses",
                ["anthropic"] = "/v1/messages", ["google"] = "/v1beta/models/m:streamGenerateContent",
                ["cohere"] = "/v2/chat" }

-- Its dialect, the path that it is served under, and the bytes that a client sees.
function M.expected(recording)
  local dialect
  for name in pairs(PATHS) do
    if recording.name:sub(1, #name) == name then dialect = name end
  end
  local out = {}
  for _, line in ipairs(recording.lines) do
    if dialect == "openai-responses" or dialect == "anthropic" then
      local event = require("cjson.safe").decode(line).type
      out[#out + 1] = ("event: %s\ndata: %s\n\n"):format(event, line)
    else
      out[#out + 1] = ("data: %s\n\n"):format(line)
    end
  end
  if dialect == "openai-chat" then out[#out + 1] = "data: [DONE]\n\n" end
  return dialect, PATHS[dialect], table.concat(out)
end

return M
