//! Lines in the node's log, with plugin, version, route and exchange id. At most 1 KiB a line and 16 lines a call.
//!
//! In a test they go to standard error, and [`crate::testing::logged`] has them.

use crate::backing;

/// How much a line matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// For the author.
    Debug,
    /// For the curious operator.
    Info,
    /// Something to look at.
    Warn,
    /// Something to repair.
    Error,
}

/// For the author.
pub fn debug(message: &str) {
    backing::log(Level::Debug, message);
}
/// For the curious operator.
pub fn info(message: &str) {
    backing::log(Level::Info, message);
}
/// Something to look at.
pub fn warn(message: &str) {
    backing::log(Level::Warn, message);
}
/// Something to repair.
pub fn error(message: &str) {
    backing::log(Level::Error, message);
}
