//! The one door out for failures: what a client is told, and whether its connection stays.
//!
//! `docs/errors.md` is the same table, and a test compares the two. The client learns a stable sentence and the request id; the
//! cause goes to the access event.

use crate::error::ProxyError;
use crate::framing::HeadFault;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use weir_plugin_host::exchange::ResponseHead;

/// What an error looks like from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown {
    /// The status. 499 is only logged: nobody is there to receive it.
    pub status: u16,
    /// The sentence; Kong's where Kong has one.
    pub message: &'static str,
    /// Whether the connection serves further requests.
    pub keep: bool,
}

const BAD_REQUEST: &str = "Bad request";

/// What an error looks like from outside.
pub fn shown(error: &ProxyError) -> Shown {
    use ProxyError::*;
    let close = |status, message| Shown { status, message, keep: false };
    let keep = |status, message| Shown { status, message, keep: true };
    match error {
        RequestHead(fault) => match fault {
            HeadFault::TargetTooLong => close(414, "URI too long"),
            HeadFault::TooLarge | HeadFault::TooMany => close(431, "Request header fields too large"),
            HeadFault::MethodNotServed => close(405, "Method not allowed"),
            HeadFault::Version => close(505, "HTTP version not supported"),
            HeadFault::RequestLine
            | HeadFault::Method
            | HeadFault::Target
            | HeadFault::Line
            | HeadFault::Name
            | HeadFault::Folded
            | HeadFault::Host
            | HeadFault::ContentLength
            | HeadFault::TransferEncoding
            | HeadFault::TwoLengths => close(400, BAD_REQUEST),
        },
        RequestParser(_) => close(400, BAD_REQUEST),
        RequestHeadTimeout | RequestBodyTimeout => close(408, "Request timeout"),
        ConnectionNamesProtected(_) | UnderscoreHeader(_) | RequestPath => close(400, BAD_REQUEST),
        RequestBodyTooLarge => close(413, "Payload too large"),
        RequestBodyBroken(_) => close(400, BAD_REQUEST),
        ClientGone => close(499, "Client closed request"),
        NoRoute => keep(404, "no Route matched with those values"),
        NoService => keep(503, "no Service found with those values"),
        HttpsRequired { status, .. } => keep(*status, "Please use HTTPS protocol"),
        Overloaded => close(503, "The gateway is at its limit"),
        UpstreamName { .. } => keep(503, "name resolution failed"),
        UpstreamConnect { .. } | UpstreamTls(_) | UpstreamClosed { .. } | UpstreamResponse(_) => {
            keep(502, "An invalid response was received from the upstream server")
        }
        UpstreamConnectTimeout | UpstreamWriteTimeout | UpstreamReadTimeout => keep(504, "The upstream server is timing out"),
        // The head has gone out: there is nothing left to do but to cut the connection.
        UpstreamBodyBroken(_) => close(502, "An invalid response was received from the upstream server"),
        Stopped => close(503, "The gateway is stopping"),
        Plugin { .. } | PluginMissing { .. } | Internal(_) => keep(500, "An unexpected error occurred"),
    }
}

/// How a message is wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Json,
    Html,
    Plain,
}

/// The format that the client likes best; JSON unless it asks for another one.
fn format(accept: Option<&HeaderValue>) -> Format {
    let Some(accept) = accept.and_then(|value| value.to_str().ok()) else { return Format::Json };
    let mut best = (0.0, Format::Json);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let format = match parts.next().unwrap_or_default() {
            "application/json" | "application/*" | "*/*" => Format::Json,
            "text/html" => Format::Html,
            "text/plain" | "text/*" => Format::Plain,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |weight| weight.parse::<f32>().unwrap_or(0.0));
        if weight > best.0 {
            best = (weight, format);
        }
    }
    best.1
}

/// Head and body of the reply to an error. The id has to be one of ours: it is not escaped.
pub fn error_reply(error: &ProxyError, id: &str, accept: Option<&HeaderValue>) -> (ResponseHead, Bytes) {
    let Shown { status, message, .. } = shown(error);
    let (kind, body) = match format(accept) {
        Format::Json => ("application/json; charset=utf-8", format!(r#"{{"message":"{message}","request_id":"{id}"}}"#)),
        Format::Plain => ("text/plain; charset=utf-8", format!("{message}\nrequest_id: {id}\n")),
        Format::Html => (
            "text/html; charset=utf-8",
            format!("<!doctype html><title>{status}</title><h1>{message}</h1><p>request_id: {id}</p>\n"),
        ),
    };
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let ProxyError::HttpsRequired { status, location } = error {
        if *status == 426 {
            headers.insert(header::UPGRADE, HeaderValue::from_static("TLS/1.2, HTTP/1.1"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        }
        if let Some(location) = location.as_deref().and_then(|location| HeaderValue::from_str(location).ok()) {
            headers.insert(header::LOCATION, location);
        }
    }
    if matches!(error, ProxyError::RequestHead(HeadFault::MethodNotServed)) {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (ResponseHead { status, headers, sent: false }, Bytes::from(body))
}

/// The same as bytes, for a request that never became an exchange of the HTTP parser. Always closes.
pub fn raw_error_reply(error: &ProxyError, id: &str, with_id: bool) -> Vec<u8> {
    let (head, body) = error_reply(error, id, None);
    let reason = head.status.canonical_reason().unwrap_or("Error");
    let mut out = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_str()).into_bytes();
    for (name, value) in &head.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if with_id {
        out.extend_from_slice(format!("x-kong-request-id: {id}\r\n").as_bytes());
    }
    out.extend_from_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(&body);
    out
}

#[cfg(test)]
mod tests;
