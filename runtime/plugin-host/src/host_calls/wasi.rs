//! WASI 0.2 with nothing in it, so that components of any language load.
//!
//! No files, sockets, environment or arguments. What is printed goes to the plugin's log; waiting ends the call. Own stubs rather
//! than `wasmtime-wasi`, whose streams and polls start a runtime of their own and so panic on our workers. Defined for each
//! component from its own imports: what of them is not in the table below ends the call by name.

use crate::bindings::weir::plugin::log::Level;
use crate::exchange::Kill;
use crate::limits::{LOG_LINE_BYTES, WASI_RANDOM_BYTES};
use crate::shared::unix_millis;
use crate::state::{Ended, State};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut};

/// The interfaces, without the version (any 0.2).
pub const PACKAGES: [&str; 6] = ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random", "wasi:sockets"];

// Host types of resources. No table stands behind them: a handle is only a number that says what it is.
struct InputStream;
struct OutputStream;
struct Pollable;
struct IoError;
struct TerminalInput;
struct TerminalOutput;
struct Descriptor;
/// Any other one: never given to a guest.
struct Absent;

/// The two streams that can be written to.
const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// What a pollable waits for: a stream, which is always ready, or time, which a plugin may not wait for.
const READY: u32 = 0;
const TIME: u32 = 1;

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

type Call<'a> = StoreContextMut<'a, State>;
type Streamed<T> = Result<(std::result::Result<T, StreamError>,)>;

/// Defines one item that a component imports from `interface` (`wasi:io/streams`).
pub fn define(linker: &mut LinkerInstance<'_, State>, interface: &str, name: &str, item: &ComponentItem) -> Result<()> {
    match item {
        ComponentItem::Resource(_) => linker.resource(name, resource(name), |_, _| Ok(())),
        ComponentItem::ComponentFunc(_) => {
            let function = name.rsplit_once(']').map_or(name, |(_, function)| function);
            let defined = match interface {
                "wasi:cli/environment" | "wasi:cli/exit" => define_cli(linker, name)?,
                "wasi:cli/stdin" | "wasi:cli/stdout" | "wasi:cli/stderr" => define_stdio(linker, name)?,
                "wasi:cli/terminal-stdin" | "wasi:cli/terminal-stdout" | "wasi:cli/terminal-stderr" => {
                    define_terminal(linker, name)?
                }
                "wasi:clocks/monotonic-clock" => define_monotonic_clock(linker, name)?,
                "wasi:clocks/wall-clock" => define_wall_clock(linker, name)?,
                "wasi:random/random" | "wasi:random/insecure" | "wasi:random/insecure-seed" => define_random(linker, name)?,
                "wasi:io/poll" => define_poll(linker, name, function)?,
                "wasi:io/streams" if name.starts_with("[method]input-stream.") => define_input(linker, name)?,
                "wasi:io/streams" => define_output(linker, name)?,
                "wasi:filesystem/preopens" => define_preopens(linker, name)?,
                _ => false,
            };
            if defined { Ok(()) } else { define_absent(linker, interface, name) }
        }
        // Types are only names here.
        _ => Ok(()),
    }
}

fn resource(name: &str) -> ResourceType {
    match name {
        "input-stream" => ResourceType::host::<InputStream>(),
        "output-stream" => ResourceType::host::<OutputStream>(),
        "pollable" => ResourceType::host::<Pollable>(),
        "error" => ResourceType::host::<IoError>(),
        "terminal-input" => ResourceType::host::<TerminalInput>(),
        "terminal-output" => ResourceType::host::<TerminalOutput>(),
        "descriptor" => ResourceType::host::<Descriptor>(),
        _ => ResourceType::host::<Absent>(),
    }
}

fn define_absent(linker: &mut LinkerInstance<'_, State>, interface: &str, name: &str) -> Result<()> {
    let message = format!("`{interface}` `{name}`: plugins have no files, sockets or processes");
    linker.func_new(name, move |mut call, _, _, _| {
        call.data_mut().charge(0)?;
        Err(wasmtime::Error::msg(message.clone()))
    })
}

