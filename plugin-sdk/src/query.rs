//! The arguments of a query string: `a=1&b=%20`.
//!
//! Names and values are compared and given decoded (`%41` and `+`); what is not changed stays exactly as it came.

use std::borrow::Cow;

/// A query string, taken apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query {
    arguments: Vec<Argument>,
}

/// One argument: its text, and where its name ends.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Argument {
    text: String,
    name_end: usize,
}

impl Argument {
    fn name(&self) -> Cow<'_, [u8]> {
        decode(&self.text[..self.name_end])
    }
    /// `None` for an argument without `=`.
    fn value(&self) -> Option<Cow<'_, [u8]>> {
        self.text.get(self.name_end + 1..).map(decode)
    }
}

impl Query {
    /// Takes a query apart; `text` is without the `?`.
    pub fn parse(text: &str) -> Self {
        let argument = |text: &str| Argument { name_end: text.find('=').unwrap_or(text.len()), text: text.to_owned() };
        Self { arguments: text.split('&').filter(|text| !text.is_empty()).map(argument).collect() }
    }
    /// Whether there is no argument.
    pub fn is_empty(&self) -> bool {
        self.arguments.is_empty()
    }
    /// Whether there is an argument of that name.
    pub fn has(&self, name: &str) -> bool {
        self.arguments.iter().any(|argument| *argument.name() == *name.as_bytes())
    }
    /// The values of that name, decoded; an argument without `=` has none.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Cow<'a, [u8]>> {
        self.arguments.iter().filter(move |argument| *argument.name() == *name.as_bytes()).filter_map(Argument::value)
    }
    /// Removes all arguments of that name.
    pub fn remove(&mut self, name: &str) {
        self.arguments.retain(|argument| *argument.name() != *name.as_bytes());
    }
    /// Gives the arguments of the name `old` the name `new`, in place of those that had it; nothing happens if there is none.
    pub fn rename(&mut self, old: &str, new: &str) {
        if old == new || !self.has(old) {
            return;
        }
        self.remove(new);
        let name = encode(new.as_bytes());
        for argument in &mut self.arguments {
            if *argument.name() == *old.as_bytes() {
                argument.text.replace_range(..argument.name_end, &name);
                argument.name_end = name.len();
            }
        }
    }
    /// Makes this the only argument of its name.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.remove(name);
        self.add(name, value);
    }
    /// Adds an argument at the end.
    pub fn add(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let mut text = encode(name.as_bytes());
        let name_end = text.len();
        text.push('=');
        text.push_str(&encode(value.as_ref()));
        self.arguments.push(Argument { text, name_end });
    }
}

/// The query, encoded, without the `?`.
impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, argument) in self.arguments.iter().enumerate() {
            if index > 0 {
                f.write_str("&")?;
            }
            f.write_str(&argument.text)?;
        }
        Ok(())
    }
}

fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, left) = match (first, after) {
            (b'+', _) => (b' ', after),
            (b'%', [high, low, left @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, left),
                _ => (b'%', after),
            },
            _ => (*first, after),
        };
        decoded.push(byte);
        rest = left;
    }
    Cow::Owned(decoded)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Keeps what RFC 3986 leaves unreserved.
fn encode(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded_and_the_rest_stays_as_it_came() {
        let query = Query::parse("%61pikey=a%2Bb+c&x&y=%zz&&z=");
        assert_eq!(query.values("apikey").next().unwrap().as_ref(), b"a+b c");
        assert_eq!(query.values("y").next().unwrap().as_ref(), b"%zz");
        assert!(query.has("x") && query.values("x").next().is_none());
        assert_eq!(query.values("z").next().unwrap().as_ref(), b"");
        assert_eq!(query.to_string(), "%61pikey=a%2Bb+c&x&y=%zz&z=");
    }

    #[test]
    fn changes_touch_only_their_arguments() {
        let mut query = Query::parse("a=1&b=2&a=3&c=%7e");
        query.rename("a", "b");
        assert_eq!(query.to_string(), "b=1&b=3&c=%7e");
        query.set("b", "ä &");
        query.add("d=", "");
        assert_eq!(query.to_string(), "c=%7e&b=%C3%A4%20%26&d%3D=");
        query.remove("b");
        query.rename("nowhere", "c");
        assert_eq!(query.to_string(), "c=%7e&d%3D=");
    }
}
