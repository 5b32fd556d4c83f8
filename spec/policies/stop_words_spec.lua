local t = require "weir.test"

describe("stop_words", function()
  local p = t.policy("examples/policies/stop_words.lua", { words = { "project falcon" } })

  for _, kind in ipairs(t.kinds) do
    it("ends the stream however the word is cut: " .. kind, function()
      t.every_cut("project falcon", function(parts)
        local r = p:stream { kind = kind, text = { "we call it ", table.concat(parts, "|", 1, 0), table.unpack(parts) } }
        assert.equal("stopped", r.outcome)
        assert.is_nil(r.text:find("project falcon", 1, true))
        assert.is_true(r.whole)
        assert.same({}, r.errors)
      end)
    end)

    it("leaves other streams as they are: " .. kind, function()
      local r = p:stream { kind = kind, text = { "project ", "sparrow" } }
      assert.equal("complete", r.outcome)
      assert.equal("project sparrow", r.text)
      assert.same({}, r.verdicts)
    end)
  end
end)
