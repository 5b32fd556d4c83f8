-- weir explain and weir replay: what they print, and how they end.
local BINARY = os.getenv "WEIR" or os.getenv "WEIR_BIN" or "build/release/weir"

local dir

local function write(name, text)
  local f = assert(io.open(dir .. "/" .. name, "wb"))
  f:write(text)
  f:close()
end

local function read(name)
  local f = assert(io.open(dir .. "/" .. name, "rb"))
  local text = f:read "a"
  f:close()
  return text
end

-- Exit code and all that was printed.
local function weir(command)
  local p = assert(io.popen(("cd %s && %s %s 2>&1; echo \"rc=$?\""):format(dir, BINARY, command)))
  local out = p:read "a"
  p:close()
  return tonumber(out:match "rc=(%d+)%s*$"), out
end

local function has(out, part) assert.is_truthy(out:find(part, 1, true), out) end

local function chat(text)
  return ('{"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}'):format(text)
end

setup(function()
  local p = assert(io.popen "mktemp -d; pwd")
  dir = p:read "l"
  local here = p:read "l"
  p:close()
  if BINARY:sub(1, 1) ~= "/" then BINARY = here .. "/" .. BINARY end
  write("conf.lua", ([[
weir.api(1)
weir.lua { path = "%s/examples/policies/?.lua" }
local pii, router = require "pii", require "router"
weir.listen "127.0.0.1:1" {}
weir.upstream "openai" { kind = "openai", url = "https://api.openai.com", models = { fast = "gpt-4.1-mini" } }
weir.upstream "local" { kind = "ollama", url = "http://127.0.0.1:1" }
weir.keys { ["team-a"] = { sha256 = ("0"):rep(64), class = "paid" } }
weir.route "chat" {
  match = { path = "/v1/chat/completions" }, to = "openai", limits = { output_tokens = 512 },
  use = { router { routes = { free = "local" } }, pii {} },
}
weir.route "open" {
  match = { path = "/open/*" }, to = "local", open = true,
  on_request = function(req)
    if req.model == "bad" then weir.log.error "a bad model" error "no" end
    return req.model == "odd" and "hodl" or "answer", "from the gateway"
  end,
}
]]):format(here))
  write("body.json", '{"model":"fast","max_tokens":9999,"messages":[]}')
  write("free.json", '{"headers":{"X-Tier":"free"},"key":"team-a","body":{"model":"m","messages":["\\u00e9"]}}')
  write("openai-a.jsonl", chat "mail " .. "\n" .. chat "bob@" .. "\n\n" .. chat "example.com now" .. "\n")
  write("openai-b.sse", "data: " .. chat "nothing in it" .. "\n\ndata: [DONE]\n\n")
end)

teardown(function() os.execute("rm -r " .. dir) end)

