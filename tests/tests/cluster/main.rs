//! Three nodes of Cassandra, gateways on them, a load balancer before them: what the page about clusters promises.
//!
//! All tests share the nodes of Cassandra and stop and start some of them, so one runs after another, each in a keyspace of its own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic, in its own functions as well")]

mod cycles;
mod figures;
mod kills;
mod limits;
mod machine;
mod outage;
mod page;
mod rolling;

use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use weir_cassandra_harness::Cluster;
use weir_tests::{Gateway, GatewayBuilder};

/// For everything that is waited for: machines of CI are slow, and nothing is proved by how fast they are.
const WAIT: Duration = Duration::from_secs(120);

/// The nodes, for one test at a time. A test that failed may have left one stopped: the next starts it.
fn cassandra() -> MutexGuard<'static, Cluster> {
    static CLUSTER: OnceLock<Mutex<Cluster>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| Mutex::new(Cluster::start(3).expect("three nodes of Cassandra")));
    let cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
    for node in cluster.nodes().iter().filter(|node| node.pid().is_none()) {
        node.start_again().expect("a node that was left stopped starts");
    }
    cluster.until_all_up().expect("all see each other");
    cluster
}

/// The addresses of this cluster's machines: those of the page, `10.0.0.x`, stand for `127.a.b.x`.
fn address(cluster: &Cluster, number: u8) -> Ipv4Addr {
    match cluster.contact_points()[0].ip() {
        std::net::IpAddr::V4(ip) => Ipv4Addr::new(ip.octets()[0], ip.octets()[1], ip.octets()[2], number),
        std::net::IpAddr::V6(_) => Ipv4Addr::LOCALHOST,
    }
}

/// Gateways on those nodes, by what all tests but the page's ask for.
struct GatewaysOn<'a> {
    cluster: &'a Cluster,
    keyspace: &'a str,
    /// Seconds between two looks at the store.
    every_s: &'a str,
}

impl GatewaysOn<'_> {
    fn builder(&self) -> GatewayBuilder {
        Gateway::builder()
            .on_cassandra(&self.cluster.contact_points(), self.keyspace, 3)
            .with("db_update_frequency", self.every_s)
    }
    fn bootstrap(&self) {
        let (code, said) = self.builder().command(&["migrations", "bootstrap"]);
        assert_eq!(code, 0, "{said}");
    }
    fn start(&self) -> Gateway {
        self.builder().start()
    }
}

fn until(what: &str, is_so: impl FnMut() -> bool) {
    weir_tests::until(what, WAIT, is_so);
}
