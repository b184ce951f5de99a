//! The fault proxy in front of a plain echo.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use weir_cassandra_harness::{FaultProxy, Flow};

/// Whatever takes longer hangs.
const WAIT: Duration = Duration::from_secs(20);
/// Long enough to see that nothing comes.
const SILENCE: Duration = Duration::from_millis(300);

fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
        }
    });
    address
}

fn connect(proxy: &FaultProxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn reads(stream: &mut TcpStream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, expected);
}

fn is_silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let outcome = stream.read(&mut [0]);
    stream.set_read_timeout(Some(WAIT)).unwrap();
    outcome.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn what_passes_comes_back_whole_and_ends_with_its_sender() {
    let proxy = FaultProxy::to(echo()).unwrap();
    let mut stream = connect(&proxy);
    let much: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut writer = stream.try_clone().unwrap();
    let sent = much.clone();
    let sender = thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    sender.join().unwrap();
    assert!(got == much, "{} of {} bytes", got.len(), much.len());
}

#[test]
fn a_delay_counts_in_each_direction() {
    let proxy = FaultProxy::to(echo()).unwrap();
    let mut stream = connect(&proxy);
    proxy.delay(Duration::from_millis(80), Duration::from_millis(120));
    let began = Instant::now();
    stream.write_all(b"slow").unwrap();
    reads(&mut stream, b"slow");
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
}

#[test]
fn what_is_held_arrives_when_it_is_let_go() {
    let proxy = FaultProxy::to(echo()).unwrap();
    let mut stream = connect(&proxy);
    proxy.hold();
    stream.write_all(b"kept").unwrap();
    assert!(is_silent(&mut stream));
    proxy.pass();
    reads(&mut stream, b"kept");

    proxy.set(Flow::Pass, Flow::Hold);
    stream.write_all(b"done, not told").unwrap();
    assert!(proxy.until_answer_stopped(WAIT));
    proxy.pass();
    reads(&mut stream, b"done, not told");
}

#[test]
fn dropped_answers_never_come_and_later_ones_do() {
    let proxy = FaultProxy::to(echo()).unwrap();
    let mut stream = connect(&proxy);
    proxy.drop_answers();
    stream.write_all(b"lost").unwrap();
    assert!(proxy.until_answer_stopped(WAIT));
    proxy.pass();
    assert!(!proxy.until_answer_stopped(Duration::ZERO));
    stream.write_all(b"heard").unwrap();
    reads(&mut stream, b"heard");
}

#[test]
fn a_cut_ends_old_connections_and_new_ones_until_it_is_over() {
    let proxy = FaultProxy::to(echo()).unwrap();
    let mut held = connect(&proxy);
    proxy.hold();
    held.write_all(b"never").unwrap();
    assert!(is_silent(&mut held));
    assert_eq!(proxy.connections(), 1);
    proxy.cut();
    // An end or a reset: both say that the connection is gone.
    assert!(!matches!(held.read(&mut [0]), Ok(1..)));
    assert!(!matches!(connect(&proxy).read(&mut [0]), Ok(1..)));
    assert_eq!(proxy.connections(), 0);

    proxy.pass();
    let mut stream = connect(&proxy);
    stream.write_all(b"back").unwrap();
    reads(&mut stream, b"back");
    drop(proxy);
    assert!(!matches!(stream.read(&mut [0]), Ok(1..)));
}

#[test]
fn what_is_asked_twice_is_answered_twice_and_heard_once() {
    let proxy = FaultProxy::to(echo()).unwrap();
    let mut single = connect(&proxy);
    single.write_all(b"there").unwrap();
    reads(&mut single, b"there");
    proxy.duplicate(Flow::Hold);
    let mut stream = connect(&proxy);
    stream.write_all(b"once").unwrap();
    reads(&mut stream, b"once");
    assert!(!proxy.until_copy_answered(Duration::ZERO));
    proxy.duplicate(Flow::Pass);
    assert!(proxy.until_copy_answered(WAIT));
    assert!(is_silent(&mut stream));
    // An older connection is not copied, and a later one is not when it is over.
    proxy.end_duplicates();
    single.write_all(b"alone").unwrap();
    reads(&mut single, b"alone");
    let mut later = connect(&proxy);
    later.write_all(b"alone").unwrap();
    reads(&mut later, b"alone");
    assert!(!proxy.until_copy_answered(Duration::ZERO));
}

#[test]
fn what_was_copied_arrives_though_the_client_has_gone() {
    let proxy = FaultProxy::to(echo()).unwrap();
    proxy.duplicate(Flow::Hold);
    let mut stream = connect(&proxy);
    proxy.set(Flow::Pass, Flow::Hold);
    stream.write_all(b"once").unwrap();
    assert!(proxy.until_answer_stopped(WAIT));
    // Unread bytes make its end a reset, which answers that come then run into.
    drop(stream);
    proxy.pass();
    let mut other = connect(&proxy);
    other.write_all(b"and on").unwrap();
    reads(&mut other, b"and on");
    assert!(!proxy.until_copy_answered(Duration::ZERO));
    proxy.duplicate(Flow::Pass);
    assert!(proxy.until_copy_answered(WAIT));
}
