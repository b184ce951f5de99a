//! `docs/cluster.md`, typed from the top: its files are written, its lines are run on the machine that they name, and print what the
//! page says.

use super::machine::{Balancer, Machine};
use super::{WAIT, address, cassandra};
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use weir_cassandra_harness::Cluster;
use weir_tests::Upstream;
use weir_tests::binary::{printed, weir_binary};

const PAGE: &str = include_str!("../../../docs/cluster.md");

/// One of the page's blocks of code.
struct Block {
    language: &'static str,
    text: &'static str,
}

/// Those of the walk-through.
fn blocks() -> impl Iterator<Item = Block> {
    let walk = PAGE.split_once("## A cluster from nothing").and_then(|(_, rest)| rest.split_once("\n## ")).expect("the part").0;
    walk.split("\n```").skip(1).step_by(2).map(|block| {
        let (language, text) = block.split_once('\n').expect("a language and text");
        Block { language, text }
    })
}

/// The names behind `on `, if the line says where what follows belongs.
fn named(line: &'static str) -> Option<Vec<&'static str>> {
    let (_, names) = line.strip_prefix('#')?.split_once(" on ").filter(|(file, _)| file.is_empty() || file.starts_with(" /"))?;
    let words = names.split([',', ' ']).filter(|word| !word.is_empty() && !matches!(*word, "and" | "then"));
    Some(words.take_while(|word| word.len() <= 2 && *word != "in").collect())
}

/// Lines for some machines.
struct Part {
    names: Vec<&'static str>,
    /// `on a, then b`: all lines on the one before any on the next.
    in_turn: bool,
    lines: Vec<&'static str>,
}

fn parts(text: &'static str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for line in text.lines() {
        match (named(line), parts.last_mut()) {
            (Some(names), _) => parts.push(Part { names, in_turn: line.contains(" then "), lines: Vec::new() }),
            (None, Some(part)) => part.lines.push(line),
            (None, None) => panic!("the page does not say where to type: {line}"),
        }
    }
    parts
}

/// Writes the files that the page shows for these machines; `keyspace` in place of the page's, for a test that runs beside it.
pub fn settings_of_the_page(machines: &[&Machine], keyspace: &str) {
    for Block { text, .. } in blocks().filter(|block| matches!(block.language, "toml" | "haproxy")) {
        let first = text.lines().next().expect("a line that names the file");
        let file = first.split(' ').nth(1).expect("a file");
        let names = named(first).expect("machines");
        for machine in machines.iter().filter(|machine| names.contains(&machine.name.as_str())) {
            let text = text.replace("cassandra_keyspace = \"weir\"", &format!("cassandra_keyspace = \"{keyspace}\""));
            std::fs::write(machine.here(file), machine.here(&text) + "\n").expect("the file is written");
            // The same on all, without the copying that the page shows.
            std::fs::write(machine.here("/etc/weir/cluster-key"), "5eed".repeat(16)).expect("a key");
        }
    }
}

/// Whoever types the page.
struct Operator<'a> {
    cluster: &'a Cluster,
    machines: Vec<Machine>,
    balancer: Option<Balancer>,
    upstream: Upstream,
    commands: &'a Path,
    /// The node of Cassandra whose next start takes the place of one that is gone.
    replacing: Option<usize>,
}

