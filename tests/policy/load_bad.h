/* load_bad.h: configurations that must be refused, each with the line of the error and a part of
 * its sentence; each has exactly one error. */
#ifndef WR_TESTS_LOAD_BAD_H
#define WR_TESTS_LOAD_BAD_H

#define BASE_L "weir.listen \"127.0.0.1:8080\" {}\n"
#define BASE_U "weir.upstream \"u\" { kind = \"mock\" }\n"
#define BASE_R "weir.route \"r\" { match = { path = \"/x\" }, to = \"u\" }\n"

static const struct bad {
  int line;
  const char *text;
  const char *source;
} bads[] = {
  /* the file as such */
  { 1, "unexpected symbol near '='", "= 1\n" },
  { 2, "attempt to call a nil value (field 'nothing')", "\xEF\xBB\xBFlocal a = {}\na.nothing()\n" },
  { 2, "attempt to call a nil value (field 'nothing')", "local a = {}\na.nothing()\n" },
  { 0, "no listener: declare one", BASE_U BASE_R },
  { 0, "no route: declare one", BASE_L BASE_U },
  { 1, "api: this version speaks weir.api(1)", "weir.api(2)\n" BASE_L BASE_U BASE_R },
  { 2, "api: declared twice", "weir.api(1)\nweir.api(1)\n" BASE_L BASE_U BASE_R },
  /* pressure */
  { 1, "pressure 'memory': '[1]' has no action",
    "weir.pressure \"memory\" { { at = 0.7 } }\n" BASE_L BASE_U BASE_R },
  /* what outlives a hook */
  { 2, "counter 'x': declared with other options in conf.lua:1",
    "weir.counter(\"x\", { window = \"1h\" })\nweir.counter(\"x\")\n" BASE_L BASE_U BASE_R },
  { 2, "budget 'x': the name is taken by the counter in conf.lua:1",
    "weir.counter(\"x\")\nweir.budget(\"x\", { per = \"1h\" })\n" BASE_L BASE_U BASE_R },
  { 1, "budget 'x': option 'per' is missing", "weir.budget(\"x\")\n" BASE_L BASE_U BASE_R },
  { 1, "budget 'x': 'per' must be from 1s to 31d",
    "weir.budget(\"x\", { per = \"1ms\" })\n" BASE_L BASE_U BASE_R },
  { 1, "budget 'x': 'per' needs a unit",
    "weir.budget(\"x\", { per = 3600 })\n" BASE_L BASE_U BASE_R },
  { 1, "counter 'x': 'keys' must be from 1 to 100000",
    "weir.counter(\"x\", { keys = 1e6 // 1 | 0 })\n" BASE_L BASE_U BASE_R },
  { 1, "counter 'x': unknown option 'windw' (did you mean 'window'?)",
    "weir.counter(\"x\", { windw = \"1h\" })\n" BASE_L BASE_U BASE_R },
  { 1, "counter 'x': expected a table of options, got a string",
    "weir.counter(\"x\", \"1h\")\n" BASE_L BASE_U BASE_R },
  { 1, "counter: expected a name of letters, digits, '-', '_' and '.': weir.counter(\"…\"), got",
    "weir.counter()\n" BASE_L BASE_U BASE_R },
  { 1, "flag: expected a name", "weir.flag(\"a b\")\n" BASE_L BASE_U BASE_R },
  { 2, "weir.counter 'x': add works in hooks only, not while conf.lua is loading",
    "local c = weir.counter(\"x\")\nc:add(\"k\")\n" BASE_L BASE_U BASE_R },
  { 1, "a counter has no method 'ad'", "weir.counter(\"x\"):ad(1)\n" BASE_L BASE_U BASE_R },
  { 1, "weir.flag 'x' is read-only", "weir.flag(\"x\").y = 1\n" BASE_L BASE_U BASE_R },
  { 1, "every: the interval must be from 100ms to 1d",
    "weir.every(\"10ms\", print)\n" BASE_L BASE_U BASE_R },
  { 1, "every: the interval must be a duration", "weir.every(5, print)\n" BASE_L BASE_U BASE_R },
  { 1, "every: expected weir.every(\"5s\", function), got nil",
    "weir.every(\"5s\")\n" BASE_L BASE_U BASE_R },
  { 1, "every: more than 32 timers",
    "for _ = 1, 33 do weir.every(\"1s\", print) end\n" BASE_L BASE_U BASE_R },
  { 1, "pressure 'memroy': no such meter; expected \"memory\", \"process\", \"stall\" or "
       "\"loop_lag\" (did you mean 'memory'?)",
    "weir.pressure \"memroy\" {}\n" BASE_L BASE_U BASE_R },
  { 3, "pressure 'memory': '[2].at' must be above that of the step before",
    "weir.pressure \"memory\" {\n { at = 0.8, \"coalesce\" },\n { at = 0.7, \"shed:all\" } }\n"
    BASE_L BASE_U BASE_R },
  { 2, "pressure 'memory': '[1].off' must be below 'at', or the step would come and go",
    "weir.pressure \"memory\" {\n { at = 0.8, off = 0.8, \"coalesce\" } }\n" BASE_L BASE_U BASE_R },
  { 1, "pressure 'memory': '[1].at' must be a share above 0 and up to 1, such as 0.70",
    "weir.pressure \"memory\" { { at = 70, \"coalesce\" } }\n" BASE_L BASE_U BASE_R },
  { 1, "pressure 'memory': option '[1].at' is missing",
    "weir.pressure \"memory\" { { \"coalesce\" } }\n" BASE_L BASE_U BASE_R },
  { 1, "pressure 'loop_lag': '[1].at' must be a duration such as \"50ms\", of at most an hour",
    "weir.pressure \"loop_lag\" { { at = 0.5, \"coalesce\" } }\n" BASE_L BASE_U BASE_R },
  { 1, "pressure 'memory': '[1]' has an unknown action 'coalesc' (did you mean \"coalesce\"?)",
    "weir.pressure \"memory\" { { at = 0.5, \"coalesc\" } }\n" BASE_L BASE_U BASE_R },
  { 1, "pressure 'memory': '[1]' names 'v', which is neither an upstream nor a group",
    "weir.pressure \"memory\" { { at = 0.5, \"route:v\" } }\n" BASE_L BASE_U BASE_R },
  { 1, "pressure 'memory': '[1].cap_output' must be from 1 to 4294967295",
    "weir.pressure \"memory\" { { at = 0.5, cap_output = 0 } }\n" BASE_L BASE_U BASE_R },
  { 1, "pressure 'memory': unknown option '[1].of' (did you mean 'off'?)",
    "weir.pressure \"memory\" { { at = 0.5, of = 0.4, \"coalesce\" } }\n" BASE_L BASE_U BASE_R },
  { 1, "pressure 'memory': '[1]' must be a step, { at = … }, not a string",
    "weir.pressure \"memory\" { \"coalesce\" }\n" BASE_L BASE_U BASE_R },
  { 1, "pressure 'memory': must be a list of at most 8 steps: { { at = … }, … }",
    "weir.pressure \"memory\" { at = 0.5, \"coalesce\" }\n" BASE_L BASE_U BASE_R },
  { 2, "pressure 'memory': declared twice (first in line 1)",
    "weir.pressure \"memory\" {}\nweir.pressure \"memory\" {}\n" BASE_L BASE_U BASE_R },
  /* server, lua */
  { 1, "server: unknown option 'memry' (did you mean 'memory'?)",
    "weir.server { memry = \"64MiB\" }\n" BASE_L BASE_U BASE_R },
  { 3, "server: unknown option 'wrkers' (did you mean 'workers'?)",
    "weir.server {\n  memory = \"64MiB\",\n  wrkers = 4,\n}\n" BASE_L BASE_U BASE_R },
  { 1, "server: 'memory' needs a unit", "weir.server { memory = 64 }\n" BASE_L BASE_U BASE_R },
  { 1, "server: 'memory' must be from 64KiB to 64GiB",
    "weir.server { memory = \"1KiB\" }\n" BASE_L BASE_U BASE_R },
  { 1, "server: 'memory' must be a size such as \"64KiB\", not \"lots\"",
    "weir.server { memory = \"lots\" }\n" BASE_L BASE_U BASE_R },
  { 1, "server: 'memory' has a unit that isn't known: B, KB",
    "weir.server { memory = \"64mib\" }\n" BASE_L BASE_U BASE_R },
  { 1, "server: 'drain' needs a unit", "weir.server { drain = 30 }\n" BASE_L BASE_U BASE_R },
  { 1, "server: 'workers' must be from 1 to 64, or \"auto\"",
    "weir.server { workers = 0 }\n" BASE_L BASE_U BASE_R },
  { 1, "server: 'workers' must be a whole number, not a string",
    "weir.server { workers = \"many\" }\n" BASE_L BASE_U BASE_R },
  { 1, "server: 'workers' must be a whole number, not a float",
    "weir.server { workers = 1.5 }\n" BASE_L BASE_U BASE_R },
  { 1, "server: 'log_format' must be \"json\" or \"logfmt\", not \"jsn\" (did you mean \"json\"?)",
    "weir.server { log_format = \"jsn\" }\n" BASE_L BASE_U BASE_R },
  { 1, "server: 'admin' must be an address",
    "weir.server { admin = \"here\" }\n" BASE_L BASE_U BASE_R },
  { 2, "server: declared twice (first in line 1)",
    "weir.server {}\nweir.server {}\n" BASE_L BASE_U BASE_R },
  { 1, "server: expected a table: weir.server { … }, got a string",
    "weir.server \"x\"\n" BASE_L BASE_U BASE_R },
  { 1, "server: has a value without a name (a string)",
    "weir.server { \"x\" }\n" BASE_L BASE_U BASE_R },
  { 1, "lua: 'path' has no \"?\"", "weir.lua { path = \"policies\" }\n" BASE_L BASE_U BASE_R },
  { 1, "lua: 'instructions' must be from 1000",
    "weir.lua { instructions = 1 }\n" BASE_L BASE_U BASE_R },
  /* listen */
  { 1, "listen 'here': not an address", "weir.listen \"here\" {}\n" BASE_U BASE_R },
  { 1, "listen ':80': its table is missing: weir.listen \":80\" { … }",
    "weir.listen \":80\"\n" BASE_U BASE_R },
  { 2, "listen '127.0.0.1:8080': declared twice (first in line 1)", BASE_L BASE_L BASE_U BASE_R },
  { 1, "listen ':1': 'tls.cert' file '/nonexistent/c' does not exist",
    "weir.listen \":1\" { tls = { cert = \"/nonexistent/c\", key = \"/dev/null\" } }\n" BASE_U
        BASE_R },
  { 1, "listen ':1': option 'tls.key' is missing",
    "weir.listen \":1\" { tls = { cert = \"/dev/null\" } }\n" BASE_U BASE_R },
  { 1, "listen ':1': 'tls.cert' '/tmp' is a folder",
    "weir.listen \":1\" { tls = { cert = \"/tmp\", key = \"/dev/null\" } }\n" BASE_U BASE_R },
  { 1, "listen ':1': 'tls.verify' needs 'tls.ca'",
    "weir.listen \":1\" { tls = { cert = \"/dev/null\", key = \"/dev/null\", verify = true } "
    "}\n" BASE_U BASE_R },
  { 1, "listen: expected a name: weir.listen \"…\" { … }, got an integer",
    "weir.listen(80) {}\n" BASE_L BASE_U BASE_R },
  /* upstream */
  { 4, "upstream 'a': unknown option 'tmeout' (did you mean 'timeout'?)",
    BASE_L
    "weir.upstream \"a\" {\n  kind = \"mock\", -- { a comment\n  tmeout = {},\n}\n" BASE_U BASE_R },
  { 5, "upstream 'a': unknown option 'timeout.conect' (did you mean 'connect'?)",
    BASE_L "weir.upstream \"a\" {\n  kind = \"mock\",\n  timeout = {\n    conect = \"1s\",\n  "
           "},\n}\n" BASE_U BASE_R },
  { 2, "upstream 'a': option 'kind' is missing", BASE_L "weir.upstream \"a\" {}\n" BASE_U BASE_R },
  { 2, "upstream 'a': option 'url' is missing",
    BASE_L "weir.upstream \"a\" { kind = \"openai\" }\n" BASE_U BASE_R },
  { 2, "(did you mean \"anthropic\"?)",
    BASE_L "weir.upstream \"a\" { kind = \"antropic\" }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'url' must be http://host",
    BASE_L "weir.upstream \"a\" { kind = \"openai\", url = \"api.openai.com\" }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'url' must be http://host",
    BASE_L
    "weir.upstream \"a\" { kind = \"openai\", url = { \"https://u:p@h\" } }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'url' isn't for kind \"mock\"",
    BASE_L "weir.upstream \"a\" { kind = \"mock\", url = \"http://x\" }\n" BASE_U BASE_R },
  { 2,
    "upstream 'a': 'key' must be weir.secret.env \"NAME\" or weir.secret.file \"NAME\", not a "
    "string",
    BASE_L "weir.upstream \"a\" { kind = \"mock\", key = \"sk-plain\" }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'key' environment variable 'WEIR_NOT_SET' is not set",
    BASE_L
    "weir.upstream \"a\" { kind = \"mock\", key = weir.secret.env \"WEIR_NOT_SET\" }\n" BASE_U
        BASE_R },
  { 2, "upstream 'a': 'key' environment variable 'WEIR_TWO_LINES' holds more than one line",
    BASE_L
    "weir.upstream \"a\" { kind = \"mock\", key = weir.secret.env \"WEIR_TWO_LINES\" }\n" BASE_U
        BASE_R },
  { 2, "upstream 'a': 'key' file '/nonexistent/k' can't be read",
    BASE_L
    "weir.upstream \"a\" { kind = \"mock\", key = weir.secret.file \"/nonexistent/k\" }\n" BASE_U
        BASE_R },
  { 2, "upstream 'a': 'headers.x y' is not a valid header",
    BASE_L
    "weir.upstream \"a\" { kind = \"mock\", headers = { [\"x y\"] = \"1\" } }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'headers.x' is not a valid header",
    BASE_L
    "weir.upstream \"a\" { kind = \"mock\", headers = { x = \"a\\r\\nb: c\" } }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'headers.Content-Length' is a header that weir writes itself",
    BASE_L
    "weir.upstream \"a\" { kind = \"mock\", headers = { [\"Content-Length\"] = 3 } }\n" BASE_U
        BASE_R },
  { 2, "upstream 'a': 'mock.tokns'",
    BASE_L "weir.upstream \"a\" { kind = \"mock\", mock = { tokns = 3 } }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'mock' is only for kind \"mock\"",
    BASE_L
    "weir.upstream \"a\" { kind = \"openai\", url = \"http://x\", mock = { tokens = 3 } }\n" BASE_U
        BASE_R },
  { 2, "upstream 'a': 'weights' must be 1 whole numbers from 1 to 1000, one for each",
    BASE_L "weir.upstream \"a\" { kind = \"mock\", weights = { 1, 2 } }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'breaker.rate' must be from 0 to 1",
    BASE_L "weir.upstream \"a\" { kind = \"mock\", breaker = { rate = 50 } }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'breaker.open_max' must not be less than 'open'",
    BASE_L "weir.upstream \"a\" { kind = \"mock\", breaker = { open = \"2m\" } }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'limit' must be { \"adaptive\", min = 8, max = 256 }, numbers",
    BASE_L "weir.upstream \"a\" { kind = \"mock\", limit = { \"adaptive\", min = 9, max = 8 } }\n"
        BASE_U BASE_R },
  { 2, "upstream 'a': 'limit' must be { n }",
    BASE_L "weir.upstream \"a\" { kind = \"mock\", limit = { 0 } }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'health.path' must begin with \"/\"",
    BASE_L "weir.upstream \"a\" { kind = \"mock\", health = { path = \"up\" } }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'price.fast' must be model = { in, out }",
    BASE_L "weir.upstream \"a\" { kind = \"mock\", price = { fast = { 1 } } }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'price.fats' is the price of a model that isn't in 'models'",
    BASE_L "weir.upstream \"a\" { kind = \"mock\", models = { fast = \"f\" }, price = { fats = { "
           "1, 2 } } }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'models.fast' must be a string, not a table",
    BASE_L "weir.upstream \"a\" { kind = \"mock\", models = { fast = {} } }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'tls' needs both 'cert' and 'key'",
    BASE_L
    "weir.upstream \"a\" { kind = \"mock\", tls = { cert = \"/dev/null\" } }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'timeout.connect' must be from 1ms to 49d",
    BASE_L
    "weir.upstream \"a\" { kind = \"mock\", timeout = { connect = \"0s\" } }\n" BASE_U BASE_R },
  { 2, "upstream 'a': 'text_path' is only for kind \"sse\"",
    BASE_L "weir.upstream \"a\" { kind = \"mock\", text_path = \"x\" }\n" BASE_U BASE_R },
  { 3, "upstream 'u': declared twice (first in line 2)", BASE_L BASE_U BASE_U BASE_R },
  { 2, "upstream 'no good': a name has 1 to 64 letters",
    BASE_L "weir.upstream \"no good\" { kind = \"mock\" }\n" BASE_U BASE_R },
  /* group */
  { 3, "group 'g': unknown upstream 'mian' (did you mean 'main'?)",
    BASE_L "weir.upstream \"u\" { kind = \"mock\" } weir.upstream \"main\" { kind = \"mock\" }\n"
           "weir.group \"g\" { \"mian\" }\n" BASE_R },
  { 3, "group 'g': 'h' is a group, and a group holds upstreams only",
    BASE_L BASE_U "weir.group \"g\" { \"h\" } weir.group \"h\" { \"u\" }\n" BASE_R },
  { 3, "group 'g': 'g' is a group", BASE_L BASE_U "weir.group \"g\" { \"g\" }\n" BASE_R },
  { 3, "group 'g': has no members", BASE_L BASE_U "weir.group \"g\" {}\n" BASE_R },
  { 3, "group 'g': names 'u' twice",
    BASE_L BASE_U "weir.group \"g\" { \"u\", last = \"u\" }\n" BASE_R },
  { 3, "group 'u': the name is taken by the upstream in line 2",
    BASE_L BASE_U "weir.group \"u\" { \"u\" }\n" BASE_R },
  { 3, "group 'g': 'retry.on' must be \"connect\", \"tls\", \"reset\", \"first_byte\", "
       "\"first_token\", \"idle\", \"truncated\", \"protocol\", \"error\", \"slow\", \"429\", "
       "\"503\" or \"5xx\", not \"conect\" (did you mean \"connect\"?)",
    BASE_L BASE_U
    "weir.group \"g\" { \"u\", retry = { attempts = 2, on = { \"429\", \"conect\" } } }\n" BASE_R },
  { 3, "group 'g': 'retry.budget' must be from 0 to 1",
    BASE_L BASE_U "weir.group \"g\" { \"u\", retry = { budget = 20 } }\n" BASE_R },
  { 3, "group 'g': 'retry.budget' must be a share such as 0.2, not",
    BASE_L BASE_U "weir.group \"g\" { \"u\", retry = { budget = \"20%\" } }\n" BASE_R },
  { 3, "group 'g': 'retry.attempts' must be from 1 to 10",
    BASE_L BASE_U "weir.group \"g\" { \"u\", retry = { attempts = 0 } }\n" BASE_R },
  { 3, "route 'r': 'min_rate' needs commit = \"content\": what the client has can't be given up",
    BASE_L BASE_U "weir.route \"r\" { match = { path = \"/*\" }, to = \"u\", "
    "min_rate = { chars = 10 }, commit = \"alive\" }\n" },
  /* keys */
  { 3, "keys: 'a.sha256' must be 64 hex digits",
    BASE_L BASE_U "weir.keys { a = { sha256 = \"12\" } }\n" BASE_R },
  { 3, "keys: option 'a.sha256' is missing",
    BASE_L BASE_U "weir.keys { a = { class = \"x\" } }\n" BASE_R },
  { 3, "keys: 'file' file '/nonexistent/keys.lua' does not exist",
    BASE_L BASE_U "weir.keys { file = \"/nonexistent/keys.lua\" }\n" BASE_R },
  { 3, "keys: 'a' and 'b' are the same key",
    BASE_L BASE_U
    "weir.keys { a = { sha256 = (\"0\"):rep(64) }, b = { sha256 = (\"0\"):rep(64) } }\n" BASE_R },
  /* route */
  { 3, "route 'r': option 'match' is missing", BASE_L BASE_U "weir.route \"r\" { to = \"u\" }\n" },
  { 3, "route 'r': option 'match.path' is missing",
    BASE_L BASE_U "weir.route \"r\" { match = {}, to = \"u\" }\n" },
  { 3, "route 'r': option 'to' is missing",
    BASE_L BASE_U "weir.route \"r\" { match = { path = \"/x\" } }\n" },
  { 3, "route 'r': 'to' names 'uu', which is neither an upstream nor a group",
    BASE_L BASE_U "weir.route \"r\" { match = { path = \"/x\" }, to = \"uu\" }\n" },
  { 3, "route 'r': 'match.path' must be a path such as",
    BASE_L BASE_U "weir.route \"r\" { match = { path = \"x\" }, to = \"u\" }\n" },
  { 3, "route 'r': 'match.path' must be a path such as",
    BASE_L BASE_U "weir.route \"r\" { match = { path = \"/a/../b\" }, to = \"u\" }\n" },
  { 3, "route 'r': 'match.path' may have a '*' only at the end",
    BASE_L BASE_U "weir.route \"r\" { match = { path = \"/v*\" }, to = \"u\" }\n" },
  { 3, "route 'r': 'match.methods' must be \"GET\", \"HEAD\"",
    BASE_L BASE_U
    "weir.route \"r\" { match = { path = \"/x\", methods = { \"post\" } }, to = \"u\" }\n" },
  { 3, "route 'r': 'match.host' must be a host's name",
    BASE_L BASE_U "weir.route \"r\" { match = { path = \"/x\", host = \"a:80\" }, to = \"u\" }\n" },
  { 3, "route 'r': 'slow_client.low' must be less than 'slow_client.high'",
    BASE_L BASE_U "weir.route \"r\" { match = { path = \"/x\" }, to = \"u\", slow_client = { high "
                  "= \"8KiB\", low = \"8KiB\" } }\n" },
  { 3, "route 'r': 'slow_client.max' must not be less than 'slow_client.high'",
    BASE_L BASE_U "weir.route \"r\" { match = { path = \"/x\" }, to = \"u\", slow_client = { max "
                  "= \"1KiB\" } }\n" },
  { 3, "route 'r': 'slow_client.drop' ",
    BASE_L BASE_U "weir.route \"r\" { match = { path = \"/x\" }, to = \"u\", slow_client = { drop "
                  "= { \"tool\" } } }\n" },
  { 3, "route 'r': 'commit' must be \"content\" or \"alive\", not \"now\"",
    BASE_L BASE_U
    "weir.route \"r\" { match = { path = \"/x\" }, to = \"u\", commit = \"now\" }\n" },
  { 3, "route 'r': 'continue' needs an upstream in 'u' that can go on with an answer",
    BASE_L BASE_U
    "weir.route \"r\" { match = { path = \"/x\" }, to = \"u\", continue = true }\n" },
  { 5, "route 'r': 'continue' needs a second attempt: 'retry.attempts' of 'g' is 1",
    BASE_L BASE_U
    "weir.upstream \"p\" { kind = \"mock\", prefill = true }\n"
    "weir.group \"g\" { \"u\", \"p\", retry = { attempts = 1 } }\n"
    "weir.route \"r\" { match = { path = \"/x\" }, to = \"g\", continue = true }\n" },
  { 2, "upstream 'p': 'prefill' must be \"false\", \"assistant\", \"prefix\" or \"vllm\", not "
       "\"yes\"",
    BASE_L "weir.upstream \"p\" { kind = \"mock\", prefill = \"yes\" }\n" },
  { 2, "upstream 'p': 'prefill' must be true, false or a string, not an integer",
    BASE_L "weir.upstream \"p\" { kind = \"mock\", prefill = 1 }\n" },
  { 3, "route 'r': 'cache' is not available in this version",
    BASE_L BASE_U
    "weir.route \"r\" { match = { path = \"/x\" }, to = \"u\", cache = { ttl = \"10m\" } }\n" },
  { 3, "route 'r': 'on_slow_client' must be a function, not an integer",
    BASE_L BASE_U
    "weir.route \"r\" { match = { path = \"/x\" }, to = \"u\","
    " on_slow_client = 1 }\n" },
  { 3, "route 'r': 'on_event' must be a function, not a string",
    BASE_L BASE_U
    "weir.route \"r\" { match = { path = \"/x\" }, to = \"u\", on_event = \"x\" }\n" },
  { 3, "route 'r': 'open' must be true or false, not a string",
    BASE_L BASE_U "weir.route \"r\" { match = { path = \"/x\" }, to = \"u\", open = \"yes\" }\n" },
  { 4, "route 'r': declared twice (first in line 3)", BASE_L BASE_U BASE_R BASE_R },
  { 3, "route 'r': expected a table: weir.route \"r\" { … }, got a string",
    BASE_L BASE_U "weir.route \"r\" \"x\"\n" },
  /* plugins */
  { 1, "plugin 'p': option 'api' is missing",
    "weir.plugin { name = \"p\" }\n" BASE_L BASE_U BASE_R },
  { 1, "plugin 'p': 'api' must be from 1 to 1",
    "weir.plugin { name = \"p\", api = 2 }\n" BASE_L BASE_U BASE_R },
  { 1, "plugin 'p': unknown option 'on_requst' (did you mean 'on_request'?)",
    "weir.plugin { name = \"p\", api = 1, on_requst = 1 }\n" BASE_L BASE_U BASE_R },
  { 1, "plugin 'p': 'on_pressure' must be a function, not an integer",
    "weir.plugin { name = \"p\", api = 1, on_pressure = 1 }\n" BASE_L BASE_U BASE_R },
  { 4, "route 'r': 'use' entry 1: 'p' has on_pressure, which belongs to no route: weir.use { … }",
    "local p = weir.plugin { name = \"p\", api = 1, on_pressure = function() end }\n" BASE_L BASE_U
    "weir.route \"r\" { match = { path = \"/x\" }, to = \"u\", use = { p {} } }\n" },
  { 3, "route 'r': unknown option 'on_pressure'",
    BASE_L BASE_U "weir.route \"r\" { match = { path = \"/x\" }, to = \"u\", "
                  "on_pressure = function() end }\n" },
  { 1, "keys: 'a.tags' must be a list of words such as { \"eu\", \"beta\" }",
    "weir.keys { a = { sha256 = (\"0\"):rep(64), tags = { eu = true } } }\n" BASE_L BASE_U BASE_R },
  { 1, "plugin 'p': 'schema.a' must be { \"type\", … }",
    "weir.plugin { name = \"p\", api = 1, schema = { a = { \"int\" } } }\n" BASE_L BASE_U BASE_R },
  { 1, "plugin 'p': 'schema.a' has an unknown property 'defalt' (did you mean 'default'?)",
    "weir.plugin { name = \"p\", api = 1, schema = { a = { \"integer\", defalt = 1 } } }\n" BASE_L
        BASE_U BASE_R },
  { 2, "plugin 'p': unknown option 'tokns' (did you mean 'tokens'?)",
    "local p = weir.plugin { name = \"p\", api = 1, schema = { tokens = { \"integer\" } } "
    "}\nweir.use { p { tokns = 1 } }\n" BASE_L BASE_U BASE_R },
  { 2, "plugin 'p': 'tokens' must be a whole number, not a string",
    "local p = weir.plugin { name = \"p\", api = 1, schema = { tokens = { \"integer\" } } "
    "}\nweir.use { p { tokens = \"1\" } }\n" BASE_L BASE_U BASE_R },
  { 2, "plugin 'p': 'tokens' must be at least 1",
    "local p = weir.plugin { name = \"p\", api = 1, schema = { tokens = { \"integer\", min = 1 } } "
    "}\nweir.use { p { tokens = 0 } }\n" BASE_L BASE_U BASE_R },
  { 2, "plugin 'p': option 'tokens' is missing",
    "local p = weir.plugin { name = \"p\", api = 1, schema = { tokens = { \"integer\", required = "
    "true } } }\nweir.use { p {} }\n" BASE_L BASE_U BASE_R },
  { 2, "plugin 'p': 'mode' must be one of: a, b",
    "local p = weir.plugin { name = \"p\", api = 1, schema = { mode = { \"string\", one_of = { "
    "\"a\", \"b\" } } } }\nweir.use { p { mode = \"c\" } }\n" BASE_L BASE_U BASE_R },
  { 2, "plugin 'p': 'wait' must be a duration such as \"30s\", not an integer",
    "local p = weir.plugin { name = \"p\", api = 1, schema = { wait = { \"duration\" } } "
    "}\nweir.use { p { wait = 3 } }\n" BASE_L BASE_U BASE_R },
  { 2, "plugin 'p': 'order' names the upstream 'uu', which isn't declared",
    "local p = weir.plugin { name = \"p\", api = 1, schema = { order = { \"list of upstream\" } } "
    "}\nweir.use { p { order = { \"u\", \"uu\" } } }\n" BASE_L BASE_U BASE_R },
  { 2, "use: entry 1 is a plugin without its options: call it, plugin {}",
    "local p = weir.plugin { name = \"p\", api = 1 }\nweir.use { p }\n" BASE_L BASE_U BASE_R },
  { 1, "use: entry 1 must be a plugin with its options, not an integer",
    "weir.use { 7 }\n" BASE_L BASE_U BASE_R },
  { 3, "no good",
    "local p = weir.plugin { name = \"p\", api = 1,\n  prepare = function(conf) error \"no good\" "
    "end }\nweir.use { p {} }\n" BASE_L BASE_U BASE_R },
  /* require, secrets */
  { 1, "require: not a module's name", "require \"../x\"\n" },
  { 1, "require: not a module's name", "require \"/etc/passwd\"\n" },
  { 1, "require 'nothing.here': not found:", "require \"nothing.here\"\n" },
  { 1, "weir.secret.env: expected a name, got nil", "local x = weir.secret.env()\n" },
  { 1, "over the limit: 50000000 instructions", "while true do end\n" },
};

#endif
