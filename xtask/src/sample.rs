//! The sample that the README's tour walks through: a service, a route with three plugins, a consumer with a key.
//!
//! Made through the Admin API, as any operator would. What is there already is left as it is, so it outlives restarts.

use crate::http::{Request, Response, send};
use std::net::SocketAddr;

/// Makes the sample on the gateway with that Admin API; the service points to `upstream`, which may move between runs.
pub fn set_up(admin: SocketAddr, upstream: SocketAddr) -> Result<(), String> {
    let put = |path: &str, body: String| expect(ask(admin, "PUT", path, &body)?, 200, path);
    put("/services/orders", format!(r#"{{"url":"http://{upstream}"}}"#))?;
    if ask(admin, "GET", "/routes/orders", "")?.status == 200 {
        return Ok(());
    }
    put("/routes/orders", r#"{"service":{"name":"orders"},"paths":["/orders"]}"#.to_owned())?;
    put("/consumers/ada", r#"{"custom_id":"customer-1815"}"#.to_owned())?;
    let post = |path: &str, body: &str| expect(ask(admin, "POST", path, body)?, 201, path);
    post("/consumers/ada/key-auth", r#"{"key":"open-sesame"}"#)?;
    post("/routes/orders/plugins", r#"{"name":"key-auth","config":{"hide_credentials":true}}"#)?;
    post("/routes/orders/plugins", r#"{"name":"rate-limiting","config":{"minute":5,"policy":"local"}}"#)?;
    post("/routes/orders/plugins", r#"{"name":"request-transformer","config":{"add":{"headers":["x-env:tour"]}}}"#)
}

fn ask(admin: SocketAddr, method: &str, target: &str, body: &str) -> Result<Response, String> {
    let headers = if body.is_empty() { Vec::new() } else { vec![("content-type".to_owned(), "application/json".to_owned())] };
    let request = Request {
        method: method.to_owned(),
        authority: admin.to_string(),
        target: target.to_owned(),
        headers,
        body: body.into(),
    };
    send(&request).map_err(|error| format!("{method} {target}: {error}"))
}

fn expect(response: Response, status: u16, what: &str) -> Result<(), String> {
    if response.status == status {
        return Ok(());
    }
    Err(format!("{what} answered {} instead of {status}: {}", response.status, response.body))
}
