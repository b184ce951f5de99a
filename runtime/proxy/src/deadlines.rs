//! What a client connection waits for, and until when: one timer per connection, whatever it waits for.
//!
//! Setting or clearing a deadline writes a cell. The timer is armed again only when a deadline comes to lie before it, and when it
//! fires too early; with the usual mix of long limits that is a few times a minute, not several times a request.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// What can take too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// For bytes of the client.
    Receive,
    /// For the client to take bytes.
    Send,
    /// For the upstream.
    Upstream,
}

/// The deadlines of one client connection.
#[derive(Default)]
pub struct Deadlines {
    at: [Cell<Option<Instant>>; 3],
    expired: Cell<Option<Wait>>,
    timer: RefCell<Option<Pin<Box<Sleep>>>>,
    armed: Cell<Option<Instant>>,
    /// Whom the timer wakes: as long as it is the same task, and the timer has not fired, there is nothing to tell it.
    told: RefCell<Option<Waker>>,
}

impl Deadlines {
    /// Waits from now on, unless it is waiting already.
    pub fn begin(&self, wait: Wait, limit: Duration) {
        self.begin_at(wait, None, limit);
    }
    /// Waits from `now` on, unless it is waiting already; asks the clock if it is not given.
    pub fn begin_at(&self, wait: Wait, now: Option<Instant>, limit: Duration) {
        let cell = self.cell(wait);
        if cell.get().is_none() {
            cell.set(now.unwrap_or_else(Instant::now).checked_add(limit));
        }
    }
    /// Waits until then, whatever was set before.
    pub fn set(&self, wait: Wait, at: Option<Instant>) {
        self.cell(wait).set(at);
    }
    /// It has come.
    pub fn end(&self, wait: Wait) {
        self.cell(wait).set(None);
    }
    /// Whether it is being waited for.
    pub fn is_waiting(&self, wait: Wait) -> bool {
        self.cell(wait).get().is_some()
    }
    /// Takes note of a wait that took too long: whoever is waiting asks, once.
    pub fn take_expired(&self, wait: Wait) -> bool {
        let expired = self.expired.get() == Some(wait);
        if expired {
            self.expired.set(None);
        }
        expired
    }

    /// Ready with what has taken too long. Asked after everything else has been polled.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<Wait> {
        let Some(next) = self.at.iter().filter_map(Cell::get).min() else { return Poll::Pending };
        let mut timer = self.timer.borrow_mut();
        if self.armed.get().is_none_or(|armed| next < armed) {
            self.arm(&mut timer, next);
        }
        while let Some(sleep) = timer.as_mut() {
            let mut told = self.told.borrow_mut();
            if !sleep.is_elapsed() && told.as_ref().is_some_and(|told| told.will_wake(context.waker())) {
                return Poll::Pending;
            }
            if sleep.as_mut().poll(context).is_pending() {
                *told = Some(context.waker().clone());
                return Poll::Pending;
            }
            drop(told);
            self.armed.set(None);
            let now = Instant::now();
            if let Some(wait) = self.due(now) {
                self.end(wait);
                self.expired.set(Some(wait));
                return Poll::Ready(wait);
            }
            let Some(next) = self.at.iter().filter_map(Cell::get).min() else { return Poll::Pending };
            self.arm(&mut timer, next);
        }
        Poll::Pending
    }

    fn due(&self, now: Instant) -> Option<Wait> {
        let due = |wait: Wait| self.cell(wait).get().is_some_and(|at| at <= now);
        [Wait::Receive, Wait::Send, Wait::Upstream].into_iter().find(|&wait| due(wait))
    }
    fn arm(&self, timer: &mut Option<Pin<Box<Sleep>>>, at: Instant) {
        self.armed.set(Some(at));
        self.told.take();
        match timer {
            Some(sleep) => sleep.as_mut().reset(at.into()),
            None => *timer = Some(Box::pin(tokio::time::sleep_until(at.into()))),
        }
    }
    fn cell(&self, wait: Wait) -> &Cell<Option<Instant>> {
        let [receive, send, upstream] = &self.at;
        match wait {
            Wait::Receive => receive,
            Wait::Send => send,
            Wait::Upstream => upstream,
        }
    }
}
