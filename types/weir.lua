---@meta weir
-- What conf.lua, policies and their specs can call, for editors (lua-language-server) and for people. A test compares
-- this file with the program: every name here exists there, and every name there is here. docs/lua-api.md explains them.
--
-- Names such as weir.View are types, not values.

-- --- values of conf.lua

---@alias weir.Duration string a number and its unit: "500us", "20ms", "30s", "5m", "1h"
---@alias weir.Size string a number and its unit: "512B", "64KiB", "16MiB"

---@class weir.Secret opaque: has no printer
---@class weir.Instance a plugin with its options, for a `use` list
---@alias weir.Plugin fun(options?: table): weir.Instance

-- --- what hooks are given

---@class weir.View read-only bytes, valid until the hook that received them returns; 1 to #v, as in a string
---@operator len: integer
---@operator concat: string
local View = {}
---The byte at i, or nil.
---@param i? integer
---@return integer?
function View:byte(i) end
---Are these the bytes of x? `view == "text"` is always false in Lua.
---@param x string|weir.View
---@return boolean
function View:equals(x) end
---@param x string|weir.View
---@return boolean
function View:starts_with(x) end
---As string.find: the place, then captures, which are strings.
---@param pattern string
---@param init? integer
---@param plain? boolean
---@return integer? i
---@return integer? j
---@return string ...
function View:find(pattern, init, plain) end
---Where the longest run at the end begins that has only bytes of one of the sets, such as "%w._-".
---@param set string
---@param ... string
---@return integer?
function View:tail(set, ...) end
---A copy.
---@param i? integer
---@param j? integer
---@return string
function View:str(i, j) end
---A view of a part.
---@param i integer
---@param j? integer
---@return weir.View
function View:sub(i, j) end
---A value of the JSON in it; the path counts from 0: "choices.0.delta.content".
---@param path string
---@return weir.View|number|boolean|nil value
---@return "missing"|"null"|"invalid"|nil why
function View:json(path) end
---A view that later hooks of this stream may read as well, until release or the stream's end.
---@return weir.View
function View:retain() end
---Gives a retained view back.
function View:release() end

---@class weir.Text: weir.View the window of on_text: all text of one choice and kind that has not left yet
---@field kind "text"|"reasoning"|"tool"
---@field index integer of the choice or content block, from 0
local Text = {}
---Nothing follows in this window.
---@return boolean
function Text:last() end

---@class weir.Request
---@field method string
---@field path string
---@field query? string
---@field model? string
---@field stream? boolean
---@field max_tokens? integer
---@field prompt_tokens integer an estimate: a token is four bytes
---@field body_bytes integer announced, or what has come so far
---@field body weir.View what has come so far
local Request = {}
---@param name string
---@return string?
function Request:header(name) end
---@param path string
---@return weir.View|number|boolean|nil value
---@return "missing"|"null"|"invalid"|"incomplete"|nil why
function Request:json(path) end

---@class weir.Response the start of an upstream's answer
---@field status integer
---@field first_token? number seconds from the request to the first content
local Response = {}
---@param name string
---@return string?
function Response:header(name) end

---@class weir.Event one event of the upstream's stream
---@field kind "start"|"text"|"reasoning"|"tool"|"usage"|"stop"|"ping"|"error"|"unknown"
---@field index integer of the choice or content block, from 0
---@field name string the `event:` field, or ""
---@field text? weir.View decoded
---@field raw weir.View
---@field data weir.View
local Event = {}
---@param path string
---@return weir.View|number|boolean|nil value
---@return "missing"|"null"|"invalid"|nil why
function Event:json(path) end

---@class weir.SlowClient
---@field bytes integer that wait for the client
---@field events integer that wait for the client
---@field age number seconds above the mark
---@field rate number bytes a second that it took meanwhile

---@class weir.UpstreamError
---@field kind "connect"|"tls"|"reset"|"first_byte"|"first_token"|"idle"|"truncated"|"protocol"|"error"|"slow"|"status"
---@field status? integer
---@field retry_after? number seconds
---@field attempt integer 1 for the first try
---@field committed boolean the client has bytes of an answer: only "fail" is left