fn define_cli(linker: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    let exit = |mut call: Call<'_>| -> Result<()> {
        call.data_mut().charge(0)?;
        Err(Ended("the plugin called `exit`").into())
    };
    match name {
        "get-environment" => linker.func_wrap(name, |mut call: Call<'_>, ()| {
            call.data_mut().charge(0)?;
            Ok((Vec::<(String, String)>::new(),))
        })?,
        "get-arguments" => linker.func_wrap(name, |mut call: Call<'_>, ()| {
            call.data_mut().charge(0)?;
            Ok((Vec::<String>::new(),))
        })?,
        "initial-cwd" => linker.func_wrap(name, |mut call: Call<'_>, ()| {
            call.data_mut().charge(0)?;
            Ok((None::<String>,))
        })?,
        "exit" => linker.func_wrap(name, move |call: Call<'_>, _: (std::result::Result<(), ()>,)| exit(call))?,
        "exit-with-code" => linker.func_wrap(name, move |call: Call<'_>, _: (u8,)| exit(call))?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn define_stdio(linker: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    let output = |linker: &mut LinkerInstance<'_, State>, stream: u32| {
        linker.func_wrap(name, move |mut call: Call<'_>, ()| {
            call.data_mut().charge(0)?;
            Ok((Resource::<OutputStream>::new_own(stream),))
        })
    };
    match name {
        "get-stdin" => linker.func_wrap(name, |mut call: Call<'_>, ()| {
            call.data_mut().charge(0)?;
            Ok((Resource::<InputStream>::new_own(0),))
        })?,
        "get-stdout" => output(linker, STDOUT)?,
        "get-stderr" => output(linker, STDERR)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn define_terminal(linker: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    match name {
        "get-terminal-stdin" => linker.func_wrap(name, |mut call: Call<'_>, ()| {
            call.data_mut().charge(0)?;
            Ok((None::<Resource<TerminalInput>>,))
        })?,
        "get-terminal-stdout" | "get-terminal-stderr" => linker.func_wrap(name, |mut call: Call<'_>, ()| {
            call.data_mut().charge(0)?;
            Ok((None::<Resource<TerminalOutput>>,))
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn define_monotonic_clock(linker: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    match name {
        "now" => linker.func_wrap(name, |mut call: Call<'_>, ()| {
            call.data_mut().charge(8)?;
            Ok((call.data().origin.shared.monotonic_ns(),))
        })?,
        "resolution" => linker.func_wrap(name, |mut call: Call<'_>, ()| {
            call.data_mut().charge(8)?;
            Ok((1u64,))
        })?,
        "subscribe-instant" | "subscribe-duration" => linker.func_wrap(name, |mut call: Call<'_>, _: (u64,)| {
            call.data_mut().charge(8)?;
            Ok((Resource::<Pollable>::new_own(TIME),))
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn define_wall_clock(linker: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    match name {
        "now" => linker.func_wrap(name, |mut call: Call<'_>, ()| {
            call.data_mut().charge(12)?;
            let millis = unix_millis();
            let nanoseconds = u32::try_from(millis % 1_000 * 1_000_000).unwrap_or(0);
            Ok((Datetime { seconds: millis / 1_000, nanoseconds },))
        })?,
        "resolution" => linker.func_wrap(name, |mut call: Call<'_>, ()| {
            call.data_mut().charge(12)?;
            Ok((Datetime { seconds: 0, nanoseconds: 1_000_000 },))
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn define_random(linker: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    fn number(state: &mut State) -> Result<u64> {
        state.charge(8)?;
        let bytes = state.random(8)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
    match name {
        "get-random-bytes" | "get-insecure-random-bytes" => linker.func_wrap(name, |mut call: Call<'_>, (length,): (u64,)| {
            let state = call.data_mut();
            if length > WASI_RANDOM_BYTES {
                return Err(state.end(Kill::Limit, "64 KiB of random bytes a call"));
            }
            // At most 64 KiB: the conversion keeps the value.
            let length = length as usize;
            state.charge(length)?;
            Ok((state.random(length)?,))
        })?,
        "get-random-u64" | "get-insecure-random-u64" => {
            linker.func_wrap(name, |mut call: Call<'_>, ()| Ok((number(call.data_mut())?,)))?;
        }
        "insecure-seed" | "get-insecure-seed" => {
            linker.func_wrap(name, |mut call: Call<'_>, ()| Ok(((number(call.data_mut())?, number(call.data_mut())?),)))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn define_poll(linker: &mut LinkerInstance<'_, State>, name: &str, function: &str) -> Result<bool> {
    fn waits(state: &mut State) -> wasmtime::Error {
        state.end(Kill::Wait, "a plugin may not wait")
    }
    match function {
        "pollable.ready" => linker.func_wrap(name, |mut call: Call<'_>, (pollable,): (Resource<Pollable>,)| {
            call.data_mut().charge(4)?;
            Ok((pollable.rep() == READY,))
        })?,
        "pollable.block" => linker.func_wrap(name, |mut call: Call<'_>, (pollable,): (Resource<Pollable>,)| {
            call.data_mut().charge(4)?;
            if pollable.rep() == READY { Ok(()) } else { Err(waits(call.data_mut())) }
        })?,
        "poll" => linker.func_wrap(name, |mut call: Call<'_>, (pollables,): (Vec<Resource<Pollable>>,)| {
            call.data_mut().charge(4 * pollables.len())?;
            let ready = (0u32..).zip(&pollables).filter(|(_, pollable)| pollable.rep() == READY);
            let ready: Vec<u32> = ready.map(|(index, _)| index).collect();
            if ready.is_empty() { Err(waits(call.data_mut())) } else { Ok((ready,)) }
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn define_input(linker: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    match name.trim_start_matches("[method]input-stream.") {
        "read" | "blocking-read" => {
            linker.func_wrap(name, |mut call: Call<'_>, _: (Resource<InputStream>, u64)| -> Streamed<Vec<u8>> {
                call.data_mut().charge(0)?;
                Ok((Err(StreamError::Closed),))
            })?;
        }
        "skip" | "blocking-skip" => {
            linker.func_wrap(name, |mut call: Call<'_>, _: (Resource<InputStream>, u64)| -> Streamed<u64> {
                call.data_mut().charge(0)?;
                Ok((Err(StreamError::Closed),))
            })?;
        }
        "subscribe" => linker.func_wrap(name, |mut call: Call<'_>, _: (Resource<InputStream>,)| {
            call.data_mut().charge(4)?;
            Ok((Resource::<Pollable>::new_own(READY),))
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn define_output(linker: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    match name.trim_start_matches("[method]output-stream.") {
        "check-write" => linker.func_wrap(name, |mut call: Call<'_>, _: (Resource<OutputStream>,)| -> Streamed<u64> {
            call.data_mut().charge(8)?;
            Ok((Ok(4 * LOG_LINE_BYTES as u64),))
        })?,
        "write" | "blocking-write-and-flush" => {
            linker.func_wrap(name, |mut call: Call<'_>, (stream, bytes): (Resource<OutputStream>, Vec<u8>)| -> Streamed<()> {
                let state = call.data_mut();
                state.charge(bytes.len())?;
                state.print(if stream.rep() == STDERR { Level::Warn } else { Level::Info }, &bytes);
                Ok((Ok(()),))
            })?;
        }
        "flush" | "blocking-flush" => {
            linker.func_wrap(name, |mut call: Call<'_>, _: (Resource<OutputStream>,)| -> Streamed<()> {
                call.data_mut().charge(0)?;
                Ok((Ok(()),))
            })?;
        }
        "subscribe" => linker.func_wrap(name, |mut call: Call<'_>, _: (Resource<OutputStream>,)| {
            call.data_mut().charge(4)?;
            Ok((Resource::<Pollable>::new_own(READY),))
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn define_preopens(linker: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    if name != "get-directories" {
        return Ok(false);
    }
    linker.func_wrap(name, |mut call: Call<'_>, ()| {
        call.data_mut().charge(0)?;
        Ok((Vec::<(Resource<Descriptor>, String)>::new(),))
    })?;
    Ok(true)
}
