-- A policy that fails in each of its hooks, by each kind of failure, with a guard and without: what the contract says happens
-- to that stream, and nothing to any other.
local dialects = require "spec.e2e.support.dialects"
local http = require "spec.e2e.support.http"
local io_ = require "spec.e2e.support.io"
local weir = require "spec.e2e.support.weir"

-- What a hook does wrong, and the label that it is counted with.
local KINDS = {
  { "error", "error 'oops'" },
  { "instructions", "while true do end" },
  { "verdict", "return 'make-coffee'" },
}

-- The hooks, the fault that the upstream has for them, and what a request meets: of a failing hook without a guard, then with
-- one. A list: status, outcome, error of the log. "told": the status is 200, the last event an error.
local WELL = { 200, "complete" }
local HOOKS = {
  on_request = { open = WELL, guard = { 500 } },
  on_response_start = { open = WELL, guard = { 500 } },
  on_event = { open = WELL, guard = { 500 } },
  -- The first text has come, but none of it was let go: the answer has not begun.
  on_text = { open = WELL, guard = { 500 } },
  -- Behind the commit point.
  late_event = { hook = "on_event", open = WELL, guard = { 200, told = true } },
  late_text = { hook = "on_text", open = WELL, guard = { 200, told = true } },
  on_upstream_error = { fault = "status:429", open = WELL, guard = { 500 } },
  on_end = { open = WELL, guard = WELL, no_verdict = true },
}
local NAMES = { "on_request", "on_response_start", "on_event", "on_text", "late_event", "late_text", "on_upstream_error",
                "on_end" }

-- The name of a route, of its host and of its plugin.
local function case_of(hook, kind, guard) return (hook:gsub("_", "-") .. "-" .. kind[1] .. "-" .. guard) end

local function each(fn)
  for _, hook in ipairs(NAMES) do
    for _, kind in ipairs(KINDS) do
      if not (kind[1] == "verdict" and HOOKS[hook].no_verdict) then
        for _, guard in ipairs { "open", "guard" } do fn(hook, kind, guard) end
      end
    end
  end
end

-- A route for each of them, with a plugin of its own: who fails too often is put aside.
local function conf(name)
  local out = { [[
weir.lua { instructions = 20000 }
weir.pressure "memory" { { at = 0.001, off = 0.0005, "no_hedge" } }
weir.upstream "well" { kind = "mock", mock = { tokens = 20, numbered = true } }
weir.upstream "busy" { kind = "mock", mock = { fault = "status:429" }, breaker = { retry_after = "0s" } }
weir.upstream "long" { kind = "mock", mock = { tokens = 60, rate = 20, numbered = true } }
weir.group "both" { "busy", last = "well" }
]] }
  each(function(hook, kind, guard)
    local fault, case = HOOKS[hook].fault, case_of(hook, kind, guard)
    out[#out + 1] = ([[
weir.route "%s" { match = { path = "%s", host = "%s" }, to = "%s", use = {
  weir.plugin { name = "%s", api = 1, %s
    %s = function(_, s) s.ctx.n = (s.ctx.n or 0) + 1 if s.ctx.n > %d then %s end end } {} } }
]]):format(case, dialects.list[name].path, case, fault and "both" or "well", case,
           guard == "guard" and "guard = true," or "", HOOKS[hook].hook or hook, HOOKS[hook].hook and 9 or 0, kind[2])
  end)
  -- These have nothing to refuse, whatever they are called.
  for _, kind in ipairs(KINDS) do
    for _, guard in ipairs { "", "guard = true," } do
      out[#out + 1] = ('weir.use { weir.plugin { name = "pressure-%s%s", api = 1, %s on_pressure = function() %s end } {} }\n')
        :format(kind[1], guard == "" and "" or "-guard", guard, kind[2])
    end
  end
  out[#out + 1] = 'weir.route "others" { match = { path = "*" }, to = "long" }\n'
  return table.concat(out)
end

local ENDINGS = { chat = "[DONE]", responses = "response.completed", messages = "message_stop" }

-- Half an answer that ends well is what no failure may look like.
local function check(name, r, line, want, what)
  if want.told then
    assert.equal(200, r.status, what)
    local events = dialects.events(r.body)
    assert.is_true(dialects.is_error_event(name, events[#events]), what .. r.body:sub(-200))
    if want.text then assert.equal(want.text, dialects.text(name, r.body), what) end
    assert.is_nil(r.body:find(ENDINGS[name], 1, true), what)
    assert.not_equal("complete", line.outcome, what)
    return
  end
  assert.equal(want[1], r.status, what .. ": " .. r.body:sub(-300))
  assert.is_true(r.clean, what)
  if want[1] == 200 then
    assert.equal(want[2], line.outcome, what)
    assert.is_truthy(dialects.text(name, r.body):find("t0 t1.*t19"), what)
  else
    dialects.error_of(name, r)
    assert.not_equal("complete", line.outcome, what)
  end
end

describe("a policy that fails", function()
  after_each(weir.kill_all)

  for _, name in ipairs(dialects.names) do
    it("costs its own stream what the contract says, and no other: " .. name, io_.test(function()
      local s = weir.run { conf = conf(name) }
      local others, stop, running = 0, false, 0
      for i = 1, 6 do
        running = running + 1
        io_.go(function()
          while not stop do
            local r = assert(http.fetch(dialects.ask(dialects.names[i % 3 + 1], s.port)))
            assert.equal(200, r.status, "another stream")
            assert.is_true(r.clean, "another stream")
            assert.is_truthy(dialects.text(dialects.names[i % 3 + 1], r.body):find("t0 t1.*t59"), "another stream")
            others = others + 1
          end
          running = running - 1
        end)
      end
      local asked, failed = 0, {}
      each(function(hook, kind, guard)
        local what = case_of(hook, kind, guard)
        local o = dialects.ask(name, s.port)
        o.host = what
        local r = assert(http.fetch(o))
        asked = asked + 1
        local line
        io_.eventually("its line", function()
          for _, l in ipairs(s:lines()) do
            if l.route == what then line = l return true end
          end
        end)
        check(name, r, line, HOOKS[hook][guard], what)
        failed[#failed + 1] = { hook = HOOKS[hook].hook or hook, kind = kind[1], plugin = what }
      end)
      stop = true
      io_.eventually("the others' end", function() return running == 0 end, 60)
      assert.is_true(others >= 6)
      io_.hang_up()
      s:assert_clean()
      local m = s:metrics()
      assert.equal(asked + others, m.weir_requests_total)
      for _, f in ipairs(failed) do
        local n = m[('weir_hook_errors_total{plugin="%s",hook="%s",kind="%s"}'):format(f.plugin, f.hook, f.kind)]
        assert.is_true((n or 0) >= 1, f.plugin .. " wasn't counted: " .. tostring(n))
      end
      for _, kind in ipairs(KINDS) do
        local n = m[('weir_hook_errors_total{plugin="pressure-%s",hook="on_pressure",kind="%s"}'):format(kind[1], kind[1])]
        assert.is_true((n or 0) >= 1, "on_pressure, " .. kind[1])
      end
      assert.equal(0, m.weir_expect_failures_total or 0)
      s:stop()
    end, 120))
  end
end)
