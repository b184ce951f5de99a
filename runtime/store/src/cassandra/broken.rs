//! Stores that are wrong on purpose, so that the checker of the fault tests is known to catch them. Only in tests.

use std::cell::Cell;

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    /// Refusals and no-ops are answered from what this node has, as by whoever reads before it writes.
    Unconfirmed,
    /// A free place is taken as proof that an append was not done.
    ReadBack,
}

thread_local! {
    static BROKEN: Cell<Option<Broken>> = const { Cell::new(None) };
}

/// Makes every store that this thread opens wrong in that way, until it is told otherwise.
pub(super) fn set(broken: Option<Broken>) {
    BROKEN.set(broken);
}

/// What the stores of this thread are to have wrong.
pub(super) fn get() -> Option<Broken> {
    BROKEN.get()
}
