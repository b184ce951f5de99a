//! What an operator decides: `weir.toml`, `WEIR_<KEY>` in the environment, and a default for the rest.
//!
//! Everything is read to the end and every fault is told at once. What this version does not build is refused by name: no
//! setting is taken and then ignored. Nothing here opens a socket or a store.

pub mod database;
pub mod faults;
pub mod listen;
mod proxy;
mod source;

use crate::tls;
use database::Database;
use faults::{Fault, Faults, Place};
use ipnet::IpNet;
use listen::Listen;
use serde_json::{Map, Value, json};
use source::Source;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_proxy::{AccessLogTarget, ProxySettings};

/// Read when no `-c` is given and it is there.
pub const DEFAULT_FILE: &str = "/etc/weir/weir.toml";
/// Where a node keeps what it owns, unless told.
const DEFAULT_PREFIX: &str = "/usr/local/weir";
/// Shorter tokens can be guessed over the network: 16 characters of base64 are 96 bits.
const ADMIN_TOKEN_LEAST: usize = 16;
/// 32 bytes, the key length of BLAKE3.
const CLUSTER_KEY_DIGITS: usize = 64;
/// More threads than this on one node are a typing error: each costs memory for every plugin.
const WORKER_THREADS_MOST: usize = 1024;
/// How long `weir quit` lets exchanges end. Longer than the proxy's default read timeout (60 s) would only wait for the dead.
const DRAIN_DEFAULT_MS: u64 = 60_000;
/// A day: whoever drains longer has no intention to stop.
const DRAIN_MOST_MS: u64 = 86_400_000;
/// Seconds that a write of the Admin API waits until this node serves it.
const PROPAGATION_DEFAULT_S: u64 = 5;

/// Where log lines go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to a file.
    File(PathBuf),
}

