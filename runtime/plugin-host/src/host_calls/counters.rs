//! `counters`: taking from windows. The counting itself is the host's (`crate::counters`).

use crate::bindings::weir::plugin::counters::{Host, Limit, Period, Usage};
use crate::counters::{self, MAX_LIMITS};
use crate::exchange::Kill;
use crate::limits::COUNTER_KEY_BYTES;
use crate::shared::unix_seconds;
use crate::state::State;
use wasmtime::Result;

impl Host for State {
    fn take(&mut self, key: String, limits: Vec<Limit>, amount: u64) -> Result<(bool, Vec<Usage>)> {
        self.charge(key.len() + limits.len() * (size_of::<Limit>() + size_of::<Usage>()))?;
        self.lent()?;
        if key.len() > COUNTER_KEY_BYTES {
            return Err(self.end(Kill::Limit, "`take` takes keys of up to 1 KiB"));
        }
        let mut asked = [counters::Limit { period: counters::Period::Second, max: 0 }; MAX_LIMITS];
        let Some(asked) = asked.get_mut(..limits.len()) else {
            return Err(self.end(Kill::Limit, "`take` takes 6 limits"));
        };
        for (asked, limit) in asked.iter_mut().zip(&limits) {
            *asked = counters::Limit { period: period(limit.period), max: limit.max };
        }
        let twice = |(index, limit): (usize, &counters::Limit)| asked[..index].iter().any(|other| other.period == limit.period);
        if asked.iter().enumerate().any(twice) {
            return Err(self.end(Kill::Limit, "`take` takes each period once"));
        }
        let (took, usages) = self.origin.shared.counters.take(self.entry, &key, asked, amount, unix_seconds());
        let usages = usages.iter().take(limits.len());
        Ok((took, usages.map(|usage| Usage { used: usage.used, resets_in_s: usage.resets_in }).collect()))
    }
}

fn period(period: Period) -> counters::Period {
    match period {
        Period::Second => counters::Period::Second,
        Period::Minute => counters::Period::Minute,
        Period::Hour => counters::Period::Hour,
        Period::Day => counters::Period::Day,
        Period::Month => counters::Period::Month,
        Period::Year => counters::Period::Year,
    }
}
