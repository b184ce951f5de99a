//! What a node is told: `cassandra.yaml`, its log's settings, and the words of its command line.

use crate::installation::Installation;
use crate::network::{NATIVE_PORT, STORAGE_PORT};
use crate::options::{CommitlogSync, Options, PaxosVariant};
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

/// Passwords of key stores that live as long as a test.
pub(crate) const STORE_PASSWORD: &str = "weir-test";

/// Nodes that others ask when they start: the first ones.
pub(crate) const SEEDS: usize = 2;
/// Who signs what clients show, in the folder of each node.
pub(crate) const CLIENT_AUTHORITY_STORE: &str = "clients.p12";

/// Random tokens of several starts at once could meet; these are given, a node's share of the ring being equal.
const TOKENS: [&str; 3] = ["-9223372036854775808", "-3074457345618258603", "3074457345618258602"];

/// How a node starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Start {
    /// As one of a new cluster, or on the data that it has.
    Usual,
    /// As a further one, which takes over its part of the data first.
    Joining,
    /// As the one that takes the place, and the address, of a node that is gone.
    Replacing,
    /// As one that asks nobody who is there already.
    Alone,
}

/// What of a node its files and its command line say.
pub(crate) struct NodePlan<'a> {
    pub(crate) index: usize,
    pub(crate) cluster_name: &'a str,
    pub(crate) addresses: &'a [Ipv4Addr],
    /// Where clients are answered, when it is not the address that is announced.
    pub(crate) hidden: Option<Ipv4Addr>,
    pub(crate) folder: &'a Path,
    pub(crate) options: &'a Options,
}

impl NodePlan<'_> {
    fn address(&self) -> Ipv4Addr {
        self.addresses.get(self.index).copied().unwrap_or(Ipv4Addr::LOCALHOST)
    }

    /// Two seeds, or the only one; a node that replaces another must not be one, since seeds do not stream.
    fn seeds(&self, start: Start) -> String {
        let is_seed = |address: &&Ipv4Addr| match start {
            Start::Usual | Start::Joining => true,
            Start::Replacing => **address != self.address(),
            Start::Alone => **address == self.address(),
        };
        let others = self.addresses.iter().filter(is_seed);
        others.take(SEEDS).map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// `cassandra.yaml`.
    pub(crate) fn yaml(&self, start: Start) -> String {
        let (address, options) = (self.address(), self.options);
        let mut yaml = format!(
            "cluster_name: {}\npartitioner: org.apache.cassandra.dht.Murmur3Partitioner\n\
             seed_provider:\n  - class_name: org.apache.cassandra.locator.SimpleSeedProvider\n    parameters:\n      - seeds: \"{}\"\n\
             listen_address: {address}\nstorage_port: {STORAGE_PORT}\nrpc_address: {}\nbroadcast_rpc_address: {address}\n\
             native_transport_port: {NATIVE_PORT}\nauto_snapshot: false\nnum_tokens: 1\n",
            self.cluster_name,
            self.seeds(start),
            self.hidden.unwrap_or(address),
        );
        let mut line = |text: &str| {
            yaml.push_str(text);
            yaml.push('\n');
        };
        let token = TOKENS.get(self.index).unwrap_or(&"0");
        match start {
            // Nothing is there to be streamed, and without it all nodes of a new cluster start at once.
            Start::Usual | Start::Alone => line(&format!("auto_bootstrap: false\ninitial_token: \"{token}\"")),
            Start::Joining => line(&format!("auto_bootstrap: true\ninitial_token: \"{token}\"")),
            // Takes the tokens of the one that it replaces.
            Start::Replacing => line("auto_bootstrap: true"),
        }
        line(match options.commitlog_sync {
            CommitlogSync::Batch => "commitlog_sync: batch",
            CommitlogSync::Group => "commitlog_sync: group\ncommitlog_sync_group_window: 10ms",
            CommitlogSync::Periodic => "commitlog_sync: periodic\ncommitlog_sync_period: 10000ms",
        });
        line(match options.paxos_variant {
            PaxosVariant::V1 => "paxos_variant: v1",
            PaxosVariant::V2 => "paxos_variant: v2\npaxos_state_purging: repaired",
        });
        let snitch = if options.datacenters.is_empty() { "SimpleSnitch" } else { "GossipingPropertyFileSnitch" };
        line(&format!("endpoint_snitch: {snitch}"));
        if options.authentication {
            line("authenticator: PasswordAuthenticator\nauthorizer: CassandraAuthorizer\nrole_manager: CassandraRoleManager");
        }
        if options.tls {
            let store = self.folder.join("server.p12");
            line(&format!(
                "client_encryption_options:\n  enabled: true\n  optional: false\n  keystore: {}\n  keystore_password: {STORE_PASSWORD}\n  store_type: PKCS12",
                store.display()
            ));
            if options.client_authority.is_some() {
                let trusted = self.folder.join(CLIENT_AUTHORITY_STORE);
                line(&format!(
                    "  require_client_auth: true\n  truststore: {}\n  truststore_password: {STORE_PASSWORD}",
                    trusted.display()
                ));
            }
        }
        options.yaml.iter().for_each(|text| line(text));
        yaml
    }

    /// `cassandra-rackdc.properties`, which only the snitch of several data centres reads.
    pub(crate) fn rack(&self) -> String {
        let datacenter = self.options.datacenters.get(self.index).map_or("datacenter1", String::as_str);
        format!("dc={datacenter}\nrack=rack1\nprefer_local=false\n")
    }

    /// The words of Java for this start.
    pub(crate) fn arguments(&self, java: &Java, start: Start, jmx_port: u16, is_first: bool) -> Vec<OsString> {
        let file = |name: &str| format!("file://{}", self.folder.join(name).display());
        let mut words: Vec<String> = vec![
            format!("-Xms{}", self.options.heap),
            format!("-Xmx{}", self.options.heap),
            "-Xss512k".to_owned(),
            // Two cores: no threads for collecting garbage, none for compiling better what runs a minute.
            "-XX:+UseSerialGC".to_owned(),
            "-XX:TieredStopAtLevel=1".to_owned(),
            "-XX:+PerfDisableSharedMem".to_owned(),
            "-Djdk.attach.allowAttachSelf=true".to_owned(),
            format!("-Dlogback.configurationFile={}", file("logback.xml")),
            format!("-Dcassandra.config={}", file("cassandra.yaml")),
            format!("-Dcassandra-rackdc.properties={}", file("rackdc.properties")),
            format!("-Dcassandra.storagedir={}", self.folder.join("data").display()),
            "-Dcassandra-foreground=yes".to_owned(),
            format!("-Dcassandra.jmx.local.port={jmx_port}"),
            // A node that joins others gives up if none of them has told it anything by then; on a busy machine a second is little.
            format!(
                "-Dcassandra.ring_delay_ms={}",
                if matches!(start, Start::Joining | Start::Replacing) { 10_000 } else { 1_000 }
            ),
            "-Dcassandra.skip_wait_for_gossip_to_settle=0".to_owned(),
            "-Dcassandra.superuser_setup_delay_ms=0".to_owned(),
            // Nodes without a token conflict and without data need not join one after the other.
            "-Dcassandra.consistent.rangemovement=false".to_owned(),
            // Logins must work with a node down, as they would where anybody cares.
            format!("-Dcassandra.system_auth.default_rf={}", self.addresses.len()),
        ];
        if is_first || start == Start::Replacing {
            // Nodes that start wait this long for a word of others; on a busy machine it may be many seconds.
            words.push("-Dcassandra.shadow_round_ms=60000".to_owned());
        }
        if start == Start::Replacing {
            words.push(format!("-Dcassandra.replace_address_first_boot={}", self.address()));
            // Cassandra waits a minute for signs of life of the node that is replaced; the harness has seen it stop.
            words.push("-Dcassandra.broadcast_interval_ms=2000".to_owned());
        }
        let mut all = java.common();
        all.extend(words.into_iter().map(OsString::from));
        all.push("org.apache.cassandra.service.CassandraDaemon".into());
        all
    }
}

