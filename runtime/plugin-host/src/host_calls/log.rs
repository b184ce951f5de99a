//! `log`: lines in the node's log, also for what a guest prints.

use crate::bindings::weir::plugin::log::{Host, Level};
use crate::limits::LOG_LINE_BYTES;
use crate::state::State;
use std::borrow::Cow;
use std::sync::atomic::Ordering;
use wasmtime::Result;

impl Host for State {
    fn write(&mut self, level: Level, message: String) -> Result<()> {
        self.charge(message.len())?;
        self.line(level, &message);
        Ok(())
    }
}

impl State {
    /// Writes a line, or drops and counts it.
    pub fn line(&mut self, level: Level, message: &str) {
        if !self.log.admit(self.origin.shared.now()) {
            self.origin.stats.log_lines_dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let message = one_line(cut(message, LOG_LINE_BYTES));
        let (plugin, version) = (&*self.origin.name, &*self.origin.version);
        let exchange = self.phase.is_some().then_some(self.exchange.id.as_str());
        let route = self.phase.and(self.exchange.route.as_deref()).map(|route| route.id_text.as_str());
        match level {
            Level::Debug => tracing::debug!(target: "plugin", plugin, version, route, exchange, "{message}"),
            Level::Info => tracing::info!(target: "plugin", plugin, version, route, exchange, "{message}"),
            Level::Warn => tracing::warn!(target: "plugin", plugin, version, route, exchange, "{message}"),
            Level::Error => tracing::error!(target: "plugin", plugin, version, route, exchange, "{message}"),
        }
    }

    /// Takes what the guest prints; whole lines go to the log.
    pub fn print(&mut self, level: Level, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.print_part(&rest[..end]);
            self.flush_print(level);
            rest = &rest[end + 1..];
        }
        self.print_part(rest);
    }

    /// Writes the line that the guest began to print, if there is one.
    pub fn flush_print(&mut self, level: Level) {
        if !self.log.printed.is_empty() {
            let line = std::mem::take(&mut self.log.printed);
            self.line(level, &String::from_utf8_lossy(&line));
        }
    }

    fn print_part(&mut self, bytes: &[u8]) {
        let room = LOG_LINE_BYTES.saturating_sub(self.log.printed.len());
        self.log.printed.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// The beginning of the text, at most that long.
pub fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Without line ends and other control characters: a plugin must not be able to forge a line of the log.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        Cow::Owned(text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect())
    } else {
        Cow::Borrowed(text)
    }
}
