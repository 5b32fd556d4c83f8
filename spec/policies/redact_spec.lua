-- What weir.filters.redact promises: the rules, the same output for every cut in every dialect, and not a byte more changed.
local t = require "weir.test"
local recordings = require "spec.policies.support.recordings"

local CASES = {
  { "mail bob@example.com, now.", "mail [EMAIL], now." },
  { "bob.smith+x@mail.example.co.uk.", "[EMAIL]." },
  { "é a@b.de, 🙂 c@d.org", "é [EMAIL], 🙂 [EMAIL]" },
  { "not one: a@b, @home, x @ y.z", "not one: a@b, @home, x @ y.z" },
  { "card 4111 1111 1111 1111.", "card [CARD]." },
  { "12 4111-1111-1111-1111 24", "12 [CARD] 24" },
  { "amex 378282246310005!", "amex [CARD]!" },
  { "no card: 4111 1111 1111 1112.", "no card: 4111 1111 1111 1112." },
  { "at 1700000000000 ms, 4111111111111", "at 1700000000000 ms, 4111111111111" },
  { "to DE89 3704 0044 0532 0130 00 now", "to [IBAN] now" },
  { "GB33BUKB20201555555555 A TEST", "[IBAN] A TEST" },
  { "GB33BUKB20201555555557 IS WRONG", "GB33BUKB20201555555557 IS WRONG" },
  { "call +49 (30) 123-4567, ok", "call [PHONE], ok" },
  { "(555) 123-4567 or 555-123-4567", "[PHONE] or [PHONE]" },
  { "0049 30 1234567: 2026-11-22 10:00", "[PHONE]: 2026-11-22 10:00" },
  { "4111 11 1111 1111 11, 192.168.100.200", "4111 11 1111 1111 11, 192.168.100.200" },
  { "sk-abcdefghijklmnop12 is out", "[KEY] is out" },
  { "task-abcdefghijklmnopqrst isn't", "task-abcdefghijklmnopqrst isn't" },
  { "ghp_0123456789abcdefghij, AKIAIOSFODNN7EXAMPLE", "[KEY], [KEY]" },
  { "b@c.de 4111111111111111 d@e.fr", "[EMAIL] [CARD] [EMAIL]" },
}