impl Operator<'_> {
    fn machine(&mut self, name: &str) -> &mut Machine {
        self.machines.iter_mut().find(|machine| machine.name == name).unwrap_or_else(|| panic!("the page has no machine {name}"))
    }
    /// Types a line on a machine; what it printed, or why it failed.
    fn types(&mut self, line: &str, on: &str) -> Result<String, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let node = on.strip_prefix('c').and_then(|number| number.parse::<usize>().ok()).map(|number| number - 1);
        match (words.as_slice(), node) {
            (["nodetool", rest @ ..], Some(node)) => self.cluster.node(node).nodetool(rest).map_err(|error| error.to_string()),
            (["systemctl", "restart", "cassandra"], Some(node)) => {
                if self.cluster.node(node).pid().is_some() {
                    self.cluster.node(node).stop().unwrap();
                }
                self.cluster.node(node).start_again().unwrap();
                self.cluster.until_all_up().unwrap();
                Ok(String::new())
            }
            (["systemctl", "stop", "cassandra"], Some(node)) => {
                self.cluster.node(node).stop().unwrap();
                Ok(String::new())
            }
            (["rm", "-rf", "/var/lib/cassandra/*"], Some(node)) => {
                self.cluster.node(node).wipe().unwrap();
                Ok(String::new())
            }
            (["echo", .., ">>", "/etc/cassandra/cassandra-env.sh"], Some(node)) => {
                assert!(line.contains(&format!("-Dcassandra.replace_address_first_boot=10.0.0.{}\"", 11 + node)), "{line}");
                self.replacing = Some(node);
                Ok(String::new())
            }
            (["systemctl", "start", "cassandra"], Some(node)) => {
                assert_eq!(self.replacing.take(), Some(node), "what the page starts it has stopped");
                self.cluster.node(node).replace().unwrap();
                self.cluster.until_all_up().unwrap();
                Ok(String::new())
            }
            (["systemctl", word, "weir"], None) => {
                self.machine(on).systemctl_weir(word);
                Ok(String::new())
            }
            (["systemctl", word, "haproxy"], None) => {
                let file = self.machine(on).here("/etc/haproxy/haproxy.cfg");
                match (*word, &mut self.balancer) {
                    ("reload", Some(balancer)) => balancer.reload(),
                    (_, balancer) => *balancer = Some(Balancer::start(Path::new(&file))),
                }
                Ok(String::new())
            }
            (["scp", file, to], None) => {
                let (to, place) = to.split_once(':').expect("machine:file");
                let (from, to) = (self.machine(on).here(file), self.machine(to).here(place));
                std::fs::copy(from, to).unwrap();
                Ok(String::new())
            }
            _ => self.shell(line, on),
        }
    }
    /// Types a line, and again while it only asks and the answer is not yet the page's: what machines say of each other is true a
    /// moment later.
    fn types_until_it_is_so(&mut self, line: &str, on: &str) {
        let (line, comment) = line.split_once(" # ").unwrap_or((line, ""));
        let line = line.trim();
        let promised = comment.trim().strip_prefix("prints ");
        let only_asks = promised.is_some() && !line.contains(" -d ");
        let deadline = Instant::now() + WAIT;
        loop {
            let outcome = self.types(line, on);
            match outcome {
                Ok(said) if promised.is_none_or(|promised| is_as_promised(&said, promised)) => {
                    println!("{on}: {line}\n{said}");
                    return;
                }
                outcome => {
                    assert!(
                        only_asks && Instant::now() < deadline,
                        "on {on}: {line} # {comment}\n{outcome:?}\n{}",
                        self.machine(on).log()
                    );
                }
            }
        }
    }
    fn shell(&mut self, line: &str, on: &str) -> Result<String, String> {
        let own_commands = std::iter::once(self.commands.to_path_buf());
        let path = std::env::join_paths(own_commands.chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())));
        let upstream = self.upstream.address().to_string();
        let machine = self.machine(on);
        let line = machine.here(line).replace(&machine.here("10.0.0.40:8080"), &upstream);
        let mut shell = Command::new("sh");
        let output = shell.args(["-ec", &line]).current_dir(&machine.root).env("PATH", path.unwrap()).output().unwrap();
        let said = printed(&output);
        if output.status.success() { Ok(said) } else { Err(format!("{line}: {}\n{said}", output.status)) }
    }
}

/// Whether what was printed is what the page says: `TEXT`, or `NUMBER x TEXT`.
fn is_as_promised(said: &str, promised: &str) -> bool {
    match promised.split_once(" x ").and_then(|(count, text)| Some((count.parse::<usize>().ok()?, text))) {
        Some((count, text)) => said.matches(text).count() == count,
        None => said.to_lowercase().contains(&promised.to_lowercase()),
    }
}

#[test]
fn every_line_of_the_page_works_as_printed() {
    let cluster = cassandra();
    let computer = tempfile::tempdir().unwrap();
    let machine = |name: &str, number| Machine::new(name, address(&cluster, number), computer.path());
    let machines = vec![machine("a", 21), machine("b", 22), machine("c", 23), machine("lb", 30)];
    settings_of_the_page(&machines.iter().collect::<Vec<_>>(), "weir");
    let commands = computer.path().join("bin");
    std::fs::create_dir(&commands).unwrap();
    std::os::unix::fs::symlink(weir_binary(), commands.join("weir")).unwrap();
    let (upstream, commands) = (Upstream::start(), commands.as_path());
    let mut operator = Operator { cluster: &cluster, machines, balancer: None, upstream, commands, replacing: None };
    let mut typed = 0;
    for block in blocks() {
        match block.language {
            "toml" | "haproxy" => {}
            "yaml" => {
                for node in cluster.nodes() {
                    let yaml = std::fs::read_to_string(node.settings_file()).unwrap();
                    block.text.lines().for_each(|line| assert!(yaml.contains(line), "the nodes of this test have no `{line}`"));
                }
            }
            "sh" => {
                for Part { names, in_turn, lines } in parts(block.text) {
                    typed += names.len() * lines.len();
                    if in_turn {
                        names.iter().for_each(|name| lines.iter().for_each(|line| operator.types_until_it_is_so(line, name)));
                    } else {
                        lines.iter().for_each(|line| names.iter().for_each(|name| operator.types_until_it_is_so(line, name)));
                    }
                }
            }
            other => panic!("nobody runs blocks of {other}"),
        }
    }
    assert!(typed > 50, "{typed} lines were typed");
}
