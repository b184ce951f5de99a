//! Mistakes in a configuration, all of them at once, each with its field.

use std::fmt;

/// The mistakes that a plugin's [`check`](crate::Plugin::check) found. None: the configuration is accepted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings(Vec<(String, String)>);

impl Findings {
    /// Notes a mistake of a field, such as `minute` or `redis.host`: what is wrong, and what would be right.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push((field.into(), message.into()));
    }
    /// Notes a mistake of the configuration as a whole.
    pub fn add_general(&mut self, message: impl Into<String>) {
        self.add("", message);
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Each with its field; an empty field means the whole.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(field, message)| (field.as_str(), message.as_str()))
    }
}

/// One a line, as the gateway reads them: `field: message`, or only the message.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (field, message)) in self.0.iter().enumerate() {
            // A message of several lines would read as several findings.
            let message = message.replace('\n', " ");
            let line_end = if index == 0 { "" } else { "\n" };
            if field.is_empty() {
                write!(f, "{line_end}{message}")?;
            } else {
                write!(f, "{line_end}{field}: {message}")?;
            }
        }
        Ok(())
    }
}
