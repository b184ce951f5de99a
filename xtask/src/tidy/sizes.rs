//! Files of at most 500 lines (tests 800), functions of at most 70: what fits a head and a screen.

use super::{Source, Sources};

const FILE_LINES: usize = 500;
const TEST_FILE_LINES: usize = 800;
const FUNCTION_LINES: usize = 70;

/// Findings on all Rust files.
pub fn check(sources: &Sources) -> Vec<String> {
    sources.all("rs").flat_map(|source| file_length(source).into_iter().chain(long_functions(source))).collect()
}

fn file_length(source: &Source) -> Option<String> {
    let is_test =
        source.path.iter().any(|part| part == "tests") || source.path.file_name().is_some_and(|name| name == "tests.rs");
    let limit = if is_test { TEST_FILE_LINES } else { FILE_LINES };
    let lines = source.text.lines().count();
    (lines > limit).then(|| format!("{}: {lines} lines, {limit} is the most", source.path.display()))
}

/// The code is formatted, so a function ends at the first `}` with its own indentation.
fn long_functions(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut findings = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let Some(name) = function_name(code) else { continue };
        let end = lines
            .iter()
            .skip(start)
            .position(|line| line.starts_with('}') && indent == 0 || *line == format!("{}}}", " ".repeat(indent)));
        let length = end.map_or(1, |end| end + 1);
        let one_line = code.ends_with('}') || code.ends_with(';');
        if !one_line && length > FUNCTION_LINES {
            let place = start + 1;
            findings
                .push(format!("{}:{place}: fn {name} has {length} lines, {FUNCTION_LINES} is the most", source.path.display()));
        }
    }
    findings
}

fn function_name(code: &str) -> Option<&str> {
    let mut rest = code;
    for word in ["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    rest.strip_prefix("fn ")?.split(['(', '<']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_of_71_lines_is_too_long() {
        let function =
            |lines: usize| format!("    pub async fn long(&self) {{\n{}    }}\n", "        step();\n".repeat(lines - 2));
        let findings = |text: String| long_functions(&Source { path: "a.rs".into(), text });
        assert!(findings(function(70)).is_empty());
        assert_eq!(findings(function(71)), ["a.rs:1: fn long has 71 lines, 70 is the most"]);
    }
}
