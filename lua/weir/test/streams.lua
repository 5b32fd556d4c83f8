-- streams.lua: answers of providers around a text that is cut anywhere, as their APIs write them: one part an event.
--
-- build(kind, what) gives a list of parts; what = { text, reasoning, tool: lists of strings; model; usage = { input,
-- output } }. The texts come in this order: reasoning, text, the arguments of one tool call.
local streams = {}

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }
local function escape(c) return ESCAPES[c] or ("\\u%04x"):format(c:byte()) end

---A JSON string.
---@param text string
---@return string
function streams.quote(text) return '"' .. text:gsub('[%c"\\]', escape) .. '"' end

-- A format whose %Q are JSON strings and %s go in as they are.
local function json(format, ...)
  local args, n = { ... }, 0
  return (format:gsub("%%([Qs])", function(how)
    n = n + 1
    return how == "Q" and streams.quote(args[n]) or tostring(args[n])
  end))
end

local function sse(data, name) return (name and "event: " .. name .. "\n" or "") .. "data: " .. data .. "\n\n" end

local function openai(what)
  local out = {}
  local function chunk(delta, finish)
    out[#out + 1] = sse(json('{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":%Q,'
      .. '"choices":[{"index":0,"delta":%s,"finish_reason":%s}]}', what.model, delta, finish or "null"))
  end
  chunk '{"role":"assistant","content":""}'
  for _, part in ipairs(what.reasoning) do chunk(json('{"reasoning_content":%Q}', part)) end
  for _, part in ipairs(what.text) do chunk(json('{"content":%Q}', part)) end
  for i, part in ipairs(what.tool) do
    local name = i == 1 and '"id":"call_1","type":"function",' or ""
    local fn = i == 1 and '"name":"call",' or ""
    chunk(json('{"tool_calls":[{"index":0,%s"function":{%s"arguments":%Q}}]}', name, fn, part))
  end
  chunk("{}", #what.tool > 0 and '"tool_calls"' or '"stop"')
  out[#out + 1] = sse(json('{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":%Q,"choices":[],'
    .. '"usage":{"prompt_tokens":%s,"completion_tokens":%s,"total_tokens":%s}}',
    what.model, what.usage.input, what.usage.output, what.usage.input + what.usage.output))
  out[#out + 1] = sse "[DONE]"
  return out
end

local function responses(what)
  local out, items = {}, {}
  local function event(name, format, ...)
    out[#out + 1] = sse(json('{"type":%Q,"sequence_number":%s,' .. format .. "}", name, #out, ...), name)
  end
  local function item(parts, kind, shape)
    if #parts == 0 then return end
    local whole, at = table.concat(parts), #items
    local place = ('"item_id":"item_%d","output_index":%d,"content_index":0,'):format(at, at)
    for _, part in ipairs(parts) do event(("response.%s.delta"):format(kind), place .. '"delta":%Q', part) end
    event(("response.%s.done"):format(kind), place .. (kind:find "arguments" and '"arguments":%Q' or '"text":%Q'), whole)
    items[at + 1] = json(shape, whole)
    event("response.output_item.done", '"output_index":%s,"item":%s', at, items[at + 1])
  end
  event("response.created", '"response":{"id":"resp_1","object":"response","status":"in_progress","model":%Q}', what.model)
  item(what.reasoning, "reasoning_text", '{"type":"reasoning","content":[{"type":"reasoning_text","text":%Q}]}')
  item(what.text, "output_text", '{"type":"message","role":"assistant","content":[{"type":"output_text","text":%Q}]}')
  item(what.tool, "function_call_arguments", '{"type":"function_call","name":"call","call_id":"call_1","arguments":%Q}')
  event("response.completed", '"response":{"id":"resp_1","object":"response","status":"completed","model":%Q,'
    .. '"output":[%s],"usage":{"input_tokens":%s,"output_tokens":%s}}',
    what.model, table.concat(items, ","), what.usage.input, what.usage.output)
  return out
end

local function anthropic(what)
  local out, index = {}, -1
  local function event(name, format, ...)
    out[#out + 1] = sse(json('{"type":%Q' .. format .. "}", name, ...), name)
  end
  local function block(parts, start, format)
    if #parts == 0 then return end
    index = index + 1
    event("content_block_start", ',"index":%s,"content_block":%s', index, start)
    for _, part in ipairs(parts) do event("content_block_delta", ',"index":%s,"delta":' .. format, index, part) end
    event("content_block_stop", ',"index":%s', index)
  end
  event("message_start", ',"message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":%Q,'
    .. '"stop_reason":null,"usage":{"input_tokens":%s,"output_tokens":1}}', what.model, what.usage.input)
  block(what.reasoning, '{"type":"thinking","thinking":""}', '{"type":"thinking_delta","thinking":%Q}')
  block(what.text, '{"type":"text","text":""}', '{"type":"text_delta","text":%Q}')
  block(what.tool, '{"type":"tool_use","id":"toolu_1","name":"call","input":{}}', '{"type":"input_json_delta","partial_json":%Q}')
  event("message_delta", ',"delta":{"stop_reason":%Q},"usage":{"output_tokens":%s}',
    #what.tool > 0 and "tool_use" or "end_turn", what.usage.output)
  event("message_stop", "")
  return out
end

local function ollama(what)
  local out = {}
  local function line(done, message, more)
    out[#out + 1] = json('{"model":%Q,"created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant",%s},"done":%s%s}\n',
      what.model, message, done, more or "")
  end
  for _, part in ipairs(what.reasoning) do line(false, json('"content":"","thinking":%Q', part)) end
  for _, part in ipairs(what.text) do line(false, json('"content":%Q', part)) end
  -- Ollama gives the arguments of a call whole, as an object.
  if #what.tool > 0 then
    line(false, json('"content":"","tool_calls":[{"function":{"name":"call","arguments":%s}}]', table.concat(what.tool)))
  end
  line(true, '"content":""', json(',"done_reason":"stop","prompt_eval_count":%s,"eval_count":%s', what.usage.input, what.usage.output))
  return out
end

local builders = { openai = openai, responses = responses, anthropic = anthropic, ollama = ollama }

---@param kind string one of weir.test's kinds
---@param what table
---@return string[] parts, string content_type
function streams.build(kind, what)
  local build = builders[kind] or error(("kind: no dialect '%s'"):format(tostring(kind)), 3)
  return build(what), kind == "ollama" and "application/x-ndjson" or "text/event-stream"
end

---A recording as weir's own tools read it: one payload a line, or a captured event stream.
---@param kind string
---@param text string
---@return string[]
function streams.from_recording(kind, text)
  if not text:find "^%s*{" then return { text } end
  local out = {}
  for line in text:gmatch "[^\r\n]+" do
    if kind == "ollama" then
      out[#out + 1] = line .. "\n"
    else
      out[#out + 1] = sse(line, kind ~= "openai" and line:match '^%s*{%s*"type"%s*:%s*"([^"]*)"' or nil)
    end
  end
  if kind == "openai" and not text:find "%[DONE%]" then out[#out + 1] = sse "[DONE]" end
  return out
end

return streams
