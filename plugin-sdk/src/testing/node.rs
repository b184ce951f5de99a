//! What a node of the gateway keeps between exchanges: credentials, counts, and the time that a test sets.

use crate::counters::{Limit, Period, Taken, Usage};
use crate::exchange::Identity;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

const SECOND_MS: u64 = 1000;
const DAY_S: u64 = 86_400;
/// 2026-01-01T00:00:00Z: the start of every kind of window.
const START_MS: u64 = 1_767_225_600_000;

/// Cheap to clone; clones are the same node.
#[derive(Clone)]
pub(crate) struct Node(Rc<RefCell<Inner>>);

/// A credential and whose it is.
#[derive(Clone)]
pub(crate) struct StoredCredential {
    pub kind: String,
    pub key: Vec<u8>,
    pub id: String,
    pub consumer: Identity,
}

#[derive(Default, Clone)]
struct Inner {
    now_ms: u64,
    serial: u64,
    consumers: Vec<Identity>,
    credentials: Vec<StoredCredential>,
    counts: HashMap<(u32, String, Period), (u64, u64)>,
    lost_the_others: bool,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self(Rc::new(RefCell::new(Inner { now_ms: START_MS, ..Inner::default() })))
    }
    /// Another node in the same state.
    pub(crate) fn copy(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }
    pub(crate) fn now_ms(&self) -> u64 {
        self.0.borrow().now_ms
    }
    pub(crate) fn set_now_ms(&self, now_ms: u64) {
        self.0.borrow_mut().now_ms = now_ms;
    }
    /// Whether what the other nodes took is known.
    pub(crate) fn knows_the_others(&self) -> bool {
        !self.0.borrow().lost_the_others
    }
    pub(crate) fn lose_the_others(&self, lost: bool) {
        self.0.borrow_mut().lost_the_others = lost;
    }
    /// A number that was not given before.
    pub(crate) fn serial(&self) -> u64 {
        let mut inner = self.0.borrow_mut();
        inner.serial += 1;
        inner.serial
    }
    pub(crate) fn add_consumer(&self, username: &str) -> Identity {
        let id = self.uuid();
        let identity = Identity { id, username: Some(username.to_owned()), custom_id: None };
        self.0.borrow_mut().consumers.push(identity.clone());
        identity
    }
    pub(crate) fn add_credential(&self, kind: &str, key: &str, consumer: Identity) {
        let id = self.uuid();
        let credential = StoredCredential { kind: kind.to_owned(), key: key.as_bytes().to_vec(), id, consumer };
        self.0.borrow_mut().credentials.push(credential);
    }
    /// By id or username.
    pub(crate) fn consumer(&self, name: &str) -> Option<Identity> {
        let inner = self.0.borrow();
        inner.consumers.iter().find(|it| it.id == name || it.username.as_deref() == Some(name)).cloned()
    }
    pub(crate) fn credential(&self, kind: &str, key: &[u8]) -> Option<StoredCredential> {
        self.0.borrow().credentials.iter().find(|it| it.kind == kind && it.key == key).cloned()
    }
    /// The same bytes in every run, and others in every call.
    pub(crate) fn random(&self, len: u32) -> Vec<u8> {
        let mut word = self.serial();
        let byte = || {
            // splitmix64 (Steele, Lea, Flood 2014).
            word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed >> 56) as u8
        };
        std::iter::repeat_with(byte).take(len as usize).collect()
    }
    pub(crate) fn take(&self, entry: u32, key: &str, limits: &[Limit], amount: u64) -> Taken {
        assert!(key.len() <= 1024, "a counter's key has at most 1,024 bytes");
        assert!(limits.len() <= 6, "at most 6 limits a call");
        let now_s = self.now_ms() / SECOND_MS;
        let mut inner = self.0.borrow_mut();
        let windows: Vec<(u64, u64, u64)> = limits
            .iter()
            .map(|limit| {
                let (start, end) = window(limit.period, now_s);
                let counted = inner.counts.get(&(entry, key.to_owned(), limit.period));
                (start, end, counted.filter(|(at, _)| *at == start).map_or(0, |(_, used)| *used))
            })
            .collect();
        let taken = limits.iter().zip(&windows).all(|(limit, (.., used))| used.saturating_add(amount) <= limit.max);
        let added = if taken { amount } else { 0 };
        let mut usages = Vec::new();
        for (limit, (start, end, used)) in limits.iter().zip(windows) {
            inner.counts.insert((entry, key.to_owned(), limit.period), (start, used + added));
            usages.push(Usage { used: used + added, resets_in_s: u32::try_from(end - now_s).unwrap_or(u32::MAX) });
        }
        Taken { taken, usages }
    }
    fn uuid(&self) -> String {
        format!("00000000-0000-4000-8000-{:012x}", self.serial() + 0x100)
    }
}

/// The calendar window around a moment: its first second and the one after its last.
fn window(period: Period, now_s: u64) -> (u64, u64) {
    let even = |length: u64| (now_s - now_s % length, now_s - now_s % length + length);
    match period {
        Period::Second => even(1),
        Period::Minute => even(60),
        Period::Hour => even(3600),
        Period::Day => even(DAY_S),
        Period::Month | Period::Year => {
            let (year, month) = year_and_month(now_s / DAY_S);
            let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            match period {
                Period::Month => (first_day(year, month) * DAY_S, first_day(next_year, next_month) * DAY_S),
                _ => (first_day(year, 1) * DAY_S, first_day(year + 1, 1) * DAY_S),
            }
        }
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days from 1970-01-01 to the first of that month.
fn first_day(year: u64, month: u64) -> u64 {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let whole_years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    whole_years + BEFORE[month as usize - 1] + u64::from(month > 2 && is_leap(year))
}

fn year_and_month(day: u64) -> (u64, u64) {
    let mut year = 1970;
    while first_day(year + 1, 1) <= day {
        year += 1;
    }
    let month = (1..=12).rev().find(|month| first_day(year, *month) <= day).unwrap_or(1);
    (year, month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(period: Period, max: u64) -> Limit {
        Limit { period, max }
    }

    #[test]
    fn months_and_leap_years_begin_where_the_calendar_says() {
        // 2024-02-29T12:00:00Z
        let noon = 1_709_208_000;
        assert_eq!(window(Period::Month, noon), (1_706_745_600, 1_709_251_200));
        assert_eq!(window(Period::Year, noon), (1_704_067_200, 1_735_689_600));
    }

    #[test]
    fn a_take_that_one_window_refuses_takes_from_none() {
        let node = Node::new();
        let limits = [limit(Period::Second, 1), limit(Period::Minute, 5)];
        assert!(node.take(1, "a", &limits, 1).taken);
        let refused = node.take(1, "a", &limits, 1);
        assert!(!refused.taken);
        assert_eq!(refused.usages[1].used, 1);
        node.set_now_ms(START_MS + 1000);
        assert_eq!(node.take(1, "a", &limits, 1).usages[1].used, 2);
    }

    #[test]
    fn entries_and_keys_count_apart() {
        let node = Node::new();
        let limits = [limit(Period::Hour, 1)];
        assert!(node.take(1, "a", &limits, 1).taken);
        assert!(node.take(1, "b", &limits, 1).taken);
        assert!(node.take(2, "a", &limits, 1).taken);
        assert!(!node.take(1, "a", &limits, 1).taken);
    }
}
