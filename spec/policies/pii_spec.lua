-- What pii promises: the same output however the provider cuts its tokens, in every dialect, and not a byte more changed.
local t = require "weir.test"
local recordings = require "spec.policies.support.recordings"

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

  for _, file in ipairs(recordings.list()) do
    local name = file:match "[^/]+$"
    local kind = recordings.kind(name)
    if kind then
      it("leaves what it doesn't redact byte for byte: " .. name, function()
        local r = p:replay(file)
        assert.same({}, r.errors)
        assert.equal(0, #r.changes)
        assert.is_true(r.same)
      end)

      -- The same with something to redact in it: a word that no token cuts becomes an address.
      local edited = recordings.with_addresses(p, file, kind)
      if edited then
        it("redacts in a recording and leaves the rest byte for byte: " .. name, function()
          local r = recordings.replay_text(p, edited, kind)
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
    if #recordings.list() == 0 then return pending(recordings.shared .. "/streams is not there") end
    assert.is_true(edits >= 3, edits .. " recordings had a word to replace")
  end)
end)
