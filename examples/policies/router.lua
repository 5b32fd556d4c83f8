-- router.lua: a header of the request chooses the upstream or group.
--
--   weir.route "chat" {
--     match = { path = "/v1/chat/completions" }, to = "openai",
--     use = { router { header = "x-tier", routes = { free = "local", gold = "openai" } } },
--   }
return weir.plugin {
  name = "router", api = 1,
  schema = {
    header   = { "string", default = "x-tier", doc = "the header that chooses" },
    routes   = { "map of upstream", required = true, doc = "value of the header -> upstream or group" },
    required = { "boolean", default = false, doc = "refuse requests without the header" },
    models   = { "map of string", default = {}, doc = "value of the header -> model to ask for" },
  },
  on_request = function(req, _, conf)
    local value = req:header(conf.header)
    if not value then
      if conf.required then return "reject", 400, ("the header %s is required"):format(conf.header) end
      return nil                                   -- the route's own `to`
    end
    local name = conf.routes[value]
    if not name then return "reject", 403, ("%s: unknown value"):format(conf.header) end
    return "route", name, { model = conf.models[value] }
  end,
}
