-- The specs in the documentation, run as they stand: each ```lua block after the line `<!-- spec -->`.
for page in assert(io.popen "ls docs/*.md"):lines() do
  local f = assert(io.open(page, "rb"))
  local text = f:read "a"
  f:close()
  for at, block in text:gmatch "()<!%-%- spec %-%->\n```lua\n(.-)\n```\n" do
    local _, line = text:sub(1, at):gsub("\n", "")
    describe(("%s:%d"):format(page, line + 3), assert(load(block, "@" .. page, "t", _ENV)))
  end
end
