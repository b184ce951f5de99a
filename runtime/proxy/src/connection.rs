//! One client connection from accept to close: drives the HTTP parser and the exchanges on it, keeps the deadlines, and has the
//! last word when the parser cannot (a refused head, a head that never ends).

use crate::access_log::Event;
use crate::client_io::{Client, ClientFacts, ClientIo, ClientStream};
use crate::deadlines::Wait;
use crate::error::ProxyError;
use crate::exchange;
use crate::leaving::Leaving;
use crate::reply;
use crate::worker::{Stage, Worker, add};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a client that still sends is listened to after its last reply. Closing at once would reset the connection, and the
/// client might lose the reply that it has not read yet.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes that are taken from it meanwhile.
const LINGER_BYTES: usize = 256 << 10;
/// For writing the last word.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(2);

/// What the parser may hold for a connection, each way: for a client that does not read, this and the kernel's share are all that
/// waits. Room for a chunk of a reply, and for the largest head with what follows it.
const BUFFER_BYTES: usize = 64 << 10;

/// Why the parser's part is over.
enum End {
    /// It said so.
    Parser(Result<(), hyper::Error>),
    /// Something took too long.
    Late(Wait),
    /// The node drains, and nothing is being served.
    Drained,
    /// The client has left, and nobody else has noticed.
    Left,
}

/// Serves a connection.
pub(crate) async fn serve(worker: &Rc<Worker>, stream: ClientStream, facts: ClientFacts) {
    let client = Client::new(stream, facts);
    worker.remember(&client);
    if worker.stage.get() >= Stage::Draining {
        client.closing.set(true);
    }
    let end = {
        let service = service_fn(|request| exchange::serve(Rc::clone(worker), Rc::clone(&client), request));
        // Times are kept by `deadlines`, for the head as for everything else.
        let parser = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(BUFFER_BYTES.max(2 * worker.settings().request_head_limit_bytes))
            .serve_connection(ClientIo(Rc::clone(&client)), service);
        let mut parser = pin!(parser);
        let mut leaving = Leaving::default();
        poll_fn(|cx| {
            client.remember_task(cx);
            loop {
                if let Poll::Ready(result) = parser.as_mut().poll(cx) {
                    return Poll::Ready(End::Parser(result));
                }
                if client.is_done() {
                    return Poll::Ready(End::Drained);
                }
                if leaving.poll(cx, &client).is_ready() {
                    return Poll::Ready(End::Left);
                }
                let Poll::Ready(late) = client.waits.poll(cx) else { return Poll::Pending };
                // The last reply is still being taken: the connection is not idle, only slow.
                if late == Wait::Receive && client.is_replying() {
                    client.waits.take_expired(late);
                    client.waits.begin(late, client.facts.keepalive_timeout);
                    continue;
                }
                // An exchange that is waiting gets to know it and ends by itself; otherwise the connection ends here.
                if !client.busy.get() || late == Wait::Send {
                    return Poll::Ready(End::Late(late));
                }
                if let Poll::Ready(result) = parser.as_mut().poll(cx) {
                    return Poll::Ready(End::Parser(result));
                }
                if client.waits.take_expired(late) {
                    return Poll::Ready(End::Late(late));
                }
            }
        })
        .await
    };
    // The parser and its exchanges are gone, and with them every other owner.
    if let Ok(client) = Rc::try_unwrap(client) {
        last_word(worker, client, end).await;
    }
}

/// Answers what never became an exchange, and closes so that the client gets to read it.
async fn last_word(worker: &Worker, client: Client, end: End) {
    let error = match end {
        End::Parser(result) => match (client.refused(), result) {
            (Some(fault), _) => Some(ProxyError::RequestHead(fault)),
            // Our own check is stricter than the parser; should it ever not be, the parser has answered and we take note.
            (None, Err(error)) if error.is_parse() => {
                let error = ProxyError::RequestParser(error.to_string());
                log(worker, &client, &error);
                None
            }
            (None, _) => None,
        },
        End::Late(Wait::Receive) if client.in_head() => Some(ProxyError::RequestHeadTimeout),
        End::Late(_) | End::Left => return,
        End::Drained => None,
    };
    let told = error.map(|error| (log(worker, &client, &error), error));
    let torn = client.torn.get();
    let mut stream = client.into_stream();
    if torn {
        // The client takes the end of the connection for the end of the body (HTTP/1.0): only a reset says that it is not.
        let _ = stream.reset_on_close();
        return;
    }
    if let Some((id, error)) = told {
        let bytes = reply::raw_error_reply(&error, &id, worker.settings().request_id_header);
        // The client may be gone; then there is nobody to tell.
        let _ = tokio::time::timeout(LAST_WORD_TIMEOUT, stream.write_all(&bytes)).await;
    }
    close(stream).await;
}

/// Sends the end, then takes what is still coming for a moment.
async fn close(mut stream: ClientStream) {
    let lingering = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut left = LINGER_BYTES;
        let mut buffer = [0; 4 << 10];
        while let Ok(taken @ 1..) = stream.read(&mut buffer).await {
            left = left.saturating_sub(taken);
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, lingering).await;
}

/// Logs a request that never became an exchange; returns its id.
fn log(worker: &Worker, client: &Client, error: &ProxyError) -> String {
    let mut id = String::new();
    worker.ids.borrow_mut().next_into(&mut id);
    let figures = worker.figures();
    add(&figures.requests, 1);
    figures.count_fault(error.fault());
    worker.log.add(&Event {
        at: SystemTime::now(),
        id: &id,
        client_ip: client.facts.peer.ip(),
        request: None,
        status: reply::shown(error).status,
        fault: error.fault(),
        error: Some((error.kind(), error.to_string())),
        route: None,
        service: None,
        consumer: None,
        upstream: None,
        tries: 0,
        total: client.head_began().map_or(Duration::ZERO, |began| Instant::now().duration_since(began)),
        upstream_time: None,
        request_bytes: 0,
        response_bytes: 0,
        failures: &[],
    });
    id
}