/// Java, with the jars and the doors that Cassandra needs opened.
#[derive(Clone, Debug)]
pub(crate) struct Java {
    pub(crate) installation: Installation,
    class_path: OsString,
}

impl Java {
    pub(crate) fn new(installation: Installation) -> Result<Self, crate::HarnessError> {
        let class_path = installation.class_path()?;
        Ok(Self { installation, class_path })
    }

    /// `nodetool`, which ends by itself when a node that hangs keeps it waiting.
    pub(crate) fn nodetool(&self, jmx_port: u16, words: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", "120"]).arg(self.installation.java()).args(["-Xmx64m", "-XX:TieredStopAtLevel=1"]);
        command.args(self.common()).arg("org.apache.cassandra.tools.NodeTool").args(["-p", &jmx_port.to_string()]).args(words);
        without_java_settings(&mut command);
        command
    }

    fn common(&self) -> Vec<OsString> {
        let exports = EXPORTS.iter().map(|name| format!("--add-exports={name}=ALL-UNNAMED"));
        let opens = OPENS.iter().map(|name| format!("--add-opens={name}=ALL-UNNAMED"));
        let mut words: Vec<OsString> = exports.chain(opens).map(OsString::from).collect();
        words.extend(["-cp".into(), self.class_path.clone()]);
        words
    }
}

/// The settings of whoever runs the tests are not ours.
pub(crate) fn without_java_settings(command: &mut Command) {
    for variable in ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH"] {
        command.env_remove(variable);
    }
}

/// `logback.xml`: without one Cassandra logs at DEBUG. Nothing is buffered, so that a node that is killed has logged all that it did.
pub(crate) const LOGBACK: &str = r#"<configuration scan="false">
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level [%thread] %date{ISO8601} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"#;

/// What Cassandra 5.0 takes of Java 17 beside its public interfaces; the list of its own `jvm17-server.options`.
const EXPORTS: [&str; 9] = [
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.rmi/sun.rmi.transport.tcp",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
];
const OPENS: [&str; 18] = [
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "jdk.management/com.sun.management.internal",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/java.lang",
    "java.base/java.lang.reflect",
    "java.base/java.math",
    "java.base/java.net",
];
