//! Start, stop and everything that an operator types in between.

use serde_json::{Value, json};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use weir_tests::client::Connection;
use weir_tests::{Client, Gateway, Upstream};

#[test]
fn a_node_says_that_it_is_healthy_and_stops_when_told() {
    let mut gateway = Gateway::start();
    let (code, said) = gateway.weir(&["health"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("process {}: running", gateway.pid())) && said.contains("ready"), "{said}");
    let (code, said) = gateway.weir(&["status"]);
    assert_eq!(code, 0, "{said}");
    let status: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(status["ready"], true);
    assert_eq!(status["database"]["store"]["kind"], "embedded");
    assert_eq!(status["trouble"], json!({ "snapshot": null, "plugins_dir": {}, "plugins_missing": {}, "settings": null }));
    let (code, said) = gateway.weir(&["stop"]);
    assert_eq!(code, 0, "{said}");
    assert!(gateway.wait().success());
    for word in ["stop", "quit", "reload", "health", "status"] {
        let (code, said) = gateway.weir(&[word]);
        assert_eq!(code, 1, "{word}: {said}");
        assert!(said.contains("no node runs in"), "{word}: {said}");
    }
}

#[test]
fn a_node_that_has_not_opened_its_listeners_is_not_healthy() {
    let gateway = Gateway::start();
    // What a node looks like from outside between its lock and its listeners.
    std::fs::remove_file(gateway.prefix().join("run/listeners.json")).unwrap();
    for word in ["health", "status"] {
        let (code, said) = gateway.weir(&[word]);
        assert_eq!(code, 1, "{word}: {said}");
        assert!(said.contains("still starting"), "{word}: {said}");
    }
}

#[test]
fn the_status_address_tells_readiness_and_figures() {
    let gateway = Gateway::start();
    let status = Client::of(gateway.status_address());
    assert_eq!(status.get("/status/ready").send().expect(200).json(), json!({ "message": "ready" }));
    gateway.client().get("/nothing-here").send().expect(404);
    assert!(status.get("/status").send().expect(200).json()["server"]["total_requests"].as_u64().is_some_and(|count| count >= 1));
    status.get("/").send().expect(404);
    status.request("POST", "/status").send().expect(405);
}

#[test]
fn a_second_node_in_the_same_folder_is_refused_and_told_who_is_there() {
    let gateway = Gateway::start();
    let (code, said) = gateway.weir(&["start"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("process {}", gateway.pid())) && said.contains("weir quit"), "{said}");
    // And the first is none the worse.
    assert_eq!(gateway.weir(&["health"]).0, 0);
}

#[test]
fn a_damaged_store_is_refused_and_left_as_it_is() {
    let gateway = Gateway::start();
    gateway.admin().put("/consumers/ada", json!({}));
    let folder = gateway.end("TERM");
    let store = folder.path().join("store");
    let files = || std::fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path());
    let largest = files().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    bytes.iter_mut().take(4096).for_each(|byte| *byte ^= 0x5a);
    std::fs::write(&largest, &bytes).unwrap();
    let (code, said) = Gateway::builder().in_folder_of(folder).start_refused();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&largest.file_name().unwrap().to_string_lossy().into_owned()) && said.contains("backup"), "{said}");
}

/// The quick look at a start sees the end of the journal; the check reads all of it.
#[test]
fn a_check_finds_damage_anywhere_in_the_store_and_says_when_it_did_not_look() {
    let gateway = Gateway::start();
    let marker = "a-username-that-is-easy-to-find-in-the-file";
    gateway.admin().put(&format!("/consumers/{marker}"), json!({}));
    // More than a start looks at.
    for number in 0..150 {
        gateway.admin().put(&format!("/consumers/other-{number}"), json!({}));
    }
    let (code, said) = gateway.weir(&["check"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("not checked while it is in use") && said.contains(&gateway.pid().to_string()), "{said}");
    let folder = gateway.end("TERM");
    let check = |folder: &std::path::Path| {
        let file = folder.join("weir.toml");
        let output = weir_tests::binary::run(&["check", "-c", &file.to_string_lossy()], folder);
        (output.status.code(), weir_tests::binary::printed(&output))
    };
    let (code, said) = check(folder.path());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the store is sound: revision 151, 151 transactions, 151 entities"), "{said}");
    let mut files = std::fs::read_dir(folder.path().join("store")).unwrap().map(|entry| entry.unwrap().path());
    let store = files.find(|file| file.extension().is_some_and(|ending| ending == "redb")).unwrap();
    let mut bytes = std::fs::read(&store).unwrap();
    let found: Vec<usize> = (0..bytes.len() - marker.len()).filter(|at| bytes[*at..].starts_with(marker.as_bytes())).collect();
    assert!(!found.is_empty());
    found.iter().for_each(|at| bytes[*at] = b'b');
    std::fs::write(&store, &bytes).unwrap();
    let (code, said) = check(folder.path());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&store.file_name().unwrap().to_string_lossy().into_owned()) && said.contains("damaged"), "{said}");
}

