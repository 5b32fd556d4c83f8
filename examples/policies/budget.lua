-- budget.lua: tokens per key and hour; reserved before the call, settled with real usage after it.
local budget = weir.budget("tokens", { per = "1h", keys = 10000 })             -- one for all workers
return weir.plugin {
  name = "budget", api = 1,
  schema = { tokens  = { "integer", default = 200000, min = 1 },
             tenants = { "map of integer", default = {}, doc = "key name -> tokens" } },
  on_request = function(req, s, conf)
    local name, out = s.key.name, req.max_tokens or 1024
    local ok, left, reset = budget:reserve(s, name, req.prompt_tokens + out, conf.tenants[name] or conf.tokens)
    if not ok then return "reject", 429, ("token budget: %d left"):format(left), { ["retry-after"] = reset } end
    s.ctx.cap = out
  end,
  on_event = function(_, s)                                    -- a provider may ignore max_tokens
    if s.output_tokens > s.ctx.cap then return "stop", "length" end
  end,
  on_end = function(fin, s)                                    -- the core has settled the reservation already
    local u = fin.usage
    if u.status ~= "complete" then weir.log.warn("%s: usage %s, charged %d", s.id, u.status, u.charged) end
  end,
}
