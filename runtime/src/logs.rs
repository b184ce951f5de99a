//! The node's own log: JSON lines of fields, to standard error or a file. The level can change while the node runs.

use crate::settings::LogTarget;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, OnceLock};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

type Levels = reload::Handle<EnvFilter, Registry>;
static LEVELS: OnceLock<Levels> = OnceLock::new();

/// The node's rooms speak at the chosen level; libraries only from `warn` on, for their finer levels are for their authors.
fn filter(level: &str) -> EnvFilter {
    let rooms = ["weir", "weir_model", "weir_store", "weir_plugin_host", "weir_proxy", "weir_admin", "access", "plugin"];
    let library_level = if level == "error" { "error" } else { "warn" };
    EnvFilter::new(rooms.iter().fold(library_level.to_owned(), |all, room| format!("{all},{room}={level}")))
}

/// Begins to log. Called once.
pub fn begin(target: &LogTarget, level: &str) -> std::io::Result<()> {
    let writer = match target {
        LogTarget::Off => BoxMakeWriter::new(std::io::sink),
        LogTarget::Stdout => BoxMakeWriter::new(std::io::stdout),
        LogTarget::Stderr => BoxMakeWriter::new(std::io::stderr),
        LogTarget::File(path) => {
            BoxMakeWriter::new(Mutex::new(OpenOptions::new().create(true).append(true).mode(0o640).open(path)?))
        }
    };
    let (filter, levels) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
    tracing_subscriber::registry().with(filter).with(lines.with_writer(writer)).try_init().map_err(std::io::Error::other)?;
    drop(LEVELS.set(levels));
    Ok(())
}

/// Changes the level from now on.
pub fn set_level(level: &str) {
    if let Some(levels) = LEVELS.get()
        && let Err(error) = levels.reload(filter(level))
    {
        tracing::error!(%error, "the log level could not be changed");
    }
}
