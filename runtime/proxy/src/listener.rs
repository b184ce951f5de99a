//! Listening sockets, one set for each worker, and the loops that accept from them.
//!
//! Every worker has its own socket for the same address (`SO_REUSEPORT`): the kernel spreads connections, and no worker wakes
//! another.

use crate::chain::Scheme;
use crate::client_io::{ClientFacts, ClientStream};
use crate::connection;
use crate::headers::is_trusted;
use crate::worker::{Stage, Worker, add};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Connections that the kernel holds until a worker accepts them. The kernel caps it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;
/// The pause after an accept that failed for want of files or memory: trying at once would only burn the CPU that could free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where to listen.
#[derive(Clone)]
pub struct ListenerSpec {
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS, if connections are to speak it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// One worker's socket of a listener.
pub struct Listener {
    socket: StdListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

/// Opens the listeners for so many workers: for each worker, its sockets; and the addresses that were taken.
pub fn open(specs: &[ListenerSpec], workers: usize) -> io::Result<(Vec<Vec<Listener>>, Vec<SocketAddr>)> {
    let mut sets: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for spec in specs {
        // The first socket learns the port; the others share it.
        let mut address = spec.address;
        for set in &mut sets {
            let socket =
                listen(address).map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
            address = socket.local_addr()?;
            let tls = spec.tls.clone().map(TlsAcceptor::from);
            set.push(Listener { socket, address, tls });
        }
        addresses.push(address);
    }
    Ok((sets, addresses))
}

/// What the kernel holds for a client beyond what is on its way to it. The kernel's own limit is some megabytes a connection, for as
/// many clients as do not read; and it would let a slow reader look like one that does not read at all.
const UNSENT_BYTES: u32 = 128 << 10;

fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // Taken over by the connections that it accepts.
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until the node drains.
pub(crate) async fn accept(worker: Rc<Worker>, listener: Listener) {
    let Listener { socket, address, tls } = listener;
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%address, %error, "cannot accept");
            return;
        }
    };
    let mut stage = worker.shared.stage.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            // What the kernel has accepted already is served even while draining: closing the socket would reset it.
            accepted = socket.accept() => accepted,
            _ = stage.wait_for(|stage| *stage >= Stage::Draining) => return,
        };
        match accepted {
            Ok((stream, peer)) => take(&worker, stream, peer, address, tls.clone()),
            // The client was gone before we came.
            Err(error) if is_clients(&error) => {}
            Err(error) => {
                tracing::warn!(%address, %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn take(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, local: SocketAddr, tls: Option<TlsAcceptor>) {
    let figures = worker.figures();
    let open = worker.shared.connections.fetch_add(1, Ordering::Relaxed);
    let place = Place(Rc::clone(worker));
    add(&figures.active, 1);
    if open >= worker.settings().connections_limit {
        add(&figures.refused_connections, 1);
        return;
    }
    add(&figures.accepted, 1);
    // Replies are written in one piece; waiting for more to send would only delay them.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let _place = place;
        let facts = |scheme| {
            let settings = worker.settings();
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            ClientFacts {
                peer,
                peer_text: peer.ip().to_string().into(),
                local_port: local.port().to_string().into(),
                scheme,
                trusted: is_trusted(peer.ip(), &settings.trusted_ips),
                limits: settings.head_limits(),
                head_timeout: settings.request_head_timeout,
                body_timeout: settings.request_body_timeout,
                send_timeout: settings.send_timeout,
                keepalive_timeout: settings.keepalive_timeout,
            }
        };
        match tls {
            None => connection::serve(&worker, ClientStream::Plain(stream), facts(Scheme::Http)).await,
            Some(acceptor) => {
                let limit = worker.settings().request_head_timeout;
                // A handshake that fails or takes too long never was a request; the figures of accepted connections have it.
                let Ok(Ok(stream)) = tokio::time::timeout(limit, acceptor.accept(stream)).await else { return };
                connection::serve(&worker, ClientStream::Tls(Box::new(stream)), facts(Scheme::Https)).await;
            }
        }
    });
}

/// A connection's place among those that the node may have.
struct Place(Rc<Worker>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.shared.connections.fetch_sub(1, Ordering::Relaxed);
        add(&self.0.figures().active, -1);
    }
}
