//! The door: token, origins, methods, listener.

use crate::support::{Admin, Setting, exchange};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;
use std::sync::Arc;
use tokio::net::TcpStream;

async fn every_path(admin: &Admin) -> Vec<String> {
    let listed = admin.get("/endpoints").await.expect(200);
    let paths = listed["data"].as_array().expect("a list").iter();
    paths.map(|path| path.as_str().expect("a path").replace(['{', '}'], "")).collect()
}

#[tokio::test]
async fn no_path_answers_without_the_token() {
    let admin = Admin::with(Setting { token: Some("secret-token"), ..Setting::default() }).await;
    let mut paths = every_path(&admin).await;
    assert!(paths.len() > 30, "{paths:?}");
    paths.extend(["/nowhere".to_owned(), "//".to_owned()]);
    for path in paths {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS, Method::HEAD] {
            for (name, value) in [
                ("accept", "*/*"),
                ("kong-admin-token", "secret-toke"),
                ("kong-admin-token", ""),
                ("authorization", "Bearer secret"),
                ("authorization", "Basic secret-token"),
                ("authorization", "secret-token"),
            ] {
                let request = Request::builder().method(&method).uri(&path).header("host", "127.0.0.1").header(name, value);
                let answer = admin.request(request.body(Full::new(Bytes::new())).expect("a request")).await;
                assert_eq!(answer.status.as_u16(), 401, "{method} {path} {name}: {value}");
                if method != Method::HEAD {
                    assert_eq!(answer.body, json!({"message": "Unauthorized"}));
                }
                assert!(answer.header("www-authenticate").is_some());
            }
        }
    }
    for (name, value) in [("kong-admin-token", "secret-token"), ("authorization", "bearer secret-token")] {
        let request = Request::builder().uri("/").header("host", "any.example").header(name, value);
        let answer = admin.request(request.body(Full::new(Bytes::new())).expect("a request")).await;
        answer.expect(200);
    }
}

#[tokio::test]
async fn every_listed_path_answers_and_names_its_methods() {
    let admin = Admin::start().await;
    for path in every_path(&admin).await {
        let options = admin.send(Method::OPTIONS, &path, None).await;
        let allow = options.header("allow").unwrap_or_else(|| panic!("no Allow: {path}")).to_owned();
        assert!(options.headers.keys().all(|name| !name.as_str().starts_with("access-control")));
        options.expect(204);
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"] {
            let name = method;
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let answer = admin.send(method, &path, None).await;
            if allow.split(", ").any(|allowed| allowed == name) {
                assert_ne!(answer.status.as_u16(), 405, "{name} {path}");
                assert!(answer.status.as_u16() < 500, "{name} {path}: {}", answer.body);
            } else {
                assert_eq!(answer.header("allow"), Some(allow.as_str()), "{name} {path}");
                assert_eq!(answer.expect(405), json!({"message": "Method not allowed"}), "{name} {path}");
            }
        }
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let admin = Admin::start().await;
    let get = admin.get("/services").await;
    let head = admin.send(Method::HEAD, "/services", None).await;
    assert_eq!((head.status, head.header("content-length")), (get.status, Some(get.bytes.len().to_string().as_str())));
    assert_eq!(head.header("weir-revision"), get.header("weir-revision"));
    assert!(head.bytes.is_empty());
    admin.send(Method::HEAD, "/services/none", None).await.expect(404);
}

#[tokio::test]
async fn unknown_paths_are_not_found() {
    let admin = Admin::start().await;
    for path in ["/nowhere", "/services/a/b/c/d", "/services//x", "/routes/r/routes", "/targets", "/%ff"] {
        assert_eq!(admin.get(path).await.expect(404), json!({"message": "Not found"}), "{path}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_cannot_use_a_browser_on_this_machine() {
    let admin = Admin::start().await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        let answer = admin.raw(Method::POST, "/consumers", &[form, ("origin", origin)], "username=u").await;
        assert!(answer.header("access-control-allow-origin").is_none());
        assert!(answer.message(403).contains("another origin"), "{origin}");
    }
    let own = format!("http://{}", admin.address);
    admin.raw(Method::POST, "/consumers", &[form, ("origin", &own)], "username=u").await.expect(201);
    // A name that was pointed at this machine.
    let request = Request::builder().uri("/").header("host", "evil.example:8001").body(Full::new(Bytes::new()));
    let message = admin.request(request.expect("a request")).await.message(403);
    assert!(message.contains("admin_token"), "{message}");
}

#[tokio::test]
async fn the_listener_speaks_tls() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key))
        .expect("a server");
    let admin = Admin::with(Setting { tls: Some(Arc::new(server)), ..Setting::default() }).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a root");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let socket = TcpStream::connect(admin.address).await.expect("a connection");
    let stream = connector.connect("localhost".try_into().expect("a name"), socket).await.expect("a handshake");
    let request = Request::builder().uri("/").header("host", "localhost").body(Full::new(Bytes::new())).expect("a request");
    exchange(stream, request).await.expect(200);
}

#[tokio::test]
async fn the_listener_ends_when_it_is_told_to() {
    let mut admin = Admin::start().await;
    // A connection that is open and idle does not hold it up.
    let idle = TcpStream::connect(admin.address).await.expect("a connection");
    admin.get("/").await.expect(200);
    admin.stop();
    let done = admin.done.take().expect("running");
    tokio::time::timeout(std::time::Duration::from_secs(60), done).await.expect("in time").expect("no panic");
    assert!(TcpStream::connect(admin.address).await.is_err());
    drop(idle);
}
