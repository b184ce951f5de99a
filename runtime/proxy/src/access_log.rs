//! Access events: one JSON object a line, one line for every request, whatever became of it.
//!
//! Workers write lines into a buffer of their own and hand full buffers to one writer thread through a bounded queue. They never
//! wait for it: when the disk is slower than the traffic, buffers are dropped and counted. Query strings are not logged, because
//! they may hold keys.

use crate::settings::AccessLogTarget;
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use weir_model::Id;
use weir_plugin_host::exchange::{EntityFacts, Fault};

/// A worker's buffer is handed over from this size on: large enough that a write to disk is rare.
const BUFFER_BYTES: usize = 32 << 10;
/// Buffers that may wait for the writer: 4 MiB, some tenths of a second at the rate that one node can reach.
const QUEUE_BUFFERS: usize = 128;
/// Longest text in a line, in bytes: the target of a request may be 8 KiB, a log line should not.
const TEXT_LIMIT: usize = 2 << 10;
/// Plugin failures that one line names.
const FAILURES_LIMIT: usize = 16;

/// What happened to a plugin during an exchange.
#[derive(Clone, Debug)]
pub struct PluginFailure {
    /// Its name.
    pub plugin: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// `request`, `response`.
    pub phase: &'static str,
    /// `failed`, or the kill's word.
    pub kind: &'static str,
    /// What the plugin said.
    pub message: Option<String>,
}

/// One access event.
pub struct Event<'a> {
    /// When the request began.
    pub at: SystemTime,
    /// The request's id.
    pub id: &'a str,
    /// Who asked.
    pub client_ip: IpAddr,
    /// What was asked; unset when the head was refused before it was read.
    pub request: Option<EventRequest<'a>>,
    /// What the client got.
    pub status: u16,
    /// Whose fault it is.
    pub fault: Fault,
    /// Kind and cause of the failure.
    pub error: Option<(&'static str, String)>,
    /// The route.
    pub route: Option<&'a EntityFacts>,
    /// The service.
    pub service: Option<&'a EntityFacts>,
    /// The consumer: id and username.
    pub consumer: Option<(Id, Option<&'a str>)>,
    /// The upstream's address.
    pub upstream: Option<SocketAddr>,
    /// Connections that were tried.
    pub tries: u32,
    /// All of it.
    pub total: Duration,
    /// Of the upstream.
    pub upstream_time: Option<Duration>,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// What happened to plugins.
    pub failures: &'a [PluginFailure],
}

/// The request of an event.
pub struct EventRequest<'a> {
    /// Method.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host.
    pub host: &'a str,
    /// Path as routed.
    pub path: &'a str,
}

impl Event<'_> {
    /// Writes the event and a line end.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        write_time(out, self.at);
        out.extend_from_slice(b"\",\"request_id\":");
        text(out, self.id);
        // Into a Vec nothing can fail: the results of `write!` here are `Ok`.
        let _ = write!(out, ",\"client_ip\":\"{}\"", self.client_ip);
        if let Some(request) = &self.request {
            field(out, "method", request.method);
            field(out, "scheme", request.scheme);
            field(out, "host", request.host);
            field(out, "path", request.path);
        }
        let _ = write!(out, ",\"status\":{}", self.status);
        field(out, "fault", self.fault.name());
        if let Some((kind, cause)) = &self.error {
            field(out, "error", kind);
            field(out, "cause", cause);
        }
        if let Some(route) = self.route {
            field(out, "route", &route.id_text);
            route.name.iter().for_each(|name| field(out, "route_name", name));
        }
        if let Some(service) = self.service {
            field(out, "service", &service.id_text);
            service.name.iter().for_each(|name| field(out, "service_name", name));
        }
        if let Some((id, username)) = &self.consumer {
            let _ = write!(out, ",\"consumer\":\"{id}\"");
            username.iter().for_each(|name| field(out, "consumer_username", name));
        }
        if let Some(upstream) = self.upstream {
            let _ = write!(out, ",\"upstream\":\"{upstream}\"");
        }
        let _ = write!(out, ",\"tries\":{}", self.tries);
        duration(out, "elapsed_ms", self.total);
        if let Some(upstream) = self.upstream_time {
            duration(out, "upstream_ms", upstream);
        }
        let _ = write!(out, ",\"request_bytes\":{},\"response_bytes\":{}", self.request_bytes, self.response_bytes);
        if !self.failures.is_empty() {
            self.write_failures(out);
        }
        out.extend_from_slice(b"}\n");
    }

    fn write_failures(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"plugin_failures\":[");
        for (at, failure) in self.failures.iter().take(FAILURES_LIMIT).enumerate() {
            out.extend_from_slice(if at == 0 { b"{\"plugin\":" } else { b",{\"plugin\":" });
            text(out, &failure.plugin);
            field(out, "version", &failure.version);
            field(out, "phase", failure.phase);
            field(out, "kind", failure.kind);
            failure.message.iter().for_each(|message| field(out, "message", message));
            out.push(b'}');
        }
        out.push(b']');
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    text(out, value);
}

