//! Plain data as backing, for tests. Follows `wit/` and the gateway's rules, limits included, as far as a plugin can notice.

use crate::counters::{Figure, Limit, Scope, Subject, Taken, Usage, Verdict};
use crate::edits::HeaderEdit;
use crate::exchange::{Credential, Facts, Identity, LookedUp, NamedEntity};
use crate::flow::Reply;
use crate::header::{HeaderFault, check_request_header_name, is_token};
use crate::log::Level;
use crate::testing::node::{Node, StoredCredential};
use std::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;

mod head;
mod prepared;
mod steps;
pub(crate) use head::Head;
pub(crate) use prepared::{
    Lookup, Prepared, Rule, Steps, configuring, counters_prepare_rule, counters_prepare_scoped_rule, credentials_prepare_lookup,
    request_prepare_edits, response_prepare_edits, steps_before_request, steps_before_response,
};

/// What is kept for one plugin entry from one phase to the next: `wit/exchange.wit`.
const KEPT_BYTES: usize = 16 << 10;
/// Header writes that may wait for the response: `wit/response.wit`.
const PENDING_EDITS: usize = 100;
/// Of a header's value that a rule tells callers apart by: `wit/counters.wit`.
const SUBJECT_BYTES: usize = 1_000;
/// Path and query together: `wit/request.wit`.
const TARGET_BYTES: usize = 8 << 10;

thread_local! {
    static LOGGED: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn log(level: Level, message: &str) {
    eprintln!("{level:?}: {message}");
    LOGGED.with_borrow_mut(|lines| lines.push((level, message.to_owned())));
}

/// The lines since the last time, of this thread.
pub(crate) fn take_log() -> Vec<(Level, String)> {
    LOGGED.take()
}

/// The request line and what the gateway made of it.
#[derive(Clone)]
pub(crate) struct RequestState {
    pub method: String,
    pub scheme: String,
    pub host: String,
    pub path: String,
    pub query: Option<String>,
    pub client_ip: String,
    pub head: Head,
}

impl RequestState {
    /// The head with the Host that the client sent, unless a plugin wrote another.
    fn whole_head(&self) -> Head {
        let mut head = self.head.clone();
        if head.values("host").is_empty() {
            head.overwrite("host", Some(&self.host));
        }
        head
    }
}

/// What a Host header can have: name or address, and a port.
fn is_authority(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]%".contains(byte))
}

/// The response.
#[derive(Clone)]
pub(crate) struct ResponseState {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
}

/// One exchange.
#[derive(Clone)]
pub(crate) struct State {
    pub node: Node,
    pub id: String,
    pub request: RequestState,
    pub response: Option<ResponseState>,
    pending: Vec<HeaderEdit>,
    pub route: NamedEntity,
    pub service: Option<NamedEntity>,
    pub consumer: Option<Identity>,
    pub captures: Vec<(String, String)>,
    pub outcome: Facts,
    /// The entry that is being called, and the credential kinds that its manifest names.
    pub entry: u32,
    pub kinds: Option<&'static [&'static str]>,
    kept: Vec<(u32, Vec<u8>)>,
    found: Vec<StoredCredential>,
}

impl State {
    pub(crate) fn new(node: Node, id: String, request: RequestState) -> Self {
        let route = NamedEntity { id: "00000000-0000-4000-8000-000000000001".to_owned(), name: Some("test-route".to_owned()) };
        Self {
            node,
            id,
            request,
            response: None,
            pending: Vec::new(),
            route,
            service: None,
            consumer: None,
            captures: Vec::new(),
            outcome: Facts::default(),
            entry: 0,
            kinds: None,
            kept: Vec::new(),
            found: Vec::new(),
        }
    }

    /// There is a response now: the writes that waited are applied to it.
    #[allow(clippy::panic, reason = "fails the test that made this reply")]
    pub(crate) fn respond(&mut self, reply: &Reply) {
        let mut head = Head::default();
        for (name, value) in &reply.headers {
            head.add(name, value).unwrap_or_else(|fault| panic!("the reply's header {name:?}: {fault}"));
        }
        for edit in self.pending.drain(..) {
            // As in the gateway: what does not fit any more is dropped.
            let _too_many = head.edit(&edit);
        }
        self.response = Some(ResponseState { status: reply.status, head, body: reply.body.clone() });
        self.request.head.sent = true;
    }

    fn edit_response(&mut self, edits: &[HeaderEdit]) -> Result<(), HeaderFault> {
        if let Some(response) = &mut self.response {
            return response.head.edit_all(edits);
        }
        // Judged now, though written later: the plugin is here to hear of it.
        edits.iter().try_for_each(head::judge)?;
        if self.pending.len() + edits.len() > PENDING_EDITS {
            return Err(HeaderFault::TooMany);
        }
        self.pending.extend_from_slice(edits);
        Ok(())
    }

