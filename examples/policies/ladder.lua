-- ladder.lua: conf.lua declares the ladder; Lua only bends it.
local shed = weir.counter("shed", { window = "1m" })
return weir.plugin {
  name = "ladder", api = 1,
  schema = { night = { "boolean", default = false, doc = "batch traffic is welcome at night" } },
  on_pressure = function(p, conf)                              -- on each change of step, then every second above 0
    if conf.night and p.step == 2 and weir.date("%H") < "06" then return "step", 1 end
    if p.loop_lag > 0.050 and p.step < 2 then return "step", 2 end
  end,
  on_request = function(req, s)
    local step = weir.live.pressure().step
    if step >= 1 and s.key.class == "batch" then
      shed:add("batch", 1)
      return "reject", 503, "busy, try later", { ["retry-after"] = 30 }
    elseif step >= 2 then                                      -- degrade before refusing
      return "route", "local", { max_tokens = math.min(req.max_tokens or 512, 512), final = true }
    end
  end,
}
