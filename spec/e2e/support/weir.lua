-- Starts the real binary and watches over it: what it prints, how it ends, what it leaves behind.
local dialects = require "spec.e2e.support.dialects"
local files = require "spec.e2e.support.files"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local json = require "cjson.safe"

local M = { binary = os.getenv "WEIR_BIN" or os.getenv "WEIR" or "build/release/weir" }

local running = {}
local server = {}
server.__index = server

-- Words that may never stand in what weir prints to stderr.
local BAD = { "check failed", "expectation failed", "left behind", "Sanitizer", "runtime error:", "assertion" }

local function launch(dir, what, o)
  local script = ("cd %s || exit 1; %s echo $$ > %s/pid; exec %s %s %s >%s/out 2>%s/err"):format(
    ".", o.before or "", dir, o.launcher or "", M.binary, what, dir, dir)
  files.write(dir .. "/start", script)
  os.execute(("(sh %s/start; echo $? > %s/rc.new; mv %s/rc.new %s/rc) </dev/null >/dev/null 2>&1 &"):format(
    dir, dir, dir, dir))
  local s = setmetatable({ dir = dir }, server)
  running[s] = true
  return s
end

function server:err() return files.read(self.dir .. "/err") or "" end
function server:out() return files.read(self.dir .. "/out") or "" end
function server:log() return files.read(self.dir .. "/access.log") or "" end

function server:exit_code()
  local rc = files.read(self.dir .. "/rc")
  return rc and tonumber(rc)
end

function server:pid() return tonumber(files.read(self.dir .. "/pid")) end

function server:signal(name) os.execute(("kill -%s %d 2>/dev/null"):format(name, self:pid())) end

-- Resident KiB.
function server:rss_kb()
  return tonumber((files.read(("/proc/%d/status"):format(self:pid())) or ""):match("VmRSS:%s*(%d+)"))
end

-- Processor seconds so far.
function server:cpu_s()
  local stat = files.read(("/proc/%d/stat"):format(self:pid())) or ""
  local user, system = stat:match("%) %a" .. (" %S+"):rep(10) .. " (%d+) (%d+)")
  return (user + system) / 100
end

