//! The Admin API's listener: HTTP/1.1, plain or TLS, with limits on everything that a client can hold open.
//!
//! Of its own rather than the proxy's: it must stay reachable when the proxy is flooded.

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower_service::Service;

/// Connections at a time: clients are people and tools, decK opens ten.
const CONNECTIONS: usize = 256;
/// A TLS handshake takes three packets.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A request head takes one packet; this is also how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest request head.
const HEAD_BYTES: usize = 64 << 10;
/// After the listener has closed, requests in progress get this long: as long as a write waits that does not ask for more, and some.
const DRAIN: Duration = Duration::from_secs(10);
/// After `accept` failed (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is ready, then finishes the requests in progress.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) {
    let (stop, stopping) = watch::channel(false);
    let acceptor = tls.map(tokio_rustls::TlsAcceptor::from);
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        // First a permit: above the limit new connections wait in the system's queue instead of taking memory here.
        let permit = tokio::select! {
            () = &mut shutdown => break,
            permit = permits.clone().acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((socket, _)) => {
                let (acceptor, router, stopping) = (acceptor.clone(), router.clone(), stopping.clone());
                connections.spawn(async move {
                    connection(socket, acceptor, router, stopping).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the Admin API cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("Admin API requests were still running at the end and are cut off");
        connections.shutdown().await;
    }
}

async fn connection(
    socket: TcpStream,
    acceptor: Option<tokio_rustls::TlsAcceptor>,
    router: Router,
    stopping: watch::Receiver<bool>,
) {
    // Answers are small; waiting to fill a packet would only delay them.
    let _ = socket.set_nodelay(true);
    match acceptor {
        None => exchange(socket, router, stopping).await,
        Some(acceptor) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
            Ok(Ok(stream)) => exchange(stream, router, stopping).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake with the Admin API failed"),
            Err(_) => tracing::debug!("a TLS handshake with the Admin API took too long"),
        },
    }
}

async fn exchange(io: impl AsyncRead + AsyncWrite + Unpin, router: Router, mut stopping: watch::Receiver<bool>) {
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let mut router = router.clone();
        async move { Ok::<_, Infallible>(answered(router.call(request.map(Body::new)).await)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    // The sender going away means the same as the word to stop.
    let stopped = async move { drop(stopping.wait_for(|stop| *stop).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an Admin API connection ended early");
    }
}

/// The router never fails.
fn answered<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}
