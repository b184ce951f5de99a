//! `cargo xtask cassandra`: a real Cassandra for the tests, once for all clones of this user; and a cluster to try things with.
//!
//! Cassandra is a hundred jars from the package registry that Maven is set up for, and a Java runtime. What is missing of Java and
//! Maven is installed with apt.

use crate::Outcome;
use crate::cargo::tool;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use weir_cassandra_harness::{Cluster, Installation, VERSION};

/// The Java that Cassandra 5.0 runs on and is tested with.
const JAVA: u32 = 17;

/// Prepares the folder that the tests look in. What is there already is left as it is.
pub fn prepare() -> Outcome {
    if Installation::find().is_ok() {
        return Ok(());
    }
    let folder = Installation::folder();
    eprintln!("xtask: preparing Cassandra {VERSION} in {} (once, some 70 MB)", folder.display());
    let java = match java_home() {
        Some(java) => java,
        None => {
            install("openjdk-17-jre-headless")?;
            java_home().ok_or("xtask: Java is installed and cannot be found; is `java` on the PATH?")?
        }
    };
    if !is_there("mvn", "-version") {
        install("maven")?;
    }
    // Filled beside it and renamed: it is there whole or not at all, also if two clones prepare it at once.
    let fresh = folder.with_extension(format!("new-{}", std::process::id()));
    let failed = |error: std::io::Error| format!("xtask: {}: {error}", fresh.display());
    std::fs::create_dir_all(&fresh).map_err(failed)?;
    std::fs::write(fresh.join("pom.xml"), pom()).map_err(failed)?;
    let mut copy = Command::new("mvn");
    copy.args(["-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]).current_dir(&fresh);
    tool(&mut copy)?;
    std::os::unix::fs::symlink(&java, fresh.join("java")).map_err(failed)?;
    if let Err(error) = std::fs::rename(&fresh, &folder) {
        // Somebody else was faster.
        drop(std::fs::remove_dir_all(&fresh));
        if Installation::find().is_err() {
            return Err(format!("xtask: {} cannot be put in its place ({error}); delete it and try again", folder.display()));
        }
    }
    Installation::find().map(drop).map_err(|error| format!("xtask: {error}"))
}

/// What the pages' commands are typed with, when tests run them.
pub fn prepare_shell() -> Outcome {
    for (program, flag) in [("curl", "--version"), ("openssl", "version")] {
        if !is_there(program, flag) {
            install(program)?;
        }
    }
    Ok(())
}

/// What gives a process another clock.
pub fn prepare_clocks() -> Outcome {
    if is_there("faketime", "--version") { Ok(()) } else { install("faketime") }
}

/// A cluster in the foreground, until Ctrl-C or the end of the input.
pub fn start(nodes: &str) -> Outcome {
    let count = nodes.parse::<usize>().map_err(|_| format!("xtask: `{nodes}` is no number of nodes"))?;
    prepare()?;
    eprintln!("xtask: starting {count} nodes of Cassandra; a minute or so");
    let cluster = Cluster::start(count).map_err(|error| format!("xtask: {error}"))?;
    let points: Vec<String> = cluster.contact_points().iter().map(|point| format!("\"{point}\"")).collect();
    println!("cassandra_contact_points = [{}]", points.join(", "));
    println!("cassandra_repl_factor = {count}");
    eprintln!("xtask: they run until Ctrl-C; what they hold is gone then");
    // The nodes die with this process, however it ends.
    loop {
        std::thread::park();
    }
}

fn pom() -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>weir</groupId><artifactId>cassandra-for-tests</artifactId><version>1</version><dependencies><dependency>\
         <groupId>org.apache.cassandra</groupId><artifactId>cassandra-all</artifactId><version>{VERSION}</version>\
         </dependency></dependencies></project>\n"
    )
}

/// Where a Java is that will do: the one of the PATH, else one that Debian has put beside it.
fn java_home() -> Option<PathBuf> {
    let of_path = Command::new("java").args(["-XshowSettings:properties", "-version"]).output().ok();
    let said = of_path.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
    let property =
        |name: &str| said.lines().find_map(|line| line.trim().strip_prefix(name)?.trim().strip_prefix('=')).map(str::trim);
    let version = property("java.specification.version").and_then(|version| version.parse::<u32>().ok());
    if version == Some(JAVA) {
        return property("java.home").map(PathBuf::from);
    }
    let beside = std::fs::read_dir("/usr/lib/jvm").ok()?.flatten().map(|entry| entry.path());
    beside.filter(|path| path.to_string_lossy().contains("-17-")).find(|path| path.join("bin/java").is_file())
}

fn is_there(program: &str, flag: &str) -> bool {
    let status = Command::new(program).arg(flag).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Installs a package of Debian's, as root or through sudo.
fn install(package: &str) -> Outcome {
    let root = is_root();
    let apt = |words: &[&str]| {
        let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
        if !root {
            command.args(["-n", "apt-get"]);
        }
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        tool(&mut command)
    };
    let way_out = |error| {
        format!("{error}\nxtask: the tests need the package {package}; install it (apt-get install {package}) and try again")
    };
    // A list that is not there, or old, is the usual reason that a package is not found.
    apt(&["update", "-q"]).and_then(|()| apt(&["install", "-y", "-q", "--no-install-recommends", package])).map_err(way_out)
}

/// Whether this process may install: `id` knows, on every system that has apt.
fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == "0")
}
