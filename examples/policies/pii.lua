-- pii.lua: takes card numbers, e-mail addresses and API keys out of what a model says.
--
--   use = { pii {} }
--
-- The output doesn't depend on where the provider cuts its text: what may still become a match is held back, up to
-- `hold` bytes.
local RULES = {   -- a plain string that must be there (cheap), the pattern, the tag
  { "",    "%f[%d]%d%d%d%d[ -]?%d%d%d%d[ -]?%d%d%d%d[ -]?%d%d%d%d%f[%D]", "[CARD]"  },
  { "@",   "[%w._+-]+@[%w-]+%.[%w.-]+",                                   "[EMAIL]" },
  { "sk-", "sk%-[%w-]+",                                                  "[KEY]"   },
}
local count = weir.counter("pii_redactions", { window = "1h" })
return weir.plugin {
  name = "pii", api = 1, guard = true,                         -- guard: an error or a limit stops the stream
  needs = { "text", "reasoning", "tool" }, hold = 256,         -- bytes kept back at most = longest match promised
  on_text = function(win, s)                                   -- win: everything not yet sent
    local bi, bj, tag
    for _, r in ipairs(RULES) do
      local i, j = win:find(r[1], 1, true)
      if i then i, j = win:find(r[2]) end
      if i and (not bi or i < bi) then bi, bj, tag = i, j, r[3] end
    end
    if bi and (bj < #win or win:last()) then                   -- a match at the very end may still grow
      count:add(s.key.name, 1)
      return "replace", tag, bi, bj                            -- called again for what follows bj
    end
    local tail = not win:last() and win:tail("%w._+@-", "%d -")
    if tail then return "hold", tail end                       -- a last word or number may become a match
  end,
}
