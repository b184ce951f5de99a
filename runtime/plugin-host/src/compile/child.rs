//! The compiling child: a component on stdin, machine code on stdout, limits on both sides of the pipe.
//!
//! A compiler that runs away on a hostile component must not take memory or cores from the threads that serve, and a fault in it
//! must not end the node.

use super::CompileError;
use crate::engine::compiler_config;
use crate::limits::*;
use rustix::process::{Resource, Rlimit, nice, setrlimit};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use wasmtime::Engine;

/// What the child says of a refusal at most.
const MESSAGE_BYTES: u64 = 4 << 10;

/// How often the parent looks whether the child has ended.
const LOOK: Duration = Duration::from_millis(5);

/// The signal of an exceeded CPU limit, the same number on every Linux.
const SIGXCPU: i32 = 24;

/// Entry point of the compiling child (`weir compile`): limits itself, reads a component from stdin, writes its machine code to
/// stdout. Exit code 1: the component is refused, and stderr says why.
pub fn compile_child() -> ExitCode {
    match limit_self().and_then(|()| compile_stdin()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn limit_self() -> Result<(), String> {
    let limit = |resource, value| {
        let limit = Rlimit { current: Some(value), maximum: Some(value) };
        setrlimit(resource, limit).map_err(|error| format!("the compiler could not be limited: {error}"))
    };
    limit(Resource::Cpu, COMPILE_CPU.as_secs())?;
    limit(Resource::As, COMPILE_ADDRESS_SPACE)?;
    // No core file: it would hold the component, and be large.
    limit(Resource::Core, 0)?;
    nice(COMPILE_NICE).map(drop).map_err(|error| format!("the compiler could not be niced: {error}"))
}

fn compile_stdin() -> Result<(), String> {
    let mut bytes = Vec::new();
    let stdin = std::io::stdin().lock();
    stdin.take(COMPONENT_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > COMPONENT_BYTES {
        return Err(format!("a component has at most {COMPONENT_BYTES} bytes"));
    }
    let engine = Engine::new(&compiler_config()).map_err(|error| format!("{error:#}"))?;
    let code = engine.precompile_component(&bytes).map_err(|error| format!("{error:#}"))?;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&code).and_then(|()| stdout.flush()).map_err(|error| error.to_string())
}

/// Runs the child. Blocks until it has ended.
pub fn compile(program: &Path, args: &[String], bytes: &[u8]) -> Result<Vec<u8>, CompileError> {
    let mut command = Command::new(program);
    // Nothing of the node's environment is the compiler's business.
    command.args(args).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(CompileError::Process)?;
    let outcome = converse(&mut child, bytes);
    // Ends it if it still runs; an error means that it does not.
    drop(child.kill());
    let status = child.wait().map_err(CompileError::Process)?;
    let (code, message) = outcome?;
    if status.signal() == Some(SIGXCPU) {
        return Err(CompileError::Limit("120 s of CPU time"));
    }
    match status.code() {
        Some(0) if code.len() <= COMPILED_BYTES => Ok(code),
        Some(0) => Err(CompileError::Limit("256 MiB of machine code")),
        Some(1) => Err(CompileError::Refused(String::from_utf8_lossy(&message).trim().to_owned())),
        _ => {
            Err(CompileError::Refused(format!("the compiler ended with {status}: {}", String::from_utf8_lossy(&message).trim())))
        }
    }
}

type Spoken = (Vec<u8>, Vec<u8>);

/// Feeds the child and reads both of its outputs, each on a thread of its own, so that no full pipe can stop the others.
fn converse(child: &mut Child, bytes: &[u8]) -> Result<Spoken, CompileError> {
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
        return Err(CompileError::Process(std::io::Error::other("a pipe is missing")));
    };
    let (done, wait) = mpsc::channel();
    std::thread::scope(|scope| {
        // A child that ends early closes the pipe; why, its status says.
        scope.spawn(move || drop(stdin.write_all(bytes)));
        let code = scope.spawn(move || {
            let code = read_up_to(stdout, COMPILED_BYTES as u64 + 1);
            // The receiver is gone only when the time is up.
            let _gone = done.send(());
            code
        });
        let message = scope.spawn(move || read_up_to(stderr, MESSAGE_BYTES));
        let in_time = wait_for(child, &wait);
        if !in_time {
            // Ends the child, which closes the pipes, which ends the threads.
            drop(child.kill());
        }
        let spoken = (code.join().unwrap_or_default(), message.join().unwrap_or_default());
        if in_time { Ok(spoken) } else { Err(CompileError::Limit("480 s")) }
    })
}

fn read_up_to(from: impl Read, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read before an error is judged by the child's status.
    drop(from.take(limit).read_to_end(&mut bytes));
    bytes
}

/// True when the child has closed its output and ended in time.
fn wait_for(child: &mut Child, closed: &mpsc::Receiver<()>) -> bool {
    let deadline = Instant::now() + COMPILE_WALL;
    if closed.recv_timeout(COMPILE_WALL).is_err() {
        return false;
    }
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(LOOK),
            Ok(Some(_)) | Err(_) => return true,
        }
    }
    false
}
