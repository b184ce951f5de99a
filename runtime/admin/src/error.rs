//! What can go wrong with a request to the Admin API, and what the client is told.
//!
//! One door out: every fault has its status and body here, by a match without a wildcard.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use weir_model::{ComponentRefusal, Refusal, Revision};
use weir_store::{StoreError, WriteError};

/// Why a request was not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// No such path, or no such entity.
    #[error("not found")]
    NotFound,
    /// No such thing; the message says what was looked for.
    #[error("{0}")]
    NoSuch(String),
    /// The path is there, the method is not; those that are.
    #[error("method not allowed")]
    MethodNotAllowed(String),
    /// No token, or a wrong one.
    #[error("unauthorized")]
    Unauthorized,
    /// A browser acts for a page that is not ours.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The body has a type that this path does not take.
    #[error("{0}")]
    UnsupportedMedia(String),
    /// The body cannot be read.
    #[error("{0}")]
    BadBody(String),
    /// The body is larger than may be.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// `size` is no number, or out of range.
    #[error("invalid size")]
    InvalidSize,
    /// `offset` is none that a page gave.
    #[error("invalid offset")]
    InvalidOffset(String),
    /// A query option cannot be used so.
    #[error("invalid option ({option}: {message})")]
    InvalidOption {
        /// Its name.
        option: &'static str,
        /// Why.
        message: String,
    },
    /// A component cannot be stored.
    #[error(transparent)]
    Component(#[from] ComponentRefusal),
    /// The write is not allowed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The write was not done, or is not known to be.
    #[error(transparent)]
    Write(WriteError),
    /// The state cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This node does not have yet what a read asked for.
    #[error(
        "this node has revision {has}, and {asked} was asked for; try again, or ask another node (GET /cluster/nodes shows who has what)"
    )]
    Behind {
        /// The newest that it has.
        has: Revision,
        /// What was asked for.
        asked: Revision,
    },
    /// Others changed the same entity again and again while its plugin was asked.
    #[error("the entity changed while the request was judged")]
    Raced,
    /// An operation of a transaction; nothing of the transaction is done.
    #[error("operation {index}: {fault}")]
    Operation {
        /// Which, from 0.
        index: usize,
        /// What its single request would be answered.
        fault: Box<Fault>,
    },
    /// As many exports as may be are running.
    #[error("{0} exports of the configuration are running, which is as many as may be; try again when one has ended")]
    Exporting(usize),
    /// A fault of this gateway.
    #[error("{0}")]
    Crashed(String),
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(refusal) => Fault::Refused(refusal),
            other => Fault::Write(other),
        }
    }
}
impl From<weir_model::ViewError> for Fault {
    fn from(error: weir_model::ViewError) -> Self {
        Fault::Refused(Refusal::View(error))
    }
}

/// Kong's form of an error that has a code.
fn coded(status: StatusCode, code: u32, name: &str, message: String) -> (StatusCode, Value) {
    (status, json!({ "code": code, "name": name, "message": message }))
}
fn with(mut answer: (StatusCode, Value), key: &str, value: impl Into<Value>) -> (StatusCode, Value) {
    if let Value::Object(map) = &mut answer.1 {
        map.insert(key.to_owned(), value.into());
    }
    answer
}
fn plain(status: StatusCode, message: impl Into<String>) -> (StatusCode, Value) {
    (status, json!({ "message": message.into() }))
}

