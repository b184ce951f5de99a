//! Idle connections to upstreams, one pool per worker: no lock, no wake-up of another thread.
//!
//! Nobody polls an idle connection. Its end, and bytes that nobody asked for, are noticed when it is taken out: one system call
//! that asks the kernel, because bytes that were missed would become another client's answer.

use crate::snapshot::ServiceRecord;
use crate::upstream::stream::Connection;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

/// Idle connections of a worker to all upstreams together: each holds a socket.
const IDLE_LIMIT: usize = 4096;

/// How a connection was made. Connections that were made another way are never mixed up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// In the clear.
    Plain,
    /// TLS, the certificate verified.
    Verified,
    /// TLS, the certificate not verified.
    Unverified,
}

/// The idle connections.
#[derive(Default)]
pub struct Pool {
    /// By authority: asked with the service's own text, so that looking up allocates nothing.
    idle: HashMap<Box<str>, Vec<(Way, Connection)>, BuildHasherDefault<AuthorityHasher>>,
    count: usize,
}

/// What limits the pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Idle connections to one authority.
    pub per_authority: usize,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// Exchanges on one connection.
    pub exchanges: u32,
}

impl Pool {
    /// A connection that was used last and is still good. Younger ones first: older ones get the chance to expire.
    pub fn take(&mut self, service: &ServiceRecord, way: Way, now: Instant, limits: &PoolLimits) -> Option<Connection> {
        let idle = self.idle.get_mut(&*service.authority)?;
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            if idle.get(at).is_none_or(|(made, _)| *made != way) {
                continue;
            }
            let (_, mut connection) = idle.remove(at);
            self.count -= 1;
            if now.duration_since(connection.idle_since) < limits.idle_timeout && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose exchange has ended cleanly.
    pub fn put(&mut self, service: &ServiceRecord, way: Way, mut connection: Connection, now: Instant, limits: &PoolLimits) {
        if connection.served >= limits.exchanges || self.count >= IDLE_LIMIT || limits.per_authority == 0 {
            return;
        }
        connection.idle_since = now;
        let Some(idle) = self.idle.get_mut(&*service.authority) else {
            self.idle.insert(service.authority.clone(), vec![(way, connection)]);
            self.count += 1;
            return;
        };
        if idle.len() >= limits.per_authority {
            idle.remove(0);
            self.count -= 1;
        }
        idle.push((way, connection));
        self.count += 1;
    }

    /// Closes what has been idle for too long or was closed by the other side. Asked about once a second.
    pub fn sweep(&mut self, now: Instant, limits: &PoolLimits) {
        for idle in self.idle.values_mut() {
            idle.retain_mut(|(_, connection)| {
                now.duration_since(connection.idle_since) < limits.idle_timeout && connection.is_quiet()
            });
        }
        self.idle.retain(|_, idle| !idle.is_empty());
        self.count = self.idle.values().map(Vec::len).sum();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }
}

/// Hashes authorities eight bytes at a time. They come from the configuration, not from clients: nobody who could choose them to
/// collide would gain by it, so the standard hasher's defence would only cost time, twice a request.
#[derive(Default)]
struct AuthorityHasher(u64);

impl Hasher for AuthorityHasher {
    fn write(&mut self, bytes: &[u8]) {
        // An odd number without a pattern; the multiplication carries each bit upwards, the folding brings it down again.
        let mix = |state: u64, word: u64| {
            let product = u128::from(state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            (product as u64) ^ ((product >> 64) as u64)
        };
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.0 = mix(self.0, u64::from_le_bytes(*word));
        }
        let rest = rest.iter().fold(1_u64, |word, &byte| word << 8 | u64::from(byte));
        self.0 = mix(self.0, rest);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}
