//! One exchange on an upstream connection: the request goes out, the response comes in, both streaming, in the client's own task.
//!
//! No task of its own, no channel, no lock: whoever waits for the response drives both directions. Knows HTTP/1.1 framing; what is
//! in the head was decided by `headers`.

use crate::deadlines::{Deadlines, Wait};
use crate::error::ProxyError;
use crate::framing::BodyScan;
use crate::upstream::request_body::RequestBody;
use crate::upstream::response::{self, Head, INTERIM_LIMIT, ResponseFraming};
use crate::upstream::stream::Connection;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use std::cell::RefCell;
use std::io::{self, IoSlice, Write};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::ReadBuf;

/// A chunk up to this size is copied behind the head rather than written apart: cheaper than a second buffer for the kernel.
const COPIED_CHUNK: usize = 4 << 10;
/// What one read may bring; shared by all connections of a worker, so that a waiting exchange holds no buffer.
const READ_BYTES: usize = 64 << 10;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Time limits of a call.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// Between two writes that make progress.
    pub write: Duration,
    /// Between two reads that bring something.
    pub read: Duration,
    /// Bytes of a response head.
    pub head: usize,
    /// Headers that are likely to be added to it.
    pub spare_headers: usize,
}

/// A call in progress.
pub struct Call {
    connection: Connection,
    limits: CallLimits,
    /// Head, chunk sizes and small chunks that wait to be written.
    out: Vec<u8>,
    written: usize,
    /// A larger chunk, written after `out`.
    chunk: Bytes,
    chunked: bool,
    body_ended: bool,
    sent: bool,
    /// Whether anything went out: before that, the request cannot have been seen.
    began: bool,
    /// Whether the upstream has stopped taking the request.
    send_failed: bool,
    /// When the request had been sent, where that is known without asking the clock: without a body, at the begin.
    sent_at: Option<Instant>,
    /// For the response's headers: empty, with the memory of others.
    headers: HeaderMap,
    /// Bytes that came and are not used yet.
    input: Bytes,
    interim: u32,
    scan: Option<BodyScan>,
    keep_alive: bool,
    ended: bool,
}

impl Call {
    /// Begins a call. `out` is the request head, complete; `body` says what follows. `headers` is an empty map for the response's.
    pub fn new(
        connection: Connection,
        out: Vec<u8>,
        body: &RequestBody,
        headers: HeaderMap,
        limits: CallLimits,
        now: Instant,
    ) -> Self {
        Self {
            connection,
            limits,
            out,
            written: 0,
            chunk: Bytes::new(),
            chunked: body.length().is_none(),
            body_ended: body.ended,
            sent: false,
            began: false,
            send_failed: false,
            sent_at: body.ended.then_some(now),
            headers,
            input: Bytes::new(),
            interim: 0,
            scan: None,
            keep_alive: false,
            ended: false,
        }
    }

