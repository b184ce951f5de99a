//! Names to addresses, remembered for a moment.
//!
//! The system's resolver does the work on a blocking thread. Connections are kept alive, so a look-up is rare; the memory is there
//! so that a burst of new connections is one look-up.

use crate::error::ProxyError;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long an answer is used. The system's resolver does not tell the record's lifetime; this is below any that is usual.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Names that are remembered at once; beyond it the memory is emptied.
const NAMES_LIMIT: usize = 4096;

/// A worker's memory of names.
#[derive(Default)]
pub struct Resolver {
    known: RefCell<HashMap<Box<str>, Answer>>,
}

/// Addresses, and when they were learnt.
type Answer = (Rc<[IpAddr]>, Instant);

impl Resolver {
    /// The addresses of a host; at least one.
    pub async fn resolve(&self, host: &str) -> Result<Rc<[IpAddr]>, ProxyError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Rc::new([address]));
        }
        if let Some((addresses, at)) = self.known.borrow().get(host)
            && at.elapsed() < REMEMBERED
        {
            return Ok(Rc::clone(addresses));
        }
        let failed = |cause: String| ProxyError::UpstreamName { host: host.to_owned(), cause };
        let found = tokio::net::lookup_host((host, 0)).await.map_err(|error| failed(error.to_string()))?;
        let addresses: Rc<[IpAddr]> = found.map(|address| address.ip()).collect();
        if addresses.is_empty() {
            return Err(failed("no address".to_owned()));
        }
        let mut known = self.known.borrow_mut();
        if known.len() >= NAMES_LIMIT {
            known.clear();
        }
        known.insert(host.into(), (Rc::clone(&addresses), Instant::now()));
        Ok(addresses)
    }
}