#[test]
fn a_node_that_is_bound_to_its_parent_ends_with_it() {
    for signal in ["KILL", "TERM"] {
        // A folder with settings and compiled plugins.
        let folder = Gateway::start().end("TERM");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", r#""$0" start -c "$1/weir.toml" -p "$1" --exit-with-parent $$ & wait"#]);
        shell.arg(weir_tests::binary::weir_binary()).arg(folder.path());
        shell.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut parent = xtask::gateway::Gateway::start(shell, folder.path()).unwrap();
        let health = || {
            let output =
                weir_tests::binary::run(&["health", "-c", &folder.path().join("weir.toml").to_string_lossy()], folder.path());
            (output.status.code(), weir_tests::binary::printed(&output))
        };
        assert_eq!(health().0, Some(0), "{}", health().1);
        parent.signal(signal).unwrap();
        parent.wait(Duration::from_secs(30)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !health().1.contains("no node runs") {
            assert!(Instant::now() < deadline, "{signal}: {}", health().1);
        }
    }
    // Another process than the parent could end unnoticed.
    let folder = Gateway::start().end("TERM");
    let output = weir_tests::binary::run(&["start", "--exit-with-parent", "1"], folder.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(weir_tests::binary::printed(&output).contains("process 1 is not the parent"));
}

#[test]
fn an_address_that_is_taken_ends_the_start_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for key in ["admin_listen", "status_listen", "proxy_listen"] {
        let (code, said) = Gateway::builder().with(key, &format!("\"{address}\"")).start_refused();
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(&address.to_string()), "{key}: {said}");
    }
}

#[test]
fn an_admin_api_for_other_machines_needs_encryption_and_a_token() {
    let (code, said) = Gateway::builder().with("admin_listen", "\"0.0.0.0:0\"").start_refused();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("not encrypted") && said.contains("admin_token_file"), "{said}");
    let (code, said) = Gateway::builder().with("admin_listen", "\"0.0.0.0:0 ssl\"").start_refused();
    assert_eq!(code, 2, "{said}");
    assert!(!said.contains("not encrypted") && said.contains("admin_token_file"), "{said}");
    let gateway =
        Gateway::builder().with("admin_listen", "\"0.0.0.0:0 ssl\"").with("admin_token", "\"0123456789abcdef\"").start();
    assert!(gateway.addresses("admin")[0].1, "it speaks TLS");
}

#[test]
fn an_admin_api_with_a_token_answers_nobody_without_it() {
    let gateway = Gateway::builder().with("admin_token", "\"0123456789abcdef\"").start();
    let admin = Client::of(gateway.addresses("admin")[0].0);
    for path in ["/", "/services", "/status", "/nothing"] {
        admin.get(path).send().expect(401);
    }
    admin.get("/services").header("authorization", "Bearer 0123456789abcdef").send().expect(200);
    // The log and the node's own description keep it.
    assert!(!gateway.log().contains("0123456789abcdef"));
    let root = admin.get("/").header("authorization", "Bearer 0123456789abcdef").send().expect(200);
    assert!(!root.text().contains("0123456789abcdef"));
}

#[test]
fn quit_lets_a_request_end_that_has_begun_and_stop_cuts_it() {
    for (word, status) in [("quit", Some(200)), ("stop", None)] {
        let upstream = Upstream::start();
        let mut gateway = Gateway::start();
        gateway.admin().route_to("slow", upstream.address());
        let client = gateway.client();
        let (answered, answer) = mpsc::channel();
        std::thread::spawn(move || answered.send(client.get("/slow/wait").try_send().ok().map(|reply| reply.status)));
        upstream.until_waiting(1);
        let file = gateway.settings_file();
        let prefix = gateway.prefix().to_path_buf();
        let word_thread = std::thread::spawn(move || {
            let file = file.to_string_lossy().into_owned();
            weir_tests::binary::run(&[word, "-c", &file], &prefix).status.code()
        });
        if word == "quit" {
            until_not_ready(&gateway);
            upstream.let_go(1);
        }
        assert_eq!(answer.recv_timeout(Duration::from_secs(60)).unwrap(), status, "{word}");
        assert_eq!(word_thread.join().unwrap(), Some(0), "{word}");
        assert!(gateway.wait().success());
    }
}

