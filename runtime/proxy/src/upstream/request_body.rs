//! The request's body on its way: from the client's connection into the upstream's, chunk by chunk.

use crate::error::ProxyError;
use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A body that is being sent.
pub struct RequestBody {
    incoming: Incoming,
    /// Bytes that have come so far.
    pub received: u64,
    /// Whether all of it has come.
    pub ended: bool,
    empty: bool,
    /// Bytes that may come; 0 for no limit.
    limit: u64,
}

impl RequestBody {
    /// A body of at most `limit` bytes (0: no limit).
    pub fn new(incoming: Incoming, limit: u64) -> Self {
        let ended = incoming.is_end_stream();
        Self { incoming, received: 0, ended, empty: ended, limit }
    }
    /// Too large by its own word: refused before a byte is read.
    pub fn check_announced(&self) -> Result<(), ProxyError> {
        let too_large = self.limit > 0 && self.length().is_some_and(|length| length > self.limit);
        if too_large { Err(ProxyError::RequestBodyTooLarge) } else { Ok(()) }
    }
    /// Whether the request has none.
    pub fn is_empty(&self) -> bool {
        self.empty
    }
    /// Its length, when the client said so.
    pub fn length(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }
    /// The next chunk; `None` at the end. Trailers end it too: they are not forwarded, so that none can pose as a header.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ProxyError>>> {
        while !self.ended {
            match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                None => self.ended = true,
                Some(Err(error)) => return Poll::Ready(Some(Err(ProxyError::RequestBodyBroken(error.to_string())))),
                Some(Ok(frame)) => {
                    let Ok(chunk) = frame.into_data() else { continue };
                    self.received += chunk.len() as u64;
                    if self.limit > 0 && self.received > self.limit {
                        return Poll::Ready(Some(Err(ProxyError::RequestBodyTooLarge)));
                    }
                    self.ended = self.incoming.is_end_stream();
                    if !chunk.is_empty() {
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                }
            }
        }
        Poll::Ready(None)
    }
}
