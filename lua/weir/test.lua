-- weir.test: a policy tried with the server's own code, without a server. For busted, or any Lua 5.4.
--
--   local t = require "weir.test"
--   local p = t.policy("policies/pii.lua", {})
--   assert(p:stream { kind = "anthropic", text = { "mail bob@", "example.com" } }.text == "mail [EMAIL]")
--
-- The policy is loaded as the server loads it (options checked, sandbox, limits) and every request passes the server's
-- relay; only the client and the upstreams are this module. Time stands still unless a test, or a deadline that is
-- waited for, moves it. docs/testing-policies.md has the whole story.
local core = require "weir.test.core"
local streams = require "weir.test.streams"

local t = { kinds = { "openai", "responses", "anthropic", "ollama" } }
local PATHS = { openai = "/v1/chat/completions", responses = "/v1/responses", anthropic = "/v1/messages", ollama = "/api/chat" }
local BEGIN = 1767225600                             -- 2026-01-01 00:00:00 UTC: where every test's clock starts

local trials = setmetatable({}, { __mode = "k" })    -- that are alive: the clock is theirs
local elapsed, seed = 0, 1

-- --- configurations

local function literal(value)
  local kind = type(value)
  if kind == "string" then return ("%q"):format(value):gsub("\\\n", "\\n") end
  if kind == "number" or kind == "boolean" then return tostring(value) end
  if kind ~= "table" then error("options are plain data, not a " .. kind, 0) end
  local out = {}
  for key, item in pairs(value) do
    out[#out + 1] = math.type(key) == "integer" and ("[%d] = %s"):format(key, literal(item))
      or ("[%s] = %s"):format(literal(key), literal(item))
  end
  table.sort(out)
  return "{ " .. table.concat(out, ", ") .. " }"
end

-- What a policy may name if the test doesn't say otherwise; a mock speaks every dialect.
local UPSTREAMS = { "openai", "claude", "local" }

local function declared(conf)
  local out, names = {}, {}
  for key, value in pairs(conf.upstreams or UPSTREAMS) do
    local name = type(key) == "string" and key or value
    names[#names + 1] = name
    out[#out + 1] = ("weir.upstream %q %s"):format(name, literal(type(value) == "table" and value or { kind = "mock" }))
  end
  for name, group in pairs(conf.groups or {}) do out[#out + 1] = ("weir.group %q %s"):format(name, literal(group)) end
  table.sort(out)
  table.sort(names)
  return table.concat(out, "\n"), conf.to or (conf.upstreams and names[1]) or "openai"
end

local function source_of(file, options, conf)
  local dir, name = file:match "^(.-)([^/]+)%.lua$"
  if file:find "^weir%.[%w_.]+$" then dir, name = "", file end
  if not name then error(("policy '%s': the name of a Lua file is expected"):format(file), 3) end
  local upstreams, to = declared(conf)
  local limits, route = {}, {}
  for key, value in pairs(conf.lua or {}) do limits[key] = value end
  for key, value in pairs(conf.route or {}) do route[#route + 1] = ("%s = %s, "):format(key, literal(value)) end
  limits.path = limits.path or dir .. "?.lua;" .. dir .. "policies/?.lua"
  local use = ("(require %q) %s"):format(name, literal(options or {}))
  return table.concat({
    "weir.api(1)", 'weir.listen "127.0.0.1:0" {}', "weir.lua " .. literal(limits), upstreams, conf.declare or "",
    ('weir.route "test" { match = { path = "*" }, to = %q, %suse = { %s } }'):format(to, table.concat(route),
      conf.worker and "" or use),
    conf.worker and ("weir.use { %s }"):format(use) or "",
  }, "\n")
end

-- --- what comes back

local function lines(text)
  local out = {}
  for line in (text or ""):gmatch "[^\n]+" do out[#out + 1] = line end
  return out
end

local function decided(r, hook)
  local last
  for _, v in ipairs(r.verdicts) do
    if v.verdict and (not hook or v.hook == hook) then last = v end
  end
  return last
end

-- Everything that a client, an operator and a test want to see.
local function finished(r, kind)
  r.log, r.errors, r.upstreams = lines(r.log), {}, {}
  for _, v in ipairs(r.verdicts) do r.errors[#r.errors + 1] = v.error end
  for _, sent in ipairs(r.sent) do r.upstreams[#r.upstreams + 1] = sent.upstream end
  r.upstream = r.upstreams[#r.upstreams]
  r.headers = {}
  for name, value in (r.head or ""):gmatch "\n([^:\r\n]+): *([^\r\n]*)" do r.headers[name:lower()] = value end
  r.text, r.reasoning, r.tool, r.events = "", "", "", {}
  if (r.headers["content-type"] or ""):find "event%-stream" or (r.headers["content-type"] or ""):find "ndjson" then
    r.events, r.left_over = core.read(kind, r.raw or "")
    local texts = { text = {}, reasoning = {}, tool = {} }
    for _, ev in ipairs(r.events) do
      local list = texts[ev.kind]
      if list and ev.text then list[#list + 1] = ev.text end
    end
    for name, list in pairs(texts) do r[name] = table.concat(list) end
  end
  return r
end

local function with_verdict(r, hook)
  local v = decided(r, hook)
  for key, value in pairs(v or {}) do
    if r[key] == nil or key == "status" or key == "text" or key == "route" then r[key] = value end
  end
  if not v then r.route = nil end
  return r
end

-- --- requests

local policy = {}
policy.__index = policy

local function list_of(value)
  if value == nil then return {} end
  return type(value) == "table" and value or { value }
end

local function body_of(kind, o)
  if type(o.body) == "string" then return o.body end
  local q, fields = streams.quote, {}
  fields[1] = '"model":' .. q(o.model or "fast")
  if o.stream ~= false then fields[2] = '"stream":true' end
  if o.max_tokens then fields[#fields + 1] = ('"max_tokens":%d'):format(o.max_tokens) end
  local says = ('[{"role":"user","content":%s}]'):format(q(o.prompt or "hello"))
  fields[#fields + 1] = ('"%s":%s'):format(kind == "responses" and "input" or "messages", says)
  return "{" .. table.concat(fields, ",") .. "}"
end

local function header_lines(kind, headers)
  local out = { kind == "anthropic" and "anthropic-version: 2023-06-01\r\n" or nil }
  for name, value in pairs(headers or {}) do
    local line = ("%s: %s\r\n"):format(name, value)
    if line:find "[\r\n]." and line:find "[\r\n]" < #line - 1 then error("headers: a line end in " .. name, 3) end
    out[#out + 1] = line
  end
  return table.concat(out)
end

local function key_of(self, key)
  if key == nil then return nil end
  local k = type(key) == "table" and key or { name = key }
  self.trial:key(k.name, k.class)
  return k.name
end

local function answer_of(kind, o)
  if o.parts then return { parts = o.parts, type = o.type, pace = o.pace, ends = o.ends, headers = header_lines(nil, o.answer_headers) } end
  local usage = o.usage or {}
  local parts, content_type = streams.build(kind, {
    text = list_of(o.text), reasoning = list_of(o.reasoning), tool = list_of(o.tool), model = o.model or "fast",
    usage = { input = usage.input or 3, output = usage.output or 7 },
  })
  -- Cut off: what would end it isn't said.
  if o.ends and o.ends ~= "end" then
    while #parts > 0 and not parts[#parts]:find "delta" and not parts[#parts]:find '"done":false' do parts[#parts] = nil end
    if kind == "openai" and parts[#parts] and parts[#parts]:find '"finish_reason":"' then parts[#parts] = nil end
  end
  return { parts = parts, type = content_type, pace = o.pace, ends = o.ends, headers = header_lines(nil, o.answer_headers) }
end

function policy:exchange(kind, o, answer, fault)
  if not PATHS[kind] then error(("kind: no dialect '%s'"):format(tostring(kind)), 3) end
  local r = self.trial:run {
    method = o.method, path = o.path or PATHS[kind], headers = header_lines(kind, o.headers), body = body_of(kind, o),
    key = key_of(self, o.key), answer = answer, fault = fault, fault_upstream = o.upstream, faults = o.times,
    leave = o.leave_after,
  }
  self.max_instructions = math.max(self.max_instructions, r.max_instructions)
  return finished(r, kind)
end

---One stream through the policy. o: kind, text, reasoning, tool (a string, or the parts in which it comes), key, model,
---max_tokens, headers, pace (seconds between two events), ends ("end", "cut", "reset", "hang"), usage.
---@param o table
---@return table
function policy:stream(o)
  local kind = o.kind or "openai"
  return self:exchange(kind, o, answer_of(kind, o))
end

---One request, and what on_request said. o: as stream's, and stream = false, prompt, body (a string), path, method.
---@param o table
---@return table
function policy:request(o)
  local kind = o.kind or "openai"
  local r = with_verdict(self:exchange(kind, o, answer_of(kind, { text = "ok", model = o.model })), "on_request")
  if #r.sent > 0 then r.body = r.sent[#r.sent].body end
  return r
end

local FAULTS = {
  connect = function() return { ends = "refuse" } end,
  status = function(o)
    local after = o.retry_after and ("retry-after: %d\r\n"):format(o.retry_after) or ""
    return { status = o.status or 500, type = "application/json", headers = after, parts = { '{"error":{"message":"no"}}' } }
  end,
  first_token = function(o, kind)
    local answer = answer_of(kind, o)                -- signs of life, but no content, for ten minutes
    local start, parts = answer.parts[1], {}
    if kind == "ollama" then start = start:gsub('"content":"[^"]*"', '"content":""') end
    for i = 1, 10 do parts[i] = start end
    return { parts = parts, type = answer.type, pace = 60, ends = "hang" }
  end,
  idle = function(o, kind) o.ends = "hang" return answer_of(kind, o) end,
  truncated = function(o, kind)
    o.ends = "cut"
    local answer = answer_of(kind, o)
    if not o.text then answer.parts = { answer.parts[1] } end
    return answer
  end,
  protocol = function() return { raw = "220 mail.example ESMTP\r\n\r\n" } end,
}

---A request whose upstream fails. o: as stream's, and error (connect, status, first_token, idle, truncated, protocol),
---status, retry_after, upstream (which one fails; default: the one that is asked first), times (so often; default: always).
---@param o table
---@return table
function policy:upstream_error(o)
  local kind = o.kind or "openai"
  local what = PATHS[kind] and o.error or kind       -- upstream_error { kind = "status" } reads as the hook's err.kind
  kind = PATHS[kind] and kind or "openai"
  local fault = FAULTS[what] or error(("upstream_error: no error '%s' can be made"):format(tostring(what)), 2)
  local copy = {}
  for key, value in pairs(o) do copy[key] = value end
  if what == "idle" and not copy.text then copy.text = "begun" end
  local r = self:exchange(kind, o, answer_of(kind, { text = o.answer or "ok" }), fault(copy, kind))
  return with_verdict(r, "on_upstream_error")
end

---What weir.live.upstream(name) says from now on: healthy, room, streams, first_token.
function policy:upstream(name, state) self.trial:upstream(name, state) end

---Switches a weir.flag.
function policy:flag(name, on) self.trial:flag(name, on) end

---What on_pressure says to these figures: step, memory, pool, lua, loop_lag, streams.
function policy:pressure(o) return with_verdict(finished(self.trial:pressure(o), "openai"), "on_pressure") end

---What on_slow_client says to these figures: bytes, events, age, rate; and key, route.
function policy:slow(o)
  local copy = {}
  for name, value in pairs(o) do copy[name] = value end
  copy.key = key_of(self, o.key)
  return with_verdict(finished(self.trial:slow(copy), "openai"), "on_slow_client")
end

local function recorded_kind(file)
  local name = file:match "[^/]+$"
  if name:find "^openai%-responses" or name:find "^responses" then return "responses" end
  return name:match "^(anthropic)" or name:match "^(ollama)" or "openai"
end

-- An event with its text taken out: what a policy that changes text has to leave as it was.
local function envelope(ev)
  if not ev.text or ev.text == "" then return ev.raw end
  local before, after = ev.raw:match '^(.-"[%w_]+" *: *)"[^"\\]*"(.*)$'
  return ev.raw, before, after
end

---A recorded stream through the policy. Returns the result; `before` are the events that went in, `same` says that
---every byte came out as it went in, `changes` has { at, before, after } for each event that did not.
---@param file string one payload a line, or a captured event stream
---@param o? table kind, key, path
---@return table
function policy:replay(file, o)
  o = o or {}
  local f = assert(io.open(file, "rb"))
  local text = f:read "a"
  f:close()
  local kind = o.kind or recorded_kind(file)
  local parts = streams.from_recording(kind, text)
  local copy = { parts = parts, type = kind == "ollama" and "application/x-ndjson" or nil }
  for name, value in pairs(o) do copy[name] = value end
  local r = self:exchange(kind, copy, answer_of(kind, copy))
  local whole = table.concat(parts)
  r.before, r.same, r.changes = core.read(kind, whole), whole == r.raw, {}
  for i = 1, math.max(#r.before, #r.events) do
    local a, b = r.before[i], r.events[i]
    if not a or not b or a.raw ~= b.raw then
      r.changes[#r.changes + 1] = { at = i, before = a and envelope(a), after = b and envelope(b) }
    end
  end
  return r
end

function policy:close()
  trials[self] = nil
  self.trial:close()
end

-- --- the module

local function opened(file, source)
  local trial, errors = core.open(file, source, seed, BEGIN + elapsed)
  if not trial then error((errors:gsub("\n$", "")), 3) end
  local p = setmetatable({ trial = trial, warnings = lines(errors), max_instructions = 0 }, policy)
  trials[p] = true
  return p
end

---A policy with its options, on one route with three upstreams: openai, claude, local.
---conf: upstreams (names, or name = options), groups, to, route (further options), lua (limits), declare (text of further
---declarations), worker = true (for on_pressure: it stands in weir.use).
---@param file string a Lua file, or a module of the standard library: "weir.filters.redact"
---@param options? table
---@param conf? table
---@return table
function t.policy(file, options, conf)
  local ok, source = pcall(source_of, file, options, conf or {})
  if not ok then error(source, 2) end
  return opened("weir.test", source)
end

---A whole configuration, as weir run takes it; requests find their route by path.
---@param file string
---@return table
function t.conf(file) return opened(file, nil) end

local function characters(text)
  local out = {}
  for c in text:gmatch "[\0-\x7f\xc2-\xf7][\x80-\xbf]*" do out[#out + 1] = c end
  return out
end

---Calls fn with the text in one part, in two and three parts however they are cut, and in single characters. Cuts stand
---between characters: a JSON string can't end in the middle of one. Long texts are cut in two only.
---@param text string
---@param fn fun(parts: string[])
function t.every_cut(text, fn)
  local chars = characters(text)
  local n = #chars
  fn { text }
  if n < 2 then return end
  fn { table.unpack(chars) }
  for i = 1, n - 1 do
    local first = table.concat(chars, "", 1, i)
    fn { first, table.concat(chars, "", i + 1) }
    for j = i + 1, n <= 40 and n - 1 or 0 do
      fn { first, table.concat(chars, "", i + 1, j), table.concat(chars, "", j + 1) }
    end
  end
end

t.clock = {}
---Time passes for every policy: windows of counters, budgets, weir.every, quarantines.
---@param seconds number
function t.clock:advance(seconds) -- luacheck: no self
  for p in pairs(trials) do p.trial:advance(seconds) end
  elapsed = elapsed + seconds
end

---What weir.random gives from now on.
---@param n integer
function t.seed(n)
  seed = n
  for p in pairs(trials) do p.trial:seed(n) end
end

return t
