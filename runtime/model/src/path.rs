//! The one normal form of a request path.
//!
//! Routes are matched, plugins judge and the upstream serves the same bytes: the path is normalised once, when the request
//! comes in, and configured paths are brought to the same form when they are written. Pure; knows no routes.

use std::borrow::Cow;

/// Why a path is not accepted: two readers of it might disagree about what it names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("a path begins with '/'")]
    NotAbsolute,
    /// A `%` without two hexadecimal digits.
    #[error("'%' is not followed by two hexadecimal digits")]
    BadEscape,
    /// A NUL, raw or as `%00`: where it arrives in C, the path ends there.
    #[error("a path cannot hold NUL")]
    Nul,
    /// A control character, `#`, `?` or `\`, which readers cut at or take for `/`.
    #[error("a path cannot hold control characters, '#', '?' or '\\'")]
    Forbidden,
    /// A dot segment that only shows once an encoded separator is decoded (`..%2F`), or with parameters (`..;x`).
    #[error("a dot segment hides behind an encoded separator or a path parameter")]
    HiddenDotSegment,
    /// An ASCII character in a longer form than UTF-8 allows (`%C0%AF` for `/`).
    #[error("a character hides in an overlong UTF-8 form")]
    Overlong,
}

/// Brings a path (without query) to its normal form, RFC 3986 section 6.2.2: escapes of unreserved characters decoded, all
/// others in upper case, characters that a URI cannot hold escaped, dot segments resolved; and, as Kong does, consecutive
/// slashes merged. Encoded separators (`%2F`) stay encoded. A path that is in normal form is borrowed.
///
/// The result begins with `/`, is ASCII, and is not longer than the input but for escaped characters (two bytes each).
pub fn normalise(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_simple(path) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path)?;
    // Before segments are resolved away: to whom `%C0/` is a name, `%C0/..` is something else than nothing.
    refuse_overlong(&decoded)?;
    let normal = resolve(&decoded);
    refuse_hidden_dots(&normal)?;
    Ok(if normal == path { Cow::Borrowed(path) } else { Cow::Owned(normal) })
}

/// Whether nothing can be wrong: only characters that mean themselves, no `//`, no segment that begins with a dot.
fn is_simple(path: &str) -> bool {
    let mut after_slash = false;
    for byte in path.bytes() {
        let fine = match byte {
            b'/' => !after_slash,
            b'.' => !after_slash,
            _ => CLASS[usize::from(byte)] == Class::Plain,
        };
        if !fine {
            return false;
        }
        after_slash = byte == b'/';
    }
    true
}

/// What a raw byte of a path means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stands for itself.
    Plain,
    /// Cannot stand in a URI: escaped.
    Escaped,
    /// `%`.
    Escape,
    /// Refused.
    Forbidden,
}

/// Classes by byte: a table, because this is asked for every byte of every request.
static CLASS: [Class; 256] = {
    let mut table = [Class::Escaped; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            0..=0x1F | 0x7F | b'#' | b'?' | b'\\' => Class::Forbidden,
            b'%' => Class::Escape,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => Class::Plain,
            // The rest of RFC 3986's pchar, and the separator itself.
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' | b'/' => Class::Plain,
            // Gen-delims that have no business in a path, but that no reader misunderstands.
            b'[' | b']' => Class::Plain,
            _ => Class::Escaped,
        };
        byte += 1;
    }
    table
};

/// Step one: escapes. Unreserved ones are decoded, the others written in upper case, raw bytes that need it escaped.
fn decode(path: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match CLASS[usize::from(byte)] {
            Class::Plain => out.push(char::from(byte)),
            Class::Escaped => push_escape(&mut out, byte),
            Class::Forbidden if byte == 0 => return Err(PathError::Nul),
            Class::Forbidden => return Err(PathError::Forbidden),
            Class::Escape => {
                let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or(PathError::BadEscape);
                // Two hexadecimal digits make at most 255.
                let value = (digit()? * 16 + digit()?) as u8;
                match value {
                    0 => return Err(PathError::Nul),
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(value)),
                    _ => push_escape(&mut out, value),
                }
            }
        }
    }
    Ok(out)
}

