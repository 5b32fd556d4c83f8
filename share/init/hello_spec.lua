-- What policies/hello.lua does, tried with weir's own code and without a server: weir test
local t = require "weir.test"

describe("hello", function()
  local p = t.policy("policies/hello.lua", { word = "river", instead = "brook", prompt = "1KiB" })

  for _, kind in ipairs(t.kinds) do                  -- the APIs: openai, responses, anthropic, ollama
    it("replaces the word however its text is cut: " .. kind, function()
      t.every_cut("a river, riverside", function(parts)
        local r = p:stream { kind = kind, text = parts }
        assert.equal("a brook, brookside", r.text)
        assert.same({}, r.errors)                    -- a policy without a guard hides its failures; a test must not
      end)
    end)
  end

  it("refuses long prompts", function()
    local r = p:request { prompt = ("x"):rep(2000) }
    assert.equal("reject", r.verdict)
    assert.equal(413, r.status)
    assert.is_nil(p:request { prompt = "short" }.verdict)
  end)
end)
