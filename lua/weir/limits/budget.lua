-- weir.limits.budget: so many tokens for each key and hour (or minute, or day). Reserved before the call, settled after it.
--
--   local budget = require "weir.limits.budget"
--   use = { budget { tokens = 200000, classes = { paid = 2000000 } } }
--
-- One budget for all workers, exact, kept over reloads. What a stream has reserved is replaced by what it used when it
-- ends, however it ends; a request that can't be reserved for is refused, or goes to an upstream that costs nothing.
local budgets = {}                          -- by conf

return weir.plugin {
  name = "budget", api = 1,
  schema = {
    tokens  = { "integer", default = 200000, min = 1, doc = "for a key that is named nowhere else" },
    classes = { "map of integer", default = {}, doc = "class of the key -> tokens" },
    keys    = { "map of integer", default = {}, doc = "name of the key -> tokens" },
    per     = { "string", default = "1h", one_of = { "1m", "1h", "1d" }, doc = "one budget for each of these" },
    output  = { "integer", default = 1024, min = 1, doc = "tokens of the answer, where the request doesn't say" },
    over    = { "upstream", doc = "who is asked when the tokens are gone; without it the answer is 429" },
  },
  prepare = function(conf)
    budgets[conf] = weir.budget("weir.budget." .. conf.per, { per = conf.per, keys = 10000 })
  end,
  on_request = function(req, s, conf)
    local name, out = s.key.name, req.max_tokens or conf.output
    local limit = conf.keys[name] or conf.classes[s.key.class] or conf.tokens
    local ok, left, reset = budgets[conf]:reserve(s, name, req.prompt_tokens + out, limit)
    if ok then
      s.ctx.cap = out
    elseif conf.over then
      return "route", conf.over, { final = true }
    else
      return "reject", 429, ("token budget: %d left"):format(left), { ["retry-after"] = math.ceil(reset) }
    end
  end,
  on_event = function(_, s)                                    -- a provider may ignore max_tokens
    local cap = s.ctx.cap
    if cap and s.output_tokens > cap then return "stop", "length" end
  end,
}
