//! Nodes that are started, paused, killed and replaced. Without a prepared Cassandra these fail and say what to run.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use weir_cassandra_harness::{Cluster, HarnessError, Seen, shared};

/// Whoever runs answers within it, also beside a compiler.
const WAIT: Duration = Duration::from_secs(30);
/// Long enough to see that nothing comes.
const SILENCE: Duration = Duration::from_secs(1);

fn told<T>(outcome: Result<T, HarnessError>) -> T {
    outcome.unwrap_or_else(|error| panic!("{error}"))
}

/// One frame of version 4 of the native protocol and its answer: opcode and body.
fn ask(stream: &mut TcpStream, opcode: u8, body: &[u8]) -> (u8, Vec<u8>) {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    stream.write_all(&[&[4, 0, 0, 0, opcode], &length[..], body].concat()).unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    let mut answer = vec![0; u32::from_be_bytes([head[5], head[6], head[7], head[8]]) as usize];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(head[0], 0x84);
    (head[4], answer)
}

#[test]
fn a_node_takes_a_client_and_stays_silent_while_it_is_paused() {
    let cluster = told(shared(1));
    let node = cluster.node(0);
    assert_eq!(cluster.contact_points(), [node.address()]);
    let mut stream = TcpStream::connect(node.address()).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    // OPTIONS, SUPPORTED; STARTUP with CQL_VERSION 3.0.0, READY.
    assert_eq!(ask(&mut stream, 0x05, &[]).0, 0x06);
    assert_eq!(ask(&mut stream, 0x01, b"\0\x01\0\x0bCQL_VERSION\0\x053.0.0").0, 0x02);

    told(node.pause());
    assert!(!node.answers(SILENCE));
    told(node.resume());
    assert!(node.answers(WAIT));
    // The connection has outlived it: QUERY at ONE, RESULT.
    let query = "SELECT release_version FROM system.local";
    let body = [&u32::try_from(query.len()).unwrap().to_be_bytes(), query.as_bytes(), &[0, 1, 0]].concat();
    let (opcode, rows) = ask(&mut stream, 0x07, &body);
    assert_eq!(opcode, 0x08);
    assert!(rows.ends_with(weir_cassandra_harness::VERSION.as_bytes()), "{}", String::from_utf8_lossy(&rows));
}

#[test]
fn a_shared_cluster_is_one_cluster() {
    let others: Vec<_> = (0..4).map(|_| std::thread::spawn(|| told(shared(1)).node(0).pid())).collect();
    let own = told(shared(1)).node(0).pid();
    assert!(own.is_some());
    others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), own));
}

#[test]
fn three_nodes_see_each_other_go_and_come_back() {
    let began = Instant::now();
    let cluster = told(Cluster::start(3));
    eprintln!("three nodes after {:?}", began.elapsed());
    let up = |status: String| status.lines().filter(|line| line.starts_with("UN")).count();
    assert_eq!(up(told(cluster.node(0).nodetool(&["status"]))), 3);

    told(cluster.node(2).kill());
    told(cluster.until_seen(0, 2, Seen::Down));
    assert_eq!(told(cluster.node(0).nodetool(&["status"])).lines().filter(|line| line.starts_with("DN")).count(), 1);
    told(cluster.node(2).start_again());
    told(cluster.until_all_up());
    assert_eq!(up(told(cluster.node(1).nodetool(&["status"]))), 3);

    // The first is a seed, too.
    told(cluster.node(0).stop());
    assert_eq!(cluster.node(0).pid(), None);
    told(cluster.until_seen(1, 0, Seen::Down));
    told(cluster.node(0).replace());
    told(cluster.until_all_up());
    assert_eq!(up(told(cluster.node(0).nodetool(&["status"]))), 3);
}
