//! `request`: reading the request's head, and writing it until it is sent.

use super::headers::is_identity_header;
use super::preparations::Side;
use super::{edits, headers};
use crate::bindings::weir::plugin::request::Host;
use crate::bindings::weir::plugin::types::{Field, HeaderEdit as WitEdit, HeaderFault};
use crate::exchange::{Exchange, HeaderEdit, RequestHead};
use crate::limits::{METHOD_BYTES, TARGET_BYTES};
use crate::state::State;
use http::header::HOST;
use http::{HeaderName, HeaderValue, Method};
use wasmtime::Result;
use weir_model::Phase;

impl State {
    fn text(&mut self, read: impl FnOnce(&RequestHead) -> String) -> Result<String> {
        let text = read(&self.lent()?.request);
        self.charge(text.len())?;
        Ok(text)
    }

    /// The head, while it may be written.
    fn request_to_write(&mut self) -> Result<std::result::Result<&mut RequestHead, HeaderFault>> {
        let phase = self.phase;
        let exchange = self.lent()?;
        Ok(phase.map_or(Err(HeaderFault::HeadAlreadySent), |phase| to_write(exchange, phase)))
    }
}

/// The head, while it may be written.
fn to_write(exchange: &mut Exchange, phase: Phase) -> std::result::Result<&mut RequestHead, HeaderFault> {
    let request = &mut exchange.request;
    if request.sent || phase == Phase::Log { Err(HeaderFault::HeadAlreadySent) } else { Ok(request) }
}

/// Makes prepared edits: all or none.
pub(super) fn edit(exchange: &mut Exchange, phase: Phase, edits: &[HeaderEdit]) -> std::result::Result<(), HeaderFault> {
    to_write(exchange, phase).and_then(|request| apply(request, edits))
}

/// All values of a header as one. `host` is there even when no plugin has written it: then the client's is. What says who calls is
/// the gateway's word.
pub(super) fn header(exchange: &Exchange, name: &str) -> Option<Vec<u8>> {
    if is_identity_header(name) {
        return told(exchange, name).map(|value| value.as_bytes().to_vec());
    }
    let value = headers::joined(&exchange.request.headers, name);
    if value.is_none() && name.eq_ignore_ascii_case("host") { own_host(&exchange.request) } else { value }
}

