//! nginx, plain and with a chain in Lua (lua-nginx-module): keys in a table, counts in a shared dictionary.

use std::path::Path;

use super::{NO_KEY, PAST_LIMIT, Place, Prepared, folder_in, message, text};
use crate::error::Result;
use crate::peers::Unpacked;
use crate::process::{free_address, write};
use crate::work::{HOST, ROUTE_PREFIX, Work};

pub(super) fn prepare(nginx: &Unpacked, place: &Place<'_>, folder: &Path, work: Option<&Work>) -> Result<Prepared> {
    let address = free_address()?;
    folder_in(folder, "temp")?;
    let (modules, setup, access) = match work {
        Some(work) => {
            write(&folder.join("gate.lua"), &gate(work))?;
            (modules(nginx), setup(nginx, folder), ACCESS)
        }
        None => Default::default(),
    };
    let configuration = format!(
        r#"{modules}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/temp/body;
  proxy_temp_path {folder}/temp/proxy;
  fastcgi_temp_path {folder}/temp/fastcgi;
  uwsgi_temp_path {folder}/temp/uwsgi;
  scgi_temp_path {folder}/temp/scgi;
  keepalive_requests 1000000000;
  tcp_nodelay on;
  {setup}
  upstream origin {{
    server {origin};
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {address} default_server;
    server_name unknown;
    return 404;
  }}
  server {{
    listen {address};
    server_name {HOST};
    location {ROUTE_PREFIX} {{
      {access}
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header X-Real-IP $remote_addr;
    }}
  }}
}}
"#,
        folder = text(folder),
        origin = place.origin,
    );
    write(&folder.join("nginx.conf"), &configuration)?;
    let mut command = nginx.command();
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf")).args(["-e", "stderr"]);
    Ok(Prepared { command, address })
}

/// Limit headers are set as soon as they are known, in the access phase, which keeps the context table of a request out of the path.
const ACCESS: &str =
    "access_by_lua_block { require(\"gate\").access() }\n      header_filter_by_lua_block { require(\"gate\").response() }";

fn modules(nginx: &Unpacked) -> String {
    let folder = text(&nginx.root.join("usr/lib/nginx/modules"));
    format!("load_module {folder}/ndk_http_module.so;\nload_module {folder}/ngx_http_lua_module.so;")
}

fn setup(nginx: &Unpacked, folder: &Path) -> String {
    format!(
        "lua_package_path \"{}/?.lua;{}/usr/share/lua/5.1/?.lua;;\";\n  lua_shared_dict hourly 10m;\n  init_by_lua_block {{ require \"resty.core\" require \"gate\" }}",
        text(folder),
        text(&nginx.root)
    )
}

fn gate(work: &Work) -> String {
    let mut callers = String::new();
    for caller in &work.callers {
        callers.push_str(&format!(
            "  [\"{}\"] = {{ id = \"{}\", name = \"{}\", credential = \"{}\" }},\n",
            caller.key, caller.id, caller.username, caller.credential
        ));
    }
    let injected: String = work.injected.iter().map(|(name, value)| format!("  header[\"{name}\"] = \"{value}\"\n")).collect();
    format!(
        r#"local ngx, math = ngx, math
local hourly = ngx.shared.hourly
local set_header = ngx.req.set_header
local limit = {limit}
local callers = {{
{callers}}}

local gate = {{}}

local function refuse(status, body)
  ngx.status = status
  ngx.header["Content-Type"] = "application/json; charset=utf-8"
  ngx.header["Content-Length"] = #body
  ngx.print(body)
  return ngx.exit(status)
end

function gate.access()
  local key = ngx.var.http_apikey
  local caller = key and callers[key]
  if not caller then
    ngx.header["WWW-Authenticate"] = "Key"
    return refuse(401, '{no_key}')
  end
  set_header("X-Consumer-ID", caller.id)
  set_header("X-Consumer-Username", caller.name)
  set_header("X-Credential-Identifier", caller.credential)

  local now = math.floor(ngx.now())
  local past = now % 3600
  local used, fault = hourly:incr(caller.id .. (now - past), 1, 0, 3600)
  if not used then
    ngx.log(ngx.ERR, fault)
    return ngx.exit(500)
  end
  local left = limit - used
  if left < 0 then left = 0 end
  local header = ngx.header
  header["RateLimit-Limit"] = limit
  header["RateLimit-Remaining"] = left
  header["RateLimit-Reset"] = 3600 - past
  header["X-RateLimit-Limit-Hour"] = limit
  header["X-RateLimit-Remaining-Hour"] = left
  if used > limit then
    header["Retry-After"] = 3600 - past
    return refuse(429, '{past_limit}')
  end
end

function gate.response()
  local header = ngx.header
{injected}end

return gate
"#,
        limit = work.hourly_limit,
        no_key = message(NO_KEY),
        past_limit = message(PAST_LIMIT),
    )
}