impl Fault {
    /// The answer. What is this gateway's or the store's fault is logged here, where it ends.
    pub(crate) fn response(self) -> Response<Body> {
        let own =
            matches!(self.cause(), Fault::Crashed(_) | Fault::Store(_) | Fault::Refused(Refusal::View(_)) | Fault::Write(_));
        if own {
            tracing::error!(cause = %self, "an Admin API request failed");
        }
        let (status, body) = self.status_and_body();
        let mut response = crate::answer::json(status, &body);
        let headers = response.headers_mut();
        match self.cause() {
            Fault::MethodNotAllowed(allow) => {
                if let Ok(value) = HeaderValue::from_str(allow) {
                    headers.insert(header::ALLOW, value);
                }
            }
            Fault::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"weir\""));
            }
            Fault::Write(WriteError::Busy { .. }) | Fault::Exporting(_) | Fault::Behind { .. } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Fault::Write(WriteError::Unknown { transaction: Some(transaction), .. }) => {
                if let Ok(value) = HeaderValue::from_str(&format!("/transactions/{transaction}")) {
                    headers.insert(header::LOCATION, value);
                }
            }
            _ => {}
        }
        response
    }

    /// The fault itself, whichever operation it is of.
    fn cause(&self) -> &Fault {
        match self {
            Fault::Operation { fault, .. } => fault.cause(),
            other => other,
        }
    }

    fn status_and_body(&self) -> (StatusCode, Value) {
        use StatusCode as S;
        match self {
            Fault::NotFound => plain(S::NOT_FOUND, "Not found"),
            Fault::NoSuch(message) => plain(S::NOT_FOUND, message),
            Fault::MethodNotAllowed(_) => plain(S::METHOD_NOT_ALLOWED, "Method not allowed"),
            Fault::Unauthorized => plain(S::UNAUTHORIZED, "Unauthorized"),
            Fault::Forbidden(message) => plain(S::FORBIDDEN, *message),
            Fault::UnsupportedMedia(message) => plain(S::UNSUPPORTED_MEDIA_TYPE, message),
            Fault::BadBody(message) => plain(S::BAD_REQUEST, message),
            Fault::TooLarge(limit) => plain(S::PAYLOAD_TOO_LARGE, format!("The body is larger than {limit} bytes")),
            Fault::TooSlow => plain(S::REQUEST_TIMEOUT, "The body did not arrive in time"),
            Fault::InvalidSize => {
                coded(S::BAD_REQUEST, 9, "invalid size", "size must be an integer between 1 and 1000".to_owned())
            }
            Fault::InvalidOffset(offset) => {
                coded(S::BAD_REQUEST, 7, "invalid offset", format!("'{offset}' is not a valid offset: no page gave it"))
            }
            Fault::InvalidOption { option, message } => with(
                coded(S::BAD_REQUEST, 11, "invalid options", self.to_string()),
                "options",
                Map::from_iter([((*option).to_owned(), Value::from(message.as_str()))]),
            ),
            Fault::Component(ComponentRefusal(reason)) => with(
                coded(S::BAD_REQUEST, 2, "schema violation", format!("schema violation ({reason})")),
                "fields",
                json!({ "@entity": [reason] }),
            ),
            Fault::Refused(refusal) => refused(refusal),
            Fault::Write(error) => unwritten(error),
            Fault::Store(error) => plain(S::SERVICE_UNAVAILABLE, error.to_string()),
            Fault::Behind { .. } => plain(S::SERVICE_UNAVAILABLE, self.to_string()),
            Fault::Raced => {
                plain(S::CONFLICT, "The entity changed again and again while this request was judged; read it and try again")
            }
            Fault::Operation { index, fault } => with(fault.status_and_body(), "operation", *index),
            Fault::Exporting(_) => plain(S::SERVICE_UNAVAILABLE, self.to_string()),
            Fault::Crashed(_) => plain(S::INTERNAL_SERVER_ERROR, "An unexpected error occurred"),
        }
    }
}

fn refused(refusal: &Refusal) -> (StatusCode, Value) {
    use StatusCode as S;
    match refusal {
        Refusal::Schema(findings) => {
            with(coded(S::BAD_REQUEST, 2, "schema violation", findings.message()), "fields", findings.fields())
        }
        Refusal::PrimaryKey(_, id) => {
            let message = format!("primary key violation on key '{{id=\"{id}\"}}'");
            with(coded(S::BAD_REQUEST, 3, "primary key violation", message), "fields", json!({ "id": id.to_string() }))
        }
        Refusal::Unique(fields) => {
            let message = format!("UNIQUE violation detected on '{}'", lua(&Value::Object(fields.clone())));
            with(coded(S::CONFLICT, 5, "unique constraint violation", message), "fields", fields.clone())
        }
        Refusal::ForeignKey { field, kind, value } => {
            let fields = Map::from_iter([(field.clone(), value.clone())]);
            let (code, name, message) = if value.get("id").is_some() {
                let message =
                    format!("the foreign key '{}' does not reference an existing '{}' entity.", lua(value), kind.name());
                (4, "foreign key violation", message)
            } else {
                let message = format!("foreign key unresolved ({field}: no '{}' entity with '{}')", kind.name(), lua(value));
                (13, "foreign keys unresolved", message)
            };
            with(coded(S::BAD_REQUEST, code, name, message), "fields", fields)
        }
        Refusal::Referenced { by, .. } => with(
            coded(S::BAD_REQUEST, 4, "foreign key violation", refusal.to_string()),
            "fields",
            json!({ "@referenced_by": by.name() }),
        ),
        Refusal::NotFound => plain(S::NOT_FOUND, "Not found"),
        Refusal::Changed(_) | Refusal::Absent | Refusal::Exists(_) => plain(S::PRECONDITION_FAILED, refusal.to_string()),
        Refusal::Conflict(message) => plain(S::CONFLICT, message),
        Refusal::View(error) => plain(S::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

fn unwritten(error: &WriteError) -> (StatusCode, Value) {
    use StatusCode as S;
    match error {
        WriteError::Refused(refusal) => refused(refusal),
        WriteError::TooLarge { .. } => plain(S::PAYLOAD_TOO_LARGE, error.to_string()),
        WriteError::Unknown { transaction: Some(transaction), .. } => {
            let message = format!("{error}; ask GET /transactions/{transaction} before you send it again");
            with(plain(S::SERVICE_UNAVAILABLE, message), "transaction", transaction.to_string())
        }
        WriteError::Busy { .. } | WriteError::Unavailable { .. } | WriteError::Unknown { transaction: None, .. } => {
            plain(S::SERVICE_UNAVAILABLE, error.to_string())
        }
        WriteError::Unsound(_) | WriteError::Panicked(_) => plain(S::INTERNAL_SERVER_ERROR, "An unexpected error occurred"),
    }
}

/// A value as Kong prints it in messages: `{name="x",route=null}`.
fn lua(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let parts: Vec<String> = map.iter().map(|(key, value)| format!("{key}={}", lua(value))).collect();
            format!("{{{}}}", parts.join(","))
        }
        other => other.to_string(),
    }
}
