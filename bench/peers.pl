# What is measured, as data. Each peer:
#   name     in tables
#   needs    programs that must be there, else the peer is left out with a message
#   files    name => text, written to build/bench
#   command  what is started; its children are measured too
#   check    a command that must succeed first
#   tls      it also listens with TLS on {tls}
#   reload   how it reads its configuration again, for the scenario of that name
#   quick    in bench-quick as well
# {dir} {port} {tls} {admin} {upstream} {weir} {cert} {key} {pem} {user} {modules} {pid} are filled in. A text that holds one
# that can't be had (no openssl: no {cert}) makes the peer lose its TLS, nothing else: such lines end in #tls.
use strict;
use warnings;

my $weir = <<'EOT';
weir.api(1)
weir.server { workers = 1, memory = "256MiB", admin = "127.0.0.1:{admin}", log = "{dir}/weir-access.jsonl" }
weir.listen "127.0.0.1:{port}" {}
weir.listen "127.0.0.1:{tls}" { tls = { cert = "{cert}", key = "{key}" } } --#tls
weir.upstream "up" { kind = "openai-compatible", url = "http://127.0.0.1:{upstream}" }
EOT

sub weir_peer {
  my ($name, $route, %more) = @_;
  (my $file = $name) =~ s/\W/-/g;
  return {
    name => $name,
    needs => ['{weir}'],
    files => { "$file.lua" => "${weir}weir.route \"chat\" {\n  match = { path = \"/v1/chat/completions\" }, to = \"up\",\n$route}\n" },
    check => [ '{weir}', 'check', '-c', "{dir}/$file.lua" ],
    command => [ '{weir}', 'run', '-c', "{dir}/$file.lua" ],
    weir => 1,
    tls => 1,
    %more,
  };
}

my $haproxy = <<'EOT';
defaults
  mode http
  option http-no-delay
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend f
  bind 127.0.0.1:{port}
  bind 127.0.0.1:{tls} ssl crt {pem} #tls
EOT

my $nginx_head = <<'EOT';
{user}
worker_processes 1;
daemon off;
pid {dir}/{name}.pid;
error_log {dir}/{name}.log;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path {dir}/nginx-body;
  proxy_temp_path {dir}/nginx-proxy;
  fastcgi_temp_path {dir}/nginx-fastcgi;
  uwsgi_temp_path {dir}/nginx-uwsgi;
  scgi_temp_path {dir}/nginx-scgi;
  upstream u { server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000; }
  keepalive_requests 1000000;
  server {
    listen 127.0.0.1:{port} backlog=4096;
    listen 127.0.0.1:{tls} ssl; ssl_certificate {cert}; ssl_certificate_key {key}; #tls
    tcp_nodelay on;
    location / {
      proxy_pass http://u;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
EOT
my $nginx_tail = "    }\n  }\n}\n";

return (
  { name => 'thin', command => [ '{dir}/thin', '{port}', '{upstream}' ], quick => 1, floor => 1 },
  weir_peer('weir', '', quick => 1, reload => [ '{weir}', 'reload', '--admin', '127.0.0.1:{admin}' ]),
  # A filter that looks at the text of every token and lets it pass.
  weir_peer('weir+lua', <<'EOT', quick => 1),
  on_event = function(ev) if ev.text and ev.text:equals("stop") then return "stop" end end,
EOT
  # The same with the text put together across events, as a redactor needs it.
  weir_peer('weir+text', <<'EOT'),
  on_text = function(win) if win:find("stop the stream", 1, true) then return "stop" end end,
EOT
  {
    name => 'haproxy', needs => ['haproxy'], tls => 1, quick => 1,
    files => { 'haproxy.cfg' => "global\n  nbthread 1\n  maxconn 8000\n${haproxy}  default_backend b\n"
      . "backend b\n  server s 127.0.0.1:{upstream}\n" },
    command => [ 'haproxy', '-db', '-f', '{dir}/haproxy.cfg' ],
  },
  {
    name => 'haproxy+lua', needs => ['haproxy'],
    files => {
      'haproxy-lua.cfg' => "global\n  nbthread 1\n  maxconn 8000\n  lua-load {dir}/haproxy-look.lua\n${haproxy}"
        . "  filter lua.look\n  default_backend b\nbackend b\n  server s 127.0.0.1:{upstream}\n",
      'haproxy-look.lua' => <<'EOT',
local Look = {}
Look.id = "looks at the text of every token"
Look.flags = filter.FLT_CFG_FL_HTX
Look.__index = Look
function Look:new() return setmetatable({}, Look) end
function Look:start_analyze(_, channel)
  if channel:is_resp() then filter.register_data_filter(self, channel) end
end
function Look:http_payload(_, message)
  local text = message:body()
  if text and text:find('"content":"stop"', 1, true) then message:set(" ") end
end
core.register_filter("look", Look, function(class) return class end)
EOT
    },
    check => [ 'haproxy', '-c', '-f', '{dir}/haproxy-lua.cfg' ],
    command => [ 'haproxy', '-db', '-f', '{dir}/haproxy-lua.cfg' ],
    tls => 1,
  },
  {
    name => 'nginx', needs => ['nginx'], tls => 1, quick => 1, reload => [ 'kill', '-HUP', '{pid}' ],
    files => { 'nginx.conf' => $nginx_head . $nginx_tail },
    command => [ 'nginx', '-c', '{dir}/nginx.conf', '-e', '{dir}/nginx.log' ],
  },
  {
    name => 'nginx+lua', needs => [ 'nginx', '{modules}/ngx_http_lua_module.so' ], tls => 1,
    files => {
      'nginx-lua.conf' => "load_module {modules}/ndk_http_module.so;\nload_module {modules}/ngx_http_lua_module.so;\n"
        . $nginx_head . <<'EOT' . $nginx_tail,
      body_filter_by_lua_block {
        local text = ngx.arg[1]
        if text and string.find(text, '"content":"stop"', 1, true) then ngx.arg[2] = true end
      }
EOT
    },
    command => [ 'nginx', '-c', '{dir}/nginx-lua.conf', '-e', '{dir}/nginx-lua.log' ],
  },
  # Nothing in between: what the load and its server cost by themselves. Only where a relay isn't the point.
  { name => 'direct', direct => 1, quick => 1 },
);
