-- weir.balance.sticky: a session (or a key) keeps its upstream for as long as that is well.
--
--   local sticky = require "weir.balance.sticky"
--   use = { sticky { order = { "gpu-1", "gpu-2", "gpu-3" }, header = "x-session-id" } }
--
-- Nothing is remembered: each upstream's name is hashed with the session's, and the highest of those that are well has it.
-- So all workers agree, a reload changes nothing, and when one goes away only its own sessions move, evenly to all others.
local function weight(session, name)
  local h = 2166136261
  local text = name .. "\0" .. session
  for i = 1, math.min(#text, 256) do h = ((h ~ text:byte(i)) * 16777619) & 0xffffffff end
  h = ((h ~ (h >> 16)) * 0x85ebca6b) & 0xffffffff              -- FNV leaves similar names close to each other
  h = ((h ~ (h >> 13)) * 0xc2b2ae35) & 0xffffffff
  return h ~ (h >> 16)
end

local function pick(session, s, conf)
  local best, most
  for _, name in ipairs(conf.order) do
    local u = weir.live.upstream(name)
    if u.healthy and u.room > 0 and not s:tried(name) then
      local w = weight(session, name)
      if not most or w > most then best, most = name, w end
    end
  end
  return best
end

return weir.plugin {
  name = "sticky", api = 1,
  schema = {
    order  = { "list of upstream", required = true, doc = "those that share the sessions" },
    header = { "string", default = "x-session-id", doc = "names the session; a request without it goes by its key" },
  },
  on_request = function(req, s, conf)
    local session = req:header(conf.header) or s.key.name
    if session == "anonymous" then return nil end              -- no key either: the route's own `to`
    s.ctx.session = session
    local name = pick(session, s, conf)
    if name then return "route", name end
  end,
  on_upstream_error = function(err, s, conf)
    if err.committed or not s.ctx.session then return nil end
    local name = pick(s.ctx.session, s, conf)
    if name then return "fallback", name end
  end,
}
