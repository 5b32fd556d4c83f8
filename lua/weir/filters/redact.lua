-- weir.filters.redact: takes card numbers, IBANs, e-mail addresses, phone numbers and API keys out of what a model says.
--
--   local redact = require "weir.filters.redact"
--   use = { redact { which = { "card", "email" }, patterns = { ticket = "TICKET%-%d+" } } }
--
-- The output doesn't depend on where the provider cuts its text. A match consists of characters of one class: while a
-- run of that class reaches the end of the window it may still grow into a match and is held; once another character
-- has come, everything about it is decided. Words are held whole, so what stands before a match is known as well.
local WORD = "%w._+@(-"                     -- e-mail addresses, keys, and what a number may begin with
local NUMBER = "%d +()./-"                  -- digits of cards and phones, and what stands between them
local ACCOUNT = "%u%d "                     -- IBANs
local HINT = "[%d@_A-]"                     -- a text without one of these has nothing for the built-in rules
local SPACE = 32

local KEYS = {                              -- how API keys begin, and how many characters follow at least
  { "sk-", 16 }, { "sk_live_", 16 }, { "rk_live_", 16 }, { "ghp_", 20 }, { "gho_", 20 }, { "ghu_", 20 }, { "ghs_", 20 },
  { "github_pat_", 20 }, { "glpat-", 16 }, { "xoxb-", 16 }, { "xoxp-", 16 }, { "hf_", 20 },
  { "AKIA", 16 }, { "ASIA", 16 }, { "AIza", 30 },
}
local count = weir.counter("weir.redact", { window = "1h", keys = 64 })        -- by rule

local function digit_of(byte) return byte and byte >= 48 and byte <= 57 and byte - 48 or nil end

-- Where the longest card number that begins at `from` ends: 13 to 19 digits that Luhn's sum is right for, in groups with
-- a space or "-" between, all but the last of at least four.
local function card_end(win, from)
  local digits, group, once, twice, found = 0, 0, 0, 0, nil
  local byte = win:byte(from)
  for i = from, from + 23 do
    local digit, next = digit_of(byte), win:byte(i + 1)
    if digit then
      digits, group = digits + 1, group + 1
      once, twice = twice + digit, once + (digit > 4 and 2 * digit - 9 or 2 * digit)
      if digits > 19 then break end
      if digits >= 13 and once % 10 == 0 and not digit_of(next) then found = i end
    elseif group < 4 or byte ~= SPACE and byte ~= 45 then
      break
    else
      group = 0
    end
    byte = next
  end
  return found
end

local function card(win)
  local from = win:find "%f[%d][2-6]%d%d%d"
  while from do
    local to = card_end(win, from)
    if to then return from, to end
    from = win:find("%f[%d][2-6]%d%d%d", from + 4)
  end
end

-- Where the longest IBAN that begins at `from` ends: 15 to 34 letters and digits, with single spaces between, whose
-- number, the first four moved to the end, leaves 1 when divided by 97.
local function iban_end(win, from)
  local chars, head, rest, found = 0, 0, 0, nil
  local byte = win:byte(from)
  for i = from, from + 50 do
    local next = win:byte(i + 1)
    local value = digit_of(byte) or byte and byte >= 65 and byte <= 90 and byte - 55
    if value then
      local shift = value > 9 and 100 or 10
      chars = chars + 1
      if chars > 34 then break end
      if chars <= 4 then head = head * shift + value else rest = (rest * shift + value) % 97 end
      if chars >= 15 and (rest * 1000000 + head) % 97 == 1 and not win:find("^%w", i + 1) then found = i end
    elseif byte ~= SPACE or next == SPACE then
      break
    end
    byte = next
  end
  return found
end

local function iban(win)
  local from = win:find "%f[%w]%u%u%d%d[%u%d ]"
  while from do
    local to = iban_end(win, from)
    if to then return from, to end
    from = win:find("%f[%w]%u%u%d%d[%u%d ]", from + 4)
  end
end

-- From the "@" in both directions, so that a long word costs one pass.
local function email(win)
  local at = win:find("@", 1, true)
  while at do
    local _, j = win:find("^[%w-]+%.[%w.-]*%w", at + 1)
    local i = j and at > 1 and win:sub(1, at - 1):tail "%w._+-"
    if i then return i, j end
    at = win:find("@", at + 1, true)
  end
end

-- Where the international number ends whose digits begin at `from`: 8 to 15, with one or two of " ()./-" between.
local function phone_end(win, from)
  local digits, between, found = 0, 0, nil
  for i = from, from + 45 do
    local byte = win:byte(i)
    if digit_of(byte) then
      digits, between = digits + 1, 0
      if digits > 15 then break end
      if digits >= 8 and not digit_of(win:byte(i + 1)) then found = i end
    elseif between < 2 and win:find("^[ ()./-]", i) then
      between = between + 1
    else
      break
    end
  end
  return found
end

