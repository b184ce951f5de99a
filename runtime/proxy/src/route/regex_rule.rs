//! Regexes of routes: compiled within limits, matched in time linear in the path.
//!
//! Paths are ASCII when they are matched, so patterns are compiled for bytes: `\w` is 63 characters rather than a table of all
//! scripts, and a match costs a fraction. A pattern that asks for Unicode classes by name gets them.

use regex::bytes::{Captures, Regex, RegexBuilder};
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use std::fmt;

/// What one compiled pattern may take. What the schema lets pass is judged there, with a smaller limit; this one is wider by what
/// comparing in any case can add, because a pattern that was accepted must never keep a node from serving the next snapshot.
const COMPILED_BYTES: usize = 8 * weir_model::schema::REGEX_SIZE_LIMIT;

/// What the cache of one pattern's lazily built automaton may grow to, per thread that uses it.
const CACHE_BYTES: usize = 256 << 10;

/// The regex of a path: anchored at the start, open at the end.
pub(crate) struct PathRegex {
    regex: Regex,
    /// What every path begins with that the pattern matches.
    literal: Box<[u8]>,
}

/// A pattern that cannot be used, and why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("regex '{pattern}': {reason}")]
pub struct RegexFault {
    /// As configured, without its mark.
    pub pattern: String,
    /// In the words of the regex parser.
    pub reason: String,
}

impl PathRegex {
    /// Compiles the pattern of a path, without its `~`.
    pub(crate) fn new(pattern: &str) -> Result<Self, RegexFault> {
        // Alone first: `a)|(b` must not close the group that the anchor needs.
        compile(pattern, pattern, false)?;
        let regex = compile(&format!("^(?:{pattern})"), pattern, false)?;
        Ok(Self { regex, literal: literal_prefix(pattern) })
    }
    /// What the path of every match begins with.
    pub(crate) fn literal(&self) -> &[u8] {
        &self.literal
    }
    /// Whether the beginning of the path matches.
    pub(crate) fn is_match(&self, path: &str) -> bool {
        self.regex.is_match(path.as_bytes())
    }
    /// The length of the match and what the groups caught: by number, and those with a name by name too.
    pub(crate) fn captures(&self, path: &str) -> Option<(usize, Vec<(String, String)>)> {
        let captures: Captures<'_> = self.regex.captures(path.as_bytes())?;
        let mut caught = Vec::new();
        for (number, name) in self.regex.capture_names().enumerate().skip(1) {
            let Some(value) = captures.get(number) else { continue };
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            if let Some(name) = name {
                caught.push((name.to_owned(), value.clone()));
            }
            caught.push((number.to_string(), value));
        }
        Some((captures.get(0)?.end(), caught))
    }
}

impl fmt::Debug for PathRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.regex.as_str())
    }
}

/// Compiles the pattern of a header value, without its `~*`: found anywhere in the value, in any case.
pub(crate) fn header_regex(pattern: &str) -> Result<Regex, RegexFault> {
    compile(pattern, pattern, true)
}

fn compile(whole: &str, pattern: &str, any_case: bool) -> Result<Regex, RegexFault> {
    let build = |unicode| {
        RegexBuilder::new(whole)
            .unicode(unicode)
            .case_insensitive(any_case)
            .size_limit(COMPILED_BYTES)
            .dfa_size_limit(CACHE_BYTES)
            .build()
    };
    let reason = |error: regex::Error| match error {
        regex::Error::CompiledTooBig(limit) => format!("compiled, it is larger than {limit} bytes"),
        other => other.to_string(),
    };
    // The second try is for `\p{Greek}` and the like, which only exist with Unicode.
    build(false).or_else(|_| build(true)).map_err(|error| RegexFault { pattern: pattern.to_owned(), reason: reason(error) })
}

/// Bytes that begin every match; empty if none are certain.
fn literal_prefix(pattern: &str) -> Box<[u8]> {
    let parse = |unicode| regex_syntax::ParserBuilder::new().unicode(unicode).utf8(false).build().parse(pattern).ok();
    let Some(tree) = parse(false).or_else(|| parse(true)) else { return Box::default() };
    let literals = Extractor::new().kind(ExtractKind::Prefix).extract(&tree);
    literals.longest_common_prefix().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_literal_prefix_begins_every_match_and_is_as_long_as_is_certain() {
        for (pattern, literal) in [
            ("/users/\\d+", "/users/"),
            ("/users/(?<id>[^/]+)/orders", "/users/"),
            ("/(?:alpha|alps)/x", "/alp"),
            ("/a?", "/"),
            (".*", ""),
            ("/x|y", ""),
            ("(?i)/A", "/"),
            ("/a\\.b", "/a.b"),
        ] {
            assert_eq!(&*literal_prefix(pattern), literal.as_bytes(), "{pattern}");
        }
    }

    #[test]
    fn both_sides_of_an_alternative_are_anchored_at_the_start() {
        let regex = PathRegex::new("/a|/b").unwrap();
        assert!(regex.is_match("/b") && !regex.is_match("/x/b"));
    }

    #[test]
    fn a_pattern_that_is_broken_or_too_large_is_refused_with_the_reason() {
        for broken in ["/a)|(b", "/(", "/[z-a]", "/(?=x)", "/(a)\\1"] {
            assert!(PathRegex::new(broken).is_err(), "{broken}");
        }
        let fault = PathRegex::new("/(a{1000}){1000}").unwrap_err();
        assert!(fault.to_string().contains("larger than"), "{fault}");
        assert!(PathRegex::new("/\\p{Greek}").is_ok());
    }

    #[test]
    fn groups_are_caught_by_number_and_by_name() {
        let regex = PathRegex::new("/(?<user>[a-z]+)(/x)?/([0-9]+)").unwrap();
        let (length, caught) = regex.captures("/bob/42/rest").unwrap();
        assert_eq!(length, 7);
        let caught: Vec<_> = caught.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(caught, [("user", "bob"), ("1", "bob"), ("3", "42")]);
    }
}
