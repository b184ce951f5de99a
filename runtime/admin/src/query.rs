//! Query parameters: page size, offset, tags.

use crate::error::Fault;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use weir_model::{Id, Kind, Selection};

/// Entities of a page when the client does not say.
const SIZE: usize = 100;
/// The most that a client may ask for; decK does.
const SIZE_MAX: usize = 1000;

/// The parameters of a URL.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the part after `?`.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Fault> {
        let text = text.unwrap_or_default();
        // The decoder would put U+FFFD where it cannot read, and look for that.
        if percent_decode_str(text).decode_utf8().is_err() {
            return Err(Fault::BadBody("Cannot parse the query: it is not UTF-8".to_owned()));
        }
        let pairs = serde_urlencoded::from_str(text);
        pairs.map(Self).map_err(|error| Fault::BadBody(format!("Cannot parse the query: {error}")))
    }
    /// The value of a parameter; of a repeated one, the last.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
    /// A parameter that is true or false; nothing if it is not there.
    pub(crate) fn flag(&self, option: &'static str) -> Result<Option<bool>, Fault> {
        match self.get(option) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Fault::InvalidOption { option, message: "expected true or false".to_owned() }),
        }
    }
    /// How many entities a page has.
    pub(crate) fn size(&self) -> Result<usize, Fault> {
        let Some(text) = self.get("size") else { return Ok(SIZE) };
        text.parse().ok().filter(|size| (1..=SIZE_MAX).contains(size)).ok_or(Fault::InvalidSize)
    }
    /// Where the page begins.
    pub(crate) fn after(&self) -> Result<Option<Id>, Fault> {
        let Some(text) = self.get("offset") else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        bytes.map(|bytes| Some(Id::from_bytes(bytes))).ok_or_else(|| Fault::InvalidOffset(text.to_owned()))
    }
    /// Where a page of tags begins.
    pub(crate) fn after_tag(&self) -> Result<Option<(String, Kind, Id)>, Fault> {
        let Some(text) = self.get("offset") else { return Ok(None) };
        let read = || {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            let (kind, rest) = bytes.split_first()?;
            let (id, tag) = rest.split_first_chunk::<16>()?;
            Some((String::from_utf8(tag.to_vec()).ok()?, Kind::from_number(*kind)?, Id::from_bytes(*id)))
        };
        read().map(Some).ok_or_else(|| Fault::InvalidOffset(text.to_owned()))
    }
    /// Which entities: all, or by tags (`a,b`: all of them; `a/b`: one of them).
    pub(crate) fn selection(&self) -> Result<Selection, Fault> {
        let Some(text) = self.get("tags") else { return Ok(Selection::All) };
        let wrong = |message: &str| Fault::InvalidOption { option: "tags", message: message.to_owned() };
        if text.is_empty() {
            return Err(wrong("cannot be null"));
        }
        let split = |separator: char| text.split(separator).map(str::to_owned).collect::<Vec<_>>();
        let (all, any) = (split(','), split('/'));
        if (all.len() > 1 && any.len() > 1) || all.iter().chain(&any).any(String::is_empty) {
            return Err(wrong("invalid filter syntax"));
        }
        Ok(if any.len() > 1 { Selection::AnyTag(any) } else { Selection::AllTags(all) })
    }
    /// The path of the next page. Lists below a parent do not carry size and tags.
    pub(crate) fn next(&self, path: &str, offset: &str, nested: bool) -> String {
        let mut next = format!("{path}?offset={offset}");
        for name in ["tags", "size"] {
            if let Some(value) = self.get(name).filter(|_| !nested) {
                next.push_str(&format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
            }
        }
        next
    }
}

/// The offset of the page after that entity.
pub(crate) fn offset(id: Id) -> String {
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}

/// The offset of the page after that row of tags.
pub(crate) fn tag_offset(tag: &str, kind: Kind, id: Id) -> String {
    let mut bytes = vec![kind.number()];
    bytes.extend_from_slice(id.as_bytes());
    bytes.extend_from_slice(tag.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}