#[test]
fn a_drain_under_load_answers_every_request_that_it_took() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start();
    gateway.admin().route_to("steady", upstream.address());
    let (client, answered) = (gateway.client(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let Ok(mut connection) = Connection::open(gateway.proxy()) else { return };
                loop {
                    match client.get("/steady").send_on(&mut connection) {
                        Ok(reply) => {
                            assert_eq!(reply.status, 200, "{}", reply.text());
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                        // Closed while it was idle, or not opened any more: the gateway did not take this request.
                        Err(error) if is_not_taken(&error) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        while answered.load(Ordering::SeqCst) < 500 {
            std::thread::yield_now();
        }
        gateway.signal("QUIT");
    });
    assert!(gateway.wait().success());
    // Whatever reached the upstream came back to its client.
    assert_eq!(upstream.served(), answered.load(Ordering::SeqCst));
    assert_eq!(gateway.access_log().len() as u64, upstream.served(), "and is in the access log");
}

fn is_not_taken(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, UnexpectedEof};
    [BrokenPipe, ConnectionRefused, ConnectionReset, UnexpectedEof].contains(&error.kind())
}

/// The status address says so before the proxy begins to drain, and goes on answering meanwhile.
fn until_not_ready(gateway: &Gateway) {
    let status = Client::of(gateway.status_address());
    let deadline = Instant::now() + Duration::from_secs(30);
    while status.get("/status/ready").try_send().is_ok_and(|reply| reply.status == 200) {
        assert!(Instant::now() < deadline, "the node should have begun to end");
        std::thread::yield_now();
    }
}

/// What a load balancer needs: time to find out, with nothing refused or cut meanwhile.
#[test]
fn a_node_that_quits_serves_on_until_its_balancer_has_found_out() {
    let upstream = Upstream::start();
    // An hour: this test ends the delay itself.
    let mut gateway = Gateway::builder().with("drain_delay_ms", "3600000").start();
    gateway.admin().route_to("steady", upstream.address());
    let mut kept = Connection::open(gateway.proxy()).unwrap();
    let ask = |kept: &mut Connection| gateway.client().get("/steady").send_on(kept).unwrap().expect(200);
    assert_eq!(ask(&mut kept).header("connection"), None);
    gateway.signal("QUIT");
    until_not_ready(&gateway);
    // Both are served: who has a connection, and who opens one. The workers hear of it a moment after the status address.
    let deadline = Instant::now() + Duration::from_secs(30);
    while ask(&mut kept).header("connection") != Some("close") {
        assert!(Instant::now() < deadline, "clients should be asked to come back elsewhere");
    }
    gateway.client().get("/steady").send().expect(200);
    assert!(Client::of(gateway.status_address()).get("/status/ready").send().status == 503);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}

#[test]
fn restart_takes_the_place_of_the_node_that_ran() {
    let mut gateway = Gateway::start();
    gateway.admin().put("/consumers/ada", json!({}));
    let file = gateway.settings_file();
    let mut command = weir_tests::binary::weir(["restart", "-c"]);
    command.arg(&file).arg("-p").arg(gateway.prefix()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let second = xtask::gateway::Gateway::start(command, gateway.prefix()).unwrap();
    assert!(gateway.wait().success(), "the first has ended");
    assert_eq!(gateway.admin().get("/consumers/ada")["username"], "ada");
    assert!(second.stop().unwrap().success());
}

#[test]
fn a_reload_takes_what_it_can_and_says_what_waits_for_a_restart() {
    let gateway = Gateway::start();
    let settings = std::fs::read_to_string(gateway.settings_file()).unwrap();
    let trouble =
        |gateway: &Gateway| Client::of(gateway.status_address()).get("/status").send().json()["trouble"]["settings"].clone();
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !holds() {
            assert!(Instant::now() < deadline, "{what}\n{}", gateway.log());
            std::thread::yield_now();
        }
    };
    std::fs::write(gateway.settings_file(), format!("{settings}\nlog_levl = \"debug\"\n")).unwrap();
    gateway.signal("HUP");
    until("bad settings are reported", &|| trouble(&gateway).as_str().is_some_and(|text| text.contains("log_levl")));
    // Broken settings keep nobody from asking or stopping the node.
    assert_eq!(gateway.weir(&["health"]).0, 0, "and change nothing");
    assert_eq!(gateway.weir(&["reload"]).0, 2, "whoever types the word is told at once");
    let changed = settings.replace("worker_threads = 2", "worker_threads = 3");
    std::fs::write(gateway.settings_file(), format!("{changed}\nlog_level = \"debug\"\n")).unwrap();
    gateway.signal("HUP");
    until("what waits is told", &|| gateway.log().contains("needs_restart") && gateway.log().contains("worker_threads"));
    until("the trouble is over", &|| trouble(&gateway).is_null());
}

#[test]
fn keys_and_certificates_are_made_once_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let gateway = Gateway::builder().with("proxy_listen", "\"127.0.0.1:0, 127.0.0.1:0 ssl\"").start();
    let key = gateway.prefix().join("ssl/proxy.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(&key).unwrap();
    let gateway = gateway.restarted_by("TERM");
    assert_eq!(std::fs::read(gateway.prefix().join("ssl/proxy.key")).unwrap(), before);
}

#[test]
fn the_embedded_store_has_no_migrations_and_says_so() {
    let gateway = Gateway::start();
    let (code, said) = gateway.weir(&["migrations", "up"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("nothing to migrate"), "{said}");
    assert_eq!(gateway.weir(&["migrations", "sideways"]).0, 2);
}
