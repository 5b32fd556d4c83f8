-- A web page of another origin: what its browser asks before it sends, and the fields without which it shows nothing.
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

local ORIGIN = "https://app.example"
local KEY = "sk-page-1"

-- The routes as docs/streams.md shows them.
local function from_docs()
  local f = assert(io.open "docs/streams.md")
  local text = f:read "a"
  f:close()
  return assert(text:match "## From a web page.-```lua\n(.-)```")
end

local function sha256(text)
  local p = io.popen("printf %s " .. text .. " | sha256sum", "r")
  local sum = p:read "a":match "^%x+"
  p:close()
  return sum
end

describe("a web page", function()
  after_each(weir.kill_all)

  local function start()
    return weir.run { conf = ('weir.upstream "demo" { kind = "mock", mock = { tokens = 5 } }\n' ..
      'weir.keys { page = { sha256 = "%s" } }\n'):format(sha256(KEY)) .. from_docs() }
  end

  it("is told that it may ask, without a key", io_.test(function()
    local s = start()
    local r = assert(http.fetch { port = s.port, method = "OPTIONS", path = "/v1/chat/completions", headers = {
      "Origin: " .. ORIGIN, "Access-Control-Request-Method: POST",
      "Access-Control-Request-Headers: authorization,content-type" } })
    assert.equal(204, r.status)
    assert.equal(ORIGIN, r.fields["access-control-allow-origin"])
    assert.is_truthy(r.fields["access-control-allow-methods"]:find("POST", 1, true))
    assert.is_truthy(r.fields["access-control-allow-headers"]:find("authorization", 1, true))
    s:stop()
  end))

  it("may read streams and errors, and nothing without a key", io_.test(function()
    local s = start()
    local function ask(...)
      local o = weir.chat { port = s.port }
      o.headers = { "Origin: " .. ORIGIN, "Content-Type: application/json", ... }
      return assert(http.fetch(o))
    end
    local r = ask("Authorization: Bearer " .. KEY)
    assert.equal(200, r.status)
    assert.equal(ORIGIN, r.fields["access-control-allow-origin"])
    assert.is_truthy(r.body:find("[DONE]", 1, true))
    r = ask("Authorization: Bearer " .. KEY, "x-mock-fault: status:429")
    assert.equal(429, r.status)
    assert.equal(ORIGIN, r.fields["access-control-allow-origin"])
    assert.equal(401, ask().status)
    s:stop()
  end))
end)