fn told<'a>(exchange: &'a Exchange, name: &str) -> Option<&'a HeaderValue> {
    let headers = exchange.caller.as_ref()?.headers();
    headers.iter().find(|(told, _)| told.as_str().eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

impl Host for State {
    fn method(&mut self) -> Result<String> {
        self.text(|request| request.method.as_str().to_owned())
    }
    fn scheme(&mut self) -> Result<String> {
        self.text(|request| request.scheme.to_owned())
    }
    fn host(&mut self) -> Result<String> {
        self.text(|request| request.host.clone())
    }
    fn path(&mut self) -> Result<String> {
        self.text(|request| request.path.clone())
    }
    fn query(&mut self) -> Result<Option<String>> {
        let query = self.lent()?.request.query.clone();
        self.charge(query.as_ref().map_or(0, String::len))?;
        Ok(query)
    }
    fn client_ip(&mut self) -> Result<String> {
        let address = self.lent()?.client_ip.to_string();
        self.charge(address.len())?;
        Ok(address)
    }

    fn header(&mut self, name: String) -> Result<Option<Vec<u8>>> {
        let value = header(self.lent()?, &name);
        self.charge(name.len() + value.as_ref().map_or(0, Vec::len))?;
        Ok(value)
    }
    fn header_values(&mut self, name: String) -> Result<Vec<Vec<u8>>> {
        let exchange = self.lent()?;
        let request = &exchange.request;
        let mut values = Vec::new();
        if is_identity_header(&name) {
            values.extend(told(exchange, &name).map(|value| value.as_bytes().to_vec()));
        } else {
            values = headers::apart(&request.headers, &name);
            if values.is_empty() && name.eq_ignore_ascii_case("host") {
                values.extend(own_host(request));
            }
        }
        self.charge(name.len() + values.iter().map(Vec::len).sum::<usize>())?;
        Ok(values)
    }
    fn headers(&mut self) -> Result<Vec<Field>> {
        let exchange = self.lent()?;
        let request = &exchange.request;
        let mut fields = headers::fields(&request.headers);
        fields.retain(|field| !is_identity_header(&field.name));
        let told = exchange.caller.iter().flat_map(|caller| caller.headers());
        fields.extend(told.map(|(name, value)| Field { name: name.as_str().to_owned(), value: value.as_bytes().to_vec() }));
        if !request.headers.contains_key(HOST) {
            fields.extend(own_host(request).map(|value| Field { name: "host".into(), value }));
        }
        self.charge(headers::weight(&fields))?;
        Ok(fields)
    }

    fn set_method(&mut self, method: String) -> Result<std::result::Result<(), HeaderFault>> {
        self.charge(method.len())?;
        Ok(self.request_to_write()?.and_then(|request| {
            let method = Some(method).filter(|method| method.len() <= METHOD_BYTES);
            let method = method.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
            // CONNECT asks for a tunnel, which this exchange cannot become.
            request.method = method.filter(|method| *method != Method::CONNECT).ok_or(HeaderFault::BadValue)?;
            Ok(())
        }))
    }
    fn set_target(&mut self, path: String, query: Option<String>) -> Result<std::result::Result<(), HeaderFault>> {
        let length = path.len() + query.as_ref().map_or(0, |query| query.len() + 1);
        self.charge(length)?;
        Ok(self.request_to_write()?.and_then(|request| {
            let fits = length <= TARGET_BYTES && path.starts_with('/') && is_target(&path, b"?#");
            if !fits || !query.as_deref().is_none_or(|query| is_target(query, b"#")) {
                return Err(HeaderFault::BadValue);
            }
            let before = std::mem::replace(&mut request.path, path);
            request.routed_path.get_or_insert(before);
            request.query = query;
            Ok(())
        }))
    }
    fn set_header(&mut self, name: String, value: Vec<u8>) -> Result<std::result::Result<(), HeaderFault>> {
        self.charge(name.len() + value.len())?;
        let name = self.names.writable_in_request(&name);
        Ok(self.request_to_write()?.and_then(|request| write(request, name?, value, false)))
    }
    fn add_header(&mut self, name: String, value: Vec<u8>) -> Result<std::result::Result<(), HeaderFault>> {
        self.charge(name.len() + value.len())?;
        let name = self.names.writable_in_request(&name);
        Ok(self.request_to_write()?.and_then(|request| write(request, name?, value, true)))
    }
    fn remove_header(&mut self, name: String) -> Result<()> {
        self.charge(name.len())?;
        if let (Ok(request), Ok(name)) = (self.request_to_write()?, headers::writable_in_request(&name)) {
            request.headers.remove(name);
        }
        Ok(())
    }
    fn set_headers(&mut self, fields: Vec<Field>) -> Result<std::result::Result<(), HeaderFault>> {
        self.charge(headers::weight(&fields))?;
        let edits = edits::sets(&mut self.names, fields, true);
        Ok(self.request_to_write()?.and_then(|request| headers::apply(&mut request.headers, &edits?)))
    }
    fn prepare_edits(&mut self, edits: Vec<WitEdit>) -> Result<std::result::Result<u32, HeaderFault>> {
        self.prepare_list(Side::Request, edits)
    }
    fn apply_edits(&mut self, edits: u32) -> Result<std::result::Result<(), HeaderFault>> {
        self.charge(4)?;
        let edits = self.prepared_list(Side::Request, edits)?;
        Ok(self.request_to_write()?.and_then(|request| apply(request, &edits)))
    }
}

fn write(request: &mut RequestHead, name: HeaderName, value: Vec<u8>, add: bool) -> std::result::Result<(), HeaderFault> {
    let value = headers::value(value)?;
    if name == HOST {
        // A request has exactly one, and it names the virtual host at the upstream.
        return if is_authority(&value) { headers::set(&mut request.headers, name, value) } else { Err(HeaderFault::BadValue) };
    }
    if add { headers::add(&mut request.headers, name, value) } else { headers::set(&mut request.headers, name, value) }
}

/// Makes all edits or none. `host` is there even when no plugin has written it: then the client's is.
fn apply(request: &mut RequestHead, edits: &[HeaderEdit]) -> std::result::Result<(), HeaderFault> {
    let asks_for_host =
        |edit: &HeaderEdit| matches!(edit, HeaderEdit::SetIfPresent(name, _) | HeaderEdit::AddIfAbsent(name, _) if name == HOST);
    if request.host.is_empty() || !edits.iter().any(asks_for_host) {
        return headers::apply(&mut request.headers, edits);
    }
    let settled = edits.iter().filter_map(|edit| match edit {
        HeaderEdit::AddIfAbsent(name, _) if name == HOST => None,
        HeaderEdit::SetIfPresent(name, value) if name == HOST => Some(HeaderEdit::Set(name.clone(), value.clone())),
        other => Some(other.clone()),
    });
    headers::apply(&mut request.headers, &settled.collect::<Vec<_>>())
}

fn own_host(request: &RequestHead) -> Option<Vec<u8>> {
    Some(request.host.clone().into_bytes()).filter(|host| !host.is_empty())
}

fn is_target(text: &str, without: &[u8]) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !without.contains(&byte))
}

/// What a Host header can have: a name or an address, and a port.
pub(super) fn is_authority(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]%".contains(byte))
}