---@class weir.Pressure
---@field step integer of the ladder; 0 is calm
---@field memory number share of the process's memory
---@field pool number share of the pool
---@field lua number share of this worker's Lua heap
---@field loop_lag number seconds
---@field streams integer of this worker

---@class weir.Usage
---@field input? integer
---@field output? integer
---@field cached? integer
---@field reasoning? integer
---@field charged integer what budgets are charged
---@field status "complete"|"partial"|"estimated"|"missing"

---@alias weir.Outcome "complete"|"stopped"|"over_budget"|"truncated"|"stalled"|"upstream_error"|"client_gone"|"shed"|"refused"

---@class weir.End
---@field outcome weir.Outcome
---@field duration number seconds
---@field first_token? number seconds
---@field usage weir.Usage
---@field cost? number dollars

---@class weir.Key
---@field name string "anonymous" where no keys are declared
---@field class string
---@field tags table<string|integer, string|boolean> a list of words, each of which is also a name

---@class weir.Stream `s`: one request from its head to its end
---@field id string
---@field key weir.Key
---@field route string
---@field model string
---@field upstream string
---@field attempt integer
---@field status integer 0 until the answer begins
---@field events integer
---@field output_tokens integer
---@field age number seconds since the request
---@field sent integer bytes
---@field queued integer bytes that wait for the client
---@field request? weir.Request while it is held for another try
---@field ctx table yours: made on first use, gone with the stream
local Stream = {}
---Was that upstream asked already?
---@param name string
---@return boolean
function Stream:tried(name) end
---A field of the answer's head; only before the answer begins.
---@param name string
---@param value string
function Stream:set_header(name, value) end

-- --- plugins

---@alias weir.RequestVerdict "route"|"reject"|"answer"
---@alias weir.ResponseVerdict "fallback"|"reject"
---@alias weir.EventVerdict "pass"|"drop"|"stop"
---@alias weir.TextVerdict "pass"|"drop"|"replace"|"hold"|"stop"
---@alias weir.SlowVerdict "wait"|"pause_upstream"|"coalesce"|"stop"
---@alias weir.ErrorVerdict "retry"|"fallback"|"fail"

---@class weir.RouteOptions of the verdict "route"
---@field model? string
---@field max_tokens? integer
---@field deadline? number|weir.Duration
---@field final? boolean

---@class weir.Hooks
---@field on_request? fun(req: weir.Request, s: weir.Stream, conf: table): weir.RequestVerdict?, (string|integer)?, (string|weir.RouteOptions)?, table?
---@field on_response_start? fun(resp: weir.Response, s: weir.Stream, conf: table): weir.ResponseVerdict?, (string|integer)?, string?
---@field on_event? fun(ev: weir.Event, s: weir.Stream, conf: table): weir.EventVerdict?, string?
---@field on_text? fun(win: weir.Text, s: weir.Stream, conf: table): weir.TextVerdict?, (string|integer)?, integer?, integer?
---@field on_slow_client? fun(q: weir.SlowClient, s: weir.Stream, conf: table): weir.SlowVerdict?, string?
---@field on_upstream_error? fun(err: weir.UpstreamError, s: weir.Stream, conf: table): weir.ErrorVerdict?, (string|number)?, string?
---@field on_end? fun(fin: weir.End, s: weir.Stream, conf: table)

---@alias weir.OptionType "string"|"integer"|"number"|"boolean"|"duration"|"size"|"upstream"|"key"|string "list of T", "map of T"

---@class weir.Option
---@field [1] weir.OptionType
---@field default? any
---@field min? number|string
---@field max? number|string
---@field one_of? any[]
---@field required? boolean
---@field doc? string

---@class weir.PluginSpec: weir.Hooks
---@field name string
---@field api 1
---@field schema? table<string, weir.Option>
---@field prepare? fun(conf: table) once, after the options were checked
---@field guard? boolean what fails or can't be judged ends the stream
---@field needs? ("text"|"reasoning"|"tool")[] kinds of text for on_text; without it { "text" }
---@field hold? integer bytes of text that on_text may hold; without it 256
---@field on_pressure? fun(p: weir.Pressure, conf: table): "step"?, integer?

