-- A name with several addresses: each is a peer, and changes are followed.
local files = require "spec.e2e.support.files"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local json = require "cjson.safe"
local weir = require "spec.e2e.support.weir"

-- What the names of a test lead to. The file is of tomorrow, so that who has read it today reads it again.
local function hosts(file, ...)
  local lines = {}
  for _, address in ipairs { ... } do lines[#lines + 1] = address .. " twins.example\n" end
  files.write(file .. ".new", table.concat(lines))
  os.execute(("touch -d tomorrow %s.new && mv %s.new %s"):format(file, file, file))
end

local function addresses(s)
  local list = {}
  for _, r in ipairs(json.decode(s:admin("/upstreams").body)) do list[#list + 1] = r.address or r.url end
  table.sort(list)
  return table.concat(list, " ")
end

local function ask(s)
  local r, why = http.fetch(weir.chat { port = s.port })
  assert(r and r.status == 200 and r.clean and r.body:find("[DONE]", 1, true), r and r.body or why)
end

describe("a name with several addresses", function()
  after_each(weir.kill_all)

  it("is as many peers, and changes are followed", io_.test(function()
    local file = files.temp_dir() .. "/hosts"
    local port = weir.mock("--tokens 3").port
    local two = weir.mock("--tokens 3 --listen 127.0.0.2:" .. port)
    local three = weir.mock("--tokens 3 --listen 127.0.0.3:" .. port)
    local both = ("127.0.0.2:%d 127.0.0.3:%d"):format(port, port)
    hosts(file, "127.0.0.2", "127.0.0.3")
    local s = weir.run {
      workers = 2,
      before = "export CARES_HOSTS=" .. file .. ";",
      conf = ([[
weir.upstream "a" { kind = "openai-compatible", url = "http://twins.example:%d" }
weir.group "g" { "a", retry = { attempts = 1 } }
weir.route "all" { match = { path = "/*" }, to = "g" }
]]):format(port),
    }
    io_.eventually("two peers", function() return addresses(s) == both end)
    local label = ('{upstream="a",url="http://twins.example:%d"'):format(port)
    io_.eventually("both to be asked", function()
      ask(s)
      for _, r in ipairs(json.decode(s:admin("/upstreams").body)) do
        if r.first_token_ms == 0 then return false end
      end
      return true
    end)
    two:signal "KILL"
    two:wait_exit()
    -- Its connections on the shelf are gone, and a new one is refused: the other address serves in the same attempt.
    for _ = 1, 12 do ask(s) end
    hosts(file, "127.0.0.3")
    io_.eventually("one peer", function() return addresses(s) == "127.0.0.3:" .. port end)
    for _ = 1, 4 do ask(s) end
    hosts(file, "127.0.0.3", "127.0.0.4")
    io_.eventually("another", function()
      return addresses(s) == ("127.0.0.3:%d 127.0.0.4:%d"):format(port, port)
    end)
    for _ = 1, 4 do ask(s) end -- nobody listens there
    local text = s:admin("/metrics").body
    assert(text:find("\nweir_peer_name_changes_total" .. label .. "} 4\n", 1, true), "not four changes")
    assert(s:log():find('"upstream_address"', 1, true))
    s:stop()
    three:stop()
  end))

  -- Where one address answers with a failure and the other isn't there, the client hears the answer.
  it("has an address that is dead: the answer of the other is the client's", io_.test(function()
    local file = files.temp_dir() .. "/hosts"
    local alive = weir.mock("--fault status:500")
    hosts(file, "127.0.0.1", "127.0.0.5")
    local s = weir.run {
      workers = 1,
      before = "export CARES_HOSTS=" .. file .. ";",
      conf = ([[
weir.upstream "a" { kind = "openai-compatible", url = "http://twins.example:%d",
  breaker = { failures = 1000, rate = 1 } }
weir.group "g" { "a", retry = { attempts = 2, backoff = "1ms", on = { "connect", "5xx" }, budget = 1 } }
weir.route "all" { match = { path = "/*" }, to = "g" }
]]):format(alive.port),
    }
    io_.eventually("two peers", function()
      return addresses(s) == ("127.0.0.1:%d 127.0.0.5:%d"):format(alive.port, alive.port)
    end)
    for _ = 1, 6 do
      local r = assert(http.fetch(weir.chat { port = s.port }))
      assert.equal(500, r.status, r.body)
    end
    for _, l in ipairs(s:lines(6)) do assert.equal("upstream_status", l.error, l.why) end
    s:stop()
    alive:stop()
  end))
end)