describe("weir explain", function()
  it("says who decided and what the upstream would get", function()
    local rc, out = weir "explain conf.lua body.json --key team-a"
    assert.equal(0, rc, out)
    has(out, "route              chat (conf.lua:8)\n")
    has(out, "on_request         router       nothing\n")
    has(out, 'upstream           openai, model "gpt-4.1-mini", max_tokens 512\n')
  end)

  it("takes headers, a key and a path from the file", function()
    local rc, out = weir "explain conf.lua free.json"
    assert.equal(0, rc, out)
    has(out, 'router       route "local"')
    has(out, 'upstream           local, model "m", max_tokens 512\n')
  end)

  it("says why a request is refused", function()
    local rc, out = weir "explain conf.lua body.json"
    assert.equal(1, rc, out)
    has(out, "refused            401, refused, unauthorized\n")
    rc, out = weir "explain conf.lua body.json --path /nowhere"
    assert.equal(1, rc, out)
    has(out, "route              none\n")
  end)

  it("shows an answer of the gateway, and a hook that failed", function()
    local rc, out = weir "explain conf.lua body.json --path /open/x"
    assert.equal(0, rc, out)
    has(out, 'on_request         conf.lua     answer "from the gateway"')
    write("bad.json", '{"model":"bad"}')
    rc, out = weir "explain conf.lua bad.json --path /open/x"
    assert.equal(0, rc, out)
    has(out, "(failed: conf.lua:15: no [on_request of 'conf.lua'")
    local _, count = out:gsub("conf.lua:15: no", "")
    assert.equal(1, count, out)
    has(out, "error: conf.lua:15: a bad model\n")
    has(out, "upstream           local")
  end)

  it("says which function gave a verdict that doesn't exist", function()
    write("odd.json", '{"model":"odd"}')
    local _, out = weir "explain conf.lua odd.json --path /open/x"
    has(out, "(failed: conf.lua:14: on_request of 'conf.lua' returned \"hodl\"; expected nil")
  end)

  it("ends with 2 when it can't be tried", function()
    for command, why in pairs {
      ["explain conf.lua nope.json"] = "nope.json: No such file",
      ["explain nope.lua body.json"] = "nope.lua: can't be read",
      ["explain conf.lua conf.lua"] = "conf.lua: ",
      ["explain conf.lua body.json --key nobody"] = "no key 'nobody'",
      ["explain conf.lua"] = "usage:",
      ["explain conf.lua body.json --what"] = "--what: not understood",
    } do
      local rc, out = weir(command)
      assert.equal(2, rc, out)
      has(out, why)
    end
  end)
end)

describe("weir replay", function()
  it("prints the events that changed", function()
    local rc, out = weir "replay conf.lua openai-a.jsonl --key team-a --out got"
    assert.equal(1, rc, out)
    has(out, "- 2: data: " .. chat "bob@")
    has(out, "4 events: ")
    has(out, "route chat, status 200, complete\n")
    assert.is_nil(read("got"):find("bob", 1, true))
    has(read "got", "[EMAIL]")
  end)

  it("knows the dialect by its words, where the file's name doesn't say it", function()
    for path, text in pairs {
      ["/v1/chat/completions"] = "data: " .. chat "x" .. "\n\ndata: [DONE]\n\n",
      ["/v1/messages"] = 'event: message_start\ndata: {"type":"message_start","message":{"id":"m"}}\n\n',
      ["/v1/responses"] = 'event: response.created\ndata: {"type":"response.created","response":{"id":"r"}}\n\n',
      ["/api/chat"] = '{"message":{"content":"x"},"done":false}\n',
    } do
      write("capture.txt", text)
      local _, out = weir "replay conf.lua capture.txt --key team-a"
      -- Only chat has a route here.
      has(out, path == "/v1/chat/completions" and "route chat, status 200" or "no_route")
      assert.is_nil(out:find("Say --kind", 1, true), path)
    end
  end)

  it("ends with 0 when nothing changed", function()
    local rc, out = weir "replay conf.lua openai-b.sse --key team-a --route chat"
    assert.equal(0, rc, out)
    assert.equal("2 events: 2 the same, 0 changed, 0 removed, 0 added; route chat, status 200, complete\nrc=0\n", out)
  end)

  it("ends with 2 when it can't be tried", function()
    write("x.jsonl", '{"text":"x"}\n')
    for command, why in pairs {
      ["replay conf.lua x.jsonl"] = "Say --kind",
      ["replay conf.lua x.jsonl --kind chat"] = "no dialect 'chat'",
      ["replay conf.lua x.jsonl --kind openai"] = "no upstream was asked: status 401, unauthorized",
      ["replay conf.lua x.jsonl --kind openai --route x"] = "no route 'x'",
      ["replay conf.lua x.jsonl --kind openai --key x"] = "no key 'x'",
      ["replay conf.lua"] = "usage:",
    } do
      local rc, out = weir(command)
      assert.equal(2, rc, out)
      has(out, why)
    end
  end)
end)
