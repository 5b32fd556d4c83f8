-- weir.balance.cost: the cheapest upstream that is well and has room; the next one when it fails.
--
--   local cost = require "weir.balance.cost"
--   use = { cost { order = { "openai", "claude", "local" }, ceiling = 0.05 } }
--
-- Prices are those of the upstreams' `price`. One without costs nothing, so it goes first.
local function cheapest(req, s, conf)
  local best, least
  for _, name in ipairs(conf.order) do
    local u = weir.live.upstream(name)
    local dollars = u.healthy and u.room > 0 and not s:tried(name)
                    and u:price(req.model, req.prompt_tokens, req.max_tokens or conf.output)
    if dollars and (not least or dollars < least) then best, least = name, dollars end
  end
  return best, least
end

return weir.plugin {
  name = "cost", api = 1,
  schema = {
    order    = { "list of upstream", required = true, doc = "candidates; of equal ones the first" },
    ceiling  = { "number", min = 0, doc = "dollars that a request may cost at most" },
    output   = { "integer", default = 1024, min = 1, doc = "tokens of the answer, where the request doesn't say" },
    patience = { "duration", default = "1s", doc = "a 429 with a shorter `retry-after` is waited for" },
  },
  on_request = function(req, s, conf)
    local name, dollars = cheapest(req, s, conf)
    if not name then return "reject", 503, "no upstream has room" end
    if conf.ceiling and dollars > conf.ceiling then
      return "reject", 402, ("would cost about $%.4f"):format(dollars)
    end
    return "route", name
  end,
  on_upstream_error = function(err, s, conf)
    if err.committed then return "fail" end
    if err.status == 429 and err.retry_after and err.retry_after <= conf.patience then
      return "retry", err.retry_after
    end
    local name = s.request and cheapest(s.request, s, conf)    -- nil: the request is too long to be sent again
    if name then return "fallback", name end
  end,
}
