-- weir.filters.stop_words: ends a stream before the client sees one of a few words.
--
--   local stop_words = require "weir.filters.stop_words"
--   use = { stop_words { words = { "project falcon", "internal only" } } }
--
-- What stands before the word is sent, the word and what follows it never are. The end of what was said is held only
-- from a character on with which a word begins.
local compiled = {}                         -- by conf: what prepare made of it

local function escaped(char) return char:find "%p" and "%" .. char or char end

local function either_case(char)
  local lower, upper = char:lower(), char:upper()
  return lower == upper and escaped(char) or "[" .. lower .. upper .. "]"
end

local function prepare(conf)
  local patterns, first, longest = {}, "", 0
  for i, word in ipairs(conf.words) do
    if word == "" then error("words: an empty word", 0) end
    if #word > 256 then error("words: longer than 256 bytes", 0) end
    patterns[i] = word:gsub(".", conf.ignore_case and either_case or escaped)
    local char = word:sub(1, 1)
    first = first .. escaped(char:lower()) .. (conf.ignore_case and escaped(char:upper()) or escaped(char))
    longest = math.max(longest, #word)
  end
  compiled[conf] = { patterns = patterns, first = first ~= "" and "[" .. first .. "]", longest = longest }
end

return weir.plugin {
  name = "stop_words", api = 1, guard = true,
  needs = { "text", "reasoning" }, hold = 256,
  schema = {
    words       = { "list of string", required = true, doc = "up to 256 bytes each" },
    ignore_case = { "boolean", default = true, doc = "of the letters A to Z" },
    reason      = { "string", default = "stop_word", doc = "for the log; `length` ends the stream as over budget" },
  },
  prepare = prepare,
  on_text = function(win, _, conf)
    local c = compiled[conf]
    local at
    for _, pattern in ipairs(c.patterns) do
      local i = win:find(pattern)
      if i and (not at or i < at) then at = i end
    end
    if at == 1 then return "stop", conf.reason end
    if at then return "replace", "", at, at - 1 end            -- sends what is before; asked again from the word on
    local open = c.first and win:find(c.first, math.max(1, #win - c.longest + 2))
    if open then return "hold", open end
  end,
}