    /// The connection, when both directions ended cleanly and the upstream keeps it.
    pub fn into_connection(self) -> Option<Connection> {
        let clean = self.sent && self.ended && self.keep_alive && self.input.is_empty();
        clean.then_some(self.connection)
    }
    /// The buffer of the request head, for the next one.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Waits for the response head while it sends the request.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut RequestBody,
        method: &Method,
        waits: &Deadlines,
    ) -> Poll<Result<Head, ProxyError>> {
        if let Poll::Ready(Err(error)) = self.poll_send(cx, body, waits) {
            // The upstream may have answered before it stopped taking the request: its answer is worth more than our error.
            if !matches!(error, ProxyError::UpstreamClosed { sent: true, .. }) {
                return Poll::Ready(Err(error));
            }
            self.send_failed = true;
        }
        if waits.take_expired(Wait::Receive) {
            return Poll::Ready(Err(ProxyError::RequestBodyTimeout));
        }
        if waits.take_expired(Wait::Upstream) {
            let late = if self.sent { ProxyError::UpstreamReadTimeout } else { ProxyError::UpstreamWriteTimeout };
            return Poll::Ready(Err(late));
        }
        let head = self.poll_response_head(cx, method);
        match &head {
            // While the request is being sent, its own limits hold.
            Poll::Pending if self.sent || self.send_failed => waits.begin_at(Wait::Upstream, self.sent_at, self.limits.read),
            Poll::Pending => {}
            Poll::Ready(_) => waits.end(Wait::Upstream),
        }
        head
    }

    /// Sends what there is to send; ready when all is sent.
    fn poll_send(&mut self, cx: &mut Context<'_>, body: &mut RequestBody, waits: &Deadlines) -> Poll<Result<(), ProxyError>> {
        if self.sent || self.send_failed {
            return Poll::Ready(Ok(()));
        }
        loop {
            // Ask for content before writing, so that the head and a small body go out together.
            let mut starved = false;
            while !self.body_ended && self.chunk.is_empty() && self.out.len() < COPIED_CHUNK {
                match body.poll_chunk(cx) {
                    Poll::Pending => {
                        starved = true;
                        break;
                    }
                    Poll::Ready(Some(Ok(chunk))) => self.queue(chunk),
                    Poll::Ready(None) => {
                        self.body_ended = true;
                        if self.chunked {
                            self.out.extend_from_slice(b"0\r\n\r\n");
                        }
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                }
            }
            ready!(self.poll_write_out(cx, waits))?;
            if self.body_ended {
                self.sent = true;
                waits.end(Wait::Upstream);
                return Poll::Ready(Ok(()));
            }
            if starved {
                waits.end(Wait::Upstream);
                return Poll::Pending;
            }
        }
    }

    fn queue(&mut self, chunk: Bytes) {
        if self.chunked {
            // Into a Vec nothing can fail.
            let _ = write!(self.out, "{:x}\r\n", chunk.len());
        }
        if chunk.len() <= COPIED_CHUNK {
            self.out.extend_from_slice(&chunk);
            self.end_chunk();
        } else {
            self.chunk = chunk;
        }
    }
    fn end_chunk(&mut self) {
        if self.chunked {
            self.out.extend_from_slice(b"\r\n");
        }
    }

    /// Writes what is queued; ready when nothing is left.
    fn poll_write_out(&mut self, cx: &mut Context<'_>, waits: &Deadlines) -> Poll<Result<(), ProxyError>> {
        loop {
            let head = self.out.get(self.written..).unwrap_or_default();
            if head.is_empty() && self.chunk.is_empty() {
                break;
            }
            let slices = [IoSlice::new(head), IoSlice::new(&self.chunk)];
            let used = if self.chunk.is_empty() { 1 } else { 2 };
            let result = self.connection.stream.poll_write(cx, slices.get(..used).unwrap_or_default());
            let written = match result {
                Poll::Pending => {
                    waits.begin(Wait::Upstream, self.limits.write);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.closed("it takes no more bytes".to_owned()))),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.closed(error.to_string()))),
            };
            self.began = true;
            waits.end(Wait::Upstream);
            let of_head = written.min(head.len());
            self.written += of_head;
            let of_chunk = written - of_head;
            if of_chunk > 0 {
                let _ = self.chunk.split_to(of_chunk.min(self.chunk.len()));
            }
            if self.written == self.out.len() {
                self.out.clear();
                self.written = 0;
                if of_chunk > 0 && self.chunk.is_empty() {
                    self.end_chunk();
                }
            }
        }
        match self.connection.stream.poll_flush(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.closed(error.to_string()))),
            Poll::Pending => {
                waits.begin(Wait::Upstream, self.limits.write);
                Poll::Pending
            }
        }
    }

    fn closed(&self, cause: String) -> ProxyError {
        ProxyError::UpstreamClosed { reused: self.connection.served > 0, sent: self.began, cause }
    }

    fn poll_response_head(&mut self, cx: &mut Context<'_>, method: &Method) -> Poll<Result<Head, ProxyError>> {
        loop {
            let before = self.input.len();
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(self.connection.stream.poll_read(cx, &mut buffer))?;
                let fresh = buffer.filled();
                if before == 0 {
                    self.input = Bytes::copy_from_slice(fresh);
                } else {
                    let mut joined = BytesMut::with_capacity(before + fresh.len());
                    joined.extend_from_slice(&self.input);
                    joined.extend_from_slice(fresh);
                    self.input = joined.freeze();
                }
                Poll::Ready(Ok::<_, io::Error>(fresh.len()))
            });
            match ready!(read) {
                Err(error) => return Poll::Ready(Err(self.no_head(error.to_string()))),
                Ok(0) => return Poll::Ready(Err(self.no_head("end of stream".to_owned()))),
                Ok(_) => {}
            }
            if let Some(head) = self.parse_heads(method)? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Without a single byte the connection may have been closed for being idle; with some, the response is broken.
    fn no_head(&self, cause: String) -> ProxyError {
        if self.input.is_empty() && self.interim == 0 {
            self.closed(cause)
        } else {
            ProxyError::UpstreamResponse("incomplete head")
        }
    }

    /// Takes interim heads away and returns the final one, if it is complete.
    fn parse_heads(&mut self, method: &Method) -> Result<Option<Head>, ProxyError> {
        loop {
            if self.input.is_empty() {
                return Ok(None);
            }
            let Some(head) = response::parse(&self.input, method, &mut self.headers, self.limits.spare_headers)? else {
                let too_large = self.input.len() > self.limits.head;
                return if too_large { Err(ProxyError::UpstreamResponse("head too large")) } else { Ok(None) };
            };
            if head.length > self.limits.head {
                return Err(ProxyError::UpstreamResponse("head too large"));
            }
            let _ = self.input.split_to(head.length);
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(ProxyError::UpstreamResponse("101 without being asked"));
            }
            if head.status.is_informational() {
                self.interim += 1;
                if self.interim > INTERIM_LIMIT {
                    return Err(ProxyError::UpstreamResponse("too many interim responses"));
                }
                continue;
            }
            self.connection.served = self.connection.served.saturating_add(1);
            self.keep_alive = head.keep_alive;
            self.scan = match head.framing {
                ResponseFraming::Delimited(framing) => Some(BodyScan::of_response(framing)),
                ResponseFraming::UntilClose => None,
            };
            self.ended = self.scan.as_ref().is_some_and(BodyScan::ended);
            return Ok(Some(head));
        }
    }

    /// Whether the response is complete.
    pub fn ended(&self) -> bool {
        self.ended
    }
    /// Bytes of the response that are to come, if that is known.
    pub fn remaining(&self) -> Option<u64> {
        self.scan.as_ref().and_then(BodyScan::remaining)
    }

    /// The next piece of the response's content; `None` at its end. Goes on sending the request, if it is not all sent.
    pub fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut RequestBody,
        waits: &Deadlines,
    ) -> Poll<Option<Result<Bytes, ProxyError>>> {
        // The response is on its way: a request that cannot be finished only costs the connection.
        if let Poll::Ready(Err(_)) = self.poll_send(cx, body, waits) {
            self.send_failed = true;
        }
        if waits.take_expired(Wait::Upstream) {
            return Poll::Ready(Some(Err(ProxyError::UpstreamReadTimeout)));
        }
        if waits.take_expired(Wait::Receive) {
            return Poll::Ready(Some(Err(ProxyError::RequestBodyTimeout)));
        }
        while !self.ended {
            match self.next_piece() {
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                Ok(None) if self.ended => break,
                Ok(None) => {}
            }
            match self.poll_more(cx) {
                Poll::Pending => {
                    waits.begin(Wait::Upstream, self.limits.read);
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Ok(())) => waits.end(Wait::Upstream),
            }
        }
        Poll::Ready(None)
    }

    /// Content that has come already.
    fn next_piece(&mut self) -> Result<Option<Bytes>, ProxyError> {
        while !self.input.is_empty() {
            let Some(scan) = &mut self.scan else { return Ok(Some(std::mem::take(&mut self.input))) };
            let piece = scan.piece(&self.input).map_err(|fault| ProxyError::UpstreamBodyBroken(fault.to_string()))?;
            self.ended = scan.ended();
            let mut taken = self.input.split_to(piece.taken);
            if !piece.data.is_empty() {
                let _ = taken.split_to(piece.data.start);
                // A last chunk's end is read along, so that the caller learns at once that nothing follows.
                self.skip_framing()?;
                return Ok(Some(taken));
            }
            if self.ended {
                break;
            }
        }
        Ok(None)
    }

    /// Consumes framing up to the next content.
    fn skip_framing(&mut self) -> Result<(), ProxyError> {
        let Some(scan) = &mut self.scan else { return Ok(()) };
        if scan.remaining().is_some() {
            return Ok(());
        }
        let taken = scan.framing(&self.input).map_err(|fault| ProxyError::UpstreamBodyBroken(fault.to_string()))?;
        self.ended = scan.ended();
        let _ = self.input.split_to(taken);
        Ok(())
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(self.connection.stream.poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok::<_, io::Error>(Bytes::copy_from_slice(buffer.filled())))
        });
        Poll::Ready(match ready!(read) {
            Err(error) => Err(ProxyError::UpstreamBodyBroken(error.to_string())),
            // The end of the connection is the end of the body only where nothing else delimits it.
            Ok(fresh) if fresh.is_empty() && self.scan.is_none() => {
                self.ended = true;
                Ok(())
            }
            Ok(fresh) if fresh.is_empty() => Err(ProxyError::UpstreamBodyBroken("end of stream".to_owned())),
            Ok(fresh) => {
                self.input = fresh;
                Ok(())
            }
        })
    }
}
