//! A head of headers, with the rules of `wit/types.wit` about what may be written.

use crate::header::HeaderFault;

const NAME_BYTES: usize = 128;
const VALUE_BYTES: usize = 8 << 10;
const FIELDS: usize = 100;

/// Headers that only the gateway writes.
const RESERVED: [&str; 15] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-anonymous-consumer",
    "x-authenticated-groups",
    "x-consumer-custom-id",
    "x-consumer-groups",
    "x-consumer-id",
    "x-consumer-username",
    "x-credential-identifier",
];

/// Header fields in their order, names in lower case.
#[derive(Clone, Default)]
pub(crate) struct Head {
    pub fields: Vec<(String, Vec<u8>)>,
    pub sent: bool,
}

/// A byte of a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl Head {
    /// The values of a name joined with ", ".
    pub(crate) fn joined(&self, name: &str) -> Option<Vec<u8>> {
        let values = self.values(name);
        if values.is_empty() { None } else { Some(values.join(&b", "[..])) }
    }
    pub(crate) fn values(&self, name: &str) -> Vec<Vec<u8>> {
        self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone()).collect()
    }
    pub(crate) fn set(&mut self, name: &str, value: &[u8]) -> Result<(), HeaderFault> {
        self.judge(name, value)?;
        self.drop_all(name);
        self.push(name, value)
    }
    pub(crate) fn add(&mut self, name: &str, value: &[u8]) -> Result<(), HeaderFault> {
        self.judge(name, value)?;
        self.push(name, value)
    }
    pub(crate) fn remove(&mut self, name: &str) {
        if !self.sent && !is_reserved(name) {
            self.drop_all(name);
        }
    }
    /// As the gateway writes: reserved names too.
    pub(crate) fn overwrite(&mut self, name: &str, value: Option<&str>) {
        self.drop_all(name);
        if let Some(value) = value {
            self.fields.push((name.to_owned(), value.as_bytes().to_vec()));
        }
    }
    fn drop_all(&mut self, name: &str) {
        self.fields.retain(|(field, _)| !field.eq_ignore_ascii_case(name));
    }
    fn push(&mut self, name: &str, value: &[u8]) -> Result<(), HeaderFault> {
        if self.fields.len() >= FIELDS {
            return Err(HeaderFault::TooMany);
        }
        self.fields.push((name.to_ascii_lowercase(), value.to_vec()));
        Ok(())
    }
    fn judge(&self, name: &str, value: &[u8]) -> Result<(), HeaderFault> {
        if self.sent {
            return Err(HeaderFault::HeadAlreadySent);
        }
        if name.is_empty() || name.len() > NAME_BYTES || !name.bytes().all(is_token) {
            return Err(HeaderFault::BadName);
        }
        if is_reserved(name) {
            return Err(HeaderFault::Reserved);
        }
        let clean = value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
        if value.len() > VALUE_BYTES || !clean { Err(HeaderFault::BadValue) } else { Ok(()) }
    }
}

fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name))
}
