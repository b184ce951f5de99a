//! How the process ends.

use std::process::ExitCode;

/// What the exit code tells a supervisor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// As asked.
    Success,
    /// A node that did not start, or a command whose answer is no. Trying again may help.
    Failed,
    /// The settings are wrong: trying again will not help before somebody has changed them.
    BadConfiguration,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => ExitCode::SUCCESS,
            Exit::Failed => ExitCode::from(1),
            Exit::BadConfiguration => ExitCode::from(2),
        }
    }
}
