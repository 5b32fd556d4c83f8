-- cost.lua: the cheapest upstream that has room; another one when it fails.
local function cheapest(req, s, conf)
  local best, least
  for _, name in ipairs(conf.order) do
    local u = weir.live.upstream(name)                         -- read-only: healthy, room, first_token, price()
    local c = u.healthy and u.room > 0 and not s:tried(name)
              and u:price(req.model, req.prompt_tokens, req.max_tokens or 1024)
    if c and (not least or c < least) then best, least = name, c end
  end
  return best, least
end
return weir.plugin {
  name = "cost", api = 1,
  schema = { order   = { "list of upstream", required = true, doc = "candidates; the order breaks ties" },
             ceiling = { "number", default = 0.05, min = 0, doc = "dollars one request may cost at most" } },
  on_request = function(req, s, conf)
    local name, dollars = cheapest(req, s, conf)
    if not name then return "reject", 503, "no upstream has room" end
    if dollars > conf.ceiling then return "reject", 402, ("would cost about $%.4f"):format(dollars) end
    return "route", name
  end,
  on_upstream_error = function(err, s, conf)
    if err.committed then return "fail" end                    -- the client already has bytes of an answer
    if err.status == 429 and (err.retry_after or 99) <= 1 then return "retry", err.retry_after end
    local name = cheapest(s.request, s, conf)
    if name then return "fallback", name end                   -- nil: the declared retry rules decide
  end,
}
