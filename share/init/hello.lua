-- hello.lua: a first policy. It refuses long prompts, and replaces a word in what the model says, however the provider
-- cuts the text. A hook returns a verdict, or nothing: then weir does what it would do without the hook.
return weir.plugin {
  name = "hello", api = 1, hold = 64,                -- hold: bytes of text that may wait, at least the longest match
  schema = {
    word    = { "string", required = true, doc = "what is looked for, 2 to 64 bytes" },
    instead = { "string", default = "", doc = "what the client reads in its place" },
    prompt  = { "size", default = "256KiB", doc = "longer requests are refused" },
  },
  on_request = function(req, _, conf)
    if req.body_bytes > conf.prompt then return "reject", 413, "the prompt is too long" end
  end,
  on_text = function(win, _, conf)                   -- win: all text that has not left yet
    local i, j = win:find(conf.word, 1, true)
    if i then return "replace", conf.instead, i, j end
    -- The last bytes may be the beginning of the word: they wait for what follows.
    if not win:last() then return "hold", math.max(1, #win - #conf.word + 2) end
  end,
}
