//! `counters`: taking from windows, as the guest says or by a rule that it prepared. The counting itself is the host's
//! (`crate::counters`).

use super::{headers, request, response};
use crate::bindings::weir::plugin::counters::{
    Announcement as WitAnnouncement, Figure, Host, Limit, Period, Rule as WitRule, Scope, Subject as WitSubject, Usage, Verdict,
    Window,
};
use crate::bindings::weir::plugin::types::HeaderFault;
use crate::counters::{self, MAX_LIMITS, Taken};
use crate::exchange::{Exchange, Kill};
use crate::limits::{ANNOUNCEMENTS, COUNTER_KEY_BYTES, SUBJECT_BYTES};
use crate::shared::{Shared, unix_seconds};
use crate::state::State;
use http::{HeaderName, HeaderValue};
use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;
use wasmtime::Result;
use weir_model::{Id, Phase};

/// A prepared rule.
pub struct Rule {
    by: Subject,
    scope: Scope,
    limits: Vec<counters::Limit>,
    announcements: Vec<Announcement>,
}

/// Whose windows a rule counts in.
enum Subject {
    Consumer,
    Credential,
    ClientIp,
    Service,
    Header(HeaderName),
    Path(Box<str>),
}

/// A header that a rule writes.
struct Announcement {
    header: HeaderName,
    tells: Tells,
}

/// What it tells.
enum Tells {
    /// Always the same.
    Fixed(HeaderValue),
    /// The limit of the tightest window, by position.
    TightestLimit(Vec<HeaderValue>),
    /// Room that is left in that window; none: the tightest.
    Remaining(Option<usize>),
    /// Seconds until that window ends; none: the tightest.
    Reset(Option<usize>),
}

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

    fn prepare_rule(&mut self, rule: WitRule) -> Result<std::result::Result<u32, HeaderFault>> {
        self.prepare_scoped_rule(rule, Scope::Node)
    }

    fn prepare_scoped_rule(&mut self, rule: WitRule, scope: Scope) -> Result<std::result::Result<u32, HeaderFault>> {
        let bytes = weight(&rule);
        self.charge(bytes)?;
        self.preparing()?;
        if rule.windows.len() > MAX_LIMITS || rule.announcements.len() > ANNOUNCEMENTS {
            return Err(self.end(Kill::Limit, "`prepare-rule` takes 6 windows and 20 announcements"));
        }
        let limits = || rule.windows.iter().map(|window| window.limit.period);
        if limits().enumerate().any(|(index, period)| limits().take(index).any(|other| other == period)) {
            return Err(self.end(Kill::Limit, "`prepare-rule` takes each period once"));
        }
        let known = |announced: &WitAnnouncement| announced.of.is_none_or(|of| limits().any(|period| period == of));
        if !rule.announcements.iter().all(known) {
            return Err(self.end(Kill::Limit, "`prepare-rule` announces only windows that the rule has"));
        }
        let draft = self.preparing()?;
        Ok(Rule::parse(rule, scope).and_then(|rule| draft.add_rule(rule, bytes)))
    }

    fn take_by(&mut self, rule: u32, amount: u64) -> Result<u32> {
        Ok(match self.try_take_by(rule, amount)? {
            Verdict::Taken => 0,
            Verdict::NoRoom(wait) => wait,
            Verdict::Unknown => 1,
        })
    }

    fn try_take_by(&mut self, rule: u32, amount: u64) -> Result<Verdict> {
        self.charge(12)?;
        let preparations = self.preparations()?;
        let Some(rule) = preparations.rule(rule) else { return Err(self.unprepared()) };
        let (entry, phase) = (self.entry, self.phase.unwrap_or(Phase::Log));
        self.lent()?;
        let Self { exchange, origin, .. } = self;
        Ok(take_by(exchange, phase, entry, &origin.shared, rule, amount))
    }
}

