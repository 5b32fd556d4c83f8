-- The process: how it begins, drains, stops, and takes over sockets.
local dialects = require "spec.e2e.support.dialects"
local files = require "spec.e2e.support.files"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

local SLOW = dialects.routes .. [[
weir.upstream "up" { kind = "mock", mock = { tokens = 40, rate = 50 } }
]]

local function begin_stream(s)
  local c = assert(io_.connect("127.0.0.1", s.port))
  c:send(http.request(weir.chat { port = s.port }))
  local head = assert(c:recv_until "\r\n\r\n")
  return c, http.parse_head(head)
end

describe("the process #threads", function()
  after_each(weir.kill_all)

  it("drains on SIGTERM: streams that run finish, new work is refused", io_.test(function()
    local s = weir.run { workers = 2, conf = SLOW }
    local idle = assert(io_.connect("127.0.0.1", s.port))
    idle:send(http.request { path = "/nowhere" })
    assert.equal(404, http.read_response(idle).status)
    local c, head = begin_stream(s)
    s:signal "TERM"
    io_.eventually("the drain", function()
      local r = s:admin "/readyz"
      return r and r.status == 503 and r.body:find("draining", 1, true)
    end)
    -- A kept connection gets its next answer, and with it the news.
    idle:send(http.request { path = "/nowhere" })
    local late = http.read_response(idle)
    if late then
      assert.equal("close", late.fields.connection)
    end
    local fresh = http.fetch(weir.chat { port = s.port })
    if fresh and fresh.status == 200 then assert.equal("close", fresh.fields.connection) end
    local r = http.read_body(c, head, true)
    assert.is_true(r.clean)
    assert(r.body:find("data: [DONE]\n\n", 1, true))
    c:close()
    assert.equal(0, s:wait_exit(10))
    local outcome
    for _, l in ipairs(s:lines(2)) do
      if l.stream then outcome = l.outcome end
    end
    assert.equal("complete", outcome)
    s:assert_quiet()
  end))

  it("ends a drain at its deadline, and streams learn of it", io_.test(function()
    local s = weir.run { server = 'drain = "300ms"', conf = dialects.routes .. [[
      weir.upstream "up" { kind = "mock", mock = { tokens = 4000, rate = 50 } }]] }
    local c, head = begin_stream(s)
    s:signal "TERM"
    local r = http.read_body(c, head, true)
    assert.is_false(r.clean)
    assert.equal(0, s:wait_exit(10))
    s:assert_quiet()
  end))

  it("stops at once on SIGINT, and streams learn of it", io_.test(function()
    local s = weir.run { workers = 2, conf = dialects.routes .. [[
      weir.upstream "up" { kind = "mock", mock = { tokens = 4000, rate = 50 } }]] }
    local c, head = begin_stream(s)
    local at = io_.now()
    s:signal "INT"
    local r = http.read_body(c, head, true)
    assert.is_false(r.clean)
    assert.equal(0, s:wait_exit(10))
    assert.is_true(io_.now() - at < 5)
    s:assert_quiet()
  end))

  it("takes over sockets of LISTEN_FDS", io_.test(function()
    local dir = files.temp_dir()
    files.write(dir .. "/activate.pl", [[
use strict; use warnings; use Socket; use POSIX ();
socket(my $s, PF_INET, SOCK_STREAM, 0) or die; setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
bind($s, sockaddr_in(0, inet_aton("127.0.0.1"))) or die; listen($s, 64) or die;
my ($port) = sockaddr_in(getsockname($s));
open(my $f, '>', shift @ARGV) or die; print $f "$port\n"; close $f;
POSIX::dup2(fileno($s), 3) or die unless fileno($s) == 3;
$^F = 10; use Fcntl; open(my $three, '<&=', 3) or die; fcntl($three, F_SETFD, 0);
$ENV{LISTEN_FDS} = 1; $ENV{LISTEN_PID} = $$;
exec @ARGV or die;
]])
    local s = weir.run { launcher = ("perl %s/activate.pl %s/port"):format(dir, dir), workers = 2, conf = SLOW }
    local port = tonumber(files.read(dir .. "/port"))
    for _ = 1, 8 do
      local r = assert(http.fetch(weir.chat { port = port }))
      assert.equal(200, r.status)
      assert.is_true(r.clean)
    end
    s:stop()
    os.execute("rm -rf " .. dir)
  end))

  it("spreads clients over its workers", io_.test(function()
    local s = weir.run { workers = 4, conf = dialects.routes .. [[
      weir.upstream "up" { kind = "mock", mock = { tokens = 10 } }]] }
    local list = {}
    for i = 1, 64 do
      list[i] = io_.go(function()
        local r = assert(http.fetch(dialects.ask(dialects.names[i % 3 + 1], s.port)))
        assert.is_true(r.clean)
      end)
    end
    io_.join(list)
    local busy, m = 0, s:metrics()
    for i = 0, 3 do
      if m[('weir_loop_accepted_total{worker="%d"}'):format(i)] > 0 then busy = busy + 1 end
    end
    assert.is_true(busy >= 2)
    assert.equal(64, #s:lines(64))
    s:stop()
  end))

  it("says what is wrong with a configuration and where, and ends with 1", function()
    local dir = files.temp_dir()
    files.write(dir .. "/conf.lua", 'weir.api(1)\nweir.listen "127.0.0.1:0" {}\nweir.upstream "a" { kind = "opnai" }\n')
    for _, command in ipairs { "run", "check" } do
      local p = assert(io.popen(("%s %s -c %s/conf.lua 2>&1; echo rc=$?"):format(weir.binary, command, dir)))
      local text = p:read "a"
      p:close()
      assert(text:find("rc=1\n", 1, true), text)
      assert(text:find("conf.lua:3: ", 1, true), text)
      assert(text:find("openai", 1, true), text)
    end
    os.execute("rm -rf " .. dir)
  end)

  it("starts with the configuration that ships", function()
    local p = assert(io.popen(weir.binary .. " check -c conf.lua 2>&1; echo rc=$?"))
    local text = p:read "a"
    p:close()
    assert(text:find("rc=0\n", 1, true), text)
  end)
end)
