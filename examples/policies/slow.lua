-- slow.lua: paid keys hold the upstream back, others get coalesced text, hopeless clients are let go.
return weir.plugin {
  name = "slow", api = 1,
  schema = { give_up = { "duration", default = "30s" }, paid_bytes = { "size", default = "512KiB" } },
  on_slow_client = function(q, s, conf)                        -- at the high mark, then each second above it
    if q.age > conf.give_up then return "stop", "client too slow" end
    if s.key.class == "paid" and q.bytes < conf.paid_bytes then return "pause_upstream" end
    if q.events > 8 then return "coalesce" end                 -- merge queued text deltas into one event
    return "wait"
  end,
}
