//! The host as backing: every method is one call of an imported function.

use crate::bindings::base::weir::plugin as wit;
use crate::counters::{self, Figure, Limit, Period, Scope, Subject, Taken, Usage, Verdict};
use crate::edits::HeaderEdit;
use crate::exchange::{Credential, Facts, Fault, Identity, LookedUp, NamedEntity};
use crate::header::HeaderFault;
use crate::log::Level;
use crate::steps::Step;
use std::cell::RefCell;
use wit::types::{Field, HeaderFault as HostFault};

/// Fields whose memory is kept: more than a plugin usually writes at once.
const KEPT_FIELDS: usize = 32;

/// Nothing: the host knows which exchange it serves.
#[derive(Clone)]
pub(crate) struct Handle;

pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Debug => wit::log::Level::Debug,
        Level::Info => wit::log::Level::Info,
        Level::Warn => wit::log::Level::Warn,
        Level::Error => wit::log::Level::Error,
    };
    wit::log::write(level, message);
}

fn written(result: Result<(), HostFault>) -> Result<(), HeaderFault> {
    result.map_err(header_fault)
}

fn header_fault(fault: HostFault) -> HeaderFault {
    match fault {
        HostFault::BadName => HeaderFault::BadName,
        HostFault::BadValue => HeaderFault::BadValue,
        HostFault::Reserved => HeaderFault::Reserved,
        HostFault::TooMany => HeaderFault::TooMany,
        HostFault::HeadAlreadySent => HeaderFault::HeadAlreadySent,
    }
}

/// The host's number of a list of edits.
#[derive(Debug)]
pub(crate) struct Prepared(u32);

pub(crate) fn request_prepare_edits(edits: Vec<HeaderEdit>) -> Result<Prepared, HeaderFault> {
    prepared(wit::request::prepare_edits(&edits.into_iter().map(edit).collect::<Vec<_>>()))
}
pub(crate) fn response_prepare_edits(edits: Vec<HeaderEdit>) -> Result<Prepared, HeaderFault> {
    prepared(wit::response::prepare_edits(&edits.into_iter().map(edit).collect::<Vec<_>>()))
}

/// The host's number of a look-up.
#[derive(Debug)]
pub(crate) struct Lookup(u32);

pub(crate) fn credentials_prepare_lookup(kind: &str, header: &str) -> Result<Lookup, HeaderFault> {
    wit::credentials::prepare_lookup(kind, header).map(Lookup).map_err(header_fault)
}

/// The host's number of a rule.
#[derive(Debug)]
pub(crate) struct Rule(u32);

pub(crate) fn counters_prepare_rule(rule: counters::Rule) -> Result<Rule, HeaderFault> {
    wit::counters::prepare_rule(&wit_rule(rule)).map(Rule).map_err(header_fault)
}
pub(crate) fn counters_prepare_scoped_rule(rule: counters::Rule, scope: Scope) -> Result<Rule, HeaderFault> {
    let scope = match scope {
        Scope::Node => wit::counters::Scope::Node,
        Scope::Cluster => wit::counters::Scope::Cluster,
        Scope::ClusterStrict => wit::counters::Scope::ClusterStrict,
    };
    wit::counters::prepare_scoped_rule(&wit_rule(rule), scope).map(Rule).map_err(header_fault)
}

fn wit_rule(rule: counters::Rule) -> wit::counters::Rule {
    let by = match rule.by {
        Subject::Consumer => wit::counters::Subject::Consumer,
        Subject::Credential => wit::counters::Subject::Credential,
        Subject::ClientIp => wit::counters::Subject::ClientIp,
        Subject::Service => wit::counters::Subject::Service,
        Subject::Header(name) => wit::counters::Subject::Header(name),
        Subject::Path(path) => wit::counters::Subject::Path(path),
    };
    let window = |window: counters::Window| wit::counters::Window { limit: limit(&window.limit), text: window.text };
    let announcement = |announced: counters::Announcement| wit::counters::Announcement {
        header: announced.header,
        figure: match announced.figure {
            Figure::Limit => wit::counters::Figure::Limit,
            Figure::Remaining => wit::counters::Figure::Remaining,
            Figure::Reset => wit::counters::Figure::Reset,
        },
        of: announced.of.map(period),
    };
    wit::counters::Rule {
        by,
        windows: rule.windows.into_iter().map(window).collect(),
        announcements: rule.announcements.into_iter().map(announcement).collect(),
    }
}

