-- What the sandbox gives to policies, and nothing else: a new global is an error.
std = "lua54"
max_line_length = 140
-- conf.lua and policies know one global of their own.
read_globals = { "weir" }
files["spec"] = { std = "lua54+busted" }
files["examples/**/*_spec.lua"] = { std = "lua54+busted" }
files["share/init/*_spec.lua"] = { std = "lua54+busted" }