impl Rule {
    fn parse(rule: WitRule, scope: Scope) -> std::result::Result<Self, HeaderFault> {
        let by = match rule.by {
            WitSubject::Consumer => Subject::Consumer,
            WitSubject::Credential => Subject::Credential,
            WitSubject::ClientIp => Subject::ClientIp,
            WitSubject::Service => Subject::Service,
            WitSubject::Header(name) => Subject::Header(headers::readable(&name)?),
            WitSubject::Path(path) => Subject::Path(path.into()),
        };
        let windows = &rule.windows;
        let announcements: Vec<_> = rule
            .announcements
            .into_iter()
            .map(|announced| announcement(announced, windows))
            .collect::<std::result::Result<_, _>>()?;
        let limit = |window: &Window| counters::Limit { period: period(window.limit.period), max: window.limit.max };
        Ok(Self { by, scope, limits: windows.iter().map(limit).collect(), announcements })
    }

    /// The host's memory for it, about, names and values aside.
    pub fn weight(&self) -> usize {
        let limits = self.limits.len() * size_of::<HeaderValue>();
        size_of::<Self>() + self.announcements.len() * (size_of::<Announcement>() + limits)
    }

    /// The window with the least room, of equal ones the longest.
    fn tightest(&self, usages: &[counters::Usage]) -> Option<usize> {
        let room = |at: &usize| {
            let (limit, usage) = (self.limits.get(*at), usages.get(*at));
            let left = limit.zip(usage).map(|(limit, usage)| limit.max.saturating_sub(usage.used));
            (left, Reverse(limit.map(|limit| limit.period as u8)))
        };
        (0..self.limits.len()).min_by_key(room)
    }
}

/// How the limits of a rule stood after a call: what its announcements tell.
pub struct Announced {
    rule: Arc<Rule>,
    usages: [counters::Usage; MAX_LIMITS],
    tightest: Option<usize>,
    /// How many of the rule's announcements are told.
    count: usize,
}

impl Announced {
    /// How many headers it may be.
    pub fn count(&self) -> usize {
        self.count
    }
    /// As many of them as there is room for; none if there is no room.
    pub fn cut_to(mut self, room: usize) -> Option<Self> {
        self.count = self.count.min(room);
        (self.count > 0).then_some(self)
    }
    /// Names and values, one after the other.
    pub fn write(&self, mut write: impl FnMut(HeaderName, HeaderValue)) {
        let usage = |of: Option<usize>| {
            let at = of.or(self.tightest)?;
            Some((self.rule.limits.get(at)?, self.usages.get(at)?))
        };
        for Announcement { header, tells } in self.rule.announcements.iter().take(self.count) {
            let value = match tells {
                Tells::Fixed(value) => Some(value.clone()),
                Tells::TightestLimit(values) => self.tightest.and_then(|at| values.get(at)).cloned(),
                Tells::Remaining(of) => usage(*of).and_then(|(limit, usage)| number(limit.max.saturating_sub(usage.used))),
                Tells::Reset(of) => usage(*of).and_then(|(_, usage)| number(u64::from(usage.resets_in))),
            };
            if let Some(value) = value {
                write(header.clone(), value);
            }
        }
    }
}

/// Takes by a rule and announces it.
pub(super) fn take_by(
    exchange: &mut Exchange,
    phase: Phase,
    entry: Id,
    shared: &Shared,
    rule: &Arc<Rule>,
    amount: u64,
) -> Verdict {
    let known = rule.scope != Scope::ClusterStrict || !shared.cluster.is_stale(shared.now());
    let (took, usages) = take(exchange, entry, shared, rule, amount, known);
    if !known {
        return Verdict::Unknown;
    }
    let tightest = rule.tightest(&usages);
    let verdict = match tightest.and_then(|at| usages.get(at)) {
        Some(usage) if !took => Verdict::NoRoom(usage.resets_in.max(1)),
        _ => Verdict::Taken,
    };
    if !rule.announcements.is_empty() {
        response::announce(
            exchange,
            phase,
            Announced { rule: Arc::clone(rule), usages, tightest, count: rule.announcements.len() },
        );
    }
    verdict
}

/// The kind stands before what tells callers apart, so that a header cannot pass for an address. No text begins with these bytes, so
/// that no key of `take` can either.
const CONSUMER: u8 = 0xf8;
const CREDENTIAL: u8 = 0xf9;
const CLIENT_IP: u8 = 0xfa;
const SERVICE: u8 = 0xfb;
const HEADER: u8 = 0xfc;
const PATH: u8 = 0xfd;

