//! Which store the node is on, and how it is reached.

use super::source::Source;
use super::{Secret, secret_file};
use serde_json::{Value, json};
use std::time::Duration;
use weir_store::{CassandraTls, ClientFiles, Replication, TlsFile};

/// The port of Cassandra's clients.
const DEFAULT_PORT: u16 = 9042;
/// What Cassandra itself allows for the name of a keyspace.
const KEYSPACE_MOST: usize = 48;
/// Copies of everything. More than this is a typing error: each write waits for most of them.
const REPLICAS_MOST: u8 = 9;
/// Seconds between two looks at the store.
const FREQUENCY_DEFAULT_S: f64 = 1.0;
/// Twenty looks a second cost a node of Cassandra some percent of a processor.
const FREQUENCY_LEAST_S: f64 = 0.05;
/// Whoever waits longer for a change than a minute has other tools.
const FREQUENCY_MOST_S: f64 = 60.0;
/// Milliseconds for a connection to Cassandra.
const TIMEOUT_DEFAULT_MS: u64 = 5000;

/// The store of a node.
#[derive(Clone, PartialEq, Debug)]
pub enum Database {
    /// A file of its own.
    Embedded,
    /// Shared with other nodes.
    Cassandra(Box<CassandraSettings>),
}

/// How Cassandra is reached.
#[derive(Clone, PartialEq, Debug)]
pub struct CassandraSettings {
    /// `host:port` of some of its nodes.
    pub contact_points: Vec<String>,
    /// Where the tables are.
    pub keyspace: String,
    /// Of a keyspace that `weir migrations bootstrap` makes.
    pub replication: Replication,
    /// Whose nodes are asked first.
    pub local_data_center: Option<String>,
    /// The user.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// How it is spoken to through TLS.
    pub tls: Option<CassandraTls>,
    /// For each connection.
    pub timeout: Duration,
    /// How often this node looks for what others have written.
    pub update_frequency: Duration,
}

/// Reads `database` and all that belongs to it.
pub fn read(source: &mut Source) -> Database {
    refuse_what_is_not_ours(source);
    let cassandra = source.parsed("database", |text| match text {
        "embedded" => Ok(false),
        "cassandra" => Ok(true),
        "postgres" | "off" => Err(format!("`{text}` is Kong's; Weir stores in `embedded` or `cassandra`")),
        other => Err(format!("`{other}` is not a store; there are `embedded` and `cassandra`")),
    });
    if cassandra != Some(true) {
        source.refuse_all("cassandra_", "is for `database = \"cassandra\"`, and the database is embedded");
        let reason = "is how often a node looks at a shared store; the embedded store tells its node of every write at once";
        source.refuse_all("db_update_frequency", reason);
        return Database::Embedded;
    }
    let contact_points = source.parsed_list("cassandra_contact_points", contact_point).unwrap_or_default();
    if contact_points.is_empty() && !source.has_fault("cassandra_contact_points") {
        let reason = "must name nodes of Cassandra, such as [\"10.0.0.1:9042\", \"10.0.0.2:9042\"]";
        source.fault("cassandra_contact_points", reason);
    }
    let username = source.text("cassandra_username");
    let password = password(source);
    if username.is_some() != password.is_some() && source.place("cassandra_password_file").is_none() {
        source.fault("cassandra_username", "and cassandra_password (or cassandra_password_file) belong together");
    }
    Database::Cassandra(Box::new(CassandraSettings {
        contact_points,
        keyspace: source.parsed("cassandra_keyspace", keyspace).unwrap_or_else(|| "weir".to_owned()),
        replication: replication(source),
        local_data_center: source.text("cassandra_local_data_center"),
        username,
        password,
        tls: tls(source),
        timeout: Duration::from_millis(source.number("cassandra_timeout", 100, 60_000).unwrap_or(TIMEOUT_DEFAULT_MS)),
        update_frequency: Duration::from_secs_f64(
            source.number("db_update_frequency", FREQUENCY_LEAST_S, FREQUENCY_MOST_S).unwrap_or(FREQUENCY_DEFAULT_S),
        ),
    }))
}

/// Settings of Kong's that Weir has no use for, or not yet.
fn refuse_what_is_not_ours(source: &mut Source) {
    for decided in ["cassandra_read_consistency", "cassandra_write_consistency", "cassandra_consistency"] {
        source.refuse_all(decided, "is not to be chosen: Weir decides for each statement, or changes could be lost");
    }
    source.refuse_all("cassandra_port", "is not needed: write the port into cassandra_contact_points, as `host:port`");
}

