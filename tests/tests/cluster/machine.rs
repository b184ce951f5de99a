//! A machine of the page: an address and a folder of its own, and what runs on it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use weir_bench::peers;
use weir_cassandra_harness::Installation;
use weir_tests::Client;
use weir_tests::binary::{printed, weir};

/// HAProxy, unpacked beside Cassandra, and got if it is not there yet.
fn haproxy() -> Command {
    let folder = Installation::folder();
    let peers = folder.parent().unwrap_or(&folder).join("peers");
    peers::haproxy(&peers).unwrap_or_else(|error| panic!("HAProxy cannot be had: {error}")).command()
}

/// A load balancer that runs; killed when dropped.
pub struct Balancer {
    child: Child,
    file: PathBuf,
}

impl Balancer {
    /// With the settings in that file, which must be good.
    pub fn start(file: &Path) -> Self {
        let judged = haproxy().arg("-c").arg("-f").arg(file).output().expect("HAProxy can be run");
        assert!(judged.status.success(), "{}", printed(&judged));
        Self { child: Self::spawn(file, None), file: file.to_path_buf() }
    }
    fn spawn(file: &Path, takes_over: Option<u32>) -> Child {
        let mut command = haproxy();
        command.arg("-db").arg("-f").arg(file).stdin(Stdio::null()).stdout(Stdio::null());
        if let Some(old) = takes_over {
            command.arg("-sf").arg(old.to_string());
        }
        command.spawn().expect("HAProxy can be run")
    }
    /// What `systemctl reload` does: a new process takes over the addresses, and the old one finishes.
    pub fn reload(&mut self) {
        let fresh = Self::spawn(&self.file, Some(self.child.id()));
        let mut old = std::mem::replace(&mut self.child, fresh);
        // It ends by itself when its last connection has; a test has none open now.
        assert!(old.wait().expect("it is ours").success(), "HAProxy ends well when it is told to finish");
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// One machine.
pub struct Machine {
    /// As the page calls it.
    pub name: String,
    /// Its own; on Linux all of 127.0.0.0/8 is this computer.
    pub address: Ipv4Addr,
    /// In place of `/`.
    pub root: PathBuf,
    gateway: Option<xtask::gateway::Gateway>,
}

impl Machine {
    /// With the folders that packages make.
    pub fn new(name: &str, address: Ipv4Addr, computer: &Path) -> Self {
        let root = computer.join(name);
        for folder in ["etc/weir", "etc/haproxy", "var/lib/weir", "var/backups"] {
            std::fs::create_dir_all(root.join(folder)).expect("a folder");
        }
        Self { name: name.to_owned(), address, root, gateway: None }
    }
    /// Text of the page as it is on this machine.
    pub fn here(&self, text: &str) -> String {
        let [a, b, c, _] = self.address.octets();
        let own = self.address.to_string();
        let mut text = text.replace("127.0.0.1", &own).replace("0.0.0.0", &own).replace("10.0.0.", &format!("{a}.{b}.{c}."));
        for folder in ["/etc/weir", "/etc/haproxy", "/var/lib/weir", "/var/backups"] {
            text = text.replace(folder, &format!("{}{folder}", self.root.display()));
        }
        text
    }
    /// `systemctl WORD weir`, by the lines of the unit that is shipped.
    pub fn systemctl_weir(&mut self, word: &str) {
        let unit = include_str!("../../../packaging/weir.service");
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/weir ")).expect("the unit starts it");
        assert!(unit.contains("KillSignal=SIGQUIT") && unit.contains("Type=notify"));
        if matches!(word, "stop" | "restart") {
            let mut gateway = self.gateway.take().expect("it runs");
            gateway.signal("QUIT").expect("it lives");
            let ended = gateway.wait(super::WAIT).expect("it drains");
            assert!(ended.success(), "{} ended with {ended}", self.name);
        }
        if matches!(word, "start" | "restart") {
            assert!(self.gateway.is_none(), "it runs already");
            let line = self.here(line);
            let log = std::fs::OpenOptions::new().create(true).append(true).open(self.root.join("node.log")).expect("a log");
            let mut command = weir(line.split(' '));
            command.stdout(Stdio::null()).stderr(log);
            let prefix = self.root.join("var/lib/weir");
            let started = xtask::gateway::Gateway::start(command, &prefix);
            self.gateway = Some(started.unwrap_or_else(|error| panic!("{}: {error}\n{}", self.name, self.log())));
        }
    }
    /// Requests that its gateway has served since it was started.
    pub fn served(&self) -> u64 {
        let status = Client::of((self.address, 8007).into()).get("/status").send().expect(200).json();
        status["server"]["total_requests"].as_u64().expect("a figure")
    }
    /// What its gateway has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("node.log")).unwrap_or_default()
    }
}
