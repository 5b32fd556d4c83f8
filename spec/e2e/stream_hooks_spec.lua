-- What hooks know of a stream, and what they leave: headers of the answer, keys with tags, retained views, the end.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

local UP = 'weir.upstream "up" { kind = "mock", mock = { tokens = 30, numbered = true } }\n'

local function route(hooks) return ('weir.route "all" { match = { path = "*" }, to = "up", %s }\n'):format(hooks) end

describe("s:set_header", function()
  after_each(weir.kill_all)

  it("stands in the answer's head, once, instead of the upstream's", io_.test(function()
    local other = io_.listen(function(c)
      while http.read_request(c) do
        c:send(http.response(200, { "Content-Type: application/json", "X-Served-By: me", "X-Keep: yes",
                                    "x-served-by: me too" }, '{"ok":true}'))
      end
    end)
    local s = weir.run { conf = UP .. ('weir.upstream "other" { kind = "openai-compatible", url = "%s" }\n'):format(other.url) ..
      route [[on_request = function(req, s)
        s:set_header("x-served-by", "weir") s:set_header("X-Rate-Left", 7) s:set_header("x-rate-left", 6)
        local ok, why = pcall(s.set_header, s, "x-bad", "a\r\nset-cookie: evil")
        s:set_header("x-refused", tostring(not ok and why:find("not allowed", 1, true) ~= nil))
        if req.path == "/no" then return "reject", 429, "later", { ["retry-after"] = 9 } end
        if req.path == "/wait" then s:set_header("Retry-After", 7) return "reject", 503, "later" end
        if req.path == "/other" then return "route", "other" end
      end]] }
    local function check(path, status)
      local c = assert(io_.connect("127.0.0.1", s.port))
      local body = '{"model":"m","stream":true,"messages":[]}'
      c:send(("POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"):format(
        path, #body, body))
      local r = assert(http.read_response(c), s:err())
      assert.equal(status, r.status)
      assert.equal("weir", r.fields["x-served-by"])
      assert.equal("6", r.fields["x-rate-left"])
      assert.equal("true", r.fields["x-refused"])
      assert.is_nil(r.fields["set-cookie"])
      c:close()
      return r
    end
    assert.equal("yes", check("/other", 200).fields["x-keep"])
    assert(dialects.text("chat", check("/v1/chat/completions", 200).body):find("t0 t1", 1, true))
    assert.equal("9", check("/no", 429).fields["retry-after"])
    local wait = check("/wait", 503)
    assert.equal("7", wait.fields["retry-after"])
    assert.is_nil(wait.fields["retry-after-ms"])
    assert.equal(0, s:metrics().weir_hook_errors_total or 0)
    s:stop()
  end))

  it("is too late once the answer has begun", io_.test(function()
    local client, done
    local function event(text)
      return http.chunk(('data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"%s"},' ..
        '"finish_reason":%s}]}\n\n'):format(text, text == "" and '"stop"' or "null"))
    end
    local up = io_.listen(function(c)
      while http.read_request(c) do
        c:send(http.stream_head() .. event "one")
        assert(client:recv_until "one")
        c:send(event "two" .. event "" .. http.chunk "data: [DONE]\n\n" .. http.last_chunk)
        done = true
      end
    end)
    local s = weir.run { conf = ('weir.upstream "up" { kind = "openai-compatible", url = "%s" }\n'):format(up.url) ..
      route [[on_event = function(ev, s)
        if ev.text and ev.text:equals "one" then s:set_header("x-early", "1") end
        if ev.text and ev.text:equals "two" then
          local ok, why = pcall(s.set_header, s, "x-late", "1")
          if not ok and why:find("the answer has begun", 1, true) then return "drop" end
        end
      end]] }
    client = assert(io_.connect("127.0.0.1", s.port))
    client:send(http.request(weir.chat { port = s.port }))
    io_.eventually("the answer", function() return done end, 30)
    local got = assert(client:recv_until "0\r\n\r\n")
    assert.is_nil(got:find("two", 1, true), got)
    assert.equal(1, s:metrics().weir_events_dropped_total)
    client:close()
    s:stop()
  end))
end)

describe("a hook's view of the stream", function()
  after_each(weir.kill_all)

  it("has the key's class and tags", io_.test(function()
    local s = weir.run { conf = UP .. [[
      weir.keys { team = { sha256 = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683",
                           class = "paid", tags = { "eu", "beta" } } }
      ]] .. route [[on_request = function(req, s)
        local tags = s.key.tags
        return "answer", s.key.name .. " " .. s.key.class .. " " .. #tags .. " " .. tags[1] .. " " .. tostring(tags.beta)
          .. " " .. tostring(tags.us)
      end]] }
    local r = assert(http.fetch(dialects.ask("chat", s.port, { "authorization: Bearer key" })))
    assert.equal("team paid 2 eu true nil", dialects.text("chat", r.body))
    s:stop()
  end))

  it("knows what the stream has cost when it ends, and weir.live what runs beside it", io_.test(function()
    local s = weir.run { conf = [[
      weir.upstream "up" { kind = "mock", mock = { tokens = 30, numbered = true }, price = { m = { 1, 10 } },
                           models = { m = "m" }, limit = { 4 } }
      ]] .. route [[on_request = function(req, s)
        local u, none = weir.live.upstream "up", pcall(weir.live.upstream, "nowhere")
        s.ctx.live = ("%s %d %d %.6f %s %s %s"):format(u.healthy, u.room, u.streams, u:price("m", 100, 10), none,
          weir.live.pressure().step, s.request.model)
        s.ctx.tried = s:tried "up"
      end,
      on_end = function(fin, s)
        local u = fin.usage
        weir.log.info("END %s|%s|%s %s %s|%.6f|%s %s|%s %s", s.ctx.live, s.ctx.tried, fin.outcome, u.status, u.output,
          fin.cost - u.input / 1e6, u.charged - u.input, fin.first_token > 0 and fin.first_token <= fin.duration,
          s.upstream, s.attempt)
      end]] }
    assert.is_true(assert(http.fetch(dialects.ask("chat", s.port, nil, { body =
      '{"model":"m","stream":true,"messages":[],"stream_options":{"include_usage":true}}' }))).clean)
    local line
    io_.eventually("the line of on_end", function()
      line = s:err():match("END [^\"]*") or s:log():match("END [^\"]*")
      return line
    end)
    assert.equal("END true 4 0 0.000200 false 0 m|false|complete complete 30|0.000300|30 true|up 1", line)
    s:stop()
  end))
end)

describe("hooks of an attempt", function()
  after_each(weir.kill_all)

  local function busy()
    return io_.listen(function(c)
      while http.read_request(c) do
        c:send(http.response(429, { "Content-Type: application/json", "Retry-After: 7", "X-Region: eu" }, '{"error":{}}'))
      end
    end)
  end

  it("on_response_start sees the head, sets fields, falls back and refuses", io_.test(function()
    local s = weir.run { conf = UP .. ('weir.upstream "busy" { kind = "openai-compatible", url = "%s" }\n'):format(busy().url) ..
      [[weir.route "all" { match = { path = "*" }, to = "busy",
        on_request = function(req) if req.model == "up" then return "route", "up" end end,
        on_response_start = function(resp, s)
          s:set_header("x-start", ("%d %s %s"):format(resp.status, resp:header "x-region" or "none", s.upstream))
          if s.model == "go" and resp.status == 429 then return "fallback", "up" end
          if s.model == "stop" then return "reject", 451, "not " .. resp:header "Retry-After" end
        end }]] }
    local function ask(model)
      return assert(http.fetch(dialects.ask("chat", s.port, nil, { body =
        ('{"model":"%s","stream":true,"messages":[]}'):format(model) })))
    end
    local r = ask "go"
    assert.equal(200, r.status, r.body)
    assert.equal("200 none up", r.fields["x-start"])
    assert(dialects.text("chat", r.body):find("t0 t1", 1, true))
    assert.equal(2, s:line(1).attempts)
    r = ask "stop"
    assert.equal(451, r.status)
    assert.equal("not 7", (dialects.error_of("chat", r)))
    assert.equal("429 eu busy", r.fields["x-start"])
    r = ask "up"
    assert.equal("200 none up", r.fields["x-start"])
    assert.is_true(r.clean)
    assert.equal(0, s:metrics().weir_hook_errors_total or 0)
    s:stop()
  end))

  it("on_upstream_error says what becomes of a request", io_.test(function()
    local s = weir.run { conf = UP .. ('weir.upstream "busy" { kind = "openai-compatible", url = "%s" }\n'):format(busy().url) ..
      [[weir.upstream "dead" { kind = "openai-compatible", url = "http://127.0.0.1:1" }
      weir.route "all" { match = { path = "*" }, to = "dead",
        on_request = function(req) if req.model == "busy" then return "route", "busy" end end,
        on_upstream_error = function(err, s)
          if err.committed or not s.request then return "fail" end
          local seen = ("%s %s %s %d %s"):format(err.kind, err.status, err.retry_after, err.attempt, s.request.model)
          if s.model == "fail" then return "fail", 418, seen .. (s:tried "dead" and " tried" or " not tried") end
          if s.model == "busy" then return "fail", 419, seen end
          return "fallback", "up"
        end }]] }
    local function ask(model)
      return assert(http.fetch(dialects.ask("chat", s.port, nil, { body =
        ('{"model":"%s","stream":true,"messages":[]}'):format(model) })))
    end
    local r = ask "any"
    assert.equal(200, r.status, r.body)
    assert.equal("up", s:line(1).upstream)
    r = ask "fail"
    assert.equal(418, r.status)
    assert.equal("connect nil nil 1 fail tried", (dialects.error_of("chat", r)))
    r = ask "busy"
    assert.equal(419, r.status, r.body)
    assert.equal("status 429 7.0 1 busy", (dialects.error_of("chat", r)))
    assert.equal(0, s:metrics().weir_hook_errors_total or 0)
    s:stop()
  end))
end)

describe("a retained view", function()
  after_each(weir.kill_all)

  it("lives until its stream ends, and what was forgotten is returned and counted", io_.test(function()
    local s = weir.run { conf = UP .. 'weir.lua { retained = "1KiB" }\n' .. [[
      weir.route "kept" { match = { path = "/v1/chat/completions" }, to = "up",
        on_request = function(req, s) s.ctx.body = req.body:retain() end,
        on_event = function(ev, s)
          local r <close> = ev.raw:retain()
          if ev.kind == "text" and #ev.text > 0 and not s.ctx.first then s.ctx.first = ev.text:retain() end
          if s.ctx.first and not s.ctx.first:starts_with "t0" then return "stop" end
          if ev.kind == "stop" and s.ctx.body:json "model":str() ~= "m" then return "stop" end
        end }
      weir.route "greedy" { match = { path = "/v1/messages" }, to = "up",
        on_event = function(ev, s) s.ctx[#s.ctx + 1] = ev.raw:retain() end }
      weir.route "neat" { match = { path = "/v1/responses" }, to = "up",
        on_event = function(ev, s) local r <close> = ev.raw:sub(1, 9):retain() end }
      ]] }
    for i = 1, 20 do
      local r = assert(http.fetch(dialects.ask("chat", s.port)))
      assert.is_true(r.clean)
      assert(dialects.text("chat", r.body):find("t0 t1 .*t29"), r.body)
      assert.equal("complete", s:line(i).outcome)
    end
    io_.eventually("the forgotten views", function() return s:metrics().weir_views_leaked_total == 40 end)
    local m = s:metrics()
    assert.is_true(m.weir_views_retained_total >= 20 * 32)
    assert.equal(0, m.weir_hook_errors_total or 0)
    assert.is_true(assert(http.fetch(dialects.ask("messages", s.port))).clean)
    io_.eventually("the limit to be met", function() return (s:metrics().weir_hook_errors_total or 0) > 0 end)
    assert.is_true(s:metrics().weir_views_leaked_total - 40 <= 4)
    assert.is_true(assert(http.fetch(dialects.ask("responses", s.port))).clean)
    io_.eventually("nothing to be kept", function()
      return s:metrics()['weir_pool_bytes{class="kept_view"}'] == 0
    end)
    s:stop()
  end))
end)
