-- A short soak: the long one is `make soak`.

describe("a soak", function()
  it("of 100,000 events with retained views, errors and reloads leaves nothing behind", function()
    local built = os.execute("make -s build/bench/lockstep >/dev/null 2>&1")
    if not built then return pending("bench/lockstep.c can't be built here") end
    local out = io.popen("bench/soak --events 100000 2>&1")
    local text = out:read("a")
    local ok = out:close()
    assert.is_true(ok, text)
    assert.is_truthy(text:find("100000 events, 20 reloads, 0 failed", 1, true), text)
  end)
end)