describe("weir.filters.redact", function()
  local p = t.policy("weir.filters.redact", {})

  for _, kind in ipairs(t.kinds) do
    for _, case in ipairs(CASES) do
      it(("redacts however tokens are cut: %s: %s"):format(kind, case[1]), function()
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
      end)
    end)
  end

  it("makes a string of a number in arguments", function()
    assert.equal('{"n":"[CARD]"}', p:stream({ tool = '{"n":4111111111111111}' }).tool)
  end)

  -- Pieces that are, begin or break matches, in any order: what comes out may not depend on the cuts.
  it("says the same for texts and cuts that nobody thought of", function()
    local PIECES = { "4111", " ", "-", "1111 ", "1111-1111", "4111111111111111", "bob", "@", "example.com", ".", "DE89 ",
      "DE89370400440532013000", "3704 0044 0532 0130 00", "+49", " (30) ", "555-123-4567", "sk-", "abcdefghijklmnop12", "A",
      "AKIAIOSFODNN7EXAMPLE", "_", "é", ", ", "00", "/", "(", ")", "x", "\n" }
    local seed = 1
    local function random(n)
      seed = (seed * 1103515245 + 12345) % 2147483648
      return seed // 65536 % n + 1
    end
    local changed = 0
    for _ = 1, 400 do
      local text = {}
      for i = 1, 3 + random(9) do text[i] = PIECES[random(#PIECES)] end
      local whole = table.concat(text)
      local r = p:stream { text = whole }
      assert.same({}, r.errors)
      if r.text ~= whole then changed = changed + 1 end
      local chars = {}
      for c in whole:gmatch "[\0-\x7f\xc2-\xf7][\x80-\xbf]*" do chars[#chars + 1] = c end
      assert.equal(r.text, p:stream({ text = chars }).text, whole)
      for _ = 1, 6 do
        local parts = { "" }
        for _, c in ipairs(chars) do
          if random(5) == 1 then parts[#parts + 1] = "" end
          parts[#parts] = parts[#parts] .. c
        end
        assert.equal(r.text, p:stream({ text = parts }).text, table.concat(parts, "|"))
      end
    end
    assert.is_true(changed > 50, changed)
  end)

  it("does what it is told", function()
    local some = t.policy("weir.filters.redact", { which = { "card" }, tags = { card = "<card>" } })
    assert.equal("a@b.de <card>.", some:stream({ text = "a@b.de 4111111111111111." }).text)
    assert.has_error(function() t.policy("weir.filters.redact", { which = { "cards" } }) end)
    assert.has_error(function() t.policy("weir.filters.redact", { hold = 5000 }) end)
  end)

  it("takes own patterns, of the characters that they name", function()
    local mine = t.policy("weir.filters.redact", { which = {}, chars = "%w -",
      patterns = { project = "[Pp]roject %u%l+", ticket = "%f[%w]TICKET%-%d+", wide = "x.y" } })
    t.every_cut("my Project Falcon, TICKET-12, x,y.", function(parts)
      local r = mine:stream { text = parts }
      assert.same({}, r.errors)
      assert.equal("my [PROJECT], [TICKET], x,y.", r.text)
    end)
  end)

  it("holds no more than it is told", function()
    local short = t.policy("weir.filters.redact", { hold = 32 })
    local long = ("a"):rep(100)
    local r = short:stream { text = { long, long, "@x.de." } }
    assert.same({}, r.errors)
    assert.equal(long .. ("a"):rep(100 - 32) .. "[EMAIL].", r.text)
  end)

  it("holds words of any length whole", function()
    for n = 40, 60 do
      local r = p:stream { text = { "to ", ("a"):rep(n), "@x.de." } }
      assert.same({}, r.errors)
      assert.equal("to [EMAIL].", r.text)
    end
  end)

  it("counts by rule", function()
    local n = t.policy("weir.filters.redact", {}, { declare = [[
      local n = weir.counter("weir.redact", { window = "1h", keys = 64 })
      weir.use { weir.plugin { name = "seen", api = 1, on_end = function()
        weir.log.info("%d cards, %d addresses", n:get "card", n:get "email")
      end } {} }]] })
    local log = n:stream({ text = "a@b.de 4111111111111111 c@d.de" }).log
    assert.is_truthy(log[1] and log[1]:find("1 cards, 2 addresses", 1, true), log[1])
  end)

  it("stops the stream when it fails", function()
    local small = t.policy("weir.filters.redact", {}, { lua = { instructions = 1000 } })
    local r = small:stream { text = { "bob@example.com ", ("4111 "):rep(300) } }
    assert.equal("stopped", r.outcome)
    assert.is_truthy(r.errors[1]:find("over the limit: 1000 instructions", 1, true))
  end)

  it("stays below its limits with long pieces", function()
    local LONG = { ["words and words, 12 of them - "] = 2048, [" 12 34"] = 2048, ["a_b@c "] = 2048, ["1234 "] = 2048,
      ["+0 0049 "] = 1024, ["2234 "] = 512, ["AB12 "] = 256 }
    for text, bytes in pairs(LONG) do
      local r = p:stream { text = { text:rep(bytes // #text), "bob@example.com" } }
      assert.same({}, r.errors)
      assert.equal("[EMAIL]", r.text:match "%[EMAIL%]$")
    end
  end)

  local edits = 0
  for _, file in ipairs(recordings.list()) do
    local name = file:match "[^/]+$"
    local kind = recordings.kind(name)
    if kind then
      local text = recordings.read(file)
      it("leaves what it doesn't redact byte for byte: " .. name, function()
        local r = p:replay(file)
        assert.same({}, r.errors)
        assert.same({}, r.changes)
        assert.is_true(r.same)
      end)
      local edited = recordings.with_addresses(p, file, kind)
      if edited and edited ~= text then
        it("redacts in a recording and leaves the rest byte for byte: " .. name, function()
          local r = recordings.replay_text(p, edited, kind)
          assert.same({}, r.errors)
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
