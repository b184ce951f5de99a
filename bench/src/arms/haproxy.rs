//! HAProxy, plain and with a chain out of its own parts in C: a map for the keys, a stick table for the counts.

use std::path::Path;

use super::{NO_KEY, PAST_LIMIT, Place, Prepared, message, text};
use crate::error::Result;
use crate::peers::Unpacked;
use crate::process::{free_address, write};
use crate::work::{HOST, KEY_HEADER, ROUTE_PREFIX, Work};

pub(super) fn prepare(haproxy: &Unpacked, place: &Place<'_>, folder: &Path, work: Option<&Work>) -> Result<Prepared> {
    let address = free_address()?;
    let chain = match work {
        Some(work) => {
            // One map for all three facts about a caller: one look-up, and fields cut out of its answer.
            let lines = work.callers.iter().map(|c| format!("{} {}|{}|{}\n", c.key, c.id, c.username, c.credential));
            write(&folder.join("keys.map"), &lines.collect::<String>())?;
            rules(work, folder)
        }
        None => String::new(),
    };
    let table = work.map_or_else(String::new, |_| {
        "backend hourly\n  stick-table type string len 64 size 100k expire 1h store http_req_rate(1h)\n".to_owned()
    });
    let configuration = format!(
        r"global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
  option http-keep-alive
  http-reuse always
{table}frontend gateway
  bind {address}
  acl known_host req.hdr(host) -m str {HOST}
  acl known_path path_beg {ROUTE_PREFIX}
  http-request return status 404 unless known_host known_path
{chain}  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header X-Real-IP %[src]
  default_backend origin
backend origin
  server origin {origin} pool-max-conn -1
",
        origin = place.origin,
    );
    write(&folder.join("haproxy.cfg"), &configuration)?;
    let mut command = haproxy.command();
    command.arg("-db").arg("-q").arg("-f").arg(folder.join("haproxy.cfg"));
    Ok(Prepared { command, address })
}

fn rules(work: &Work, folder: &Path) -> String {
    let limit = work.hourly_limit;
    let reset = "%[date,mod(3600),neg,add(3600)]";
    let left = format!("%[int({limit}),sub(txn.used)]");
    let injected: String =
        work.injected.iter().map(|(name, value)| format!("  http-response set-header {name} {value}\n")).collect();
    format!(
        r"  http-request set-var(txn.caller) req.hdr({KEY_HEADER}),map_str({map})
  http-request return status 401 content-type application/json string '{no_key}' hdr WWW-Authenticate Key unless {{ var(txn.caller) -m found }}
  http-request set-header X-Consumer-ID %[var(txn.caller),field(1,|)]
  http-request set-header X-Consumer-Username %[var(txn.caller),field(2,|)]
  http-request set-header X-Credential-Identifier %[var(txn.caller),field(3,|)]
  http-request track-sc0 var(txn.caller),field(1,|) table hourly
  http-request set-var(txn.used) sc0_http_req_rate(hourly)
  http-request return status 429 content-type application/json string '{past_limit}' hdr Retry-After {reset} hdr RateLimit-Limit {limit} hdr RateLimit-Remaining 0 hdr RateLimit-Reset {reset} hdr X-RateLimit-Limit-Hour {limit} hdr X-RateLimit-Remaining-Hour 0 if {{ var(txn.used) -m int gt {limit} }}
  http-response set-header RateLimit-Limit {limit}
  http-response set-header RateLimit-Remaining {left}
  http-response set-header RateLimit-Reset {reset}
  http-response set-header X-RateLimit-Limit-Hour {limit}
  http-response set-header X-RateLimit-Remaining-Hour {left}
{injected}",
        map = text(&folder.join("keys.map")),
        no_key = message(NO_KEY),
        past_limit = message(PAST_LIMIT),
    )
}
