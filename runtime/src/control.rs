//! The commands that speak to a node that runs: by its prefix's files, signals and its status address.
//!
//! Knows nothing of what a node does with a signal.

use crate::admin_api::{AdminApi, Sent};
use crate::exit::Exit;
use crate::http::{self, Request};
use crate::prefix::{Address, Prefix, Running};
use crate::settings::Whereabouts;
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A node that stops at once cuts its exchanges and closes its store: seconds at most.
const STOP_WAIT: Duration = Duration::from_secs(15);
/// What a node that drains may take on top of its drain time-out.
const DRAIN_SLACK: Duration = Duration::from_secs(15);
/// A status address that takes longer to answer is not healthy.
const STATUS_WAIT: Duration = Duration::from_secs(5);
/// A history may have to be loaded, or written, whole.
const ADMIN_WAIT: Duration = Duration::from_secs(600);
/// Figures of a thousand plugins stay below.
const STATUS_BYTES_MOST: u64 = 16 << 20;

/// `weir stop` and `weir quit`.
pub fn end(node: &Whereabouts, signal: Signal, timeout: Option<u64>) -> Exit {
    let Some(running) = running(node) else { return Exit::Failed };
    let bound = match signal {
        Signal::QUIT => node.drain.whole() + DRAIN_SLACK,
        _ => STOP_WAIT,
    };
    finish(running, signal, timeout.map_or(bound, Duration::from_secs))
}

fn finish(running: Running, signal: Signal, wait: Duration) -> Exit {
    let pid = running.pid;
    if let Err(error) = kill_process(pid, signal) {
        eprintln!("weir: process {pid} cannot be signalled: {error}");
        return Exit::Failed;
    }
    if running.wait_for_end(wait) {
        println!("Weir has stopped (process {pid})");
        return Exit::Success;
    }
    eprintln!("weir: process {pid} has not ended within {} s; it goes on ending", wait.as_secs());
    Exit::Failed
}

/// The first half of `weir restart`: no node is a fine state to start from.
pub fn end_if_running(node: &Whereabouts) -> Exit {
    match Prefix::new(&node.prefix).running() {
        Ok(None) => Exit::Success,
        Ok(Some(running)) => finish(running, Signal::QUIT, node.drain.whole() + DRAIN_SLACK),
        Err(error) => {
            eprintln!("weir: {error}");
            Exit::Failed
        }
    }
}

/// `weir reload`: the node judges the settings itself and logs what it took; they are checked here too, to be told at once.
pub fn reload(node: &Whereabouts) -> Exit {
    let Some(running) = running(node) else { return Exit::Failed };
    let pid = running.pid;
    match kill_process(pid, Signal::HUP) {
        Ok(()) => {
            println!(
                "process {pid} reads its settings and its plugins_dir again; its log and `weir status` tell what came of it"
            );
            Exit::Success
        }
        Err(error) => {
            eprintln!("weir: process {pid} cannot be signalled: {error}");
            Exit::Failed
        }
    }
}

/// `weir health`: 0 if the node runs and is ready.
pub fn health(node: &Whereabouts) -> Exit {
    let Some(running) = running(node) else { return Exit::Failed };
    println!("process {}: running", running.pid);
    let address = match status_address(node) {
        StatusAddress::At(address) => address,
        StatusAddress::Off => {
            println!("status_listen is off: whether it is ready cannot be asked");
            return Exit::Success;
        }
        StatusAddress::NotYet => {
            println!("not ready: it is still starting");
            return Exit::Failed;
        }
    };
    match get(address, "/status/ready") {
        Ok((200, _)) => {
            println!("ready");
            Exit::Success
        }
        Ok((status, body)) => {
            println!("not ready (status {status}): {body}");
            Exit::Failed
        }
        Err(error) => {
            println!("not ready: {address} does not answer: {error}");
            Exit::Failed
        }
    }
}

/// `weir status`: the node's figures as JSON.
pub fn status(node: &Whereabouts) -> Exit {
    if running(node).is_none() {
        return Exit::Failed;
    }
    let address = match status_address(node) {
        StatusAddress::At(address) => address,
        StatusAddress::Off => {
            eprintln!("weir: status_listen is off");
            return Exit::Failed;
        }
        StatusAddress::NotYet => {
            eprintln!("weir: the node is still starting");
            return Exit::Failed;
        }
    };
    match get(address, "/status") {
        Ok((200, body)) => {
            println!("{body}");
            Exit::Success
        }
        Ok((status, body)) => {
            eprintln!("weir: {address} answered {status}: {body}");
            Exit::Failed
        }
        Err(error) => {
            eprintln!("weir: {address} does not answer: {error}");
            Exit::Failed
        }
    }
}

/// What a node that runs says is wrong with it; nothing if it cannot be asked.
pub fn trouble(node: &Whereabouts) -> Option<Value> {
    let StatusAddress::At(address) = status_address(node) else { return None };
    let (_, body) = get(address, "/status").ok().filter(|(status, _)| *status == 200)?;
    serde_json::from_str::<Value>(&body).ok()?.get("trouble").cloned()
}

/// `weir cluster`: asks the node that runs, by its Admin API.
pub fn cluster(api: AdminApi, step: &str) -> Exit {
    let api = api.waiting(ADMIN_WAIT);
    let method = if step == "nodes" { "GET" } else { "POST" };
    let reply = api.open(method, &format!("/cluster/{step}"), Sent::Nothing);
    match reply.and_then(|reply| Ok((reply.status, reply.text(STATUS_BYTES_MOST)?))) {
        Ok((200, body)) => {
            println!("{body}");
            Exit::Success
        }
        Ok((status, body)) => {
            eprintln!("weir: {} answered {status}: {body}", api.host());
            Exit::Failed
        }
        Err(error) => {
            eprintln!("weir: {} does not answer: {error}", api.host());
            Exit::Failed
        }
    }
}

/// Where the Admin API of the node that runs is asked without TLS; says so if there is no such address.
pub fn admin_address(node: &Whereabouts) -> Option<SocketAddr> {
    running(node)?;
    let plain = Prefix::new(&node.prefix).listeners().ok().and_then(|listeners| listeners.admin.into_iter().find(|it| !it.tls));
    if plain.is_none() {
        eprintln!("weir: the node has no plain address in admin_listen, which commands speak to; add one on loopback");
    }
    plain.map(|Address { address, .. }| on_loopback(address))
}

fn running(node: &Whereabouts) -> Option<Running> {
    match Prefix::new(&node.prefix).running() {
        Ok(Some(running)) => return Some(running),
        Ok(None) => eprintln!("weir: no node runs in {}", node.prefix.display()),
        Err(error) => eprintln!("weir: {error}"),
    }
    None
}

/// Where a node that runs can be asked.
enum StatusAddress {
    At(SocketAddr),
    Off,
    /// It has not opened its listeners.
    NotYet,
}

/// Where the node that runs says its status is; a node that listens on all addresses is asked on loopback.
fn status_address(node: &Whereabouts) -> StatusAddress {
    let Ok(listeners) = Prefix::new(&node.prefix).listeners() else { return StatusAddress::NotYet };
    let Some(&Address { address, .. }) = listeners.status.first() else { return StatusAddress::Off };
    StatusAddress::At(on_loopback(address))
}

/// Where a listener on all addresses is reached from here.
fn on_loopback(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) });
    }
    address
}

/// One plain GET: status and body.
fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let host = &address.to_string();
    let reply = http::send(&Request { address, host, method: "GET", path, headers: "", body: &[], wait: STATUS_WAIT })?;
    Ok((reply.status, reply.text(STATUS_BYTES_MOST)?))
}
