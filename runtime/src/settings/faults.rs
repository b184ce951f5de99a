//! What is wrong in the settings, all at once, in the words that an operator reads.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// Where a fault stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// On a line of the file: its number from 1, its text, the first column from 0 and how many columns.
    Line { number: usize, text: String, column: usize, width: usize },
    /// In a variable of the environment.
    Environment(String),
    /// Somewhere in the file.
    WholeFile,
    /// Nowhere: the fault is that something was not said.
    Absent,
}

impl Place {
    /// From a range of bytes of the file.
    pub fn in_text(text: &str, span: Range<usize>) -> Self {
        let start = span.start.min(text.len());
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = text.get(line_start..).unwrap_or_default();
        let line = rest.lines().next().unwrap_or_default();
        let column = text.get(line_start..start).unwrap_or_default().chars().count();
        let end = span.end.min(line_start + line.len()).max(start);
        let width = text.get(start..end).unwrap_or_default().chars().count().max(1);
        Place::Line { number: before.matches('\n').count() + 1, text: line.to_owned(), column, width }
    }
    fn order(&self) -> (u8, usize) {
        match self {
            Place::WholeFile => (0, 0),
            Place::Line { number, .. } => (1, *number),
            Place::Environment(_) => (2, 0),
            Place::Absent => (3, 0),
        }
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// Which setting.
    pub key: Option<String>,
    /// Why, and what would be right.
    pub reason: String,
}

/// All faults of one set of settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// The file that was read.
    pub file: Option<PathBuf>,
    list: Vec<Fault>,
}

impl Faults {
    /// Notes one more.
    pub fn add(&mut self, fault: Fault) {
        self.list.push(fault);
    }
    /// Whether there is none.
    pub fn names(&self, key: &str) -> bool {
        self.list.iter().any(|fault| fault.key.as_deref() == Some(key))
    }
    /// Nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = match self.list.len() {
            1 => "1 fault".to_owned(),
            count => format!("{count} faults"),
        };
        match &self.file {
            Some(file) => writeln!(f, "{count} in the settings ({} and the environment):", file.display())?,
            None => writeln!(f, "{count} in the settings (no file, the environment):")?,
        }
        let mut sorted: Vec<_> = self.list.iter().collect();
        sorted.sort_by_key(|fault| fault.place.order());
        sorted.into_iter().try_for_each(|fault| write!(f, "\n{fault}"))
    }
}
impl std::error::Error for Faults {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.key {
            Some(key) => format!("{key}: {}", self.reason),
            None => self.reason.clone(),
        };
        match &self.place {
            Place::Line { number, text, column, width } => {
                let margin = " ".repeat(number.to_string().len());
                writeln!(f, "line {number}: {what}")?;
                writeln!(f, "  {number} | {text}")?;
                writeln!(f, "  {margin} | {}{}", " ".repeat(*column), "^".repeat(*width))
            }
            Place::Environment(variable) => writeln!(f, "environment {variable}: {what}"),
            Place::WholeFile | Place::Absent => writeln!(f, "{what}"),
        }
    }
}
