//! A head of headers, with the rules of `wit/types.wit` about what may be written.

use crate::header::{HeaderFault, check_header_name, check_header_value};

const FIELDS: usize = 100;

/// Header fields in their order, names in lower case.
#[derive(Clone, Default)]
pub(crate) struct Head {
    pub fields: Vec<(String, Vec<u8>)>,
    pub sent: bool,
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
        if !self.sent && check_header_name(name).is_ok() {
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
        check_header_name(name)?;
        check_header_value(value)
    }
}
