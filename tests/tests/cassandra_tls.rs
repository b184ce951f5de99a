//! A gateway whose Cassandra speaks TLS and nothing else: what an operator sets, and is told.

use serde_json::json;
use weir_cassandra_harness::{Cluster, Options};
use weir_tests::Gateway;
use weir_tests::gateway::GatewayBuilder;

fn builder(cluster: &Cluster) -> GatewayBuilder {
    let points: Vec<String> = cluster.contact_points().iter().map(|point| format!("\"{point}\"")).collect();
    Gateway::builder()
        .with("database", "\"cassandra\"")
        .with("cassandra_contact_points", &format!("[{}]", points.join(", ")))
        .with("cassandra_repl_factor", "1")
        .with("db_update_frequency", "0.1")
}

#[test]
fn a_gateway_speaks_tls_to_its_store_and_says_what_is_wrong_with_it() {
    let cluster = Options::default().tls().start(1).unwrap();
    let ca = format!("{:?}", cluster.ca_pem().unwrap());
    let trusting = || builder(&cluster).with("cassandra_ssl", "true").with("cassandra_ssl_trusted_certificate", &ca);

    // Each with what `weir check` says of it, and how it ends.
    let missing = builder(&cluster).with("cassandra_ssl", "true").with("cassandra_ssl_trusted_certificate", "\"gone.pem\"");
    for (builder, code, told) in [
        (builder(&cluster), 1, "set cassandra_ssl = true"),
        (builder(&cluster).with("cassandra_ssl", "true"), 1, "set cassandra_ssl_trusted_certificate"),
        (missing, 2, "gone.pem: cannot be read"),
        (trusting(), 1, "weir migrations bootstrap"),
    ] {
        let (ended, said) = builder.command(&["check"]);
        assert_eq!(ended, code, "{said}");
        assert!(said.contains(told), "{told}: {said}");
    }

    let (code, said) = trusting().command(&["migrations", "bootstrap"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = trusting().command(&["check"]);
    assert!(code == 0 && !said.contains("cassandra_ssl"), "{said}");
    let unverified = builder(&cluster).with("cassandra_ssl", "true").with("cassandra_ssl_verify", "false");
    let (code, said) = unverified.command(&["check"]);
    assert!(code == 0 && said.contains("cassandra_ssl_verify is false"), "{said}");

    let (a, b) = (trusting().start(), trusting().start());
    let written = a.admin().ask("POST", "/consumers", &json!({ "username": "ada" })).expect(201);
    let revision = written.header("weir-revision").unwrap();
    assert_eq!(b.admin().get(&format!("/consumers/ada?min_revision={revision}"))["username"], "ada");
}