fn contact_point(text: &str) -> Result<String, String> {
    // The port is what follows the last colon, unless that is inside an address in brackets.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') && (!host.contains(':') || host.ends_with(']')) => {
            let port = port.parse::<u16>().ok().filter(|port| *port != 0);
            (host, port.ok_or_else(|| format!("`{text}`: the port is not a number from 1 to 65535"))?)
        }
        Some((host, _)) if host.contains(':') && !text.starts_with('[') => {
            return Err(format!("`{text}`: write an IPv6 address in brackets, such as [::1]:9042"));
        }
        _ => (text, DEFAULT_PORT),
    };
    let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/' || c == '@');
    if is_host { Ok(format!("{host}:{port}")) } else { Err(format!("`{text}` is not `host:port`")) }
}

fn keyspace(text: &str) -> Result<String, String> {
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
    let is_plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    match begins && is_plain && text.len() <= KEYSPACE_MOST {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}`: lower-case letters, digits and `_`, a letter first, at most {KEYSPACE_MOST}")),
    }
}

fn replication(source: &mut Source) -> Replication {
    let factor = source.number("cassandra_repl_factor", 1, REPLICAS_MOST);
    let centers = source.parsed_list("cassandra_data_centers", |text| {
        let (name, factor) = text.rsplit_once(':').ok_or_else(|| format!("`{text}` is not `name:copies`, such as dc1:3"))?;
        let factor = factor.parse::<u8>().ok().filter(|factor| (1..=REPLICAS_MOST).contains(factor));
        Ok((name.to_owned(), factor.ok_or_else(|| format!("`{text}`: copies are a number from 1 to {REPLICAS_MOST}"))?))
    });
    match (factor, centers) {
        (Some(_), Some(_)) => {
            source.fault("cassandra_data_centers", "stands beside cassandra_repl_factor; give one of them");
            Replication::Factor(3)
        }
        (_, Some(centers)) => Replication::PerDataCenter(centers),
        (factor, None) => Replication::Factor(factor.unwrap_or(3)),
    }
}

fn password(source: &mut Source) -> Option<Secret> {
    let take = |text: &str| if text.is_empty() { Err("is empty".to_owned()) } else { Ok(Secret(text.to_owned())) };
    let direct = source.parsed("cassandra_password", take);
    let file = source.path("cassandra_password_file");
    if file.is_some() && source.place("cassandra_password").is_some() {
        source.fault("cassandra_password_file", "stands beside cassandra_password; give one of them");
        return None;
    }
    let Some(path) = file else { return direct };
    secret_file(&path, take).map_err(|reason| source.fault("cassandra_password_file", reason)).ok()
}

fn tls(source: &mut Source) -> Option<CassandraTls> {
    const PARTS: [&str; 4] = [
        "cassandra_ssl_verify",
        "cassandra_ssl_trusted_certificate",
        "cassandra_ssl_certificate",
        "cassandra_ssl_certificate_key",
    ];
    let on = source.flag("cassandra_ssl").unwrap_or(false);
    let verify = source.flag("cassandra_ssl_verify");
    let trusted = source.path("cassandra_ssl_trusted_certificate");
    let client = super::certificate(source, "cassandra_ssl_certificate", "cassandra_ssl_certificate_key");
    if !on {
        for part in PARTS {
            if source.place(part).is_some() && !source.has_fault(part) {
                source.fault(part, "is for cassandra_ssl = true");
            }
        }
        return None;
    }
    if verify == Some(false) && trusted.is_some() {
        let reason = "stands beside cassandra_ssl_verify = false, which trusts everybody; leave out one of them";
        source.fault("cassandra_ssl_trusted_certificate", reason);
    }
    let client = client.map(|files| ClientFiles { certificate: files.certificate, key: files.key });
    let tls = CassandraTls { verify: verify.unwrap_or(true), trusted, client };
    if PARTS.iter().all(|part| !source.has_fault(part))
        && let Err(error) = tls.config()
    {
        let setting = match error.file {
            TlsFile::Trusted => "cassandra_ssl_trusted_certificate",
            TlsFile::Certificate => "cassandra_ssl_certificate",
            TlsFile::Key => "cassandra_ssl_certificate_key",
        };
        source.fault(setting, error.to_string());
    }
    Some(tls)
}

impl Database {
    /// As the settings say it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Cassandra(_) => "cassandra",
        }
    }
    /// The settings in force, without secrets.
    pub fn describe(&self, put: &mut impl FnMut(&str, Value)) {
        put("database", json!(self.name()));
        let Self::Cassandra(settings) = self else { return };
        put("cassandra_contact_points", json!(settings.contact_points));
        put("cassandra_keyspace", json!(settings.keyspace));
        match &settings.replication {
            Replication::Factor(factor) => put("cassandra_repl_factor", json!(factor)),
            Replication::PerDataCenter(all) => {
                let all: Vec<_> = all.iter().map(|(name, factor)| format!("{name}:{factor}")).collect();
                put("cassandra_data_centers", json!(all));
            }
        }
        put("cassandra_local_data_center", json!(settings.local_data_center));
        put("cassandra_username", json!(settings.username));
        let tls = settings.tls.as_ref();
        let client = tls.and_then(|tls| tls.client.as_ref());
        put("cassandra_ssl", json!(tls.is_some()));
        put("cassandra_ssl_verify", json!(tls.is_none_or(|tls| tls.verify)));
        put("cassandra_ssl_trusted_certificate", json!(tls.and_then(|tls| tls.trusted.as_ref())));
        put("cassandra_ssl_certificate", json!(client.map(|files| &files.certificate)));
        put("cassandra_ssl_certificate_key", json!(client.map(|files| &files.key)));
        put("cassandra_timeout", json!(u64::try_from(settings.timeout.as_millis()).unwrap_or(u64::MAX)));
        put("db_update_frequency", json!(settings.update_frequency.as_secs_f64()));
    }
    /// The password differs, which no description shows.
    pub fn password_differs(&self, other: &Self) -> bool {
        let password = |database: &Self| match database {
            Self::Embedded => None,
            Self::Cassandra(settings) => settings.password.clone(),
        };
        password(self) != password(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(text: &str) -> Result<Database, String> {
        let mut source = Source::new(Some((std::path::Path::new("/w/weir.toml"), text)), []);
        let database = read(&mut source);
        let faults = source.finish();
        if faults.is_empty() { Ok(database) } else { Err(faults.to_string()) }
    }

    #[test]
    fn cassandra_has_what_it_needs_and_defaults_for_the_rest() {
        let read = read_from(
            "database = \"cassandra\"\ncassandra_contact_points = [\"a\", \"10.0.0.2:9043\", \"[::1]:9\", \"[::2]\"]\n",
        );
        let Ok(Database::Cassandra(settings)) = read else { panic!("{read:?}") };
        assert_eq!(settings.contact_points, ["a:9042", "10.0.0.2:9043", "[::1]:9", "[::2]:9042"]);
        assert_eq!((settings.keyspace.as_str(), settings.replication), ("weir", Replication::Factor(3)));
        assert_eq!(settings.update_frequency, Duration::from_secs(1));
        assert_eq!(settings.tls, None);
        let read = read_from(
            "database = \"cassandra\"\ncassandra_contact_points = [\"a\"]\ncassandra_ssl = true\ncassandra_ssl_verify = false\n",
        );
        let Ok(Database::Cassandra(settings)) = read else { panic!("{read:?}") };
        assert_eq!(settings.tls, Some(CassandraTls { verify: false, trusted: None, client: None }));
    }

    #[test]
    fn what_is_wrong_is_named() {
        const BEGIN: &str = "database = \"cassandra\"\ncassandra_contact_points = [\"a\"]\n";
        for (line, said) in [
            ("cassandra_keyspace = \"Weir\"", "lower-case"),
            ("cassandra_repl_factor = 0", "cassandra_repl_factor"),
            ("cassandra_data_centers = [\"dc1\"]", "dc1:3"),
            ("cassandra_username = \"u\"", "belong together"),
            ("db_update_frequency = 0.001", "db_update_frequency"),
            ("cassandra_ssl_verify = false", "is for cassandra_ssl = true"),
            ("cassandra_ssl_certificate = \"/nowhere/c.pem\"", "needs cassandra_ssl_certificate_key beside it"),
            ("cassandra_ssl = true\ncassandra_ssl_trusted_certificate = \"/nowhere/ca.pem\"", "/nowhere/ca.pem: cannot be read"),
            (
                "cassandra_ssl = true\ncassandra_ssl_verify = false\ncassandra_ssl_trusted_certificate = \"/nowhere/ca.pem\"",
                "trusts everybody",
            ),
            (
                "cassandra_ssl = true\ncassandra_ssl_verify = false\ncassandra_ssl_certificate = \"/nowhere/c.pem\"\n\
                 cassandra_ssl_certificate_key = \"/nowhere/c.key\"",
                "cassandra_ssl_certificate: /nowhere/c.pem: cannot be read",
            ),
            ("cassandra_write_consistency = \"ONE\"", "could be lost"),
            ("cassandra_port = 9042", "host:port"),
        ] {
            let read = read_from(&format!("{BEGIN}{line}\n"));
            assert!(read.as_ref().is_err_and(|faults| faults.contains(said)), "{line}: {read:?}");
        }
        for points in ["[]", "[\":1\"]", "[\"a:0\"]", "[\"a:b\"]", "[\"::1\"]", "[\"a b\"]"] {
            let read = read_from(&format!("database = \"cassandra\"\ncassandra_contact_points = {points}\n"));
            assert!(read.is_err(), "{points}: {read:?}");
        }
        assert!(read_from("database = \"cassandra\"\n").is_err_and(|faults| faults.contains("must name nodes")));
        assert!(read_from("cassandra_keyspace = \"weir\"\n").is_err_and(|faults| faults.contains("is embedded")));
    }
}