fn take(exchange: &Exchange, entry: Id, shared: &Shared, rule: &Rule, amount: u64, known: bool) -> Taken {
    let (limits, now) = (rule.limits.as_slice(), unix_seconds());
    match rule.scope {
        Scope::Node => {
            with_subject(exchange, &rule.by, |kind, what| shared.counters.take_of(entry, kind, what, limits, amount, now))
        }
        Scope::Cluster | Scope::ClusterStrict => {
            with_subject(exchange, &rule.by, |kind, what| shared.cluster.take_of(entry, kind, what, limits, amount, now, known))
        }
    }
}

fn with_subject(exchange: &Exchange, by: &Subject, take: impl FnOnce(u8, &[u8]) -> Taken) -> Taken {
    match by {
        Subject::Consumer => {
            if let Some(caller) = &exchange.caller {
                return take(CONSUMER, caller.consumer.id.as_bytes());
            }
        }
        // An anonymous consumer has none.
        Subject::Credential => {
            if let Some(id) = exchange.caller.as_ref().and_then(|caller| caller.credential) {
                return take(CREDENTIAL, id.as_bytes());
            }
        }
        Subject::Service => {
            if let Some(service) = &exchange.service {
                return take(SERVICE, service.id.as_bytes());
            }
        }
        Subject::Header(name) => {
            if let Some(value) = request::header(exchange, name.as_str()) {
                return take(HEADER, value.get(..SUBJECT_BYTES).unwrap_or(&value));
            }
        }
        Subject::Path(path) => {
            if **path == *exchange.request.path {
                return take(PATH, path.as_bytes());
            }
        }
        Subject::ClientIp => {}
    }
    match exchange.client_ip.to_canonical() {
        IpAddr::V4(address) => take(CLIENT_IP, &address.octets()),
        IpAddr::V6(address) => take(CLIENT_IP, &address.octets()),
    }
}

fn announcement(announced: WitAnnouncement, windows: &[Window]) -> std::result::Result<Announcement, HeaderFault> {
    let header = headers::writable(&announced.header)?;
    let at = announced.of.and_then(|of| windows.iter().position(|window| window.limit.period == of));
    let text = |window: &Window| match &window.text {
        Some(text) => headers::value(text.clone().into_bytes()),
        None => Ok(HeaderValue::from(window.limit.max)),
    };
    let tells = match (announced.figure, at.or((windows.len() == 1).then_some(0))) {
        (Figure::Limit, Some(at)) => Tells::Fixed(windows.get(at).map_or(Err(HeaderFault::BadValue), text)?),
        (Figure::Limit, None) => Tells::TightestLimit(windows.iter().map(text).collect::<std::result::Result<_, _>>()?),
        (Figure::Remaining, at) => Tells::Remaining(at),
        (Figure::Reset, at) => Tells::Reset(at),
    };
    Ok(Announcement { header, tells })
}

/// `u64::MAX` has twenty.
const DIGITS: usize = 20;

/// A number as a header's value, in one allocation: this runs several times for each request.
fn number(number: u64) -> Option<HeaderValue> {
    let mut digits = [0; DIGITS];
    let mut left = number;
    let mut start = DIGITS;
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
        start = at;
        if left == 0 {
            break;
        }
    }
    HeaderValue::from_bytes(digits.get(start..)?).ok()
}

/// Bytes of names and values.
fn weight(rule: &WitRule) -> usize {
    let by = match &rule.by {
        WitSubject::Header(text) | WitSubject::Path(text) => text.len(),
        WitSubject::Consumer | WitSubject::Credential | WitSubject::ClientIp | WitSubject::Service => 0,
    };
    let texts: usize = rule.windows.iter().map(|window| window.text.as_ref().map_or(DIGITS, String::len)).sum();
    // A limit's text stands in each header that tells it.
    by + rule.announcements.iter().map(|announced| announced.header.len() + texts).sum::<usize>()
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