fn duration(out: &mut Vec<u8>, name: &str, value: Duration) {
    let micros = value.as_micros();
    let _ = write!(out, ",\"{name}\":{}.{:03}", micros / 1000, micros % 1000);
}

/// A JSON string. Runs of plain characters are copied at once.
fn text(out: &mut Vec<u8>, value: &str) {
    let value = value.get(..value.floor_char_boundary(TEXT_LIMIT)).unwrap_or(value);
    out.push(b'"');
    let mut rest = value.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, b""));
        out.extend_from_slice(plain);
        let Some((&byte, after)) = special.split_first() else { break };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ => drop(write!(out, "\\u{byte:04x}")),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// `2026-01-02T03:04:05.678Z`.
fn write_time(out: &mut Vec<u8>, at: SystemTime) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Civil date from days since 1970-01-01, in years that begin in March: the leap day is then the last of its year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_millis()
    );
}

/// What workers and the writer share.
struct Shared {
    queue: Option<SyncSender<Message>>,
    dropped: AtomicU64,
    reopen: AtomicBool,
}

enum Message {
    Lines(Vec<u8>),
    Stop,
}

/// The node's access log: the queue's end that workers write to.
#[derive(Clone)]
pub struct AccessLog(Arc<Shared>);

/// The writer thread; ends after [`AccessLog::stop`].
pub type Writer = Option<std::thread::JoinHandle<()>>;

impl AccessLog {
    /// Opens the target and starts the writer.
    pub fn start(target: &AccessLogTarget) -> io::Result<(Self, Writer)> {
        let sink = match target {
            AccessLogTarget::Off => {
                let shared = Shared { queue: None, dropped: AtomicU64::new(0), reopen: AtomicBool::new(false) };
                return Ok((Self(Arc::new(shared)), None));
            }
            AccessLogTarget::Stdout => Sink::Stdout,
            AccessLogTarget::File(path) => Sink::File(path.clone(), open(path)?),
            AccessLogTarget::Lines(lines) => Sink::Lines(lines.clone()),
        };
        let (sender, receiver) = sync_channel(QUEUE_BUFFERS);
        let shared = Shared { queue: Some(sender), dropped: AtomicU64::new(0), reopen: AtomicBool::new(false) };
        let log = Self(Arc::new(shared));
        let seen = log.clone();
        let writer = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || seen.write(sink, &receiver))?;
        Ok((log, Some(writer)))
    }
    /// Whether events are wanted.
    pub fn is_on(&self) -> bool {
        self.0.queue.is_some()
    }
    /// Events that were dropped because the writer could not keep up.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
    /// Opens the file again at the next write, after it has been rotated.
    pub fn reopen(&self) {
        self.0.reopen.store(true, Ordering::Relaxed);
    }
    /// Lets the writer finish what is queued and end.
    pub fn stop(&self) {
        if let Some(queue) = &self.0.queue {
            // An error means that the writer is gone already.
            let _ = queue.send(Message::Stop);
        }
    }

    fn hand_over(&self, lines: Vec<u8>) {
        let Some(queue) = &self.0.queue else { return };
        if let Err(TrySendError::Full(Message::Lines(lines)) | TrySendError::Disconnected(Message::Lines(lines))) =
            queue.try_send(Message::Lines(lines))
        {
            self.count_dropped(&lines);
        }
    }
    fn count_dropped(&self, lines: &[u8]) {
        let events = lines.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.0.dropped.fetch_add(events, Ordering::Relaxed);
    }
    fn write(&self, mut sink: Sink, queue: &Receiver<Message>) {
        while let Ok(Message::Lines(lines)) = queue.recv() {
            if self.0.reopen.swap(false, Ordering::Relaxed)
                && let Sink::File(path, file) = &mut sink
            {
                match open(path) {
                    Ok(fresh) => *file = fresh,
                    Err(error) => tracing::error!(path = %path.display(), %error, "cannot open the access log again"),
                }
            }
            let written = match &mut sink {
                Sink::Stdout => io::stdout().lock().write_all(&lines),
                Sink::File(_, file) => file.write_all(&lines),
                Sink::Lines(reader) => match reader.send(lines.clone()) {
                    Ok(()) => Ok(()),
                    Err(_) => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
                },
            };
            if let Err(error) = written {
                self.count_dropped(&lines);
                tracing::error!(%error, "cannot write the access log");
            }
        }
    }
}

