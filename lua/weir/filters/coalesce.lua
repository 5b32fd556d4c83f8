-- weir.filters.coalesce: joins what waits for a slow client, text by text, whatever the route declares.
--
--   local coalesce = require "weir.filters.coalesce"
--   use = { coalesce { give_up = "20s" } }
--
-- The joining is done in C, as with slow_client = { action = "coalesce" }, which costs less where it is for a whole route.
return weir.plugin {
  name = "coalesce", api = 1,
  schema = {
    after   = { "duration", default = "0s", doc = "above the high mark before anything is joined" },
    give_up = { "duration", default = "30s", doc = "above the high mark before the stream is ended" },
  },
  on_slow_client = function(q, _, conf)
    if q.age >= conf.give_up then return "stop", "client too slow" end
    return q.age >= conf.after and "coalesce" or "wait"
  end,
}
