//! Settings as they were written: in `weir.toml` and in the environment, each value with its place.
//!
//! Knows TOML and `WEIR_<KEY>`, not what any key means. A value of the environment goes before the file's. Every key that
//! nobody asked for is a fault in the end, so a typing error never passes for a default.

use super::faults::{Fault, Faults, Place};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use toml::de::{DeTable, DeValue};

/// The beginning of every variable that is a setting.
const PREFIX: &str = "WEIR_";

/// One value as it was written. A variable of the environment is always text.
#[derive(Clone, Debug, PartialEq)]
enum Raw {
    Text(String),
    Number(String),
    Flag(bool),
    List(Vec<String>),
}

/// All settings that were given, and the faults found so far.
pub struct Source {
    given: BTreeMap<String, (Raw, Place)>,
    asked: BTreeSet<&'static str>,
    /// Where the names stand, for faults of the name.
    keys: BTreeMap<String, Place>,
    /// What relative paths in the file are relative to.
    directory: PathBuf,
    /// What was found wrong.
    pub faults: Faults,
}

impl Source {
    /// From the text of a file (none: only the environment) and the environment's variables.
    pub fn new(file: Option<(&Path, &str)>, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let directory = file.and_then(|(path, _)| path.parent()).map(Path::to_path_buf).unwrap_or_default();
        let mut source =
            Self { given: BTreeMap::new(), asked: BTreeSet::new(), keys: BTreeMap::new(), directory, faults: Faults::default() };
        if let Some((path, text)) = file {
            source.faults.file = Some(path.to_path_buf());
            source.read_file(text);
        }
        for (variable, value) in environment {
            if let Some(key) = variable.strip_prefix(PREFIX) {
                source.given.insert(key.to_ascii_lowercase(), (Raw::Text(value), Place::Environment(variable)));
            }
        }
        source
    }

    fn read_file(&mut self, text: &str) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let is_readable = errors.is_empty();
        for error in errors {
            let place = error.span().map_or(Place::WholeFile, |span| Place::in_text(text, span));
            self.faults.add(Fault { place, key: None, reason: error.message().to_owned() });
        }
        if !is_readable {
            // What the rest seems to say is a guess: faults in a guess would only mislead.
            return;
        }
        for (key, value) in table.into_inner() {
            let key_place = Place::in_text(text, key.span());
            let place = Place::in_text(text, value.span());
            let name = key.into_inner().into_owned();
            match raw(value.into_inner()) {
                Ok(raw) => {
                    self.keys.insert(name.clone(), key_place);
                    self.given.insert(name, (raw, place));
                }
                Err(reason) => self.faults.add(Fault { place: key_place, key: Some(name), reason }),
            }
        }
    }

    /// The place of a key that was given.
    pub fn place(&self, key: &str) -> Option<&Place> {
        self.given.get(key).map(|(_, place)| place)
    }
    /// Whether a fault of a key was noted.
    pub fn has_fault(&self, key: &str) -> bool {
        self.faults.names(key)
    }
    /// Notes a fault of a key: at its place if it was given, else of the whole.
    pub fn fault(&mut self, key: &str, reason: impl Into<String>) {
        let place = self.place(key).cloned().unwrap_or(Place::Absent);
        self.faults.add(Fault { place, key: Some(key.to_owned()), reason: reason.into() });
    }

    fn take(&mut self, key: &'static str) -> Option<Raw> {
        self.asked.insert(key);
        self.given.get(key).map(|(raw, _)| raw.clone())
    }

    /// Text. An empty one is refused: whoever means the default leaves the key out.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Raw::Text(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            Raw::Text(_) => self.refuse(key, "is empty; leave it out to have the default"),
            _ => self.refuse(key, "must be text in quotes"),
        }
    }
    /// Text that `parse` understands; its error is the reason of the fault.
    pub fn parsed<T>(&mut self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(key)?;
        parse(&text).map_err(|reason| self.fault(key, reason)).ok()
    }
    /// A path; a relative one counts from the folder of the settings file.
    pub fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        Some(self.directory.join(text))
    }
    /// A whole number within bounds.
    pub fn number<T: FromStr + PartialOrd + std::fmt::Display>(&mut self, key: &'static str, least: T, most: T) -> Option<T> {
        let written = match self.take(key)? {
            Raw::Number(text) | Raw::Text(text) => text,
            _ => return self.refuse(key, "must be a whole number"),
        };
        match written.trim().replace('_', "").parse::<T>() {
            Ok(number) if number >= least && number <= most => Some(number),
            _ => self.refuse(key, &format!("must be a whole number from {least} to {most}")),
        }
    }
    /// True or false; in the environment also `on` and `off`.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)? {
            Raw::Flag(flag) => Some(flag),
            Raw::Text(text) if ["true", "on"].contains(&text.as_str()) => Some(true),
            Raw::Text(text) if ["false", "off"].contains(&text.as_str()) => Some(false),
            _ => self.refuse(key, "must be true or false"),
        }
    }
    /// A list: an array, or one text with commas.
    pub fn list(&mut self, key: &'static str) -> Option<Vec<String>> {
        match self.take(key)? {
            Raw::List(list) => Some(list),
            Raw::Text(text) => Some(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()),
            _ => self.refuse(key, "must be a list: [\"…\", \"…\"], or one text with commas"),
        }
    }
    /// A list whose members `parse` understands; every member that it does not is a fault.
    pub fn parsed_list<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let mut parsed = Vec::new();
        for part in self.list(key)? {
            match parse(&part) {
                Ok(value) => parsed.push(value),
                Err(reason) => self.fault(key, reason),
            }
        }
        Some(parsed)
    }
    fn refuse<T>(&mut self, key: &'static str, reason: &str) -> Option<T> {
        self.fault(key, reason);
        None
    }

    /// Keys that begin so are refused for one reason, together with all that was asked under that beginning.
    pub fn refuse_all(&mut self, beginning: &str, reason: &str) {
        let keys: Vec<_> = self.given.keys().filter(|key| key.starts_with(beginning)).cloned().collect();
        for key in keys {
            self.fault(&key, reason);
            self.given.remove(&key);
        }
    }

    /// The faults of all; keys that nobody asked for are among them.
    pub fn finish(mut self) -> Faults {
        let unknown: Vec<_> = self.given.keys().filter(|key| !self.asked.contains(key.as_str())).cloned().collect();
        for key in unknown {
            let reason = match nearest(&key, &self.asked) {
                Some(near) => format!("no such setting; did you mean {near}?"),
                None => "no such setting".to_owned(),
            };
            let place = self.keys.get(&key).or(self.place(&key)).cloned().unwrap_or(Place::Absent);
            self.faults.add(Fault { place, key: Some(key), reason });
        }
        self.faults
    }
}

