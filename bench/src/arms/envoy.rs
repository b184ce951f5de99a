//! Envoy, plain, with a proxy-wasm filter built from `bench/envoy-filter`, and with its Lua filter.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{NO_KEY, PAST_LIMIT, Place, Prepared, message, text};
use crate::error::{BenchError, Result};
use crate::peers::Unpacked;
use crate::process::{free_address, output_of, write};
use crate::work::{HOST, KEY_HEADER, ROUTE_PREFIX, Work};

/// Envoy's runtime of choice for wasm.
const WASM_RUNTIME: &str = "envoy.wasm.runtime.v8";
/// What the filter is compiled for; the gateway's own plugins need this target as well.
const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// What stands before the router.
pub(super) enum Filter<'a> {
    None,
    Wasm { module: PathBuf, work: &'a Work },
    Lua(&'a Work),
}

pub(super) fn prepare(envoy: &Unpacked, place: &Place<'_>, folder: &Path, filter: &Filter<'_>) -> Result<Prepared> {
    let address = free_address()?;
    let mut filters = match filter {
        Filter::None => vec![],
        Filter::Wasm { module, work } => vec![wasm(module, work)],
        Filter::Lua(work) => vec![typed(
            "envoy.filters.http.lua",
            "envoy.extensions.filters.http.lua.v3.Lua",
            json!({
                "default_source_code": { "inline_string": lua(work) }
            }),
        )],
    };
    filters.push(typed(
        "envoy.filters.http.router",
        "envoy.extensions.filters.http.router.v3.Router",
        json!({ "suppress_envoy_headers": true }),
    ));
    let bootstrap = json!({ "static_resources": {
        "listeners": [listener(address, filters)],
        "clusters": [{
            "name": "origin", "type": "STATIC", "connect_timeout": "5s",
            "load_assignment": { "cluster_name": "origin", "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket(place.origin) } }] }] }
        }]
    }});
    write(&folder.join("envoy.json"), &bootstrap.to_string())?;
    let mut command = envoy.command();
    command.arg("-c").arg(folder.join("envoy.json")).args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]);
    Ok(Prepared { command, address })
}

fn listener(address: std::net::SocketAddr, filters: Vec<Value>) -> Value {
    let add = |name: &str, value: &str| json!({ "header": { "key": name, "value": value }, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD" });
    let manager = typed(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "gateway",
            "use_remote_address": true,
            "append_x_forwarded_port": true,
            // Not part of the work, so the arm need not pay for it.
            "generate_request_id": false,
            "server_header_transformation": "PASS_THROUGH",
            "http_filters": filters,
            "route_config": { "name": "routes", "virtual_hosts": [{
                "name": "api", "domains": [HOST],
                "routes": [{ "match": { "prefix": ROUTE_PREFIX }, "route": { "cluster": "origin" } }],
                "request_headers_to_add": [
                    add("X-Forwarded-Host", "%REQ(:AUTHORITY)%"),
                    add("X-Real-IP", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
                ]
            }]}
        }),
    );
    json!({ "name": "gateway", "address": socket(address), "filter_chains": [{ "filters": [manager] }] })
}

fn typed(name: &str, kind: &str, mut config: Value) -> Value {
    if let Value::Object(fields) = &mut config {
        fields.insert("@type".to_owned(), format!("type.googleapis.com/{kind}").into());
    }
    json!({ "name": name, "typed_config": config })
}

fn socket(address: std::net::SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

fn wasm(module: &Path, work: &Work) -> Value {
    // The filter's own line format: it saves a JSON parser in the module.
    let mut lines = format!("limit\t{}\n", work.hourly_limit);
    for c in &work.callers {
        lines.push_str(&format!("caller\t{}\t{}\t{}\t{}\n", c.key, c.id, c.username, c.credential));
    }
    for (name, value) in &work.injected {
        lines.push_str(&format!("inject\t{name}\t{value}\n"));
    }
    typed(
        "envoy.filters.http.wasm",
        "envoy.extensions.filters.http.wasm.v3.Wasm",
        json!({ "config": {
            "name": "gate", "root_id": "gate",
            "vm_config": { "vm_id": "gate", "runtime": WASM_RUNTIME, "code": { "local": { "filename": text(module) } } },
            "configuration": { "@type": "type.googleapis.com/google.protobuf.StringValue", "value": lines }
        }}),
    )
}

/// Builds the filter; it is a workspace of its own, so that its crates stay out of the gateway's lock file.
pub(super) fn build_filter(place: &Place<'_>) -> Result<PathBuf> {
    let target = place.peers.join("envoy-filter");
    let source = place.repository.join("bench/envoy-filter");
    output_of(
        Command::new("cargo")
            .args(["build", "--release", "--quiet", "--locked", "--target", WASM_TARGET, "--target-dir"])
            .arg(&target)
            .current_dir(&source),
    )?;
    let module = target.join(WASM_TARGET).join("release/weir_bench_envoy_filter.wasm");
    if module.exists() {
        return Ok(module);
    }
    Err(BenchError::Missing(format!("{} was not built", module.display())))
}

/// The counts are per worker: Envoy's Lua has no dictionary that workers share. With one worker that is the same number.
fn lua(work: &Work) -> String {
    let mut callers = String::new();
    for c in &work.callers {
        callers.push_str(&format!(
            "  [\"{}\"] = {{ id = \"{}\", name = \"{}\", credential = \"{}\", window = 0, used = 0 }},\n",
            c.key, c.id, c.username, c.credential
        ));
    }
    let injected: String =
        work.injected.iter().map(|(name, value)| format!("  headers:replace(\"{name}\", \"{value}\")\n")).collect();
    let limit = work.hourly_limit;
    format!(
        r#"local time, tostring = os.time, tostring
local limit = "{limit}"
local callers = {{
{callers}}}

function envoy_on_request(handle)
  local headers = handle:headers()
  local key = headers:get("{KEY_HEADER}")
  local caller = key and callers[key]
  if not caller then
    handle:respond({{ [":status"] = "401", ["www-authenticate"] = "Key", ["content-type"] = "application/json" }}, '{no_key}')
    return
  end
  headers:replace("x-consumer-id", caller.id)
  headers:replace("x-consumer-username", caller.name)
  headers:replace("x-credential-identifier", caller.credential)

  local now = time()
  local past = now % 3600
  if caller.window ~= now - past then
    caller.window, caller.used = now - past, 0
  end
  caller.used = caller.used + 1
  local left = {limit} - caller.used
  if left < 0 then
    local reset = tostring(3600 - past)
    handle:respond({{ [":status"] = "429", ["content-type"] = "application/json", ["retry-after"] = reset, ["ratelimit-reset"] = reset,
      ["ratelimit-limit"] = limit, ["ratelimit-remaining"] = "0", ["x-ratelimit-limit-hour"] = limit,
      ["x-ratelimit-remaining-hour"] = "0" }}, '{past_limit}')
    return
  end
  local kept = handle:streamInfo():dynamicMetadata()
  kept:set("gate", "left", left)
  kept:set("gate", "reset", 3600 - past)
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local kept = handle:streamInfo():dynamicMetadata():get("gate")
  if kept then
    local left = tostring(kept.left)
    headers:replace("ratelimit-limit", limit)
    headers:replace("ratelimit-remaining", left)
    headers:replace("ratelimit-reset", tostring(kept.reset))
    headers:replace("x-ratelimit-limit-hour", limit)
    headers:replace("x-ratelimit-remaining-hour", left)
  end
{injected}end
"#,
        no_key = message(NO_KEY),
        past_limit = message(PAST_LIMIT),
    )
}
