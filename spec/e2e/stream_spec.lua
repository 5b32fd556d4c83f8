-- Every recording goes through weir byte for byte, however the upstream's writes are cut.
local files = require "spec.e2e.support.files"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

local recordings = files.recordings()
local SIZES = { 0, 64, 7, 3, 2, 1 }

-- No heartbeats: where a sanitizer slows all, a stream may be silent for long.
local ROUTES = [[
weir.route "chat" { match = { path = "/v1/chat/completions" }, to = "mock", heartbeat = "0s" }
weir.route "responses" { match = { path = "/v1/responses" }, to = "mock", heartbeat = "0s" }
weir.route "messages" { match = { path = "/v1/messages" }, to = "mock", heartbeat = "0s" }
]]

-- What a client asks for, what it must see: all recordings of dialects that the mock speaks, at all sizes of a write.
local function all_asks()
  local asks = {}
  for _, size in ipairs(SIZES) do
    for _, r in ipairs(recordings) do
      local dialect, path, want = files.expected(r)
      if dialect ~= "google" and dialect ~= "cohere" then
        asks[#asks + 1] = { name = r.name, path = path, want = want, size = size }
      end
    end
  end
  return asks
end

local function ask(port, a, tls)
  local r, err = http.fetch { port = port, path = a.path, method = "POST", tls = tls,
    headers = { "x-mock-replay: " .. a.name, "x-mock-write-bytes: " .. a.size, "anthropic-version: 2023-06-01" },
    body = '{"model":"m","stream":true,"messages":[]}' }
  local what = ("%s in writes of %d"):format(a.name, a.size)
  assert(r, what .. ": " .. tostring(err))
  assert.equal(200, r.status, what .. ": " .. (r.status == 200 and "" or tostring(r.body)))
  assert.is_true(r.clean, what .. ": no clean end")
  if r.body ~= a.want then
    local at = 1
    while r.body:byte(at) == a.want:byte(at) do at = at + 1 end
    error(("%s: %d bytes, %d expected, different at %d: %q"):format(what, #r.body, #a.want, at, r.body:sub(at, at + 80)))
  end
end

-- n streams at a time; the small writes of the long recordings come once each, the rest is repeated.
local function relay_all(port, tls, n)
  local asks = all_asks()
  local light = {}
  for _, a in ipairs(asks) do
    if a.size == 0 or a.size >= 64 or #a.want < 4000 then light[#light + 1] = a end
  end
  local i = 0
  while #asks < n do
    i = i % #light + 1
    asks[#asks + 1] = light[i]
  end
  local at, list = 0, {}
  for _ = 1, n do
    list[#list + 1] = io_.go(function()
      while at < #asks do
        at = at + 1
        ask(port, asks[at], tls)
      end
    end)
  end
  io_.join(list)
end

describe("recorded streams #threads", function()
  if not recordings then
    pending("no recordings in " .. files.shared)
    return
  end
  after_each(weir.kill_all)

  for _, workers in ipairs { 1, 4 } do
    it(("arrive byte for byte, 200 at a time, %d workers"):format(workers), io_.test(function()
      local mock = weir.mock("--replay-dir " .. files.shared .. "/streams")
      local s = weir.run { workers = workers, conf = ROUTES ..
        ('weir.upstream "mock" { kind = "openai-compatible", url = "%s" }'):format(mock.url) }
      relay_all(s.port, nil, 200)
      local lines = s:lines(200)
      for _, l in ipairs(lines) do
        assert.equal(200, l.status)
        assert.is_true(l.outcome == "complete" or l.path == "/v1/responses", l.outcome)
      end
      s:stop()
      mock:stop()
    end, 240))

    it(("arrive byte for byte through TLS on both sides, %d workers"):format(workers), io_.test(function()
      local mock = weir.mock("--tls --tls-cert-out $DIR/mock.pem --replay-dir " .. files.shared .. "/streams")
      local dir = files.temp_dir()
      os.execute(([[openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -keyout %s/key.pem -out %s/cert.pem 2>/dev/null]]):format(dir, dir))
      local s = weir.run { workers = workers,
        listen = ('tls = { cert = "%s/cert.pem", key = "%s/key.pem" }'):format(dir, dir), conf = ROUTES ..
          ('weir.upstream "mock" { kind = "openai-compatible", url = "%s", tls = { ca = "%s/mock.pem" }, ' ..
            'timeout = { connect = "60s", tls = "60s" } }'):format(
            mock.url, mock.dir) }
      relay_all(s.port, { verify = "peer", cafile = dir .. "/cert.pem" }, 200)
      s:stop()
      mock:stop()
      os.execute("rm -rf " .. dir)
    end, 240))
  end

  it("of APIs that weir doesn't know pass by their framing alone", io_.test(function()
    local current, size
    local up = io_.listen(function(c)
      while http.read_request(c) do
        local bytes = http.stream_head() .. http.chunk(current:sub(1, 100)) .. http.chunk(current:sub(101)) ..
          http.last_chunk
        local step = size > 0 and size or #bytes
        for i = 1, #bytes, step do
          if not c:send(bytes:sub(i, i + step - 1)) then return end
          if i % 128 == 0 then io_.pause() end
        end
      end
    end)
    local s = weir.run { conf = ([[
      weir.upstream "raw" { kind = "sse", url = "%s" }
      weir.route "all" { match = { path = "/*" }, to = "raw", heartbeat = "0s" }]]):format(up.url) }
    local seen = 0
    for _, r in ipairs(recordings) do
      local dialect, path, want = files.expected(r)
      if dialect == "google" or dialect == "cohere" then
        for _, n in ipairs(SIZES) do
          current, size, seen = want, n, seen + 1
          local got = assert(http.fetch { port = s.port, path = path, method = "POST", body = "{}" })
          assert.equal(200, got.status)
          assert.is_true(got.clean)
          assert.equal(want, got.body)
        end
      end
    end
    assert.is_true(seen >= 12)
    s:stop()
  end))
end)