/// A certificate chain and its key, as PEM files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A secret: never shown, neither in logs nor by the Admin API.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// All settings of a node, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of everything that the node owns.
    pub prefix: PathBuf,
    /// Where the configuration is kept.
    pub database: Database,
    /// Where clients come in.
    pub proxy_listen: Vec<Listen>,
    /// Where the Admin API is.
    pub admin_listen: Vec<Listen>,
    /// Where `/status` and `/status/ready` are, for load balancers and monitoring.
    pub status_listen: Vec<Listen>,
    /// What an `ssl` address of `proxy_listen` shows; unset: self-signed, made at the first start.
    pub ssl: Option<CertificateFiles>,
    /// The same for `admin_listen`.
    pub admin_ssl: Option<CertificateFiles>,
    /// What a client of the Admin API must bring.
    pub admin_token: Option<Secret>,
    /// Keys the hashes of the store's history; the same on every node of a cluster.
    pub cluster_key: Option<Secret>,
    /// How long a write waits until this node serves it.
    pub db_update_propagation: Duration,
    /// A folder of components that this node brings itself.
    pub plugins_dir: Option<PathBuf>,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`.
    pub log_level: String,
    /// Everything that the node says, but for the access log.
    pub error_log: LogTarget,
    /// How `weir quit` ends the node.
    pub drain: Drain,
    /// What the proxy is told: threads, limits, time-outs, whom to trust, where the access log goes.
    pub proxy: ProxySettings,
}

impl Settings {
    /// Reads everything, or tells everything that is wrong. `file` must exist; without it the default file may be absent.
    pub fn load(file: Option<&Path>, prefix: Option<&Path>) -> Result<Self, Faults> {
        Self::read(open(file)?, prefix)
    }

    fn read(mut source: Source, prefix: Option<&Path>) -> Result<Self, Faults> {
        let database = database::read(&mut source);
        let prefix = folder(&mut source, prefix);
        let settings = Self {
            database,
            proxy_listen: listeners(&mut source, "proxy_listen", "0.0.0.0:8000, 0.0.0.0:8443 ssl"),
            admin_listen: listeners(&mut source, "admin_listen", "127.0.0.1:8001, 127.0.0.1:8444 ssl"),
            status_listen: listeners(&mut source, "status_listen", "127.0.0.1:8007"),
            ssl: certificate(&mut source, "ssl_cert", "ssl_cert_key"),
            admin_ssl: certificate(&mut source, "admin_ssl_cert", "admin_ssl_cert_key"),
            admin_token: admin_token(&mut source),
            cluster_key: source
                .path("cluster_key_file")
                .and_then(|path| secret_file(&path, cluster_key).map_err(|reason| source.fault("cluster_key_file", reason)).ok()),
            db_update_propagation: Duration::from_secs(
                source.number("db_update_propagation", 1, 3600).unwrap_or(PROPAGATION_DEFAULT_S),
            ),
            plugins_dir: source.path("plugins_dir"),
            log_level: log_level(&mut source),
            error_log: error_log(&mut source, &prefix),
            drain: drain(&mut source),
            proxy: ProxySettings {
                workers: source.number("worker_threads", 1, WORKER_THREADS_MOST).unwrap_or_else(one_per_core),
                trusted_ips: source.parsed_list("trusted_ips", network).unwrap_or_default(),
                access_log: access_log(&mut source, &prefix),
                ..proxy::read(&mut source)
            },
            prefix,
        };
        settings.check_together(&mut source);
        let faults = source.finish();
        if faults.is_empty() { Ok(settings) } else { Err(faults) }
    }

    /// What can only be judged when all is read.
    fn check_together(&self, source: &mut Source) {
        for listen in self.admin_listen.iter().filter(|listen| !listen.is_loopback()) {
            let address = listen.address;
            if !listen.tls {
                let reason = format!(
                    "{address} is reachable from other machines and not encrypted: whoever sees the traffic owns the gateway. \
                     Write `{address} ssl` and set admin_token_file, or listen on 127.0.0.1"
                );
                source.fault("admin_listen", reason);
            }
            if self.admin_token.is_none() && source.place("admin_token").or(source.place("admin_token_file")).is_none() {
                let reason = format!(
                    "{address} is reachable from other machines and anybody could rewrite the gateway. \
                     Set admin_token_file (or admin_token), or listen on 127.0.0.1"
                );
                source.fault("admin_listen", reason);
            }
        }
        for listen in self.status_listen.iter().filter(|listen| listen.tls) {
            let reason = format!("{}: the status address speaks plain HTTP only; leave `ssl` out", listen.address);
            source.fault("status_listen", reason);
        }
        for (key, files) in [("ssl_cert", &self.ssl), ("admin_ssl_cert", &self.admin_ssl)] {
            if let Some(Err(error)) = files.as_ref().map(tls::server_config) {
                source.fault(key, error.to_string());
            }
        }
        if let Some(folder) = self.plugins_dir.as_ref().filter(|folder| !folder.is_dir()) {
            source.fault("plugins_dir", format!("{} is not a folder", folder.display()));
        }
        if self.proxy_listen.is_empty() && source.place("proxy_listen").is_some() {
            source.fault("proxy_listen", "a node must serve somewhere; `off` is for admin_listen and status_listen");
        }
    }

    /// All settings with their values in force, as `GET /` shows them. Secrets are left out.
    pub fn described(&self) -> Map<String, Value> {
        let listens = |list: &[Listen]| -> Vec<String> {
            list.iter().map(|l| format!("{}{}", l.address, if l.tls { " ssl" } else { "" })).collect()
        };
        let file = |pair: &Option<CertificateFiles>, part: fn(&CertificateFiles) -> &PathBuf| pair.as_ref().map(part).cloned();
        let mut all = Map::new();
        let mut put = |key: &str, value: Value| drop(all.insert(key.to_owned(), value));
        put("prefix", json!(self.prefix));
        put("proxy_listen", json!(listens(&self.proxy_listen)));
        put("admin_listen", json!(listens(&self.admin_listen)));
        put("status_listen", json!(listens(&self.status_listen)));
        self.database.describe(&mut put);
        put("ssl_cert", json!(file(&self.ssl, |pair| &pair.certificate)));
        put("ssl_cert_key", json!(file(&self.ssl, |pair| &pair.key)));
        put("admin_ssl_cert", json!(file(&self.admin_ssl, |pair| &pair.certificate)));
        put("admin_ssl_cert_key", json!(file(&self.admin_ssl, |pair| &pair.key)));
        put("db_update_propagation", json!(self.db_update_propagation.as_secs()));
        put("worker_threads", json!(self.proxy.workers));
        put("plugins_dir", json!(self.plugins_dir));
        put("trusted_ips", json!(self.proxy.trusted_ips.iter().map(IpNet::to_string).collect::<Vec<_>>()));
        put("log_level", json!(self.log_level));
        put("proxy_access_log", access_log_text(&self.proxy.access_log));
        put("error_log", json!(self.error_log.to_string()));
        put("drain_delay_ms", json!(u64::try_from(self.drain.delay.as_millis()).unwrap_or(u64::MAX)));
        put("drain_timeout_ms", json!(u64::try_from(self.drain.timeout.as_millis()).unwrap_or(u64::MAX)));
        proxy::describe(&self.proxy, &mut put);
        all
    }

    /// The names of the settings that differ.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let (ours, theirs) = (self.described(), other.described());
        let mut names: Vec<_> =
            ours.into_iter().filter(|(key, value)| theirs.get(key) != Some(value)).map(|(key, _)| key).collect();
        for (name, differs) in [
            ("admin_token", self.admin_token != other.admin_token),
            ("cluster_key_file", self.cluster_key != other.cluster_key),
            ("cassandra_password", self.database.password_differs(&other.database)),
        ] {
            names.extend(differs.then(|| name.to_owned()));
        }
        names
    }
}

impl std::fmt::Display for LogTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LogTarget::Off => f.write_str("off"),
            LogTarget::Stdout => f.write_str("stdout"),
            LogTarget::Stderr => f.write_str("stderr"),
            LogTarget::File(path) => path.display().fmt(f),
        }
    }
}

/// How `weir quit` ends a node.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// For that long the node says that it is not ready and serves on: a load balancer finds out before anything is closed.
    pub delay: Duration,
    /// How long exchanges may take then.
    pub timeout: Duration,
}

impl Drain {
    /// The longest that both may take.
    pub fn whole(self) -> Duration {
        self.delay.saturating_add(self.timeout)
    }
}

/// What a command needs that speaks to a node: where it is, and how long it may take to end.
#[derive(Clone, Debug)]
pub struct Whereabouts {
    /// The node's folder.
    pub prefix: PathBuf,
    /// As in [`Settings`].
    pub drain: Drain,
}

impl Whereabouts {
    /// Reads these two and judges no other: a node must be stoppable when somebody has broken its settings.
    pub fn load(file: Option<&Path>, prefix: Option<&Path>) -> Result<Self, Faults> {
        let mut source = match open(file) {
            Ok(source) => source,
            Err(_) if prefix.is_some() => Source::new(None, []),
            Err(faults) => return Err(faults),
        };
        let found = Self { drain: drain(&mut source), prefix: folder(&mut source, prefix) };
        if source.faults.is_empty() || prefix.is_some() { Ok(found) } else { Err(source.faults) }
    }
}

/// The file and the environment, not judged yet.
fn open(file: Option<&Path>) -> Result<Source, Faults> {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            let mut faults = Faults::default();
            faults.file = Some(path.to_path_buf());
            let reason = format!("the file cannot be read: {error}");
            faults.add(Fault { place: Place::WholeFile, key: None, reason });
            return Err(faults);
        }
    };
    let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    Ok(Source::new(text.as_deref().map(|text| (path, text)), environment))
}

fn folder(source: &mut Source, given: Option<&Path>) -> PathBuf {
    let written = source.path("prefix");
    given.map(Path::to_path_buf).or(written).unwrap_or_else(|| DEFAULT_PREFIX.into())
}

fn drain(source: &mut Source) -> Drain {
    Drain {
        delay: Duration::from_millis(source.number("drain_delay_ms", 0, DRAIN_MOST_MS).unwrap_or(0)),
        timeout: Duration::from_millis(source.number("drain_timeout_ms", 0, DRAIN_MOST_MS).unwrap_or(DRAIN_DEFAULT_MS)),
    }
}

fn listeners(source: &mut Source, key: &'static str, default: &str) -> Vec<Listen> {
    let parse = |text: &str| Listen::parse(text);
    match source.list(key) {
        None => default.split(", ").filter_map(|text| parse(text).ok()).collect(),
        Some(list) if list.iter().map(String::as_str).eq(["off"]) => Vec::new(),
        Some(list) => {
            let mut listeners: Vec<Listen> = Vec::new();
            for text in list {
                match parse(&text) {
                    // Two sockets on one fixed port would share its connections by chance.
                    Ok(new) if new.address.port() != 0 && listeners.iter().any(|old| old.address == new.address) => {
                        source.fault(key, format!("{} stands here twice", new.address));
                    }
                    Ok(new) => listeners.push(new),
                    Err(reason) => source.fault(key, reason),
                }
            }
            listeners
        }
    }
}

fn certificate(source: &mut Source, certificate: &'static str, key: &'static str) -> Option<CertificateFiles> {
    match (source.path(certificate), source.path(key)) {
        (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
        (Some(_), None) if source.place(key).is_none() => {
            source.fault(certificate, format!("needs {key} beside it"));
            None
        }
        (None, Some(_)) if source.place(certificate).is_none() => {
            source.fault(key, format!("needs {certificate} beside it"));
            None
        }
        _ => None,
    }
}

fn admin_token(source: &mut Source) -> Option<Secret> {
    let check = |token: &str| match token {
        token if token.len() < ADMIN_TOKEN_LEAST => Err(format!("must have at least {ADMIN_TOKEN_LEAST} characters")),
        token if token.bytes().all(|b| b.is_ascii_graphic()) => Ok(Secret(token.to_owned())),
        _ => Err("must be printable ASCII without spaces: it travels in a header".to_owned()),
    };
    let direct = source.parsed("admin_token", check);
    let file = source.path("admin_token_file");
    if file.is_some() && source.place("admin_token").is_some() {
        source.fault("admin_token_file", "stands beside admin_token; give one of them");
        return None;
    }
    let Some(path) = file else { return direct };
    secret_file(&path, check).map_err(|reason| source.fault("admin_token_file", reason)).ok()
}

/// A secret in a file of its own, which can be kept from other users.
fn secret_file(path: &Path, check: impl Fn(&str) -> Result<Secret, String>) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    check(text.trim()).map_err(|reason| format!("what is in {} {reason}", path.display()))
}

fn cluster_key(text: &str) -> Result<Secret, String> {
    match text.len() == CLUSTER_KEY_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => Ok(Secret(text.to_owned())),
        false => Err(format!("must be {CLUSTER_KEY_DIGITS} hexadecimal digits, such as `openssl rand -hex 32` prints")),
    }
}

fn one_per_core() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| format!("`{text}` is neither an IP address nor a network such as 10.0.0.0/8"))
}

fn log_level(source: &mut Source) -> String {
    let level = source.parsed("log_level", |text| match text {
        "error" | "warn" | "info" | "debug" | "trace" => Ok(text.to_owned()),
        other => Err(format!("`{other}` is not a level; there are error, warn, info, debug, trace")),
    });
    level.unwrap_or_else(|| "info".to_owned())
}

fn error_log(source: &mut Source, prefix: &Path) -> LogTarget {
    match source.text("error_log").as_deref() {
        None | Some("stderr" | "/dev/stderr") => LogTarget::Stderr,
        Some("stdout" | "/dev/stdout") => LogTarget::Stdout,
        Some("off") => LogTarget::Off,
        // Relative files count from the prefix, as Kong's do.
        Some(path) => LogTarget::File(prefix.join(path)),
    }
}

fn access_log(source: &mut Source, prefix: &Path) -> AccessLogTarget {
    match source.text("proxy_access_log").as_deref() {
        None => AccessLogTarget::File(prefix.join("logs/access.log")),
        Some("off") => AccessLogTarget::Off,
        Some("stdout" | "/dev/stdout") => AccessLogTarget::Stdout,
        Some(path) => AccessLogTarget::File(prefix.join(path)),
    }
}

fn access_log_text(target: &AccessLogTarget) -> Value {
    match target {
        AccessLogTarget::Off => json!("off"),
        AccessLogTarget::Stdout => json!("stdout"),
        AccessLogTarget::File(path) => json!(path),
        // Only a program that holds the proxy itself can ask for this one.
        AccessLogTarget::Lines(_) => Value::Null,
    }
}
