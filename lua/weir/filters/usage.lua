-- weir.filters.usage: counts requests and tokens by key, model, route or upstream, and writes them to the log.
--
--   local usage = require "weir.filters.usage"
--   weir.use { usage { by = { "key", "model" } } }
--
-- Any policy reads the counters: weir.counter("weir.usage.output", { window = "1h", keys = 4000 }):get "key:team-a".
-- They are exact over all workers and survive a reload; tokens are what budgets are charged where a provider says nothing.
local OPTIONS = { window = "1h", keys = 4000 }
local requests = weir.counter("weir.usage.requests", OPTIONS)
local input = weir.counter("weir.usage.input", OPTIONS)
local output = weir.counter("weir.usage.output", OPTIONS)
local millicents = weir.counter("weir.usage.millicents", OPTIONS)

local NAMES = {
  key = function(s) return s.key.name end, model = function(s) return s.model end,
  route = function(s) return s.route end, upstream = function(s) return s.upstream end,
}

return weir.plugin {
  name = "usage", api = 1,
  schema = {
    by  = { "list of string", default = { "key" }, one_of = { "key", "model", "route", "upstream" },
            doc = "a counter for each value of these" },
    log = { "boolean", default = false, doc = "a line for each stream (at most ten a second)" },
  },
  on_end = function(fin, s, conf)
    local u = fin.usage
    local i, o = u.input or 0, u.output or math.max(0, u.charged - (u.input or 0))
    for _, what in ipairs(conf.by) do
      local name = what .. ":" .. (NAMES[what](s) or "-")
      requests:add(name, 1)
      input:add(name, i)
      output:add(name, o)
      if fin.cost then millicents:add(name, math.floor(fin.cost * 1e5 + 0.5)) end
    end
    if conf.log then
      weir.log.info("usage key=%s model=%s route=%s input=%d output=%d status=%s outcome=%s", s.key.name,
        s.model or "-", s.route, i, o, u.status, fin.outcome)
    end
  end,
}