pub(crate) fn steps_before_request(steps: &[Step<'_>]) {
    wit::steps::before_request(&steps.iter().filter_map(step).collect::<Vec<_>>());
}
pub(crate) fn steps_before_response(steps: &[Step<'_>]) {
    wit::steps::before_response(&steps.iter().filter_map(step).collect::<Vec<_>>());
}

/// None: edits that change nothing.
fn step(step: &Step<'_>) -> Option<wit::steps::Step> {
    match step {
        Step::EditRequest(edits) => edits.0.as_ref().map(|edits| wit::steps::Step::EditRequest(edits.0)),
        Step::EditResponse(edits) => edits.0.as_ref().map(|edits| wit::steps::Step::EditResponse(edits.0)),
        Step::AuthenticateBy(lookup) => Some(wit::steps::Step::AuthenticateBy(lookup.0.0)),
        Step::TakeBy(rule) => Some(wit::steps::Step::TakeBy(rule.0.0)),
    }
}

fn limit(limit: &Limit) -> wit::counters::Limit {
    wit::counters::Limit { period: period(limit.period), max: limit.max }
}

fn prepared(result: Result<u32, HostFault>) -> Result<Prepared, HeaderFault> {
    match result {
        Ok(number) => Ok(Prepared(number)),
        Err(fault) => Err(header_fault(fault)),
    }
}

fn edit(edit: HeaderEdit) -> wit::types::HeaderEdit {
    match edit {
        HeaderEdit::Set(name, value) => wit::types::HeaderEdit::Set(Field { name, value }),
        HeaderEdit::SetIfPresent(name, value) => wit::types::HeaderEdit::SetIfPresent(Field { name, value }),
        HeaderEdit::Add(name, value) => wit::types::HeaderEdit::Add(Field { name, value }),
        HeaderEdit::AddIfAbsent(name, value) => wit::types::HeaderEdit::AddIfAbsent(Field { name, value }),
        HeaderEdit::Remove(name) => wit::types::HeaderEdit::Remove(name),
        HeaderEdit::Rename(old, new) => wit::types::HeaderEdit::Rename((old, new)),
    }
}

/// Hands the fields over in memory that is kept for the next time: the bindings want owned ones, and two allocations for each
/// header would cost more than the copies.
fn with_fields<N: AsRef<str>, V: AsRef<[u8]>, T>(given: &[(N, V)], call: impl FnOnce(&[Field]) -> T) -> T {
    thread_local! { static KEPT: RefCell<Vec<Field>> = const { RefCell::new(Vec::new()) }; }
    KEPT.with_borrow_mut(|kept| {
        kept.truncate(KEPT_FIELDS.max(given.len()));
        kept.resize_with(kept.len().max(given.len()), || Field { name: String::new(), value: Vec::new() });
        for (field, (name, value)) in kept.iter_mut().zip(given) {
            // What is the same as last time, as names usually are, is compared and not copied: a copy is a call of the engine.
            if field.name != name.as_ref() {
                field.name.clear();
                field.name.push_str(name.as_ref());
            }
            if field.value != value.as_ref() {
                field.value.clear();
                field.value.extend_from_slice(value.as_ref());
            }
        }
        call(kept.get(..given.len()).unwrap_or_default())
    })
}

fn fields(fields: Vec<wit::types::Field>) -> Vec<(String, Vec<u8>)> {
    fields.into_iter().map(|field| (field.name, field.value)).collect()
}

fn entity(entity: wit::exchange::Entity) -> NamedEntity {
    NamedEntity { id: entity.id, name: entity.name }
}

impl Handle {
    pub(crate) fn exchange_id(&self) -> String {
        wit::exchange::id()
    }
    pub(crate) fn exchange_route(&self) -> NamedEntity {
        entity(wit::exchange::route())
    }
    pub(crate) fn exchange_service(&self) -> Option<NamedEntity> {
        wit::exchange::service().map(entity)
    }
    pub(crate) fn exchange_consumer(&self) -> Option<Identity> {
        let identity = wit::exchange::consumer()?;
        Some(Identity { id: identity.id, username: identity.username, custom_id: identity.custom_id })
    }
    pub(crate) fn exchange_capture(&self, name: &str) -> Option<String> {
        wit::exchange::capture(name)
    }
    pub(crate) fn exchange_outcome(&self) -> Facts {
        let facts = wit::exchange::outcome();
        let fault = match facts.fault {
            wit::exchange::Fault::None => Fault::None,
            wit::exchange::Fault::Client => Fault::Client,
            wit::exchange::Fault::Upstream => Fault::Upstream,
            wit::exchange::Fault::Plugin => Fault::Plugin,
            wit::exchange::Fault::Gateway => Fault::Gateway,
        };
        Facts {
            status: facts.status,
            fault,
            total_us: facts.total_us,
            upstream_us: facts.upstream_us,
            request_bytes: facts.request_bytes,
            response_bytes: facts.response_bytes,
        }
    }
    pub(crate) fn exchange_keep(&self, state: &[u8]) {
        wit::exchange::keep(state);
    }
    pub(crate) fn exchange_kept(&self) -> Option<Vec<u8>> {
        wit::exchange::kept()
    }

    pub(crate) fn request_method(&self) -> String {
        wit::request::method()
    }
    pub(crate) fn request_scheme(&self) -> String {
        wit::request::scheme()
    }
    pub(crate) fn request_host(&self) -> String {
        wit::request::host()
    }
    pub(crate) fn request_path(&self) -> String {
        wit::request::path()
    }
    pub(crate) fn request_query(&self) -> Option<String> {
        wit::request::query()
    }
    pub(crate) fn request_client_ip(&self) -> String {
        wit::request::client_ip()
    }
    pub(crate) fn request_header(&self, name: &str) -> Option<Vec<u8>> {
        wit::request::header(name)
    }
    pub(crate) fn request_header_values(&self, name: &str) -> Vec<Vec<u8>> {
        wit::request::header_values(name)
    }
    pub(crate) fn request_headers(&self) -> Vec<(String, Vec<u8>)> {
        fields(wit::request::headers())
    }
    pub(crate) fn request_set_method(&self, method: &str) -> Result<(), HeaderFault> {
        written(wit::request::set_method(method))
    }
    pub(crate) fn request_set_target(&self, path: &str, query: Option<&str>) -> Result<(), HeaderFault> {
        written(wit::request::set_target(path, query))
    }
    pub(crate) fn request_set_header(&self, name: &str, value: &[u8]) -> Result<(), HeaderFault> {
        written(wit::request::set_header(name, value))
    }
    pub(crate) fn request_add_header(&self, name: &str, value: &[u8]) -> Result<(), HeaderFault> {
        written(wit::request::add_header(name, value))
    }
    pub(crate) fn request_remove_header(&self, name: &str) {
        wit::request::remove_header(name);
    }
    pub(crate) fn request_set_headers<N: AsRef<str>, V: AsRef<[u8]>>(&self, fields: &[(N, V)]) -> Result<(), HeaderFault> {
        written(with_fields(fields, wit::request::set_headers))
    }
    pub(crate) fn request_apply_edits(&self, edits: &Prepared) -> Result<(), HeaderFault> {
        written(wit::request::apply_edits(edits.0))
    }

    pub(crate) fn response_status(&self) -> Option<u16> {
        wit::response::status()
    }
    pub(crate) fn response_set_status(&self, status: u16) {
        wit::response::set_status(status);
    }
    pub(crate) fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        wit::response::header(name)
    }
    pub(crate) fn response_header_values(&self, name: &str) -> Vec<Vec<u8>> {
        wit::response::header_values(name)
    }
    pub(crate) fn response_headers(&self) -> Vec<(String, Vec<u8>)> {
        fields(wit::response::headers())
    }
    pub(crate) fn response_set_header(&self, name: &str, value: &[u8]) -> Result<(), HeaderFault> {
        written(wit::response::set_header(name, value))
    }
    pub(crate) fn response_add_header(&self, name: &str, value: &[u8]) -> Result<(), HeaderFault> {
        written(wit::response::add_header(name, value))
    }
    pub(crate) fn response_remove_header(&self, name: &str) {
        wit::response::remove_header(name);
    }
    pub(crate) fn response_set_headers<N: AsRef<str>, V: AsRef<[u8]>>(&self, fields: &[(N, V)]) -> Result<(), HeaderFault> {
        written(with_fields(fields, wit::response::set_headers))
    }
    pub(crate) fn response_apply_edits(&self, edits: &Prepared) -> Result<(), HeaderFault> {
        written(wit::response::apply_edits(edits.0))
    }

    pub(crate) fn credentials_find(&self, kind: &str, key: &[u8]) -> Option<Credential> {
        let credential = wit::credentials::find(kind, key)?;
        Some(Credential { handle: credential.handle, data: credential.data })
    }
    pub(crate) fn credentials_authenticate(&self, handle: u32) -> bool {
        wit::credentials::authenticate(handle)
    }
    pub(crate) fn credentials_authenticate_anonymous(&self, consumer: &str) -> bool {
        wit::credentials::authenticate_anonymous(consumer)
    }
    pub(crate) fn credentials_authenticate_by(&self, lookup: &Lookup) -> LookedUp {
        match wit::credentials::authenticate_by(lookup.0) {
            wit::credentials::LookedUp::Absent => LookedUp::Absent,
            wit::credentials::LookedUp::Empty => LookedUp::Empty,
            wit::credentials::LookedUp::Repeated => LookedUp::Repeated,
            wit::credentials::LookedUp::Unknown => LookedUp::Unknown,
            wit::credentials::LookedUp::Authenticated => LookedUp::Authenticated,
        }
    }

    pub(crate) fn counters_take(&self, key: &str, limits: &[Limit], amount: u64) -> Taken {
        let limits: Vec<_> = limits.iter().map(limit).collect();
        let (taken, usages) = wit::counters::take(key, &limits, amount);
        let usages = usages.into_iter().map(|usage| Usage { used: usage.used, resets_in_s: usage.resets_in_s }).collect();
        Taken { taken, usages }
    }
    pub(crate) fn counters_take_by(&self, rule: &Rule, amount: u64) -> Option<u32> {
        Some(wit::counters::take_by(rule.0, amount)).filter(|seconds| *seconds > 0)
    }
    pub(crate) fn counters_try_take_by(&self, rule: &Rule, amount: u64) -> Verdict {
        match wit::counters::try_take_by(rule.0, amount) {
            wit::counters::Verdict::Taken => Verdict::Taken,
            wit::counters::Verdict::NoRoom(seconds) => Verdict::NoRoom(seconds),
            wit::counters::Verdict::Unknown => Verdict::Unknown,
        }
    }

    pub(crate) fn clock_now_ms(&self) -> u64 {
        wit::clock::now_ms()
    }
    pub(crate) fn clock_monotonic_ns(&self) -> u64 {
        wit::clock::monotonic_ns()
    }
    pub(crate) fn random_bytes(&self, len: u32) -> Vec<u8> {
        wit::random::bytes(len)
    }
}

fn period(period: Period) -> wit::counters::Period {
    match period {
        Period::Second => wit::counters::Period::Second,
        Period::Minute => wit::counters::Period::Minute,
        Period::Hour => wit::counters::Period::Hour,
        Period::Day => wit::counters::Period::Day,
        Period::Month => wit::counters::Period::Month,
        Period::Year => wit::counters::Period::Year,
    }
}
