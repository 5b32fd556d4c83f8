-- stop_words.lua: ends a stream when the model says one of a few words.
--
--   use = { stop_words { words = { "project falcon", "internal only" } } }
--
-- A word may be cut over several events, so the end of what was said is kept, per choice. Bytes that went out before the
-- last piece of a word came are gone: to keep them back takes a window (on_text), which costs latency.
local KEEP = 64                                    -- bytes: longer words are found only if they come in one event

return weir.plugin {
  name = "stop_words", api = 1, guard = true,      -- guard: if this policy fails, the stream stops
  schema = { words = { "list of string", required = true, doc = "compared as they are written" } },
  on_event = function(ev, s, conf)
    if ev.kind ~= "text" or not ev.text then return nil end
    local said = (s.ctx[ev.index] or "") .. ev.text
    for _, word in ipairs(conf.words) do
      if said:find(word, 1, true) then return "stop", "stop_word" end
    end
    s.ctx[ev.index] = said:sub(-KEEP)
  end,
}
