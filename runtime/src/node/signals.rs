//! What a supervisor or an operator wishes, told by signals.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A wish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// SIGTERM, SIGINT: end now.
    Stop,
    /// SIGQUIT: end when the exchanges have ended.
    Quit,
    /// SIGHUP: read the settings again.
    Reload,
    /// SIGUSR1: open the access log's file again, after a rotation.
    ReopenLogs,
}

/// The signals of this process. From `listen` on none of them has its default effect.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
    user: Signal,
}

impl Signals {
    /// Begins to listen; must be called within a runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }
    /// The next wish. The more urgent one first, when several wait.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.quit.recv() => Wish::Quit,
            _ = self.hang_up.recv() => Wish::Reload,
            _ = self.user.recv() => Wish::ReopenLogs,
        }
    }
}
