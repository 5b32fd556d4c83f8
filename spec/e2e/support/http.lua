-- HTTP/1.1 as a client and as an upstream of the tests, down to the bytes.
local io_ = require "spec.e2e.support.io"

local M = {}

function M.parse_head(text)
  local h = { fields = {}, raw = text }
  local first, rest = text:match("^(.-)\r\n(.*)$")
  h.first = first
  h.status = tonumber(first:match("^HTTP/1%.[01] (%d%d%d)"))
  h.method, h.target = first:match("^(%u+) (%S+) HTTP/1%.[01]$")
  for line in rest:gmatch("(.-)\r\n") do
    local name, value = line:match("^([^:]+):[ \t]*(.-)[ \t]*$")
    if name then h.fields[name:lower()] = value end
  end
  return h
end

-- A chunked body: the data, whether its last chunk came, and the sizes of the chunks.
local function read_chunks(c, out)
  local parts = {}
  while true do
    local line, err = c:recv_until("\r\n")
    if not line then return table.concat(parts), false, err end
    local n = tonumber(line:match("^(%x+)"), 16)
    if not n then return table.concat(parts), false, "bad chunk" end
    out.chunks = (out.chunks or 0) + 1
    if n == 0 then
      local last, why = c:recv_until("\r\n")
      return table.concat(parts), last == "\r\n", why
    end
    local data, why, part = c:recv_exactly(n + 2)
    if not data then
      parts[#parts + 1] = part
      return table.concat(parts), false, why
    end
    parts[#parts + 1] = data:sub(1, n)
    if out.on_data then out.on_data(data:sub(1, n)) end
  end
end

-- Reads a message after its head. r.clean: it ended as its framing promised.
function M.read_body(c, r, has_body)
  local f = r.fields
  if not has_body then
    r.body, r.clean = "", true
  elseif (f["transfer-encoding"] or ""):lower() == "chunked" then
    r.chunked = true
    r.body, r.clean, r.why = read_chunks(c, r)
  elseif f["content-length"] then
    local part
    r.body, r.why, part = c:recv_exactly(tonumber(f["content-length"]))
    r.clean = r.body ~= nil
    r.body = r.body or part
  elseif r.status then
    r.body, r.why = c:recv_all()
    r.clean = r.why == "closed"
  else
    r.body, r.clean = "", true
  end
  return r
end

-- One response; nil and the reason when none came.
function M.read_response(c, o)
  o = o or {}
  local head, err, part = c:recv_until("\r\n\r\n", o.deadline_s)
  if not head then return nil, err, part end
  local r = M.parse_head(head)
  r.on_data = o.on_data
  if r.status and r.status < 200 and not o.interim then return M.read_response(c, o) end
  if r.status < 200 or o.head_only then return r end
  return M.read_body(c, r, o.method ~= "HEAD" and r.status ~= 204 and r.status ~= 304)
end

-- One request, as an upstream sees it; nil when the connection ended.
function M.read_request(c, head_only)
  local head, err = c:recv_until("\r\n\r\n")
  if not head then return nil, err end
  local r = M.parse_head(head)
  if head_only then return r end
  return M.read_body(c, r, true)
end

-- The bytes of a request. o: method, path, host, headers (list of lines), body, no_length.
function M.request(o)
  local body = o.body
  local lines = { ("%s %s HTTP/1.1"):format(o.method or (body and "POST" or "GET"), o.path or "/"),
                  "Host: " .. (o.host or "weir.test") }
  for _, l in ipairs(o.headers or {}) do lines[#lines + 1] = l end
  if body and not o.no_length then
    lines[#lines + 1] = "Content-Type: application/json"
    lines[#lines + 1] = "Content-Length: " .. #body
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

-- Connects, asks, reads the answer, closes. o as in M.request, and port, tls.
function M.fetch(o)
  local c, err = io_.connect("127.0.0.1", o.port, o)
  if not c then return nil, err end
  local ok, why = c:send(o.bytes or M.request(o))
  if not ok then return nil, why end
  local r, werr, part = M.read_response(c, o)
  if not o.keep then c:close() end
  return r, werr or c, part
end

-- Answers of the upstreams in the tests.
function M.response(status, headers, body)
  local lines = { "HTTP/1.1 " .. status .. " OK" }
  for _, l in ipairs(headers or {}) do lines[#lines + 1] = l end
  if body then lines[#lines + 1] = "Content-Length: " .. #body end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

function M.stream_head(...)
  return M.response(200, { "Content-Type: text/event-stream", "Transfer-Encoding: chunked", ... })
end

function M.chunk(data) return ("%x\r\n%s\r\n"):format(#data, data) end
M.last_chunk = "0\r\n\r\n"

return M