enum Sink {
    Stdout,
    File(PathBuf, File),
    Lines(Sender<Vec<u8>>),
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// A worker's side of the log.
pub struct AccessBuffer {
    log: AccessLog,
    lines: RefCell<Vec<u8>>,
}

impl AccessBuffer {
    /// An empty buffer.
    pub fn new(log: AccessLog) -> Self {
        Self { log, lines: RefCell::new(Vec::new()) }
    }
    /// Whether events are wanted: if not, there is no need to make them.
    pub fn is_on(&self) -> bool {
        self.log.is_on()
    }
    /// Adds an event.
    pub fn add(&self, event: &Event<'_>) {
        if !self.is_on() {
            return;
        }
        let mut lines = self.lines.borrow_mut();
        if lines.capacity() == 0 {
            lines.reserve(BUFFER_BYTES + (4 << 10));
        }
        event.write(&mut lines);
        if lines.len() >= BUFFER_BYTES {
            self.log.hand_over(std::mem::take(&mut *lines));
        }
    }
    /// Hands over what there is; called a few times a second.
    pub fn flush(&self) {
        let mut lines = self.lines.borrow_mut();
        if !lines.is_empty() {
            self.log.hand_over(std::mem::take(&mut *lines));
        }
    }
}

impl Drop for AccessBuffer {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_json_whatever_the_client_sent() {
        let event = Event {
            at: UNIX_EPOCH + Duration::from_millis(1_709_210_096_789),
            id: "ab",
            client_ip: IpAddr::from([127, 0, 0, 1]),
            request: Some(EventRequest { method: "GET", scheme: "http", host: "a", path: "/\"\\\n\u{1}\u{e9}" }),
            status: 502,
            fault: Fault::Upstream,
            error: Some(("upstream_closed", "reset".to_owned())),
            route: Some(&EntityFacts { id: weir_model::Id::from_name("a", "b"), id_text: "r".to_owned(), name: None }),
            service: None,
            consumer: Some((weir_model::Id::from_name("c", "d"), Some("bob"))),
            upstream: Some(SocketAddr::from(([10, 0, 0, 1], 80))),
            tries: 2,
            total: Duration::from_micros(12_345),
            upstream_time: Some(Duration::from_micros(7)),
            request_bytes: 1,
            response_bytes: 2,
            failures: &[PluginFailure {
                plugin: "p".into(),
                version: "1.0.0".into(),
                phase: "request",
                kind: "trap",
                message: Some("x".to_owned()),
            }],
        };
        let mut out = Vec::new();
        event.write(&mut out);
        let line = std::str::from_utf8(&out).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(json["time"], "2024-02-29T12:34:56.789Z");
        assert_eq!(json["path"], "/\"\\\n\u{1}\u{e9}");
        assert_eq!((&json["elapsed_ms"], &json["upstream_ms"]), (&12.345.into(), &0.007.into()));
        assert_eq!(json["plugin_failures"][0]["kind"], "trap");
        assert_eq!((&json["fault"], &json["tries"], &json["consumer_username"]), (&"upstream".into(), &2.into(), &"bob".into()));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (4_102_444_799, "2099-12-31T23:59:59.000Z"),
            (1_740_787_200, "2025-03-01T00:00:00.000Z"),
        ] {
            let mut out = Vec::new();
            write_time(&mut out, UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(String::from_utf8(out).unwrap(), date);
        }
    }

    #[test]
    fn a_queue_that_is_full_drops_and_counts_and_never_waits() {
        let (sender, _receiver) = sync_channel(1);
        let shared = Shared { queue: Some(sender), dropped: AtomicU64::new(0), reopen: AtomicBool::new(false) };
        let log = AccessLog(Arc::new(shared));
        log.hand_over(b"1\n".to_vec());
        log.hand_over(b"2\n3\n".to_vec());
        assert_eq!(log.dropped(), 2);
    }
}