fn push_escape(out: &mut String, byte: u8) {
    let digit = |value: u8| char::from(if value < 10 { b'0' + value } else { b'A' + value - 10 });
    out.push('%');
    out.push(digit(byte >> 4));
    out.push(digit(byte & 15));
}

/// Step two: dot segments and empty segments. `..` at the root stays at the root (RFC 3986, 5.2.4).
fn resolve(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    // The first piece is the nothing before the first slash.
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "" | "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            _ => {
                out.push('/');
                out.push_str(segment);
                continue;
            }
        }
        // What ends in an empty or a dot segment names the folder: `/a/.` is `/a/`.
        if is_last {
            out.push('/');
        }
    }
    out
}

/// An upstream that decodes `%2F`, takes `\` for `/`, or cuts path parameters would climb where this gateway saw a name.
fn refuse_hidden_dots(path: &str) -> Result<(), PathError> {
    if !path.contains("/.") && !path.contains("%2F.") && !path.contains("%5C.") {
        return Ok(());
    }
    let is_dots = |piece: &str| {
        let name = piece.split(';').next().unwrap_or(piece);
        let name = name.split("%3B").next().unwrap_or(name);
        name == "." || name == ".."
    };
    let hides = path.split('/').any(|segment| segment.split("%2F").flat_map(|part| part.split("%5C")).any(is_dots));
    if hides { Err(PathError::HiddenDotSegment) } else { Ok(()) }
}

/// An upstream whose UTF-8 decoder does not insist on the shortest form reads `%C0%AF` as `/`, `%C0%AE` as `.` and `%C1%A1dmin` as
/// `admin`: another path than the one that was routed and judged. One that does not look at the last byte either reads `%C0.` as `.`:
/// that is refused where it makes a `.`, `/` or `\`, which change where a path leads. Other bytes that are no UTF-8 pass.
fn refuse_overlong(path: &str) -> Result<(), PathError> {
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        rest = rest.get(at..).unwrap_or_default();
        if begins_overlong(rest) {
            return Err(PathError::Overlong);
        }
        rest = rest.get("%XX".len()..).unwrap_or_default();
    }
    Ok(())
}

/// Whether the bytes that a text begins with, escaped or raw, spell an ASCII character in two to six bytes.
fn begins_overlong(text: &str) -> bool {
    let mut raw = text.bytes();
    let mut bytes = std::iter::from_fn(|| match raw.next()? {
        b'%' => {
            let mut digit = || raw.next().and_then(|digit| char::from(digit).to_digit(16));
            Some(digit()? * 16 + digit()?)
        }
        byte => Some(u32::from(byte)),
    });
    let zeros = match bytes.next() {
        Some(lead @ (0xC0 | 0xC1)) => return bytes.next().is_some_and(|last| hides(lead & 1, last)),
        Some(0xE0) => 0,
        Some(0xF0) => 1,
        Some(0xF8) => 2,
        Some(0xFC) => 3,
        _ => return false,
    };
    (0..zeros).all(|_| bytes.next() == Some(0x80))
        && matches!((bytes.next(), bytes.next()), (Some(above @ (0x80 | 0x81)), Some(last)) if hides(above & 1, last))
}

