//! Tells the other nodes what this one counted against limits of the cluster, and learns what they counted: about once a second.
//!
//! Carries counts between the plugin host, which counts, and the store, which all nodes share; neither knows the other.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use weir_plugin_host::{Host, OwnCount};
use weir_store::{EXCHANGE_LIMIT, SharedCounts, Store, WindowCount};

/// From the beginning of one round to that of the next, where one is enough.
const PERIOD: Duration = Duration::from_secs(1);
/// Windows of a round: a third of what Cassandra exchanges within its limit of time. Where more wait, the next round follows at once.
const WINDOWS_MOST: usize = 10_000;
/// After this time without a whole round the others' counts are not known: a round that failed, the one after it, and some of a third.
const STALE_AFTER: Duration = Duration::from_secs(2 * EXCHANGE_LIMIT.as_secs() + PERIOD.as_secs());
/// What a node that ends has to tell its last counts.
const LAST_ROUND: Duration = Duration::from_secs(1);

/// Rounds until the node ends, and a last one then. Ends at once where the store is this node's alone: then its counts are all.
pub async fn share(host: Arc<Host>, store: Arc<dyn Store>, mut ending: watch::Receiver<bool>) {
    let Some(counts) = store.counts() else { return };
    host.begin_sharing(STALE_AFTER);
    let mut sharing = Sharing { host: &host, counts, fails: false };
    loop {
        let begun = Instant::now();
        let was_full = sharing.round().await;
        let next = if was_full { begun } else { begun + PERIOD };
        tokio::select! {
            () = sleep_until(next) => {}
            // A sender that is gone has ended, too.
            _ = ending.wait_for(|ending| *ending) => break,
        }
    }
    // What is not told in time is lost to the others, as after a crash: they let through what it would have kept them from.
    if !sharing.fails && timeout(LAST_ROUND, sharing.round()).await.is_err() {
        tracing::warn!("the last counts of this node could not be told to the others in time");
    }
}

struct Sharing<'a> {
    host: &'a Host,
    counts: &'a dyn SharedCounts,
    fails: bool,
}

impl Sharing<'_> {
    /// Answers whether there may be more to share.
    async fn round(&mut self) -> bool {
        let round = self.host.begin_round(WINDOWS_MOST);
        let was_full = round.own.len() >= WINDOWS_MOST;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
        let exchanged = self.counts.exchange(round.own.iter().map(|own| told(own, now)).collect()).await;
        self.host.end_round(round, exchanged.trouble.is_none(), &exchanged.others);
        // Told when it changes: the figures say how it is.
        match (&exchanged.trouble, self.fails) {
            (Some(cause), false) => {
                tracing::warn!(%cause, "counts of the cluster are not shared; this node goes on with what it knows of the others");
            }
            (None, true) => tracing::info!("counts of the cluster are shared again"),
            _ => {}
        }
        self.fails = exchanged.trouble.is_some();
        was_full && !self.fails
    }
}

fn told(own: &OwnCount, now: i64) -> WindowCount {
    WindowCount {
        key: own.key.clone(),
        period: own.period as u8,
        start: own.start,
        left_s: u32::try_from(own.end.saturating_sub(now).max(1)).unwrap_or(u32::MAX),
        part: own.part,
        count: own.count,
        grown: own.grown,
    }
}
