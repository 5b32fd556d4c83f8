-- weir.slow.by_class: what is done about a slow client, by the class of its key.
--
--   local slow = require "weir.slow.by_class"
--   use = { slow { classes = { paid = "pause_upstream", batch = "stop" }, give_up = "30s" } }
--
-- Asked at the high mark of slow_client, then each second above it.
local ACTIONS = { "wait", "pause_upstream", "coalesce", "stop" }

return weir.plugin {
  name = "by_class", api = 1,
  schema = {
    classes = { "map of string", default = { paid = "pause_upstream" }, one_of = ACTIONS, doc = "class of the key -> action" },
    default = { "string", default = "coalesce", one_of = ACTIONS, doc = "for all others" },
    pause   = { "size", default = "512KiB", doc = "what may wait while the upstream is paused; above, it is joined" },
    give_up = { "duration", default = "30s", doc = "above the high mark before any stream is ended" },
  },
  on_slow_client = function(q, s, conf)
    if q.age > conf.give_up then return "stop", "client too slow" end
    local action = conf.classes[s.key.class] or conf.default
    if action == "pause_upstream" and q.bytes >= conf.pause then return "coalesce" end
    if action == "stop" then return "stop", "client too slow" end
    return action
  end,
}
