//! `weir config`: carries a configuration from one store to another, by the Admin APIs of their nodes and a file between them.
//!
//! The file's form is the Admin API's (`weir_admin::export`). An export is whole or not there; an import goes on where it ended.

mod batch;
mod compare;
mod components;
mod export;
mod import;
mod survey;
mod target;

pub use export::export;
pub use import::{Options, import};

use crate::exit::Exit;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use weir_admin::export::{Line, Reader};

/// Why a command ends before it has done what it was asked for.
#[derive(Debug)]
pub enum Stop {
    /// The same command may go on later.
    Again(String),
    /// Something has to be changed first.
    Change(String),
}

impl Stop {
    fn exit(&self) -> Exit {
        match self {
            Stop::Again(reason) => {
                eprintln!("weir: {reason}");
                Exit::Failed
            }
            Stop::Change(reason) => {
                eprintln!("weir: {reason}");
                Exit::BadConfiguration
            }
        }
    }
}

/// Reads an export from its first line. Opened anew for each time that it is read.
fn open(path: &Path) -> Result<Reader<BufReader<File>>, Stop> {
    match File::open(path) {
        Ok(file) => Ok(Reader::new(BufReader::new(file))),
        Err(error) => Err(Stop::Change(format!("{}: {error}", path.display()))),
    }
}

/// The next line, or what is wrong with the file.
fn next(reader: &mut Reader<BufReader<File>>, path: &Path) -> Result<Option<Line>, Stop> {
    reader.next_line().map_err(|fault| Stop::Change(format!("{}: {fault}", path.display())))
}

/// A number as people read it: 42,000.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_grouped() {
        let grouped: Vec<String> = [0, 999, 1000, 42_000, 1_234_567].map(super::grouped).to_vec();
        assert_eq!(grouped, ["0", "999", "1,000", "42,000", "1,234,567"]);
    }
}
