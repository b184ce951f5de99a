//! The body of a reply on its way to the client. It carries the exchange: when the connection lets go of the body, the exchange is
//! over, and dropping it writes the access event.

use crate::error::ProxyError;
use crate::exchange::Served;
use crate::forward::{self, Ongoing};
use crate::upstream::request_body::RequestBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// Where the body comes from.
pub(crate) enum Source {
    /// It is all there.
    Bytes(Bytes),
    /// From the upstream, as it comes.
    Upstream(Box<Ongoing>),
    /// It broke off: the connection is cut at the next look.
    Broken,
    /// Nothing more.
    Nothing,
}

/// See the module's head.
pub(crate) struct ReplyBody(Option<Box<Served>>);

/// The reply cannot be completed: the connection is cut, so that the client does not take what it got for all of it.
#[derive(Debug, thiserror::Error)]
#[error("the reply broke off")]
pub(crate) struct BrokenOff;

impl ReplyBody {
    /// No body, and no exchange behind it.
    pub fn empty() -> Self {
        Self(None)
    }
    /// The body of an exchange's reply.
    pub fn new(mut served: Box<Served>, source: Source, request_body: RequestBody) -> Self {
        served.source = source;
        served.request_body = Some(request_body);
        served.end_if_complete();
        Self(Some(served))
    }
}

/// The exchange while its reply is being sent.
impl Served {
    /// Lets the upstream's connection go as soon as nothing more comes from it, not only when the client has taken everything.
    fn end_if_complete(&mut self) {
        let over = match &self.source {
            Source::Bytes(bytes) => bytes.is_empty(),
            Source::Upstream(ongoing) => ongoing.call.ended(),
            Source::Broken | Source::Nothing => false,
        };
        if !over {
            return;
        }
        self.complete = true;
        if let Source::Upstream(ongoing) = std::mem::replace(&mut self.source, Source::Nothing) {
            forward::release(self, *ongoing);
        }
    }
    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let next = match (&mut self.source, &mut self.request_body) {
            (Source::Broken, _) => return Poll::Ready(Some(Err(BrokenOff))),
            (Source::Bytes(bytes), _) => Some(Ok(std::mem::take(bytes))),
            (Source::Upstream(ongoing), Some(request_body)) => {
                ready!(ongoing.call.poll_data(cx, request_body, &self.client.waits))
            }
            (Source::Upstream(_), None) | (Source::Nothing, _) => None,
        };
        let frame = match next {
            None => None,
            Some(Ok(data)) => {
                self.exchange.outcome.response_bytes += data.len() as u64;
                Some(Ok(Frame::data(data)))
            }
            Some(Err(error)) => {
                self.break_off(error);
                // What came before the break is written first: the client should see how far it got, and that it is not all.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        };
        self.now = Instant::now();
        self.end_if_complete();
        Poll::Ready(frame)
    }
    fn break_off(&mut self, error: ProxyError) {
        // Without length and chunks the client would take the close for a proper end.
        if let Source::Upstream(ongoing) = &self.source
            && self.version == http::Version::HTTP_10
            && ongoing.call.remaining().is_none()
        {
            self.client.torn.set(true);
        }
        self.source = Source::Broken;
        self.client.closing.set(true);
        self.error = Some(error);
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut self.0 {
            None => Poll::Ready(None),
            Some(served) => served.poll_reply(cx),
        }
    }
    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|served| matches!(served.source, Source::Nothing))
    }
    fn size_hint(&self) -> SizeHint {
        let exact = self.0.as_ref().map(|served| match &served.source {
            Source::Nothing => Some(0),
            Source::Broken => None,
            Source::Bytes(bytes) => Some(bytes.len() as u64),
            Source::Upstream(ongoing) => ongoing.call.remaining(),
        });
        exact.unwrap_or(Some(0)).map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
