//! An upstream in this process: says what it got, counts, and can be told to wait.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// Twice what the gateway takes from clients and plugins together.
const HEADERS: usize = 400;

/// Lives as long as the value.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    name: String,
    served: AtomicU64,
    /// Requests for `/…/wait` that have come in and not been let go.
    waiting: watch::Sender<usize>,
    let_go: Semaphore,
}

impl Upstream {
    /// On a free port.
    pub fn start() -> Self {
        Self::named("upstream")
    }
    /// One that says its name, for tests with several.
    pub fn named(name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            served: AtomicU64::new(0),
            waiting: watch::Sender::new(0),
            let_go: Semaphore::new(0),
        });
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, _runtime: runtime }
    }
    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// How many requests it has got.
    pub fn served(&self) -> u64 {
        self.shared.served.load(Ordering::SeqCst)
    }
    /// Waits until that many requests for a path that ends with `/wait` are in its hands.
    pub fn until_waiting(&self, count: usize) {
        let mut waiting = self.shared.waiting.subscribe();
        let enough = async {
            tokio::time::timeout(std::time::Duration::from_secs(30), waiting.wait_for(|now| *now >= count)).await.is_ok()
        };
        assert!(self._runtime.block_on(enough), "{count} requests should have reached the upstream");
    }
    /// Answers that many of the waiting requests, now or when they come.
    pub fn let_go(&self, count: usize) {
        self.shared.let_go.add_permits(count);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        drop(stream.set_nodelay(true));
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
            let mut http = hyper::server::conn::http1::Builder::new();
            // More than the gateway ever sends: what it sends is what tests look at.
            http.max_headers(HEADERS);
            // A connection that the gateway cuts is the gateway's affair.
            drop(http.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, Infallible> {
    shared.served.fetch_add(1, Ordering::SeqCst);
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    if head.uri.path().ends_with("/wait") {
        shared.waiting.send_modify(|waiting| *waiting += 1);
        if let Ok(permit) = shared.let_go.acquire().await {
            permit.forget();
        }
        shared.waiting.send_modify(|waiting| *waiting -= 1);
    }
    let mut headers = serde_json::Map::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers
            .entry(name.as_str())
            .and_modify(|all| *all = json!(format!("{}, {value}", all.as_str().unwrap_or_default())))
            .or_insert(json!(value));
    }
    let said = json!({
        "upstream": shared.name,
        "method": head.method.as_str(),
        "path": head.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    let response = Response::builder().header("content-type", "application/json").body(Full::new(Bytes::from(said.to_string())));
    Ok(response.expect("a status and one header are a response"))
}
