//! TLS to Cassandra, and what an operator is told when a connection cannot be made.

use super::*;
use std::sync::OnceLock;
use weir_cassandra_harness::{Cluster, Options};

/// A node that speaks TLS and nothing else, for the tests that leave it as it is.
fn encrypted() -> (&'static Cluster, CassandraOptions) {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let cluster = CLUSTER.get_or_init(|| Options::default().tls().start(1).unwrap());
    let keyspace = format!("weir_tls_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    (cluster, CassandraOptions { keyspace, tls: Some(trusting(cluster)), ..options_of(cluster) })
}

fn trusting(cluster: &Cluster) -> CassandraTls {
    CassandraTls { verify: true, trusted: cluster.ca_pem(), client: None }
}

/// A write on one node that another has.
fn works(options: &CassandraOptions) {
    Cassandra::bootstrap(options).unwrap();
    let (_first, a) = node(options);
    wait(a.write(put(vec![service(1, "a")]))).unwrap();
    let (_second, b) = node(options);
    assert_eq!((b.status().revision, b.status().head), (Revision(1), a.status().head));
}

/// Why there is no connection: one line that names the address.
fn refused(options: &CassandraOptions, said: &str) -> String {
    let cause = Cassandra::readiness(options).expect_err(said);
    println!("{cause}");
    assert!(cause.contains(said), "{cause}");
    assert!(cause.starts_with(&format!("Cassandra at {}: ", options.contact_points.join(", "))), "{cause}");
    assert!(cause.lines().count() == 1 && cause.len() < 400, "{cause}");
    cause
}

/// An authority that has signed nothing of Cassandra's, and the files of a client that it signed.
fn authority(folder: &Path) -> (PathBuf, ClientFiles) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["weir".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let signed = params.signed_by(&key, &issuer).unwrap();
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let client = ClientFiles { certificate: file("client.crt", signed.pem()), key: file("client.key", key.serialize_pem()) };
    (file("authority.pem", issuer.pem()), client)
}

#[test]
fn a_node_that_shows_the_right_certificate_is_spoken_to() {
    let (_, options) = encrypted();
    works(&options);
    let advice = Cassandra::advice(&options).unwrap();
    assert!(!advice.iter().any(|line| line.contains("cassandra_ssl")), "{advice:?}");
}

#[test]
fn a_certificate_of_another_authority_is_refused_and_files_are_read_anew() {
    let (cluster, options) = encrypted();
    let folder = tempfile::tempdir().unwrap();
    let (authority, _) = authority(folder.path());
    let tls = CassandraTls { trusted: Some(authority.clone()), ..trusting(cluster) };
    let options = CassandraOptions { tls: Some(tls), ..options };
    refused(&options, "set cassandra_ssl_trusted_certificate");
    // The same options, when the file holds the right one: no node must be started anew for that.
    std::fs::copy(cluster.ca_pem().unwrap(), authority).unwrap();
    assert_eq!(Cassandra::readiness(&options), Ok(Readiness::Missing));
}

#[test]
fn who_does_not_verify_is_let_in_and_warned() {
    let (_, options) = encrypted();
    let tls = CassandraTls { verify: false, trusted: None, client: None };
    let options = CassandraOptions { tls: Some(tls), ..options };
    works(&options);
    let advice = Cassandra::advice(&options).unwrap();
    assert!(advice.iter().any(|line| line.contains("cassandra_ssl_verify is false")), "{advice:?}");
}

#[test]
fn a_client_without_tls_and_a_node_without_it_are_told_apart() {
    let (cluster, options) = encrypted();
    refused(&CassandraOptions { tls: None, ..options }, "set cassandra_ssl = true");
    let plain = CassandraOptions { tls: Some(trusting(cluster)), ..super::options() };
    refused(&plain, "does not speak TLS on this port");
}

#[test]
fn a_client_certificate_is_asked_for_and_given() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, client) = authority(folder.path());
    let cluster = Options::default().client_certificates(&authority).start(1).unwrap();
    let without = CassandraOptions { tls: Some(trusting(&cluster)), ..options_of(&cluster) };
    refused(&without, "set cassandra_ssl_certificate and cassandra_ssl_certificate_key");
    let tls = CassandraTls { client: Some(client), ..trusting(&cluster) };
    works(&CassandraOptions { tls: Some(tls), ..without });
}

#[test]
fn a_wrong_password_and_none_are_told_apart() {
    let cluster = Options::default().authentication().start(1).unwrap();
    let as_user = |credentials: Option<(&str, &str)>| CassandraOptions {
        credentials: credentials.map(|(user, password)| (user.to_owned(), password.to_owned())),
        ..options_of(&cluster)
    };
    refused(&as_user(None), "it asks for a login; set cassandra_username");
    refused(&as_user(Some(("cassandra", "wrong"))), "it refuses user `cassandra`");
    let right = as_user(Some(("cassandra", "cassandra")));
    works(&right);
    let advice = Cassandra::advice(&right).unwrap();
    assert!(advice.iter().any(|line| line.contains("cassandra_ssl is not set")), "{advice:?}");
}

#[test]
fn who_is_not_there_and_who_does_not_answer_are_told_apart() {
    // Taken and given back: nobody listens there now.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let at = |address: std::net::SocketAddr| CassandraOptions {
        contact_points: vec![address.to_string()],
        connect_timeout: Duration::from_millis(300),
        ..options()
    };
    refused(&at(gone), "refuses the connection");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = at(silent.local_addr().unwrap());
    refused(&silent, "does not answer on them");
    // The driver has no limit of its own for the handshake.
    let tls = CassandraTls { verify: false, trusted: None, client: None };
    refused(&CassandraOptions { tls: Some(tls), ..silent }, "no session within");
}

#[test]
fn too_few_nodes_for_the_copies_are_told_before_anything_is_made() {
    let options = CassandraOptions { replication: Replication::Factor(3), ..options() };
    let said = Cassandra::bootstrap(&options).unwrap_err();
    assert!(said.contains("cassandra_repl_factor is 3 and the data centre datacenter1 has 1 node; "), "{said}");
    assert_eq!(Cassandra::readiness(&options), Ok(Readiness::Missing));
    // Who has made the keyspace has decided.
    let options = CassandraOptions { replication: Replication::Factor(1), ..options };
    Cassandra::bootstrap(&options).unwrap();
    Cassandra::bootstrap(&CassandraOptions { replication: Replication::Factor(3), ..options }).unwrap();
}
