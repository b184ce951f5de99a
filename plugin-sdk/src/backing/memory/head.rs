//! A head of headers, with the rules of `wit/types.wit` about what may be written.

use crate::edits::HeaderEdit;
use crate::header::{HeaderFault, check_header_name, check_header_value};

const FIELDS: usize = 100;

/// Header fields in their order, names in lower case.
#[derive(Clone)]
pub(crate) struct Head {
    pub fields: Vec<(String, Vec<u8>)>,
    pub sent: bool,
    limit: usize,
}

impl Default for Head {
    fn default() -> Self {
        Self { fields: Vec::new(), sent: false, limit: FIELDS }
    }
}

/// What an edit may write, whatever the head. Removing what is reserved is not refused, only without effect.
pub(crate) fn judge(edit: &HeaderEdit) -> Result<(), HeaderFault> {
    match edit {
        HeaderEdit::Set(name, value)
        | HeaderEdit::SetIfPresent(name, value)
        | HeaderEdit::Add(name, value)
        | HeaderEdit::AddIfAbsent(name, value) => {
            check_header_name(name)?;
            check_header_value(value)
        }
        HeaderEdit::Remove(_) => Ok(()),
        HeaderEdit::Rename(old, new) => check_header_name(old).and_then(|()| check_header_name(new)),
    }
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
    /// Makes one edit.
    pub(crate) fn edit(&mut self, edit: &HeaderEdit) -> Result<(), HeaderFault> {
        let has = |head: &Self, name: &String| !head.values(name).is_empty();
        match edit {
            HeaderEdit::Set(name, value) => self.set(name, value),
            HeaderEdit::SetIfPresent(name, value) if has(self, name) => self.set(name, value),
            HeaderEdit::Add(name, value) => self.add(name, value),
            HeaderEdit::AddIfAbsent(name, value) if !has(self, name) => self.add(name, value),
            HeaderEdit::SetIfPresent(..) | HeaderEdit::AddIfAbsent(..) => Ok(()),
            HeaderEdit::Remove(name) => {
                self.remove(name);
                Ok(())
            }
            HeaderEdit::Rename(old, new) => self.rename(old, new),
        }
    }
    /// Makes all edits, or none.
    pub(crate) fn edit_all(&mut self, edits: &[HeaderEdit]) -> Result<(), HeaderFault> {
        if self.sent {
            return Err(HeaderFault::HeadAlreadySent);
        }
        edits.iter().try_for_each(judge)?;
        // The limit is of the head that comes out: one edit may make the room for another.
        let mut changed = Self { limit: usize::MAX, ..self.clone() };
        edits.iter().try_for_each(|edit| changed.edit(edit))?;
        if changed.fields.len() > FIELDS.max(self.fields.len()) {
            return Err(HeaderFault::TooMany);
        }
        self.fields = changed.fields;
        Ok(())
    }
    fn rename(&mut self, old: &str, new: &str) -> Result<(), HeaderFault> {
        let values = self.values(old);
        if values.is_empty() || old.eq_ignore_ascii_case(new) {
            return Ok(());
        }
        self.drop_all(old);
        self.drop_all(new);
        values.iter().try_for_each(|value| self.add(new, value))
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
        if self.fields.len() >= self.limit {
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
