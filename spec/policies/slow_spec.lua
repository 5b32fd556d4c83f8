local t = require "weir.test"

describe("slow", function()
  local p = t.policy("examples/policies/slow.lua", { give_up = "20s", paid_bytes = "64KiB" })
  local paid, free = { name = "a", class = "paid" }, { name = "b", class = "free" }

  local function said(q)
    local r = p:slow(q)
    assert.same({}, r.errors)
    return r.verdict, r.text
  end

  it("holds the upstream back for paid keys, up to a measure", function()
    assert.equal("pause_upstream", (said { key = paid, bytes = 65535, events = 20, age = 1 }))
    assert.equal("coalesce", (said { key = paid, bytes = 65536, events = 20, age = 1 }))
  end)

  it("joins what waits for others, when that is worth it", function()
    assert.equal("coalesce", (said { key = free, bytes = 9000, events = 9, age = 1 }))
    assert.equal("wait", (said { key = free, bytes = 9000, events = 8, age = 1 }))
  end)

  it("lets hopeless clients go", function()
    assert.equal("stop", (said { key = paid, bytes = 9000, events = 9, age = 20.5 }))
  end)
end)
