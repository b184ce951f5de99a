//! `GET /config`: the whole configuration of one revision as lines of JSON, and the reader of such lines.
//!
//! It streams from one view, a page at a time. The view keeps the store's file from using anew what has changed since, so whoever
//! reads slowly, or not at all, is left: after a while without a piece taken, and after an hour in any case.

mod lines;
mod reader;
#[cfg(test)]
mod tests;

pub use lines::{CHUNK_BYTES, End, FORMAT, Header, LINE_BYTES_MOST, Line, MEDIA_TYPE, ORDER, Writer};
pub use reader::{FileFault, Reader};

use crate::answer;
use crate::context::AdminContext;
use crate::entity::now;
use crate::error::Fault;
use crate::guard::blocking;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use weir_model::schema::expired;
use weir_model::{Digest, Entity, Kind, Schema, Selection, View};

/// Exports at a time: each holds a thread and a view.
pub(crate) const EXPORTS: usize = 2;
/// How long a client may leave a piece untaken.
pub(crate) const EXPORT_IDLE: Duration = Duration::from_secs(30);
/// How long an export may take: a million consumers are 400 MB, which is 110 KB a second.
const EXPORT_MOST: Duration = Duration::from_secs(3600);
/// Entities read at a time. An entry of a plugin may have a megabyte.
const PAGE: usize = 100;
/// Bytes of a piece: what the connection sends in one go.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces made before they are taken: enough to read the store while the connection writes.
const PIECES_AHEAD: usize = 2;

/// Streams the newest state.
pub(crate) async fn export(context: Arc<AdminContext>) -> Result<Response<Body>, Fault> {
    let permit = context.exports.clone().try_acquire_owned().map_err(|_| Fault::Exporting(EXPORTS))?;
    let (view, header) = {
        let context = context.clone();
        blocking(move || {
            let view = context.store.view()?;
            let header = header(&context, view.as_ref())?;
            Ok((view, header))
        })
        .await?
    };
    let (pieces, taken) = mpsc::channel(PIECES_AHEAD);
    let revision = view.revision();
    let stream = Stream {
        now: now(),
        idle: context.export_idle,
        until: Instant::now() + EXPORT_MOST,
        context,
        view,
        pieces,
        runtime: Handle::current(),
        writer: Writer::default(),
        buffer: String::new(),
    };
    tokio::task::spawn_blocking(move || {
        stream.run(&header);
        drop(permit);
    });
    let mut response = Response::new(Body::new(Pieces { taken, whole: false }));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Ok(answer::at(response, revision))
}

fn header(context: &AdminContext, view: &dyn View) -> Result<Header, Fault> {
    let count = |kind| Ok::<_, Fault>((Schema::of(kind).path.to_owned(), view.count(kind)?));
    Ok(Header {
        format: FORMAT,
        weir: context.node.info().version,
        cluster: context.store.status().cluster,
        revision: view.revision(),
        counts: ORDER.into_iter().map(count).collect::<Result<_, _>>()?,
    })
}

/// Why a stream ended before its end.
enum Ended {
    /// Nobody reads it any more, or too slowly.
    Left(&'static str),
    /// The state cannot be read.
    Unreadable(String),
}

/// What the thread of an export has.
struct Stream {
    context: Arc<AdminContext>,
    view: Arc<dyn View>,
    pieces: mpsc::Sender<Piece>,
    runtime: Handle,
    writer: Writer,
    buffer: String,
    now: u64,
    idle: Duration,
    until: Instant,
}

impl Stream {
    fn run(mut self, header: &Header) {
        let ended = self.all(header).and_then(|()| {
            let end = std::mem::take(&mut self.writer).end();
            self.buffer.push_str(&end);
            self.send()?;
            self.hand(Piece::End)
        });
        match ended {
            Ok(()) => {}
            Err(Ended::Left(why)) => tracing::warn!(why, "an export of the configuration was left unfinished"),
            Err(Ended::Unreadable(cause)) => {
                tracing::error!(cause, "the configuration cannot be exported");
                self.buffer.push_str(&Writer::failed(&cause));
                // The body still ends as one that was cut, whoever takes this piece or not.
                let _ = self.send();
            }
        }
    }

    fn all(&mut self, header: &Header) -> Result<(), Ended> {
        let line = self.writer.header(header);
        self.line(&line)?;
        for kind in ORDER {
            let mut after = None;
            loop {
                let page = self.view.list(kind, &Selection::All, after, PAGE);
                let page = page.map_err(|error| Ended::Unreadable(error.to_string()))?;
                let now = self.now;
                for entity in page.entities.iter().filter(|entity| !expired(entity, now)) {
                    let line = self.writer.entity(entity);
                    self.line(&line)?;
                    if entity.kind == Kind::Component {
                        self.component(entity)?;
                    }
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn component(&mut self, component: &Entity) -> Result<(), Ended> {
        let digest: Option<Digest> = component.text("digest").and_then(|digest| digest.parse().ok());
        let digest = digest.ok_or_else(|| Ended::Unreadable(format!("component {} has no digest", component.id)))?;
        let bytes = self.runtime.block_on(self.context.store.blob(digest));
        let bytes = bytes.map_err(|error| Ended::Unreadable(error.to_string()))?;
        let bytes = bytes.ok_or_else(|| {
            let text = |field| component.text(field).unwrap_or_default().to_owned();
            Ended::Unreadable(format!(
                "the bytes of component {}@{} are not on this node, and its store does not have them or is away",
                text("name"),
                text("version")
            ))
        })?;
        for (number, chunk) in bytes.chunks(CHUNK_BYTES).enumerate() {
            let line = self.writer.bytes(digest, number * CHUNK_BYTES, chunk);
            self.line(&line)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<(), Ended> {
        self.buffer.push_str(line);
        if self.buffer.len() >= PIECE_BYTES { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), Ended> {
        let mut rest = Bytes::from(std::mem::take(&mut self.buffer));
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE_BYTES));
            self.hand(Piece::Bytes(piece))?;
        }
        Ok(())
    }

    fn hand(&self, piece: Piece) -> Result<(), Ended> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Ended::Left("it took longer than an export may"));
        }
        let handed = async { tokio::time::timeout(self.idle.min(left), self.pieces.send(piece)).await };
        match self.runtime.block_on(handed) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::Left("the client has gone")),
            Err(_) => Err(Ended::Left("the client did not read on")),
        }
    }
}

/// What the thread hands to the connection.
enum Piece {
    Bytes(Bytes),
    /// That was all.
    End,
}

/// The body: ends well only if the thread has said that it is whole.
struct Pieces {
    taken: mpsc::Receiver<Piece>,
    whole: bool,
}

/// The connection is closed before the end of the body, which is how a client of HTTP learns that it was cut.
#[derive(Debug, thiserror::Error)]
#[error("the export was not finished")]
struct Cut;

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Cut;
    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.whole {
            return Poll::Ready(None);
        }
        self.taken.poll_recv(context).map(|piece| match piece {
            Some(Piece::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => {
                self.whole = true;
                None
            }
            None => Some(Err(Cut)),
        })
    }
}