-- --- weir

weir = {}

---The version of this contract that a file is written for: 1.
---@param version 1
function weir.api(version) end
---The process: workers, memory, admin, log. Once.
---@param options table
function weir.server(options) end
---The limits of Lua, and where `require` looks. Once, before the first require.
---@param options { path?: string, memory?: weir.Size, instructions?: integer, retained?: weir.Size }
function weir.lua(options) end
---@param address string "127.0.0.1:8080", ":8443", "unix:/run/weir.sock"
---@return fun(options: table)
function weir.listen(address) end
---@param name string
---@return fun(options: table)
function weir.upstream(name) end
---@param name string
---@return fun(members: table)
function weir.group(name) end
---@param keys table { file = "keys.lua" }, or name = { sha256 = "…", class = "…", tags = { … } }
function weir.keys(keys) end
---@param name string
---@return fun(options: weir.Hooks|table)
function weir.route(name) end
---@param signal "memory"|"loop_lag"|string
---@return fun(steps: table)
function weir.pressure(signal) end
---Plugins of every route; those with on_pressure stand here only.
---@param plugins weir.Instance[]
function weir.use(plugins) end
---@param spec weir.PluginSpec
---@return weir.Plugin
function weir.plugin(spec) end

---@class weir.Counter
local Counter = {}
---@param key string
---@param n? integer
function Counter:add(key, n) end
---The sum of this window.
---@param key string
---@return integer
function Counter:get(key) end

---@class weir.Budget
local Budget = {}
---Reserves n until the stream ends, when what was used takes its place.
---@param s weir.Stream
---@param key string
---@param n integer
---@param limit integer
---@return boolean ok
---@return integer left
---@return integer reset seconds until the window ends
function Budget:reserve(s, key, n, limit) end
---What is reserved and charged now.
---@param key string
---@return integer
function Budget:get(key) end

---@class weir.Flag
local Flag = {}
---@return boolean
function Flag:on() end

---One for all workers; survives reloads.
---@param name string
---@param options? { window?: weir.Duration, keys?: integer }
---@return weir.Counter
function weir.counter(name, options) end
---@param name string
---@param options { per: weir.Duration, keys?: integer }
---@return weir.Budget
function weir.budget(name, options) end
---Switched by `weir flag NAME on`.
---@param name string
---@param options? { on?: boolean }
---@return weir.Flag
function weir.flag(name, options) end
---Calls fn on each worker, every 100 ms at the least.
---@param interval weir.Duration
---@param fn fun()
function weir.every(interval, fn) end

---Seconds since 1970.
---@return number
function weir.now() end
---As strftime, in UTC.
---@param format? string
---@param time? number
---@return string
function weir.date(format, time) end
---As math.random.
---@param m? integer
---@param n? integer
---@return number
function weir.random(m, n) end

weir.log = {}
---@param format string
---@param ... any
function weir.log.info(format, ...) end
---@param format string
---@param ... any
function weir.log.warn(format, ...) end
---@param format string
---@param ... any
function weir.log.error(format, ...) end

---@class weir.LiveUpstream
---@field healthy boolean
---@field room number further streams; math.huge without a limit
---@field streams integer
---@field first_token? number seconds
local LiveUpstream = {}
---Dollars; nil when the upstream doesn't have the model or its price.
---@param model? string
---@param input? number tokens
---@param output? number tokens
---@return number?
function LiveUpstream:price(model, input, output) end

weir.live = {}
---@param name string
---@return weir.LiveUpstream
function weir.live.upstream(name) end
---@return weir.Pressure
function weir.live.pressure() end

weir.secret = {}
---The value of a variable of the environment.
---@param name string
---@return weir.Secret
function weir.secret.env(name) end
---The first line of a file.
---@param name string
---@return weir.Secret
function weir.secret.file(name) end