local NATIONAL = "%f[%d(]%(?[2-9]%d%d%)?[ .-]%d%d%d[.-]%d%d%d%d%f[%D]"
local ABROAD = "%f[%w+][+0]%d"

local function phone(win, len)
  local bi, bj
  if len >= 12 then bi, bj = win:find(NATIONAL) end
  local i, j = win:find(ABROAD)
  while i and not (bi and bi < i) do
    local to
    if win:byte(i) == 43 then to = phone_end(win, j) else to = win:find("^00[1-9]", i) and phone_end(win, i + 2) end
    if to then return i, to end
    i, j = win:find(ABROAD, i + 1)
  end
  return bi, bj
end

local function key(win)
  if not win:find "[_-]" and not win:find "A[KSI]" then return nil end
  local bi, bj
  for _, rule in ipairs(KEYS) do
    local i, last = win:find(rule[1], 1, true)
    while i and not (bi and bi <= i) do
      local _, j = win:find("^[%w_-]+", last + 1)
      if j and j - last >= rule[2] and not win:find("^%w", i - 1 > 0 and i - 1 or #win + 1) then
        bi, bj = i, j
      else
        i, last = win:find(rule[1], last + 1, true)
      end
    end
  end
  return bi, bj
end

-- A pattern of the configuration. What it matches must consist of `chars`, or cuts could be seen.
local function own(pattern, chars)
  return function(win)
    local i, j = win:find(pattern)
    while i do
      if j >= i and win:sub(i, j):tail(chars) == 1 then return i, j end
      i, j = win:find(pattern, i + 1)
    end
  end
end

local BUILT_IN = { card = card, iban = iban, email = email, phone = phone, key = key }
-- The shortest match of each: a token is mostly shorter, and then the rule isn't asked.
local SHORTEST = { card = 13, iban = 15, email = 5, phone = 9, key = 19 }
local rules_of = {}                         -- by conf: what prepare made of it

local function prepare(conf)
  local rules = {}
  local function add(name, find, shortest)
    rules[#rules + 1] = { name = name, find = find, shortest = shortest,
                          tag = conf.tags[name] or "[" .. name:upper() .. "]" }
  end
  for _, name in ipairs(conf.which) do add(name, BUILT_IN[name], SHORTEST[name]) end
  local names = {}
  for name in pairs(conf.patterns) do names[#names + 1] = name end
  table.sort(names)                         -- of equal matches the first rule's counts, in every VM
  for _, name in ipairs(names) do add(name, own(conf.patterns[name], conf.chars), 0) end
  rules.own = #names > 0
  rules_of[conf] = rules
end

-- The match that begins first; of those the longest.
local function first_match(win, len, rules)
  local bi, bj, best
  for k = 1, #rules do
    local rule = rules[k]
    if len >= rule.shortest then
      local i, j = rule.find(win, len)
      if i and (not bi or i < bi or i == bi and j > bj) then bi, bj, best = i, j, rule end
    end
  end
  return bi, bj, best
end

-- Where what is not yet decided begins; behind the end when all is.
local function undecided(win, len, conf, hint, own_rules)
  if hint and not own_rules and not win:tail(WORD, NUMBER, ACCOUNT) then return len + 1 end
  local word = win:tail(WORD) or len + 1
  local at = word
  if hint then
    local from = win:tail(NUMBER)
    from = from and win:find("[%d+(]", from)
    if from and from < at then at = from end
    from = win:tail(ACCOUNT)
    from = from and win:find("%u%u%d%d", from)
    if from and from < at then at = from end
  end
  local from = own_rules and win:tail(conf.chars)
  if from and from < at then at = from end
  if at < word and at > 1 then at = win:sub(1, at - 1):tail(WORD) or at end
  return math.max(at, len - conf.hold + 1)
end

return weir.plugin {
  name = "redact", api = 1, guard = true,
  needs = { "text", "reasoning", "tool" }, hold = 4096,
  schema = {
    which    = { "list of string", default = { "card", "iban", "email", "phone", "key" },
                 one_of = { "card", "iban", "email", "phone", "key" }, doc = "the built-in rules" },
    tags     = { "map of string", default = {}, doc = "rule -> what stands in its place; else its name, as `[CARD]`" },
    patterns = { "map of string", default = {}, doc = "own rules: name -> Lua pattern" },
    chars    = { "string", default = "%w._+@-", doc = "what matches of `patterns` consist of, as in a set" },
    hold     = { "integer", default = 256, min = 32, max = 4096, doc = "bytes held at most: the longest match" },
  },
  prepare = prepare,
  on_text = function(win, _, conf)
    local rules, len = rules_of[conf], #win
    local hint = win:find(HINT)
    local open = win:last() and len + 1 or undecided(win, len, conf, hint, rules.own)
    if hint or rules.own then
      local i, j, rule = first_match(win, len, rules)
      if i and i < open then
        count:add(rule.name, 1)
        return "replace", rule.tag, i, j
      end
    end
    if open <= len then return "hold", open end
  end,
}
