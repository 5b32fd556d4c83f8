-- What pii promises: the same output however the provider cuts its tokens, in every dialect, and not a byte more changed.
local t = require "weir.test"
local shared = os.getenv "WEIR_SHARED" or "../shared"

local function recordings()
  local list = {}
  local p = assert(io.popen(("ls %s/streams/*.jsonl 2>/dev/null"):format(shared)))
  for name in p:lines() do list[#list + 1] = name end
  p:close()
  return list
end

local KINDS = { ["openai-chat"] = "openai", ["openai-responses"] = "responses", anthropic = "anthropic" }

local TEXTS = { text = true, content = true, delta = true }

local function replay_text(p, text, kind)
  local name = os.tmpname()
  local f = assert(io.open(name, "wb"))
  f:write(text)
  f:close()
  local r = p:replay(name, { kind = kind })
  os.remove(name)
  return r
end

local function text_of(events)
  local list = {}
  for _, ev in ipairs(events) do
    if ev.kind == "text" then list[#list + 1] = ev.text end
  end
  return table.concat(list)
end

-- The recording with one of its words replaced by an address, wherever the word is said; nil: tokens cut all its words.
local function with_addresses(p, file, kind)
  local f = assert(io.open(file, "rb"))
  local recording = f:read "a"
  f:close()
  local said = p:replay(file).text
  for word in said:gmatch "%f[%w]%a%a%a%a+%f[^%w]" do
    local pattern = "%f[%w]" .. word .. "%f[^%w]"
    local expected = said:gsub(pattern, "me@example.com")
    if not expected:find "%S[%w._+@-]me@example" and not expected:find "me@example%.com[%w._+@-]" then
      local edited = recording:gsub('("([%w_]+)" *: *)(%b"")', function(field, of, value)
        return TEXTS[of] and field .. value:gsub("%f[%w]" .. word .. "%f[^%w]", "me@example.com")
      end)
      if text_of(replay_text(p, edited, kind).before) == expected then return edited end
    end
  end
end

describe("pii", function()
  local edits = 0
  local p = t.policy("examples/policies/pii.lua", {})

  local CASES = {
    { "mail bob@example.com now", "mail [EMAIL] now" },
    { "card 4111 1111 1111 1111.", "card [CARD]." },
    { "the key sk-abc-1 is out", "the key [KEY] is out" },
    { "é a@b.de, 🙂 c@d.org", "é [EMAIL], 🙂 [EMAIL]" },
    { "nothing to see @ all", "nothing to see @ all" },
  }
  for _, kind in ipairs(t.kinds) do
    for _, case in ipairs(CASES) do
      it(("redacts however tokens are cut: %s: %s"):format(kind, case[2]), function()
        t.every_cut(case[1], function(parts)
          local r = p:stream { kind = kind, text = parts, key = "team-a" }
          assert.equal(case[2], r.text)
          assert.equal("complete", r.outcome)
          assert.same({}, r.errors)
        end)
      end)
    end

    it("redacts reasoning and arguments of tools: " .. kind, function()
      t.every_cut('{"to":"bob@example.com"}', function(parts)
        local r = p:stream { kind = kind, reasoning = parts, tool = kind == "ollama" and table.concat(parts) or parts }
        assert.equal('{"to":"[EMAIL]"}', r.reasoning)
        assert.equal('{"to":"[EMAIL]"}', r.tool)
        assert.is_nil(r.raw:find("bob", 1, true))
      end)
    end)
  end

  it("stops the stream when it fails", function()
    local small = t.policy("examples/policies/pii.lua", {}, { lua = { instructions = 1000 } })
    local r = small:stream { text = { "bob@example.com ", ("a@"):rep(300) } }
    assert.equal("stopped", r.outcome)
    assert.is_truthy(r.errors[1]:find("over the limit: 1000 instructions", 1, true))
    assert.is_nil(r.raw:find("bob", 1, true))
  end)

  it("stays far below its limits", function()
    local r = p:stream { text = { ("words and words, "):rep(20), "bob@example.com" } }
    assert.is_true(r.max_instructions < 5000, tostring(r.max_instructions))
  end)

  for _, file in ipairs(recordings()) do
    local name = file:match "[^/]+$"
    local kind = KINDS[name:match "^openai%-%a+" or name:match "^%a+"]
    if kind then
      it("leaves what it doesn't redact byte for byte: " .. name, function()
        local r = p:replay(file)
        assert.same({}, r.errors)
        assert.equal(0, #r.changes)
        assert.is_true(r.same)
      end)

      -- The same with something to redact in it: a word that no token cuts becomes an address.
      local edited = with_addresses(p, file, kind)
      if edited then
        it("redacts in a recording and leaves the rest byte for byte: " .. name, function()
          local r = replay_text(p, edited, kind)
          assert.same({}, r.errors)
          assert.equal(p:replay(file).outcome, r.outcome)
          assert.equal(#r.before, #r.events)
          local found = 0
          for i, before in ipairs(r.before) do
            local expected, n = before.raw:gsub("me@example%.com", "[EMAIL]")
            assert.equal(expected, r.events[i].raw)
            found = found + n
          end
          assert.is_true(found > 0)
          edits = edits + 1
        end)
      end
    end
  end

  it("was tried on recordings", function()
    if #recordings() == 0 then return pending(shared .. "/streams is not there") end
    assert.is_true(edits >= 3, edits .. " recordings had a word to replace")
  end)
end)