/// Whether the last byte of an overlong form makes it an ASCII character, whose highest bit (`0x40`) came with the byte before.
fn hides(high: u32, last: u32) -> bool {
    match last {
        0x80..=0xBF => true,
        // Careless decoders add this byte up without looking at it: `%C0%5C` is `\`; and `/` is no longer a separator to them.
        0x2F | 0x5C => true,
        // Or they mask it: `%C0%2E` is a `.` to them, and so is `%C0n`.
        _ => matches!(char::from_u32(high << 6 | last & 0x3F), Some('.' | '/' | '\\')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> String {
        normalise(path).unwrap().into_owned()
    }

    #[test]
    fn ambiguous_paths_are_refused_with_their_reason() {
        for (path, error) in [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("a/b", PathError::NotAbsolute),
            ("/%", PathError::BadEscape),
            ("/%4", PathError::BadEscape),
            ("/%zz", PathError::BadEscape),
            ("/%+1", PathError::BadEscape),
            ("/a%00", PathError::Nul),
            ("/a\0", PathError::Nul),
            ("/a\n", PathError::Forbidden),
            ("/a#b", PathError::Forbidden),
            ("/a?b", PathError::Forbidden),
            ("/a\\..\\b", PathError::Forbidden),
            ("/a/..%2Fb", PathError::HiddenDotSegment),
            ("/a%2f%2e%2E", PathError::HiddenDotSegment),
            ("/a/..%5cb", PathError::HiddenDotSegment),
            ("/a/..;/b", PathError::HiddenDotSegment),
            ("/a/.;x=1/b", PathError::HiddenDotSegment),
            ("/a/..%3bx/b", PathError::HiddenDotSegment),
            ("/..%C0%AF", PathError::Overlong),
            ("/..%c0%afetc", PathError::Overlong),
            ("/a/%C0%AE%C0%AE/b", PathError::Overlong),
            ("/a/..%C0%2Fb", PathError::Overlong),
            ("/a/..%C1%9Cb", PathError::Overlong),
            ("/a/..%C1%5Cb", PathError::Overlong),
            ("/a/%C0%2E%C0%2E/admin", PathError::Overlong),
            ("/a/%C0.%c0./admin", PathError::Overlong),
            ("/a/%C0n%C0%6E/admin", PathError::Overlong),
            ("/a/%C0%EE/admin", PathError::Overlong),
            ("/a/..%C0/b", PathError::Overlong),
            ("/a/..%C0%6F/b", PathError::Overlong),
            ("/a/..%C1%1Cb", PathError::Overlong),
            ("/a/..%C1%DCb", PathError::Overlong),
            ("/a/..%E0%80%2Fb", PathError::Overlong),
            ("/a/%E0%80./b", PathError::Overlong),
            ("/a/%E0%81%1Cb", PathError::Overlong),
            // The segment is resolved away here, and not where the separator is part of a name.
            ("/a/%C0/../b", PathError::Overlong),
            ("/a/..%E0%80%AFb", PathError::Overlong),
            ("/a/..%F0%80%80%AFb", PathError::Overlong),
            ("/a/..%F8%80%80%80%AFb", PathError::Overlong),
            ("/a/..%FC%80%80%80%80%AFb", PathError::Overlong),
            ("/a%C0%80", PathError::Overlong),
            ("/%C1%A1dmin", PathError::Overlong),
            ("/%E0%81%A1dmin", PathError::Overlong),
        ] {
            assert_eq!(normalise(path), Err(error), "{path:?}");
        }
    }

    #[test]
    fn equivalent_paths_have_one_form() {
        for (path, expected) in [
            ("/", "/"),
            ("//", "/"),
            ("/a//b///", "/a/b/"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/a//../b", "/b"),
            ("/%61", "/a"),
            ("/%7euser", "/~user"),
            ("/%2e%2E/a", "/a"),
            ("/a%2fb", "/a%2Fb"),
            ("/%252e", "/%252e"),
            ("/a b", "/a%20b"),
            ("/é", "/%C3%A9"),
            ("/%c3%a9", "/%C3%A9"),
            ("/{x}", "/%7Bx%7D"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/...", "/a/..."),
            ("/a;v=1/b", "/a;v=1/b"),
        ] {
            assert_eq!(normal(path), expected, "{path:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_and_name_nothing_else_pass() {
        // Latin-1, half a character, a surrogate, the shortest forms at each length, overlong forms of what is not ASCII.
        for path in [
            "/caf%E9",
            "/%C0",
            "/%C0-propos",
            "/%C0%20x",
            "/%C1tage",
            "/%E9/x",
            "/%FF%FE",
            "/%80",
            "/%C2%80",
            "/%E0%A0%80",
            "/%E0%80",
            "/%F0%90%80%80",
            "/%ED%A0%80",
            "/%E0%82%80",
        ] {
            assert_eq!(normal(path), path);
        }
    }

    #[test]
    fn a_path_in_normal_form_is_not_copied() {
        for path in ["/", "/orders/1", "/a%2Fb", "/.well-known/x", "/a/b/"] {
            assert!(matches!(normalise(path), Ok(Cow::Borrowed(_))), "{path}");
        }
    }
}
