//! `weir config export`: the stream of a node's Admin API becomes a file that is whole, or is not there.

use super::{Stop, grouped};
use crate::admin_api::{AdminApi, Sent};
use crate::exit::Exit;
use crate::http::Reply;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use weir_admin::export::{Line, Reader};

/// An answer that is no export: an error of the Admin API.
const ERROR_BYTES_MOST: u64 = 64 << 10;

/// To a file, or to standard output.
pub fn export(api: &AdminApi, out: Option<&Path>) -> Exit {
    let done = match out {
        None => stream(api, &mut std::io::stdout().lock()),
        Some(path) => to_file(api, path),
    };
    match done {
        Ok(Exported { entities, revision }) => {
            let place = out.map_or_else(String::new, |path| format!(" to {}", path.display()));
            eprintln!(
                "exported {} entities of revision {revision}{place}; keys and other secrets are in it in the clear",
                grouped(entities)
            );
            Exit::Success
        }
        Err(stop) => stop.exit(),
    }
}

struct Exported {
    entities: u64,
    revision: u64,
}

/// Removes what is not whole.
struct Unfinished {
    path: PathBuf,
    whole: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.whole {
            // What cannot be removed is told by its name.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn to_file(api: &AdminApi, path: &Path) -> Result<Exported, Stop> {
    let failed = |error: std::io::Error| Stop::Again(format!("{}: {error}", path.display()));
    let name = path.file_name().ok_or_else(|| Stop::Change(format!("{} names no file", path.display())))?;
    let part = path.with_file_name(format!("{}.{}.part", name.to_string_lossy(), std::process::id()));
    // Keys are in it: nobody else may read it, from its first byte on.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).map_err(failed)?;
    let mut unfinished = Unfinished { path: part, whole: false };
    let mut file = BufWriter::new(file);
    let exported = stream(api, &mut file)?;
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().and_then(|()| std::fs::rename(&unfinished.path, path)).map_err(failed)?;
    unfinished.whole = true;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(exported)
}

fn stream(api: &AdminApi, out: &mut dyn Write) -> Result<Exported, Stop> {
    let silent = |error| Stop::Again(format!("{} does not answer: {error}", api.url()));
    let Reply { status, body, .. } = api.open("GET", "/config", Sent::Nothing).map_err(silent)?;
    if status != 200 {
        let mut text = Vec::new();
        body.take(ERROR_BYTES_MOST).read_to_end(&mut text).map_err(silent)?;
        let message = serde_json::from_slice::<Value>(&text).ok();
        let message = message.as_ref().and_then(|body| body.get("message")?.as_str()).unwrap_or("no message");
        return Err(Stop::Again(format!("{} answered {status}: {message}", api.url())));
    }
    let mut reader = Reader::new(body);
    let mut exported = Exported { entities: 0, revision: 0 };
    loop {
        let line = reader.next_line();
        let line = line.map_err(|fault| Stop::Again(format!("the export from {} is not whole: {fault}", api.url())))?;
        match line {
            None => break,
            Some(Line::Header(header)) => exported.revision = header.revision.0,
            Some(Line::Entity(_)) => exported.entities += 1,
            Some(Line::Bytes(_) | Line::End(_)) => {}
        }
        out.write_all(reader.raw()).map_err(|error| Stop::Again(format!("the export cannot be written: {error}")))?;
    }
    out.flush().map_err(|error| Stop::Again(format!("the export cannot be written: {error}")))?;
    Ok(exported)
}
