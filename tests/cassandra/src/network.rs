//! Addresses of a cluster's own: any 127.a.b.x is this machine on Linux, so clusters need no ports of their own.

use crate::HarnessError;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

/// The native protocol's port, on every node.
pub(crate) const NATIVE_PORT: u16 = 9042;
/// The port that nodes speak to each other on.
pub(crate) const STORAGE_PORT: u16 = 7000;
/// Where a node behind a proxy listens: this much further than what it announces.
const HIDDEN: u8 = 100;
/// Where a further way to a node begins: this much further than the node, and each way three further than the one before.
const DETOURS: u8 = 115;
/// How many further ways to the same nodes there may be at once.
pub(crate) const DETOURS_MOST: u8 = 40;
/// Of 65,000 networks some may be taken; if this many are, something listens on every address.
const TRIES: u32 = 20;

/// The first three parts of the addresses of a cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Network(u8, u8);

impl Network {
    /// One on which nobody listens now.
    pub(crate) fn free(nodes: usize) -> Result<Self, HarnessError> {
        let mut refused = String::new();
        for _ in 0..TRIES {
            let network = Self::random();
            let addresses: Vec<_> = (0..nodes).flat_map(|node| [network.address(node), network.hidden_address(node)]).collect();
            let ports = addresses.iter().flat_map(|ip| [NATIVE_PORT, STORAGE_PORT].map(|port| SocketAddrV4::new(*ip, port)));
            let mut taken =
                ports.filter_map(|address| TcpListener::bind(address).err().map(|error| format!("{address}: {error}")));
            match taken.next() {
                None => return Ok(network),
                Some(reason) => refused = reason,
            }
        }
        Err(HarnessError::Io {
            doing: format!("looking for free addresses in 127.0.0.0/8 (a program on 0.0.0.0:{NATIVE_PORT} takes them all)"),
            cause: refused,
        })
    }

    fn random() -> Self {
        // Every RandomState has keys of its own; 127.0.x.y is left to whoever writes such addresses by hand.
        let [first, second, ..] = RandomState::new().hash_one(std::process::id()).to_le_bytes();
        Self(first.max(1), second)
    }

    /// What a node announces.
    pub(crate) fn address(self, node: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, self.0, self.1, number(node))
    }

    /// Where a node behind a proxy listens for clients.
    pub(crate) fn hidden_address(self, node: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, self.0, self.1, number(node) + HIDDEN)
    }

    /// Where another proxy in front of a node may stand.
    pub(crate) fn detour_address(self, node: usize, way: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.0, self.1, number(node) + DETOURS + 3 * way)
    }
}

/// From 11 on, as in the examples of many: 1 would look like a gateway, 0 is none. There are three nodes at most.
fn number(node: usize) -> u8 {
    u8::try_from(node).unwrap_or(0) + 11
}

/// A port that nobody listens on now. A start that loses it to another program is tried again with another.
pub(crate) fn free_port() -> Result<u16, HarnessError> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(HarnessError::io("looking for a free port"))
}
