//! `If-Match` and `If-None-Match` of a write: under which state of its entity it is done.
//!
//! The tag of an entity is the revision at which it was last written. Read from the headers of a request or the fields of an
//! operation; judged with the write, at the tip of the journal, so that of two writers with one tag one wins.

use crate::error::Fault;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use weir_model::schema::expired;
use weir_model::{Entity, Refusal, Revision, View};

/// Tags that one `If-Match` may list. A client has read one, or a few copies of it.
const TAGS: usize = 20;

/// What must hold for a write to be done; the default asks for nothing.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Precondition {
    matches: Option<Match>,
    /// `If-None-Match: *`
    absent: bool,
}

#[derive(Clone, PartialEq, Debug)]
enum Match {
    /// `*`: it is there.
    Any,
    /// It was last written at one of these.
    Revisions(Vec<Revision>),
}

/// The tag of an entity that was last written at that revision.
pub(crate) fn etag(revision: Revision) -> String {
    format!("\"{revision}\"")
}

impl Precondition {
    /// Of a request.
    pub(crate) fn of(method: &Method, headers: &HeaderMap) -> Result<Self, Fault> {
        let joined = |name: HeaderName| -> Result<Option<String>, Fault> {
            let texts: Result<Vec<&str>, _> = headers.get_all(&name).iter().map(HeaderValue::to_str).collect();
            let texts = texts.map_err(|_| Fault::BadBody(format!("The header {name} is not text")))?;
            Ok(Some(texts.join(",")).filter(|_| !texts.is_empty()))
        };
        let (matches, none) = (joined(header::IF_MATCH)?, joined(header::IF_NONE_MATCH)?);
        Self::read(method, matches.as_deref(), none.as_deref(), unquoted)
    }
    /// Of an operation, where a tag needs no quotes.
    pub(crate) fn of_fields(method: &Method, matches: Option<&str>, none: Option<&str>) -> Result<Self, Fault> {
        Self::read(method, matches, none, bare)
    }

    fn read(method: &Method, matches: Option<&str>, none: Option<&str>, inside: fn(&str) -> Option<&str>) -> Result<Self, Fault> {
        let bad = |message: String| Err(Fault::BadBody(message));
        let absent = match none.map(str::trim) {
            None => false,
            Some("*") if *method == Method::PUT => true,
            Some(_) => {
                return bad(
                    "If-None-Match is not supported here, but for 'If-None-Match: *' on PUT, which only creates".to_owned()
                );
            }
        };
        let matches = match matches.map(str::trim) {
            None => None,
            Some(_) if *method == Method::POST => {
                return bad("If-Match does not go with POST, which makes a new entity; use PUT or PATCH".to_owned());
            }
            Some("*") => Some(Match::Any),
            Some(list) => match tags(list, inside) {
                Some(revisions) => Some(Match::Revisions(revisions)),
                None => {
                    return bad(format!(
                        "If-Match must be * or the ETag that GET of the entity shows, such as \"12\" with its quotes, at most {TAGS}"
                    ));
                }
            },
        };
        Ok(Self { matches, absent })
    }

    /// Refuses unless the state of the entity that the write is about is the one that was asked for. `existing` is as it stands in
    /// the view; what has expired is read as gone.
    pub(crate) fn judge(&self, view: &dyn View, existing: Option<&Entity>, now: u64) -> Result<(), Refusal> {
        if *self == Self::default() {
            return Ok(());
        }
        let existing = existing.filter(|entity| !expired(entity, now));
        let written = match existing {
            Some(entity) => view.revision_of(entity.kind, entity.id)?,
            None => None,
        };
        match (&self.matches, written) {
            (None, _) | (Some(Match::Any), Some(_)) => {}
            (Some(_), None) => return Err(Refusal::Absent),
            (Some(Match::Revisions(tags)), Some(written)) if tags.contains(&written) => {}
            (Some(Match::Revisions(_)), Some(written)) => return Err(Refusal::Changed(written)),
        }
        match written {
            Some(written) if self.absent => Err(Refusal::Exists(written)),
            Some(_) | None => Ok(()),
        }
    }
}

fn unquoted(tag: &str) -> Option<&str> {
    tag.strip_prefix('"')?.strip_suffix('"')
}

/// The quotes may be left out.
fn bare(tag: &str) -> Option<&str> {
    Some(unquoted(tag).unwrap_or(tag))
}

fn tags(list: &str, inside: fn(&str) -> Option<&str>) -> Option<Vec<Revision>> {
    let tag = |tag: &str| {
        let digits = inside(tag.trim()).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse().ok().map(Revision)
    };
    list.split(',').map(tag).collect::<Option<Vec<_>>>().filter(|tags| tags.len() <= TAGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, headers: &[(HeaderName, &str)]) -> Result<Precondition, Fault> {
        let pairs = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("a value")));
        Precondition::of(&method, &pairs.collect())
    }

    #[test]
    fn tags_are_those_that_the_api_gives() {
        let is = |revisions: &[u64]| Precondition {
            matches: Some(Match::Revisions(revisions.iter().copied().map(Revision).collect())),
            absent: false,
        };
        assert_eq!(of(Method::PUT, &[]).expect("good"), Precondition::default());
        assert_eq!(of(Method::PUT, &[(header::IF_MATCH, " \"12\" ")]).expect("good"), is(&[12]));
        assert_eq!(of(Method::PATCH, &[(header::IF_MATCH, "\"1\", \"2\"")]).expect("good"), is(&[1, 2]));
        for wrong in ["", "12", "\"x\"", "W/\"12\"", "\"\"", "\"12", "\"+1\"", "\"1\",", "*,\"1\"", "\"99999999999999999999\""] {
            assert!(of(Method::PUT, &[(header::IF_MATCH, wrong)]).is_err(), "{wrong}");
        }
        assert!(of(Method::POST, &[(header::IF_MATCH, "*")]).is_err());
        assert!(of(Method::PUT, &[(header::IF_NONE_MATCH, "*")]).expect("good").absent);
        for (method, value) in [(Method::PATCH, "*"), (Method::DELETE, "*"), (Method::POST, "*"), (Method::PUT, "\"1\"")] {
            assert!(of(method, &[(header::IF_NONE_MATCH, value)]).is_err());
        }
        for text in ["12", "\"12\""] {
            assert_eq!(Precondition::of_fields(&Method::PUT, Some(text), None).expect("good"), is(&[12]));
        }
        assert!(Precondition::of_fields(&Method::PUT, Some("\"12"), None).is_err());
    }
}
