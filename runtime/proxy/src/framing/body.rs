//! Follows the body of a message to its end, byte for byte: requests while they are judged, responses while they are read.

use super::{BodyFraming, is_token};
use std::ops::Range;

/// Longest chunk-size line with its extensions. Extensions mean nothing to anyone; long ones are only a way to make a server work.
const CHUNK_EXTENSION_LIMIT: u32 = 256;
/// Extensions of a whole body: the same trick in many small pieces.
const CHUNK_EXTENSIONS_LIMIT: u32 = 16 << 10;
/// Trailer section of a chunked body. Trailers are not forwarded, so this is only for letting them pass.
const TRAILERS_LIMIT: u32 = 8 << 10;
/// Digits of a chunk size: all of a u64 fits, leading zeros without end do not.
const CHUNK_SIZE_DIGITS: u8 = 16;

/// A body broke its framing: no byte after it can be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the chunked body is malformed")]
pub struct BodyFault;

/// Follows a body to its end.
#[derive(Clone, Debug)]
pub struct BodyScan {
    state: BodyState,
    /// Bytes of extensions or of trailers so far.
    extra: u32,
    /// Whether blanks may stand between a chunk size and what ends it: some servers pad it.
    padded_sizes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum BodyState {
    Length(u64),
    Size {
        size: u64,
        digits: u8,
    },
    /// Blanks after a size; only `;` or the end of the line may follow, or the size would be another one to another reader.
    Padding {
        size: u64,
        length: u32,
    },
    Extension {
        size: u64,
        length: u32,
    },
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
    End,
}

/// A step through a body: so many bytes belong to it, and these of them are content.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Bytes that are done with.
    pub taken: usize,
    /// The content among them; empty when there was only framing.
    pub data: Range<usize>,
}

impl BodyScan {
    /// At the first byte of a request's body.
    pub fn new(framing: BodyFraming) -> Self {
        let state = match framing {
            BodyFraming::Length(0) => BodyState::End,
            BodyFraming::Length(length) => BodyState::Length(length),
            BodyFraming::Chunked => BodyState::Size { size: 0, digits: 0 },
        };
        Self { state, extra: 0, padded_sizes: false }
    }
    /// At the first byte of a response's body. Upstreams are the operator's own: blanks after a chunk size are let pass, as RFC 9112,
    /// 7.1.1 asks before a `;`, and as old servers write them before the end of the line.
    pub fn of_response(framing: BodyFraming) -> Self {
        Self { padded_sizes: true, ..Self::new(framing) }
    }
    /// Whether the body is over.
    pub fn ended(&self) -> bool {
        self.state == BodyState::End
    }
    /// Bytes that are still to come, when that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            BodyState::Length(remaining) => Some(remaining),
            BodyState::End => Some(0),
            _ => None,
        }
    }
    /// How many of `bytes` belong to the body. Fewer than all: it ended there.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, BodyFault> {
        let mut at = 0;
        while at < bytes.len() && !self.ended() {
            at += self.piece(bytes.get(at..).unwrap_or_default())?.taken;
        }
        Ok(at)
    }
    /// Goes on to the end of the next run of content, of `bytes`, or of the body, whichever comes first.
    pub fn piece(&mut self, bytes: &[u8]) -> Result<Piece, BodyFault> {
        let mut at = 0;
        while at < bytes.len() && !self.ended() {
            let (BodyState::Length(remaining) | BodyState::Data(remaining)) = self.state else {
                let Some(&byte) = bytes.get(at) else { break };
                self.state = self.step(byte)?;
                at += 1;
                continue;
            };
            let run = usize::try_from(remaining).unwrap_or(usize::MAX).min(bytes.len() - at);
            let rest = remaining - run as u64;
            self.state = match (self.state, rest) {
                (BodyState::Length(_), 0) => BodyState::End,
                (BodyState::Length(_), rest) => BodyState::Length(rest),
                (_, 0) => BodyState::DataCr,
                (_, rest) => BodyState::Data(rest),
            };
            return Ok(Piece { taken: at + run, data: at..at + run });
        }
        Ok(Piece { taken: at, data: at..at })
    }

    /// Consumes framing, up to content, the end of `bytes`, or the end of the body.
    pub fn framing(&mut self, bytes: &[u8]) -> Result<usize, BodyFault> {
        for (at, &byte) in bytes.iter().enumerate() {
            if matches!(self.state, BodyState::Length(_) | BodyState::Data(_) | BodyState::End) {
                return Ok(at);
            }
            self.state = self.step(byte)?;
        }
        Ok(bytes.len())
    }

    fn step(&mut self, byte: u8) -> Result<BodyState, BodyFault> {
        use BodyState::*;
        Ok(match (self.state, byte) {
            (Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < CHUNK_SIZE_DIGITS => {
                let digit = char::from(byte).to_digit(16).ok_or(BodyFault)?;
                let size = size.checked_mul(16).and_then(|size| size.checked_add(u64::from(digit))).ok_or(BodyFault)?;
                Size { size, digits: digits + 1 }
            }
            (Size { size, digits: 1.. }, b'\r') => SizeLf(size),
            (Size { size, digits: 1.. }, b';') => Extension { size, length: 0 },
            (Size { size, digits: 1.. }, b' ' | b'\t') if self.padded_sizes => Padding { size, length: 0 },
            (Padding { size, length }, b' ' | b'\t') if length < CHUNK_EXTENSION_LIMIT => {
                self.count(CHUNK_EXTENSIONS_LIMIT)?;
                Padding { size, length: length + 1 }
            }
            (Padding { size, length }, b';') => Extension { size, length },
            (Padding { size, .. } | Extension { size, .. }, b'\r') => SizeLf(size),
            (Extension { size, length }, b'\t' | 0x20..=0x7e | 0x80..) if length < CHUNK_EXTENSION_LIMIT => {
                self.count(CHUNK_EXTENSIONS_LIMIT)?;
                Extension { size, length: length + 1 }
            }
            (SizeLf(0), b'\n') => {
                self.extra = 0;
                TrailerStart
            }
            (SizeLf(size), b'\n') => Data(size),
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => Size { size: 0, digits: 0 },
            (TrailerStart, b'\r') => LastLf,
            (TrailerStart, byte) if is_token(byte) => {
                self.count(TRAILERS_LIMIT)?;
                Trailer
            }
            (Trailer, b'\r') => TrailerLf,
            (Trailer, b'\t' | 0x20..=0x7e | 0x80..) => {
                self.count(TRAILERS_LIMIT)?;
                Trailer
            }
            (TrailerLf, b'\n') => TrailerStart,
            (LastLf, b'\n') => End,
            _ => return Err(BodyFault),
        })
    }

    fn count(&mut self, limit: u32) -> Result<(), BodyFault> {
        self.extra += 1;
        if self.extra > limit { Err(BodyFault) } else { Ok(()) }
    }
}
