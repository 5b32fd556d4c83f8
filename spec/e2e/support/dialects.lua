-- The three dialects as a client sees them: requests, error bodies, error events.
local json = require "cjson.safe"

local M = {}

M.list = {
  chat = { path = "/v1/chat/completions" },
  responses = { path = "/v1/responses" },
  messages = { path = "/v1/messages", headers = { "anthropic-version: 2023-06-01" } },
}
M.names = { "chat", "responses", "messages" }

M.routes = [[
weir.route "chat" { match = { path = "/v1/chat/completions", methods = { "POST" } }, to = "up" }
weir.route "responses" { match = { path = "/v1/responses", methods = { "POST" } }, to = "up" }
weir.route "messages" { match = { path = "/v1/messages", methods = { "POST" } }, to = "up" }
]]

-- A request of the dialect with more header lines.
function M.ask(name, port, more, o)
  local d = M.list[name]
  local headers = {}
  for _, l in ipairs(d.headers or {}) do headers[#headers + 1] = l end
  for _, l in ipairs(more or {}) do headers[#headers + 1] = l end
  o = o or {}
  local stream = o.stream ~= false
  return { port = port, path = d.path, method = "POST", headers = headers, keep = o.keep, on_data = o.on_data,
           rcvbuf = o.rcvbuf,
           body = o.body or ('{"model":"m","max_tokens":4000,"stream":%s,"messages":[],"input":"hi"}'):format(
             tostring(stream)) }
end

-- Fails unless the body is an error document of the dialect; gives its message and its type.
function M.error_of(name, r)
  assert(r.fields["content-type"] == "application/json", "content-type " .. tostring(r.fields["content-type"]))
  local doc = assert(json.decode(r.body), "not JSON: " .. r.body)
  assert(type(doc.error) == "table" and type(doc.error.message) == "string" and type(doc.error.type) == "string",
         r.body)
  if name == "messages" then
    assert(doc.type == "error", r.body)
  else
    assert(doc.error.code ~= nil, r.body)
  end
  return doc.error.message, doc.error.type
end

-- The events of a stream as { name, data, raw }.
function M.events(body)
  local list = {}
  for raw in body:gmatch("(.-)\n\n") do
    list[#list + 1] = { name = raw:match("event: ([^\n]*)"), data = raw:match("data: ([^\n]*)"), raw = raw }
  end
  return list
end

-- Is this event an error as the dialect's clients know it?
function M.is_error_event(name, ev)
  local doc = ev.data and json.decode(ev.data)
  if type(doc) ~= "table" then return false end
  if name == "chat" then return type(doc.error) == "table" and type(doc.error.message) == "string" end
  if name == "responses" then return ev.name == "error" and doc.type == "error" or ev.name == "response.failed" end
  return ev.name == "error" and doc.type == "error" and type(doc.error) == "table"
end

-- The text of all deltas.
function M.text(name, body)
  local out = {}
  for _, ev in ipairs(M.events(body)) do
    local d = ev.data and json.decode(ev.data)
    if type(d) == "table" then
      local t
      if name == "chat" then
        t = d.choices and d.choices[1] and d.choices[1].delta and d.choices[1].delta.content
      elseif name == "responses" then
        t = d.type == "response.output_text.delta" and d.delta
      else
        t = d.delta and d.delta.text
      end
      if type(t) == "string" then out[#out + 1] = t end
    end
  end
  return table.concat(out)
end

return M
