-- weir.pressure.ladder: what becomes of requests while the ladder of weir.pressure is above 0, by class of key.
--
--   local ladder = require "weir.pressure.ladder"
--   weir.use { ladder { refuse = { batch = 1, free = 2 }, degrade = 2, to = "local", output = 512 } }
--
-- weir.pressure declares the steps and what C does on each. This adds what needs to know who asks: classes are refused one
-- after the other, and the others get a cheaper upstream and shorter answers before anyone else is refused.
local refused = weir.counter("weir.ladder.refused", { window = "1m", keys = 64 })   -- by class

return weir.plugin {
  name = "ladder", api = 1,
  schema = {
    refuse  = { "map of integer", default = { batch = 1 }, min = 1, doc = "class of the key -> step from which it gets 503" },
    wait    = { "duration", default = "30s", min = "1s", doc = "what they are told to wait" },
    degrade = { "integer", default = 2, min = 1, doc = "step from which `to` is asked" },
    to      = { "upstream", doc = "who is asked instead; without it all others go on as they are" },
    output  = { "integer", min = 1, doc = "tokens of an answer of `to` at most" },
    lag     = { "duration", default = "50ms", doc = "a loop that is later than this puts the ladder on step 2 at least" },
    night   = { "boolean", default = false, doc = "from 0 to 6 UTC step 2 is taken for step 1" },
  },
  on_pressure = function(p, conf)
    if p.loop_lag > conf.lag and p.step < 2 then return "step", 2 end
    if conf.night and p.step == 2 and weir.date "%H" < "06" then return "step", 1 end
  end,
  on_request = function(req, s, conf)
    local step = weir.live.pressure().step
    if step == 0 then return nil end
    local class = s.key.class
    local from = conf.refuse[class]
    if from and step >= from then
      refused:add(class, 1)
      return "reject", 503, "busy, try later", { ["retry-after"] = math.ceil(conf.wait) }
    end
    if conf.to and step >= conf.degrade then
      local output = conf.output and math.min(req.max_tokens or conf.output, conf.output)
      return "route", conf.to, { max_tokens = output, final = true }
    end
  end,
}
