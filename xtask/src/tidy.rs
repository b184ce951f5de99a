//! What no compiler refuses: edges between rooms, sizes, guests without a test, dead links, invariants without a test.
//!
//! Reads text, builds nothing. Every finding is told, not only the first.

mod edges;
mod sizes;
mod words;

use crate::Outcome;
use crate::cargo::root;
use std::path::{Path, PathBuf};

/// All findings of all checks.
pub fn tidy() -> Outcome {
    let sources = Sources::read().map_err(|error| format!("xtask: {error}"))?;
    let mut findings = edges::check(&sources);
    findings.extend(sizes::check(&sources));
    findings.extend(words::check(&sources));
    if findings.is_empty() {
        return Ok(());
    }
    Err(format!("xtask: {} untidy places\n  {}", findings.len(), findings.join("\n  ")))
}

/// The repository's own text files.
pub struct Sources(pub Vec<Source>);

/// One file.
pub struct Source {
    /// From the repository's root.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl Source {
    /// Whether it ends so.
    pub fn is(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|ending| ending == extension)
    }
}

impl Sources {
    fn read() -> std::io::Result<Self> {
        let mut sources = Vec::new();
        walk(root(), &mut sources)?;
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self(sources))
    }
    /// Every file with that ending.
    pub fn all(&self, extension: &str) -> impl Iterator<Item = &Source> {
        self.0.iter().filter(move |source| source.is(extension))
    }
}

fn walk(folder: &Path, sources: &mut Vec<Source>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            // What is built and what git keeps is not ours to judge.
            if name != "target" && !(name.starts_with('.') && name != ".ci") {
                walk(&path, sources)?;
            }
        } else if ["rs", "toml", "md", "wit"].iter().any(|ending| path.extension().is_some_and(|e| e == *ending)) {
            let text = std::fs::read_to_string(&path)?;
            sources.push(Source { path: path.strip_prefix(root()).unwrap_or(&path).to_path_buf(), text });
        }
    }
    Ok(())
}