-- Lines of the access log, decoded, once there are n of them.
function server:lines(n)
  local list
  io_.eventually(("%d lines in the access log"):format(n or 0), function()
    list = {}
    for line in self:log():gmatch("([^\n]+)\n") do
      local v = json.decode(line)
      assert(v, "not JSON: " .. line)
      if not v.event then list[#list + 1] = v end -- what the process says of itself is no exchange
    end
    return #list >= (n or 0)
  end)
  return list
end

function server:line(n)
  local list = self:lines(n)
  return list[n or #list]
end

function server:admin(path, o)
  o = o or {}
  local r, err = http.fetch { port = self.admin_port, path = path, host = "127.0.0.1", method = o.method }
  return r, err
end

-- Puts a new configuration in the place of everything but server and listen.
function server:configure(text)
  local path = self.dir .. "/conf.lua"
  local head = files.read(path):match "^(.-\nweir.listen [^\n]*\n)"
  files.write(path, head .. text .. "\n")
end

-- So many requests of a dialect at once; returns how many answers were whole when all had ended.
function server:burst(name, n)
  local done, whole = 0, 0
  for _ = 1, n do
    io_.go(function()
      local r = http.fetch(dialects.ask(name, self.port))
      if r and r.status == 200 and r.clean then whole = whole + 1 end
      done = done + 1
    end)
  end
  io_.eventually("all answers", function() return done == n end, 60)
  return whole
end

-- Returns the status and the answer, decoded.
function server:reload()
  local r = assert(self:admin("/reload", { method = "POST" }))
  return r.status, assert(json.decode(r.body), r.body)
end

-- Prometheus text, strictly read: { ["name"] = sum over labels, ["name{labels}"] = value }.
function M.parse_metrics(text)
  local m, types = {}, {}
  for line in text:gmatch("([^\n]*)\n") do
    local name, kind = line:match("^# TYPE ([%a_:][%w_:]*) (%a+)$")
    if name then
      assert(kind == "counter" or kind == "gauge" or kind == "histogram", line)
      assert(not types[name], "twice: " .. line)
      types[name] = kind
    elseif line ~= "" and not line:match("^# HELP [%a_:][%w_:]* .+$") then
      local n, labels, value = line:match("^([%a_:][%w_:]*)(%b{}) (%S+)$")
      if not n then n, value = line:match("^([%a_:][%w_:]*) (%S+)$") end
      assert(n, "not a sample: " .. line)
      local family = n:gsub("_bucket$", ""):gsub("_sum$", ""):gsub("_count$", "")
      assert(types[n] or types[family], "no TYPE before: " .. line)
      local v = tonumber(value) or (value == "+Inf" and math.huge) or (value == "NaN" and 0)
      assert(v, "not a value: " .. line)
      if labels then
        local left = labels:sub(2, -2):gsub('[%a_][%w_]*="[^"\\\n]*",?', "")
        assert(left == "" or labels:find("\\", 1, true), "labels: " .. line)
        assert(not m[n .. labels], "twice: " .. line)
        m[n .. labels] = v
      end
      m[n] = (m[n] or 0) + v
    end
  end
  return m
end

function server:metrics()
  local r = assert(self:admin "/metrics")
  assert(r.status == 200, "metrics: " .. r.status)
  return M.parse_metrics(r.body)
end

-- o: conf (text; LISTEN and ADMIN are added), args, workers, before (shell), listen (text of its options).
-- Ports are chosen by the system and read from what weir says.
function M.run(o)
  local dir = files.temp_dir()
  local conf = { "weir.api(1)" }
  conf[#conf + 1] = ('weir.server { workers = %d, memory = "%s", admin = "127.0.0.1:0", log = "%s/access.log", %s }')
    :format(o.workers or 1, o.memory or "64MiB", dir, o.server or "")
  if not o.no_listen then
    conf[#conf + 1] = ('weir.listen "127.0.0.1:%d" { %s }'):format(o.port or 0, o.listen or "")
  end
  conf[#conf + 1] = o.conf:gsub("$DIR", dir)
  files.write(dir .. "/conf.lua", table.concat(conf, "\n") .. "\n")
  local s = launch(dir, ("run -c %s/conf.lua %s"):format(dir, o.args or ""), o)
  s.failing = o.args and o.args:find "/every"
  local text = io_.eventually("weir to start", function()
    local err = s:err()
    if s:exit_code() then error("weir ended at its start: " .. err, 0) end
    return err:find("admin on [^\n]+\n") and err
  end, 30)
  s.port = tonumber(text:match("listening on %S-:(%d+)\n"))
  s.ports = {}
  for p in text:gmatch("listening on %S-:(%d+)\n") do s.ports[#s.ports + 1] = tonumber(p) end
  s.admin_port = tonumber(text:match("admin on %S-:(%d+)\n"))
  io_.eventually("readiness", function()
    local r = s:admin "/readyz"
    return r and r.status == 200
  end, 30)
  return s
end

-- weir mock in a process of its own. Its URL is s.url, its certificate s.dir .. "/mock.pem".
function M.mock(args)
  local dir = files.temp_dir()
  local tls = args:find "%-%-tls" ~= nil
  local s = launch(dir, ("mock --listen 127.0.0.1:0 %s"):format(args:gsub("$DIR", dir)), {})
  s.is_mock = true
  local text = io_.eventually("the mock to start", function()
    if s:exit_code() then error("the mock ended at its start: " .. s:err(), 0) end
    local out = s:out()
    return out:find("listening on [^\n]+\n") and out
  end, 30)
  s.port = tonumber(text:match(":(%d+)\n"))
  s.url = (tls and "https://localhost:" or "http://127.0.0.1:") .. s.port
  return s
end

-- Nothing is left: no request, no connection of an upstream, no memory held.
function server:assert_idle()
  io_.eventually("no active request", function()
    local r = self:admin "/metrics"
    -- A heap that fails on demand hits the admin's answers too.
    if self.failing and not (r and r.status == 200) then return r and r.status == 503 end
    return r and r.status == 200 and M.parse_metrics(r.body).weir_requests_active == 0
  end)
end

-- The ledger of a server without requests: of what streams hold nothing is left, and no upstream counts a stream. What
-- stays are the blocks that each loop reads into and writes small things into, and the metrics' own answer.
function server:assert_clean()
  self:assert_idle()
  local left
  local ok = pcall(io_.eventually, "a clean ledger", function()
    local m = self:metrics()
    left = {}
    local most = { upstream = 65536 * (m.weir_workers + 1), client = 20480 + 4352 * m.weir_workers, head = 0,
                   kept_view = 0, kept_log = 0 }
    for class, bytes in pairs(most) do
      local n = m[('weir_pool_bytes{class="%s"}'):format(class)]
      if not n or n > bytes then left[#left + 1] = ("%s: %s bytes"):format(class, n) end
    end
    for _, name in ipairs { "weir_peer_streams", "weir_slow_queued_bytes", "weir_views_leaked_total" } do
      if (m[name] or 0) ~= 0 then left[#left + 1] = ("%s: %s"):format(name, m[name]) end
    end
    return #left == 0
  end, 20)
  if not ok then error("the ledger isn't clean: " .. table.concat(left, ", "), 2) end
end

function server:wait_exit(deadline_s)
  io_.eventually("weir to end", function() return self:exit_code() end, deadline_s or 30)
  running[self] = nil
  return self:exit_code()
end

function server:assert_quiet()
  local err = self:err()
  for _, word in ipairs(BAD) do
    if err:find(word, 1, true) then error("weir's stderr says: " .. err, 2) end
  end
end

-- The end of every test: idle, SIGTERM, exit code 0, nothing complained.
function server:stop()
  io_.hang_up()
  if not self.is_mock then self:assert_idle() end
  self:signal "TERM"
  local code = self:wait_exit()
  self:assert_quiet()
  if code ~= 0 then error(("weir's exit code is %d: %s"):format(code, self:err()), 2) end
  os.execute("rm -rf " .. self.dir)
end

-- For after_each: whatever a failed test has left.
function M.kill_all()
  for s in pairs(running) do
    s:signal "KILL"
    running[s] = nil
  end
end

-- A chat request that streams.
function M.chat(o)
  o = o or {}
  local body = o.body or '{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'
  return { port = o.port, path = o.path or "/v1/chat/completions", method = "POST", body = body, headers = o.headers,
           tls = o.tls, on_data = o.on_data, keep = o.keep, rcvbuf = o.rcvbuf }
end

return M
