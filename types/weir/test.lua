---@meta weir.test
-- The module weir.test, for editors. docs/testing-policies.md explains it; a test compares the names.

---@class weir.test
---@field kinds string[] the dialects: openai, responses, anthropic, ollama
---@field clock weir.test.Clock
local t = {}

---@class weir.test.Clock
local Clock = {}
---Time passes for every policy.
---@param seconds number
function Clock:advance(seconds) end

---@class weir.test.Ask what a client sends, and what the upstream answers
---@field kind? "openai"|"responses"|"anthropic"|"ollama"
---@field key? string|{ name: string, class?: string }
---@field model? string
---@field max_tokens? integer
---@field headers? table<string, string>
---@field method? string
---@field path? string
---@field prompt? string
---@field body? string
---@field stream? boolean
---@field text? string|string[]
---@field reasoning? string|string[]
---@field tool? string|string[]
---@field usage? { input?: integer, output?: integer }
---@field pace? number seconds between two events
---@field ends? "end"|"cut"|"reset"|"hang"
---@field leave_after? integer bytes after which the client goes
---@field error? "connect"|"status"|"first_token"|"idle"|"truncated"|"protocol" of upstream_error
---@field status? integer of upstream_error
---@field retry_after? integer of upstream_error
---@field upstream? string of upstream_error: which one fails
---@field times? integer of upstream_error: how often

---@class weir.test.Result
---@field text string what the client reads
---@field reasoning string
---@field tool string
---@field events table[] kind, index, name, data, text, raw
---@field status integer
---@field headers table<string, string>
---@field raw string
---@field whole boolean its framing ended as it should
---@field outcome weir.Outcome
---@field err string
---@field usage table
---@field attempts integer
---@field route? string
---@field upstream? string who was asked last
---@field upstreams string[] who was asked, in order
---@field sent table[] upstream, head, body
---@field body? string of request: what the upstream got
---@field verdict? string
---@field model? string
---@field max_tokens? integer
---@field deadline? number
---@field delay? number
---@field fallback? string
---@field step? integer
---@field verdicts table[] of every hook
---@field errors string[] failures of the policy
---@field log string[]
---@field max_instructions integer
---@field calls integer
---@field before? table[] of replay
---@field changes? table[] of replay
---@field same? boolean of replay

---@class weir.test.Policy
---@field warnings string[] of the load
---@field max_instructions integer of all calls so far
local Policy = {}
---@param o weir.test.Ask
---@return weir.test.Result
function Policy:stream(o) end
---@param o weir.test.Ask
---@return weir.test.Result
function Policy:request(o) end
---@param o weir.test.Ask
---@return weir.test.Result
function Policy:upstream_error(o) end
---@param file string
---@param o? weir.test.Ask
---@return weir.test.Result
function Policy:replay(file, o) end
---@param o { bytes?: integer, events?: integer, age?: number, rate?: number, key?: string|table, route?: string }
---@return weir.test.Result
function Policy:slow(o) end
---@param o { step?: integer, memory?: number, pool?: number, lua?: number, loop_lag?: number, streams?: integer }
---@return weir.test.Result
function Policy:pressure(o) end
---What weir.live.upstream(name) says from now on.
---@param name string
---@param state { healthy?: boolean, room?: integer, streams?: integer, first_token?: number }
function Policy:upstream(name, state) end
---@param name string
---@param on boolean
function Policy:flag(name, on) end
---@param kind string
---@param o weir.test.Ask
---@param answer table
---@param fault? table
---@return weir.test.Result
function Policy:exchange(kind, o, answer, fault) end
function Policy:close() end

---A policy with its options, on one route with the upstreams openai, claude and local.
---@param file string
---@param options? table
---@param conf? table upstreams, groups, to, route, lua, declare, worker
---@return weir.test.Policy
function t.policy(file, options, conf) end
---A whole configuration.
---@param file string
---@return weir.test.Policy
function t.conf(file) end
---Calls fn with the text cut in every way.
---@param text string
---@param fn fun(parts: string[])
function t.every_cut(text, fn) end
---What weir.random gives from now on.
---@param n integer
function t.seed(n) end

return t
