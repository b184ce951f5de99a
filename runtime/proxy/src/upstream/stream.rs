//! A connection to an upstream: plain or TLS, made in time or not at all.
//!
//! Knows addresses and sockets, not HTTP.

use crate::error::ProxyError;
use crate::snapshot::ServiceRecord;
use crate::upstream::resolve::Resolver;
use crate::upstream::tls::UpstreamTls;
use rustix::net::RecvFlags;
use rustls::pki_types::ServerName;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The bytes' way.
pub enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP; boxed, because it is twenty times as large.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Reads what is there.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
    /// Writes what fits.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match (self, slices) {
            (Stream::Plain(stream), [slice]) => Pin::new(stream).poll_write(cx, slice),
            (Stream::Tls(stream), [slice]) => Pin::new(stream).poll_write(cx, slice),
            (Stream::Plain(stream), slices) => Pin::new(stream).poll_write_vectored(cx, slices),
            (Stream::Tls(stream), slices) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }
    /// Sends what TLS has buffered.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
}

/// An open connection and its history.
pub struct Connection {
    /// The bytes' way.
    pub stream: Stream,
    /// The address that was connected to.
    pub peer: SocketAddr,
    /// Exchanges that it has served.
    pub served: u32,
    /// When the last one ended.
    pub idle_since: Instant,
}

impl Connection {
    /// Opens a connection to one of the service's addresses; `attempt` chooses which, so that a second try meets another one.
    pub async fn open(service: &ServiceRecord, attempt: u32, resolver: &Resolver, tls: &UpstreamTls) -> Result<Self, ProxyError> {
        let addresses = resolver.resolve(&service.host).await?;
        let chosen = usize::try_from(attempt).unwrap_or_default() % addresses.len().max(1);
        let Some(address) = addresses.get(chosen) else {
            return Err(ProxyError::UpstreamName { host: service.host.to_string(), cause: "no address".to_owned() });
        };
        let peer = SocketAddr::new(*address, service.port);
        let refused = |error: io::Error| ProxyError::UpstreamConnect { address: peer.to_string(), cause: error.to_string() };
        let stream = TcpStream::connect(peer).await.map_err(refused)?;
        // Requests are written in one piece; waiting for more to send would only delay them.
        stream.set_nodelay(true).map_err(refused)?;
        let stream = if service.tls {
            let config = tls.config(service.tls_verify).map_err(ProxyError::UpstreamTls)?;
            let name =
                ServerName::try_from(service.host.to_string()).map_err(|error| ProxyError::UpstreamTls(error.to_string()))?;
            let stream = TlsConnector::from(config).connect(name, stream).await;
            Stream::Tls(Box::new(stream.map_err(|error| ProxyError::UpstreamTls(error.to_string()))?))
        } else {
            Stream::Plain(stream)
        };
        Ok(Self { stream, peer, served: 0, idle_since: Instant::now() })
    }

    /// Whether the idle connection is still good: nothing has come on it, neither bytes nor its end.
    ///
    /// Asks the kernel itself. The runtime's word is as old as its last turn, and what came since would be taken for the answer to
    /// the next request: another client's.
    pub fn is_quiet(&mut self) -> bool {
        let socket = match &mut self.stream {
            Stream::Plain(socket) => &*socket,
            Stream::Tls(stream) => {
                // What TLS says between answers (session tickets) is taken in here; anything else is not quiet.
                let mut context = Context::from_waker(std::task::Waker::noop());
                let mut byte = [0; 1];
                if Pin::new(&mut *stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_ready() {
                    return false;
                }
                stream.get_ref().0
            }
        };
        let peeked = rustix::net::recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(peeked, Err(rustix::io::Errno::WOULDBLOCK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::time::Duration;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn bytes_that_came_since_the_runtime_looked_are_noticed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut upstream, peer) = listener.accept().unwrap();
        upstream.write_all(b"answer").unwrap();
        // A read that brings less than it has room for: the runtime takes the socket for empty from here on.
        let mut buffer = [0; 64];
        assert_eq!(ours.read(&mut buffer).await.unwrap(), 6);
        let mut connection = Connection { stream: Stream::Plain(ours), peer, served: 1, idle_since: Instant::now() };
        assert!(connection.is_quiet());
        upstream.write_all(b"nobody asked for this").unwrap();
        // Without a turn of the runtime in between, which might be what shows them.
        let end = Instant::now() + Duration::from_secs(5);
        while connection.is_quiet() {
            assert!(Instant::now() < end, "the bytes were not noticed");
        }
    }
}