    /// Sets what says who the consumer is, and removes what the client may have forged.
    fn become_consumer(&mut self, consumer: Identity, credential: Option<&str>) {
        let headers = [
            ("x-consumer-id", Some(consumer.id.as_str())),
            ("x-consumer-username", consumer.username.as_deref()),
            ("x-consumer-custom-id", consumer.custom_id.as_deref()),
            ("x-credential-identifier", credential),
            ("x-anonymous-consumer", credential.is_none().then_some("true")),
        ];
        for (name, value) in headers {
            self.request.head.overwrite(name, value);
        }
        self.consumer = Some(consumer);
    }
}

/// The exchange that a test made.
#[derive(Clone)]
pub(crate) struct Handle(Rc<RefCell<State>>);

impl Handle {
    pub(crate) fn new(state: State) -> Self {
        Self(Rc::new(RefCell::new(state)))
    }
    pub(crate) fn state(&self) -> Ref<'_, State> {
        self.0.borrow()
    }
    pub(crate) fn state_mut(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    pub(crate) fn exchange_id(&self) -> String {
        self.state().id.clone()
    }
    pub(crate) fn exchange_route(&self) -> NamedEntity {
        self.state().route.clone()
    }
    pub(crate) fn exchange_service(&self) -> Option<NamedEntity> {
        self.state().service.clone()
    }
    pub(crate) fn exchange_consumer(&self) -> Option<Identity> {
        self.state().consumer.clone()
    }
    pub(crate) fn exchange_capture(&self, name: &str) -> Option<String> {
        self.state().captures.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }
    pub(crate) fn exchange_outcome(&self) -> Facts {
        self.state().outcome.clone()
    }
    pub(crate) fn exchange_keep(&self, kept: &[u8]) {
        assert!(kept.len() <= KEPT_BYTES, "at most {KEPT_BYTES} bytes can be kept, not {}", kept.len());
        let mut state = self.state_mut();
        let entry = state.entry;
        state.kept.retain(|(owner, _)| *owner != entry);
        state.kept.push((entry, kept.to_vec()));
    }
    pub(crate) fn exchange_kept(&self) -> Option<Vec<u8>> {
        let state = self.state();
        state.kept.iter().find(|(owner, _)| *owner == state.entry).map(|(_, bytes)| bytes.clone())
    }

    pub(crate) fn request_method(&self) -> String {
        self.state().request.method.clone()
    }
    pub(crate) fn request_scheme(&self) -> String {
        self.state().request.scheme.clone()
    }
    pub(crate) fn request_host(&self) -> String {
        self.state().request.host.clone()
    }
    pub(crate) fn request_path(&self) -> String {
        self.state().request.path.clone()
    }
    pub(crate) fn request_query(&self) -> Option<String> {
        self.state().request.query.clone()
    }
    pub(crate) fn request_client_ip(&self) -> String {
        self.state().request.client_ip.clone()
    }
    pub(crate) fn request_header(&self, name: &str) -> Option<Vec<u8>> {
        self.state().request.whole_head().joined(name)
    }
    pub(crate) fn request_header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.state().request.whole_head().values(name)
    }
    pub(crate) fn request_headers(&self) -> Vec<(String, Vec<u8>)> {
        self.state().request.whole_head().fields
    }
    pub(crate) fn request_set_method(&self, method: &str) -> Result<(), HeaderFault> {
        let mut state = self.state_mut();
        if state.request.head.sent {
            return Err(HeaderFault::HeadAlreadySent);
        }
        if method.is_empty() || method.len() > 32 || method == "CONNECT" || !method.bytes().all(is_token) {
            return Err(HeaderFault::BadValue);
        }
        state.request.method = method.to_owned();
        Ok(())
    }
    pub(crate) fn request_set_target(&self, path: &str, query: Option<&str>) -> Result<(), HeaderFault> {
        let mut state = self.state_mut();
        if state.request.head.sent {
            return Err(HeaderFault::HeadAlreadySent);
        }
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        let fits = path.len() + query.map_or(0, |query| query.len() + 1) <= TARGET_BYTES;
        if !path.starts_with('/') || path.contains('?') || !visible(path) || !query.is_none_or(visible) || !fits {
            return Err(HeaderFault::BadValue);
        }
        state.request.path = path.to_owned();
        state.request.query = query.map(str::to_owned);
        Ok(())
    }
    pub(crate) fn request_set_header(&self, name: &str, value: &[u8]) -> Result<(), HeaderFault> {
        if name.eq_ignore_ascii_case("host") && !is_authority(value) {
            return Err(HeaderFault::BadValue);
        }
        let head = &mut self.state_mut().request.head;
        if !head.sent {
            check_request_header_name(name)?;
        }
        head.set(name, value)
    }
    pub(crate) fn request_add_header(&self, name: &str, value: &[u8]) -> Result<(), HeaderFault> {
        // A request has exactly one Host.
        if name.eq_ignore_ascii_case("host") {
            return self.request_set_header(name, value);
        }
        let head = &mut self.state_mut().request.head;
        if !head.sent {
            check_request_header_name(name)?;
        }
        head.add(name, value)
    }
    pub(crate) fn request_remove_header(&self, name: &str) {
        if check_request_header_name(name).is_ok() {
            self.state_mut().request.head.remove(name);
        }
    }
    pub(crate) fn request_set_headers<N: AsRef<str>, V: AsRef<[u8]>>(&self, fields: &[(N, V)]) -> Result<(), HeaderFault> {
        if self.state().request.head.sent {
            return Err(HeaderFault::HeadAlreadySent);
        }
        let sets = sets(fields);
        sets.iter().try_for_each(prepared::judge_request)?;
        self.state_mut().request.head.edit_all(&sets)
    }
    pub(crate) fn request_apply_edits(&self, edits: &Prepared) -> Result<(), HeaderFault> {
        let mut state = self.state_mut();
        // `host` is there even when no plugin has written it.
        let settled: Vec<HeaderEdit> = edits.edits().iter().filter_map(prepared::with_host).collect();
        state.request.head.edit_all(&settled)
    }

    pub(crate) fn response_status(&self) -> Option<u16> {
        self.state().response.as_ref().map(|response| response.status)
    }
    pub(crate) fn response_set_status(&self, status: u16) {
        assert!((200..600).contains(&status), "{status} is not a status of 200 to 599");
        if let Some(response) = &mut self.state_mut().response
            && !response.head.sent
        {
            response.status = status;
        }
    }
    pub(crate) fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        self.state().response.as_ref()?.head.joined(name)
    }
    pub(crate) fn response_header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.state().response.as_ref().map(|response| response.head.values(name)).unwrap_or_default()
    }
    pub(crate) fn response_headers(&self) -> Vec<(String, Vec<u8>)> {
        self.state().response.as_ref().map(|response| response.head.fields.clone()).unwrap_or_default()
    }
    pub(crate) fn response_set_header(&self, name: &str, value: &[u8]) -> Result<(), HeaderFault> {
        self.state_mut().edit_response(&[HeaderEdit::Set(name.to_owned(), value.to_vec())])
    }
    pub(crate) fn response_add_header(&self, name: &str, value: &[u8]) -> Result<(), HeaderFault> {
        self.state_mut().edit_response(&[HeaderEdit::Add(name.to_owned(), value.to_vec())])
    }
    pub(crate) fn response_remove_header(&self, name: &str) {
        // A removal is never refused, only without effect.
        let _ = self.state_mut().edit_response(&[HeaderEdit::Remove(name.to_owned())]);
    }

    pub(crate) fn response_set_headers<N: AsRef<str>, V: AsRef<[u8]>>(&self, fields: &[(N, V)]) -> Result<(), HeaderFault> {
        self.state_mut().edit_response(&sets(fields))
    }
    pub(crate) fn response_apply_edits(&self, edits: &Prepared) -> Result<(), HeaderFault> {
        self.state_mut().edit_response(edits.edits())
    }

    pub(crate) fn credentials_find(&self, kind: &str, key: &[u8]) -> Option<Credential> {
        let mut state = self.state_mut();
        let named = state.kinds.is_none_or(|kinds| kinds.contains(&kind));
        assert!(named, "the plugin looks up {kind:?}, which its CREDENTIALS do not name");
        let found = state.node.credential(kind, key)?;
        state.found.push(found);
        let handle = u32::try_from(state.found.len() - 1).ok()?;
        Some(Credential { handle, data: b"{}".to_vec() })
    }
    pub(crate) fn credentials_authenticate(&self, handle: u32) -> bool {
        let mut state = self.state_mut();
        let Some(found) = state.found.get(handle as usize).cloned() else { return false };
        state.become_consumer(found.consumer, Some(&found.id));
        true
    }
    pub(crate) fn credentials_authenticate_anonymous(&self, consumer: &str) -> bool {
        let mut state = self.state_mut();
        let Some(consumer) = state.node.consumer(consumer) else { return false };
        state.become_consumer(consumer, None);
        true
    }
    pub(crate) fn credentials_authenticate_by(&self, lookup: &Lookup) -> LookedUp {
        let mut keys = self.request_header_values(&lookup.header).into_iter();
        match (keys.next(), keys.next()) {
            (None, _) => LookedUp::Absent,
            (Some(_), Some(_)) => LookedUp::Repeated,
            (Some(key), None) if key.is_empty() => LookedUp::Empty,
            (Some(key), None) => {
                let found = self.credentials_find(&lookup.kind, &key);
                let known = found.is_some_and(|found| self.credentials_authenticate(found.handle));
                if known { LookedUp::Authenticated } else { LookedUp::Unknown }
            }
        }
    }

    pub(crate) fn counters_take(&self, key: &str, limits: &[Limit], amount: u64) -> Taken {
        let state = self.state();
        state.node.take(state.entry, key, limits, amount)
    }
    pub(crate) fn counters_take_by(&self, rule: &Rule, amount: u64) -> Option<u32> {
        match self.counters_try_take_by(rule, amount) {
            Verdict::Taken => None,
            Verdict::NoRoom(seconds) => Some(seconds),
            Verdict::Unknown => Some(1),
        }
    }
    pub(crate) fn counters_try_take_by(&self, rule: &Rule, amount: u64) -> Verdict {
        let Rule(rule, scope) = rule;
        if *scope == Scope::ClusterStrict && !self.state().node.knows_the_others() {
            return Verdict::Unknown;
        }
        let limits: Vec<Limit> = rule.windows.iter().map(|window| window.limit).collect();
        // The counts of the node are not those of the cluster.
        let mut key = self.subject(&rule.by);
        if *scope != Scope::Node {
            key.insert(0, '\u{1}');
        }
        let Taken { taken, usages } = self.counters_take(&key, &limits, amount);
        let room = |at: &usize| limits[*at].max.saturating_sub(usages[*at].used);
        let tightest = (0..limits.len()).min_by_key(|at| (room(at), std::cmp::Reverse(limits[*at].period)));
        for announced in &rule.announcements {
            let of = announced.of.and_then(|of| limits.iter().position(|limit| limit.period == of)).or(tightest);
            let Some(at) = of else { continue };
            let value = match announced.figure {
                Figure::Limit => rule.windows[at].text.clone().unwrap_or_else(|| limits[at].max.to_string()),
                Figure::Remaining => room(&at).to_string(),
                Figure::Reset => usages[at].resets_in_s.to_string(),
            };
            // What does not fit any more is left out.
            let _full = self.response_set_header(&announced.header, value.as_bytes());
        }
        let seconds = |at: usize| usages.get(at).map(|usage: &Usage| usage.resets_in_s.max(1));
        tightest.and_then(seconds).filter(|_| !taken).map_or(Verdict::Taken, Verdict::NoRoom)
    }
    /// Whose windows: the kind stands before the value, with a byte that no key of a plugin's own begins with.
    fn subject(&self, by: &Subject) -> String {
        let state = self.state();
        let named = match by {
            Subject::Consumer => state.consumer.as_ref().map(|consumer| format!("consumer:{}", consumer.id)),
            Subject::Credential => {
                let id = state.request.head.joined("x-credential-identifier").filter(|_| state.consumer.is_some());
                id.map(|id| format!("credential:{}", String::from_utf8_lossy(&id)))
            }
            Subject::Service => state.service.as_ref().map(|service| format!("service:{}", service.id)),
            Subject::Header(name) => {
                let value = state.request.whole_head().joined(name);
                value.map(|value| format!("header:{}", String::from_utf8_lossy(value.get(..SUBJECT_BYTES).unwrap_or(&value))))
            }
            Subject::Path(path) => Some(path).filter(|path| **path == state.request.path).map(|path| format!("path:{path}")),
            Subject::ClientIp => None,
        };
        format!("\0{}", named.unwrap_or_else(|| format!("ip:{}", state.request.client_ip)))
    }
    pub(crate) fn clock_now_ms(&self) -> u64 {
        self.state().node.now_ms()
    }
    pub(crate) fn clock_monotonic_ns(&self) -> u64 {
        self.state().node.now_ms() * 1_000_000
    }
    pub(crate) fn random_bytes(&self, len: u32) -> Vec<u8> {
        assert!(len <= 1024, "at most 1,024 random bytes a call");
        self.state().node.random(len)
    }
}

fn sets<N: AsRef<str>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<HeaderEdit> {
    fields.iter().map(|(name, value)| HeaderEdit::Set(name.as_ref().to_owned(), value.as_ref().to_vec())).collect()
}