fn raw(value: DeValue<'_>) -> Result<Raw, String> {
    match value {
        DeValue::String(text) => Ok(Raw::Text(text.into_owned())),
        DeValue::Integer(number) => Ok(Raw::Number(number.to_string())),
        DeValue::Boolean(flag) => Ok(Raw::Flag(flag)),
        DeValue::Array(list) => {
            let text = |value: DeValue<'_>| match value {
                DeValue::String(text) => Ok(text.into_owned()),
                other => Err(format!("must be a list of texts; one of its members is: {}", other.type_str())),
            };
            list.into_iter().map(|value| text(value.into_inner())).collect::<Result<_, _>>().map(Raw::List)
        }
        // Whether a setting takes a fraction is known where it is read.
        DeValue::Float(number) => Ok(Raw::Number(number.to_string())),
        DeValue::Datetime(_) => Err("no setting is a date".to_owned()),
        DeValue::Table(_) => Err("settings are not grouped: write `key = value` without a [table]".to_owned()),
    }
}

/// The known key that is closest, if it is close: at most a third of the letters differ.
fn nearest<'a>(key: &str, known: &BTreeSet<&'a str>) -> Option<&'a str> {
    let (distance, near) = known.iter().map(|known| (distance(key, known), *known)).min()?;
    (distance * 3 <= key.len()).then_some(near)
}

/// Edit distance by rows.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row.first().copied().unwrap_or_default();
        let mut left = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or_default();
            let here = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            if let Some(cell) = row.get_mut(j) {
                *cell = left;
            }
            diagonal = above;
            left = here;
        }
        if let Some(cell) = row.last_mut() {
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_edits() {
        for (a, b, edits) in [("", "abc", 3), ("proxy_lisen", "proxy_listen", 1), ("kitten", "sitting", 3), ("same", "same", 0)] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let mut source = Source::new(
            Some((Path::new("/etc/weir/weir.toml"), "log_level = \"info\"\nworker_threads = 1_0")),
            [("WEIR_LOG_LEVEL".to_owned(), "debug".to_owned()), ("HOME".to_owned(), "/".to_owned())],
        );
        assert_eq!(source.text("log_level").as_deref(), Some("debug"));
        assert_eq!(source.number("worker_threads", 1, 20), Some(10));
        assert!(source.finish().is_empty());
    }
}
