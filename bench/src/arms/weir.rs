//! Weir, started and configured as an operator would: a settings file, then the Admin API.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Prepared, folder_in};
use crate::error::Result;
use crate::http::send_json;
use crate::process::{free_address, write};
use crate::work::{HOST, KEY_HEADER, ROUTE_PREFIX, Work};

/// The program to run, and where its Admin API will be.
pub(super) fn prepare(program: &Path, folder: &Path) -> Result<(Prepared, SocketAddr)> {
    let (address, admin) = (free_address()?, free_address()?);
    let prefix = folder_in(folder, "prefix")?;
    let settings = format!(
        r#"proxy_listen = "{address}"
admin_listen = "{admin}"
status_listen = "off"
worker_threads = 1
proxy_access_log = "off"
log_level = "warn"
keepalive_requests = 1000000000
upstream_keepalive_max_requests = 1000000000
# Headers of Weir's own that no other arm sends.
via_header = false
latency_headers = false
request_id_header = false
"#
    );
    let file = folder.join("weir.toml");
    write(&file, &settings)?;
    let mut command = Command::new(program);
    command.arg("start").arg("-c").arg(file).arg("-p").arg(prefix);
    Ok((Prepared { command, address }, admin))
}

/// Makes service and route, and with `work` the callers and the chain.
pub(super) fn configure(admin: SocketAddr, origin: SocketAddr, work: Option<&Work>) -> Result<()> {
    let post = |path: &str, body: Value| send_json(admin, "POST", path, &body).map(drop);
    post("/services", json!({ "name": "orders", "protocol": "http", "host": origin.ip().to_string(), "port": origin.port() }))?;
    // The other arms hand the host through and do not touch the path.
    post(
        "/services/orders/routes",
        json!({
            "name": "orders", "hosts": [HOST], "paths": [ROUTE_PREFIX], "strip_path": false, "preserve_host": true, "protocols": ["http"]
        }),
    )?;
    let Some(work) = work else { return Ok(()) };
    for caller in &work.callers {
        post("/consumers", json!({ "id": caller.id, "username": caller.username }))?;
        post(&format!("/consumers/{}/key-auth", caller.username), json!({ "id": caller.credential, "key": caller.key }))?;
    }
    let plugins = "/routes/orders/plugins";
    post(plugins, json!({ "name": "key-auth", "config": { "key_names": [KEY_HEADER] } }))?;
    post(
        plugins,
        json!({ "name": "rate-limiting", "config": { "hour": work.hourly_limit, "policy": "local", "limit_by": "consumer" } }),
    )?;
    let headers: Vec<String> = work.injected.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    post(plugins, json!({ "name": "response-transformer", "config": { "add": { "headers": headers } } }))
}
