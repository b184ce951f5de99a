//! `--exit-with-parent`: a node that whoever started it does not want to outlive.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// From now on the system stops this node as `weir stop` does when that process, its parent, ends, however it ends. (To the system
/// the parent is the thread that started this process: it has to live as long.)
pub fn end_with(parent: u32) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::TERM)).map_err(|error| format!("--exit-with-parent: {error}"))?;
    // Asked after: a parent that ended before would never be told of.
    let actual = getppid().map(|parent| parent.as_raw_nonzero().get().unsigned_abs());
    if actual == Some(parent) {
        Ok(())
    } else {
        Err(format!("--exit-with-parent: process {parent} is not the parent, or has ended"))
    }
}
