//! The client's side of a connection: bytes are judged by `framing` here, before the HTTP parser gets them.
//!
//! A head is withheld until it is complete and proper; a refused one never reaches the parser: it sees the end of the stream
//! instead, and `connection` answers. The socket is shared with `connection`, which needs it for that answer.

use crate::chain::Scheme;
use crate::deadlines::{Deadlines, Wait};
use crate::framing::{BodyFault, BodyScan, HeadFault, HeadLimits, HeadScan, Progress};
use hyper::rt::ReadBufCursor;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What one read may bring; shared by all connections of a worker, so that an idle one holds no buffer here.
const READ_BYTES: usize = 64 << 10;

/// Pieces that are written at once are joined up to this size.
const JOINED_BYTES: usize = 8 << 10;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// The bytes' way.
pub enum ClientStream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP; boxed, because it is twenty times as large.
    Tls(Box<TlsStream<TcpStream>>),
}

impl ClientStream {
    /// Lets the close be a reset.
    pub fn reset_on_close(&self) -> io::Result<()> {
        socket2::SockRef::from(self.socket()).set_linger(Some(std::time::Duration::ZERO))
    }
    fn socket(&self) -> &TcpStream {
        match self {
            ClientStream::Plain(stream) => stream,
            ClientStream::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            ClientStream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}
impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            ClientStream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }
    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            ClientStream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            ClientStream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            ClientStream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Facts and limits of a client connection.
pub struct ClientFacts {
    /// The other end.
    pub peer: SocketAddr,
    /// Its address as text: written into every request.
    pub peer_text: Box<str>,
    /// The port that it came in by, as text.
    pub local_port: Box<str>,
    /// In the clear or not.
    pub scheme: Scheme,
    /// Whether the peer may say who the client is.
    pub trusted: bool,
    /// Limits of a head.
    pub limits: HeadLimits,
    /// For a head.
    pub head_timeout: Duration,
    /// Between reads of a body.
    pub body_timeout: Duration,
    /// Between writes.
    pub send_timeout: Duration,
    /// Between requests.
    pub keepalive_timeout: Duration,
}

/// One client connection, shared by the parser's task and the exchanges on it. All run on one thread, one after the other.
pub struct Client {
    /// Facts and limits.
    pub facts: ClientFacts,
    /// What it waits for.
    pub waits: Deadlines,
    /// Whether an exchange is being served.
    pub busy: Cell<bool>,
    /// Requests so far.
    pub requests: Cell<u64>,
    /// Whether no further request is served on it.
    pub closing: Cell<bool>,
    /// The last reply broke off and its end is the connection's: the close must not look like a proper one.
    pub torn: Cell<bool>,
    /// Whether the parser waits for the socket, and so will see its end.
    listening: Cell<bool>,
    /// The task that serves it.
    waker: RefCell<Option<Waker>>,
    stream: RefCell<ClientStream>,
    wire: RefCell<Wire>,
    head_began: Cell<Option<Instant>>,
}

/// Where the client's byte stream is.
struct Wire {
    place: Place,
    /// Heads that the parser was given.
    heads: u64,
    /// A head that is not complete yet.
    head: Vec<u8>,
    /// Judged bytes that the parser had no room for.
    ready: Vec<u8>,
}

enum Place {
    Head(HeadScan),
    Body(BodyScan),
    Refused(HeadFault),
    Broken(BodyFault),
}

impl Wire {
    /// Judges fresh bytes and gives to `sink` what the parser may see, in order.
    fn sift(&mut self, mut bytes: &[u8], limits: &HeadLimits, sink: &mut dyn FnMut(&[u8])) {
        while !bytes.is_empty() {
            match &mut self.place {
                Place::Head(scan) if self.head.is_empty() => match scan.advance(bytes, limits) {
                    Progress::Incomplete => {
                        self.head.extend_from_slice(bytes);
                        return;
                    }
                    Progress::Refused(fault) => self.place = Place::Refused(fault),
                    Progress::Complete(length, framing) => {
                        self.heads += 1;
                        let (head, rest) = bytes.split_at_checked(length).unwrap_or((bytes, b""));
                        sink(head);
                        bytes = rest;
                        self.place = Place::Body(BodyScan::new(framing));
                    }
                },
                Place::Head(scan) => {
                    let known = self.head.len();
                    self.head.extend_from_slice(bytes);
                    match scan.advance(&self.head, limits) {
                        Progress::Incomplete => return,
                        Progress::Refused(fault) => self.place = Place::Refused(fault),
                        Progress::Complete(length, framing) => {
                            self.heads += 1;
                            sink(self.head.get(..length).unwrap_or_default());
                            bytes = bytes.get(length.saturating_sub(known)..).unwrap_or_default();
                            // A long head is rare: its memory is not kept for the life of the connection.
                            self.head = Vec::new();
                            self.place = Place::Body(BodyScan::new(framing));
                        }
                    }
                }
                Place::Body(scan) if scan.ended() => self.place = Place::Head(HeadScan::default()),
                Place::Body(scan) => match scan.advance(bytes) {
                    Ok(length) => {
                        let (body, rest) = bytes.split_at_checked(length).unwrap_or((bytes, b""));
                        sink(body);
                        bytes = rest;
                    }
                    Err(fault) => self.place = Place::Broken(fault),
                },
                Place::Refused(_) | Place::Broken(_) => return,
            }
        }
    }
}

impl Wire {
    /// Whether the body of that request, counted from 1, is not complete: whoever reads it will see the end of the stream.
    fn is_in_body_of(&self, request: u64) -> bool {
        matches!(&self.place, Place::Body(scan) if self.heads == request && !scan.ended())
    }
}

impl Client {
    /// Takes a connection that was accepted (and shaken hands with).
    pub fn new(stream: ClientStream, facts: ClientFacts) -> Rc<Self> {
        let waits = Deadlines::default();
        // From the accept to the first byte the same limit holds as for the head itself.
        waits.begin(Wait::Receive, facts.head_timeout);
        Rc::new(Self {
            facts,
            waits,
            busy: Cell::new(false),
            requests: Cell::new(0),
            closing: Cell::new(false),
            torn: Cell::new(false),
            listening: Cell::new(false),
            waker: RefCell::new(None),
            stream: RefCell::new(stream),
            wire: RefCell::new(Wire { place: Place::Head(HeadScan::default()), heads: 0, head: Vec::new(), ready: Vec::new() }),
            head_began: Cell::new(None),
        })
    }
    /// The fault of a head that was refused.
    pub fn refused(&self) -> Option<HeadFault> {
        match self.wire.borrow().place {
            Place::Refused(fault) => Some(fault),
            _ => None,
        }
    }
    /// Whether nothing is being served and nothing more will be.
    pub fn is_done(&self) -> bool {
        // A connection that has not asked anything yet may be about to; it has the time of a head for that.
        self.closing.get() && !self.busy.get() && !self.is_replying() && !self.in_head() && self.requests.get() > 0
    }
    /// Whether the client has not taken yet what was said to it.
    pub fn is_replying(&self) -> bool {
        self.waits.is_waiting(Wait::Send)
    }
    /// Whether a head has begun and is not complete yet.
    pub fn in_head(&self) -> bool {
        !self.wire.borrow().head.is_empty()
    }
    /// Whether an exchange is being served while nobody would notice the end of the stream, because what came after the request waits.
    pub fn is_unheard(&self) -> bool {
        self.busy.get() && !self.listening.get() && !self.wire.borrow().is_in_body_of(self.requests.get())
    }
    /// Whether the client has closed its side, whatever it sent before.
    pub fn has_closed(&self) -> bool {
        let stream = self.stream.borrow();
        // Urgent data, which nobody sends, is asked for: besides it only the close is told then, not bytes that wait.
        let told = pin!(stream.socket().ready(Interest::PRIORITY)).poll(&mut Context::from_waker(Waker::noop()));
        matches!(told, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }
    /// Waits for bytes without taking them.
    #[cfg(test)]
    #[expect(clippy::await_holding_refcell_ref, reason = "the only task of its test")]
    pub async fn has_bytes(&self) {
        self.stream.borrow().socket().readable().await.unwrap();
    }
    /// A head is complete and an exchange begins. Returns when its first byte came.
    pub fn exchange_begins(&self) -> Instant {
        self.busy.set(true);
        self.requests.set(self.requests.get() + 1);
        self.waits.end(Wait::Receive);
        self.head_began.take().unwrap_or_else(Instant::now)
    }
    /// An exchange has ended: the next head may take its time.
    pub fn exchange_ends(&self, now: Instant) {
        self.busy.set(false);
        self.waits.end(Wait::Upstream);
        self.waits.set(Wait::Receive, now.checked_add(self.facts.keepalive_timeout));
        // The parser was told to wait while a refused head stood behind this exchange; nothing else would wake it.
        if self.refused().is_some() {
            self.wake();
        }
    }
    /// No further request: idle, it is closed at once; busy, after the reply.
    pub fn close_soon(&self) {
        self.closing.set(true);
        self.wake();
    }
    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
    /// Remembers whom to wake.
    pub fn remember_task(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }
    /// The socket itself, for `connection`'s last words.
    pub fn into_stream(self) -> ClientStream {
        self.stream.into_inner()
    }
    /// When the head began that is not complete yet.
    pub fn head_began(&self) -> Option<Instant> {
        self.head_began.get()
    }

    fn poll_read(&self, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.listening.set(false);
        let mut wire = self.wire.borrow_mut();
        let wire = &mut *wire;
        if !wire.ready.is_empty() {
            let taken = cursor.remaining().min(wire.ready.len());
            cursor.put_slice(wire.ready.get(..taken).unwrap_or_default());
            wire.ready.drain(..taken);
            return Poll::Ready(Ok(()));
        }
        loop {
            match wire.place {
                // The exchange before it goes to its end first; the parser asks again afterwards.
                Place::Refused(_) if self.busy.get() => return Poll::Pending,
                Place::Refused(_) => return Poll::Ready(Ok(())),
                Place::Broken(fault) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault))),
                Place::Head(_) | Place::Body(_) => {}
            }
            let before = cursor.remaining();
            let came = SCRATCH.with_borrow_mut(|scratch| {
                let room = before.min(scratch.len());
                let mut buffer = ReadBuf::new(scratch.get_mut(..room).unwrap_or_default());
                ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, &mut buffer))?;
                // A head that was withheld may not fit any more.
                let mut later = std::mem::take(&mut wire.ready);
                wire.sift(buffer.filled(), &self.facts.limits, &mut |bytes| {
                    let fits = cursor.remaining().min(bytes.len());
                    let (now, rest) = bytes.split_at_checked(fits).unwrap_or((bytes, b""));
                    cursor.put_slice(now);
                    later.extend_from_slice(rest);
                });
                wire.ready = later;
                Poll::Ready(Ok::<_, io::Error>(!buffer.filled().is_empty()))
            });
            let Poll::Ready(came) = came else {
                self.wait_for_bytes(wire);
                self.listening.set(true);
                return Poll::Pending;
            };
            if !came? || cursor.remaining() < before {
                self.waits.end(Wait::Receive);
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Sets the limit for what is being waited for.
    fn wait_for_bytes(&self, wire: &Wire) {
        match &wire.place {
            Place::Body(scan) if self.busy.get() && !scan.ended() => self.waits.begin(Wait::Receive, self.facts.body_timeout),
            Place::Head(_) if !self.busy.get() && !wire.head.is_empty() && self.head_began.get().is_none() => {
                let now = Instant::now();
                self.head_began.set(Some(now));
                self.waits.set(Wait::Receive, now.checked_add(self.facts.head_timeout));
            }
            _ => {}
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut stream = self.stream.borrow_mut();
        let stream = Pin::new(&mut *stream);
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let written = match slices {
            [slice] => stream.poll_write(cx, slice),
            // A head and a small body: copying costs less than what the kernel does more for two pieces.
            _ if length <= JOINED_BYTES => SCRATCH.with_borrow_mut(|scratch| {
                let mut at = 0;
                for slice in slices {
                    if let Some(to) = scratch.get_mut(at..at + slice.len()) {
                        to.copy_from_slice(slice);
                    }
                    at += slice.len();
                }
                stream.poll_write(cx, scratch.get(..length).unwrap_or_default())
            }),
            _ => stream.poll_write_vectored(cx, slices),
        };
        match written {
            Poll::Pending => self.waits.begin(Wait::Send, self.facts.send_timeout),
            Poll::Ready(_) => self.waits.end(Wait::Send),
        }
        written
    }
}

/// What the HTTP parser gets to see of a client.
pub struct ClientIo(pub Rc<Client>);

impl hyper::rt::Read for ClientIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read(cx, cursor)
    }
}
impl hyper::rt::Write for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, &[io::IoSlice::new(bytes)])
    }
    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, slices)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS may have taken bytes that the socket has not: until then the client has not got its reply.
        let flushed = Pin::new(&mut *self.0.stream.borrow_mut()).poll_flush(cx);
        match flushed {
            Poll::Pending => self.0.waits.begin(Wait::Send, self.0.facts.send_timeout),
            Poll::Ready(_) => self.0.waits.end(Wait::Send),
        }
        flushed
    }
    /// Leaves the socket open: `connection` may have something to say still, and closes it.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
