//! A client of the Admin API that reads as a sentence.

use crate::client::{Client, Reply};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// The Admin API of one gateway.
pub struct Admin {
    client: Client,
}

impl Admin {
    /// At that address.
    pub fn of(address: SocketAddr) -> Self {
        Self { client: Client::of(address) }
    }
    /// Any request; the body may be null for none.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Reply {
        let request = self.client.request(method, path);
        let request =
            if body.is_null() { request } else { request.header("content-type", "application/json").body(body.to_string()) };
        request.send()
    }
    /// A read that must succeed.
    pub fn get(&self, path: &str) -> Value {
        self.ask("GET", path, &Value::Null).expect(200).json()
    }
    /// Whether this gateway knows of that many on its store, itself included.
    pub fn knows_nodes(&self, count: usize) -> bool {
        self.get("/cluster/nodes")["data"].as_array().is_some_and(|nodes| nodes.len() == count)
    }
    /// A new entity.
    pub fn post(&self, path: &str, body: Value) -> Value {
        self.ask("POST", path, &body).expect(201).json()
    }
    /// An entity as a whole.
    pub fn put(&self, path: &str, body: Value) -> Value {
        self.ask("PUT", path, &body).expect(200).json()
    }
    /// Some fields.
    pub fn patch(&self, path: &str, body: Value) -> Value {
        self.ask("PATCH", path, &body).expect(200).json()
    }
    /// Gone.
    pub fn delete(&self, path: &str) {
        self.ask("DELETE", path, &Value::Null).expect(204);
    }
    /// A service of that name and a route of the same name at `/<name>`.
    pub fn route_to(&self, name: &str, upstream: SocketAddr) -> &Self {
        self.put(&format!("/services/{name}"), json!({ "url": format!("http://{upstream}") }));
        self.put(&format!("/routes/{name}"), json!({ "service": { "name": name }, "paths": [format!("/{name}")] }));
        self
    }
    /// A plugin on the route of that name.
    pub fn plugin_on(&self, route: &str, plugin: &str, config: Value) -> Value {
        self.post(&format!("/routes/{route}/plugins"), json!({ "name": plugin, "config": config }))
    }
    /// A consumer with a key.
    pub fn consumer_with_key(&self, username: &str, key: &str) -> &Self {
        self.put(&format!("/consumers/{username}"), json!({}));
        self.post(&format!("/consumers/{username}/key-auth"), json!({ "key": key }));
        self
    }
    /// Uploads a component; `grants` may be empty.
    pub fn upload(&self, bytes: Vec<u8>, grants: &str) -> Reply {
        let path = if grants.is_empty() { "/components".to_owned() } else { format!("/components?grants={grants}") };
        self.client.request("POST", &path).header("content-type", "application/wasm").body(bytes).send()
    }
}
