-- A small event loop of coroutines over LuaSocket: clients, upstreams and waiting, all in the test's own process.
-- Nothing sleeps in order to be in time: every wait has a condition and a deadline.
local socket = require "socket"

local M = {}
local tasks, open = {}, {}

local DEADLINE_S = tonumber(os.getenv "WEIR_TEST_DEADLINE_S") or 60

M.now = socket.gettime

local function finish()
  for c in pairs(open) do c.raw:close() end
  open, tasks = {}, {}
end

-- Runs fn beside what runs already. Its errors fail the test; it may be left unfinished when the test's body ends.
function M.go(fn, ...)
  local args = table.pack(...)
  local task = { co = coroutine.create(function() fn(table.unpack(args, 1, args.n)) end) }
  tasks[#tasks + 1] = task
  return task
end

local function step(task)
  local ok, err = coroutine.resume(task.co)
  if not ok then
    if type(err) == "string" then err = debug.traceback(task.co, err) end
    error(err, 0)
  end
  task.done = coroutine.status(task.co) == "dead"
end

local function ready_of(list)
  local r, w = {}, {}
  for _, t in ipairs(list) do
    if t.want == "read" then r[#r + 1] = t.raw elseif t.want == "write" then w[#w + 1] = t.raw end
  end
  return r, w
end

local function turn(deadline)
  local least, polls = deadline, false
  for _, t in ipairs(tasks) do
    if t.until_s and t.until_s < least then least = t.until_s end
    if not t.want then polls = true end
  end
  local r, w = ready_of(tasks)
  local wait_s = polls and 0 or math.max(0, math.min(least - M.now(), 1))
  local rr, ww = socket.select(r, w, wait_s)
  local now = M.now()
  local run = tasks
  for i = 1, #run do
    local t = run[i]
    local due = t.until_s and t.until_s <= now
    if not t.want and (not t.until_s or due) or t.want == "read" and rr[t.raw] or t.want == "write" and ww[t.raw] or
        due then
      t.late = due and t.want ~= nil
      t.want, t.raw, t.until_s = nil, nil, nil
      step(t)
    end
  end
  local left = {}
  for _, t in ipairs(tasks) do
    if not t.done then left[#left + 1] = t end
  end
  tasks = left
end

local function current()
  local co = coroutine.running()
  for _, t in ipairs(tasks) do
    if t.co == co then return t end
  end
  error("outside of io.run", 3)
end

-- Waits until the socket is ready or until_s has passed; false then.
local function wait(raw, want, until_s)
  local t = current()
  t.raw, t.want, t.until_s = raw, want, until_s
  coroutine.yield()
  return not t.late
end

-- The body of a test: io.test(function() … end) is what `it` takes.
function M.test(fn, deadline_s)
  return function()
    local main = M.go(fn)
    local deadline = M.now() + (deadline_s or DEADLINE_S)
    local ok, err = pcall(function()
      while not main.done do
        if M.now() > deadline then
          error(debug.traceback(main.co, ("the test did not end within %g s"):format(deadline_s or DEADLINE_S)), 0)
        end
        turn(deadline)
      end
    end)
    finish()
    if not ok then error(err, 0) end
  end
end

-- Turns the loop for others once, or for some seconds.
function M.pause(s)
  local t = current()
  t.until_s = s and M.now() + s
  if s then
    t.want, t.raw = "time", nil
  end
  coroutine.yield()
end

-- Waits until fn() is true (its value is returned); fails with `what` when it takes too long.
function M.eventually(what, fn, deadline_s)
  local until_s = M.now() + (deadline_s or 10)
  while true do
    local v, more = fn()
    if v then return v, more end
    if M.now() > until_s then error("waited in vain for " .. what, 2) end
    M.pause(0.005)
  end
end

-- Connections that tests made: closed, so that a drain doesn't wait for them.
function M.hang_up()
  for c in pairs(open) do
    if c.dialed then c:close() end
  end
end

-- Waits for tasks of M.go.
function M.join(list)
  for _, t in ipairs(list) do
    while not t.done do M.pause(0.002) end
  end
end

-- Connections: send and receive in a coroutine; nil, reason when the other end has gone.
local conn = {}
conn.__index = conn

function M.wrap(raw)
  raw:settimeout(0)
  local c = setmetatable({ raw = raw, buf = "" }, conn)
  open[c] = true
  return c
end

function conn:send(bytes, deadline_s)
  local at, until_s = 1, M.now() + (deadline_s or DEADLINE_S)
  while at <= #bytes do
    local sent, err, part = self.raw:send(bytes, at)
    if sent then return true end
    at = (part or at - 1) + 1
    if err ~= "timeout" and err ~= "wantwrite" and err ~= "wantread" then return nil, err end
    if not wait(self.raw, err == "wantread" and "read" or "write", until_s) then return nil, "timeout" end
  end
  return true
end

-- Some bytes, as they come.
function conn:recv(max, deadline_s)
  if self.buf ~= "" then
    local b = self.buf
    self.buf = ""
    return b
  end
  local until_s = M.now() + (deadline_s or DEADLINE_S)
  while true do
    local data, err, part = self.raw:receive(max or 65536)
    data = data or part
    if data and #data > 0 then return data end
    if err ~= "timeout" and err ~= "wantread" and err ~= "wantwrite" then return nil, err end
    if not wait(self.raw, err == "wantwrite" and "write" or "read", until_s) then return nil, "timeout" end
  end
end

-- All up to and with the mark.
function conn:recv_until(mark, deadline_s)
  local got = ""
  while true do
    local _, e = got:find(mark, 1, true)
    if e then
      self.buf = got:sub(e + 1) .. self.buf
      return got:sub(1, e)
    end
    local data, err = self:recv(nil, deadline_s)
    if not data then return nil, err, got end
    got = got .. data
  end
end

function conn:recv_exactly(n, deadline_s)
  local parts, have = {}, 0
  while have < n do
    local data, err = self:recv(nil, deadline_s)
    if not data then return nil, err, table.concat(parts) end
    if have + #data > n then
      self.buf = data:sub(n - have + 1) .. self.buf
      data = data:sub(1, n - have)
    end
    parts[#parts + 1], have = data, have + #data
  end
  return table.concat(parts)
end

-- Everything until the other end closes, and how it did: "closed" or another reason.
function conn:recv_all(deadline_s)
  local parts = {}
  while true do
    local data, err = self:recv(nil, deadline_s)
    if not data then return table.concat(parts), err end
    parts[#parts + 1] = data
  end
end

function conn:close()
  self.raw:close()
  open[self] = nil
end

-- Ends with a reset.
function conn:reset()
  self.raw:setoption("linger", { on = true, timeout = 0 })
  self:close()
end

function conn:shutdown() self.raw:shutdown("send") end

-- o.tls: parameters of LuaSec besides mode. o.rcvbuf: a small window, for slow readers.
function M.connect(host, port, o)
  local raw = assert(socket.tcp4())
  raw:settimeout(0)
  if o and o.rcvbuf then raw:setoption("recv-buffer-size", o.rcvbuf) end
  local ok, err = raw:connect(host, port)
  local c = M.wrap(raw)
  c.dialed = true
  if not ok and err == "timeout" then
    if not wait(raw, "write", M.now() + 10) then return nil, "timeout" end
    ok, err = raw:connect(host, port)
    if err == "already connected" then ok = true end
  end
  if not ok then
    c:close()
    return nil, err
  end
  raw:setoption("tcp-nodelay", true)
  if o and o.tls then
    local params = { mode = "client", protocol = "any", options = { "all", "no_sslv3" }, verify = "none" }
    for k, v in pairs(o.tls) do params[k] = v end
    open[c] = nil
    c.raw = assert(require("ssl").wrap(raw, params))
    c.raw:settimeout(0)
    open[c] = true
    local until_s = M.now() + 20
    while true do
      local done, why = c.raw:dohandshake()
      if done then break end
      if why ~= "wantread" and why ~= "wantwrite" or
          not wait(c.raw, why == "wantread" and "read" or "write", until_s) then
        c:close()
        return nil, why
      end
    end
  end
  return c
end

-- A server in the test: each connection runs serve(conn, number) in a task of its own.
function M.listen(serve, backlog)
  local raw = assert(socket.tcp4())
  assert(raw:setoption("reuseaddr", true))
  assert(raw:bind("127.0.0.1", 0))
  assert(raw:listen(backlog or 256))
  local s = M.wrap(raw)
  local _, port = raw:getsockname()
  s.port, s.count = tonumber(port), 0
  s.url = "http://127.0.0.1:" .. s.port
  if serve then
    M.go(function()
      while open[s] do
        local c = raw:accept()
        if c then
          s.count = s.count + 1
          c:setoption("tcp-nodelay", true)
          M.go(serve, M.wrap(c), s.count)
        elseif not wait(raw, "read", M.now() + 3600) then
          return
        end
      end
    end)
  end
  return s
end

return M
