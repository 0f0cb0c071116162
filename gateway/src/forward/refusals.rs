//! Refused events, kept with their reason: one JSON line each, for a person to look at and send again.
//!
//! **A refused event is durable here before its place in the spool is given up.** Bound: two files of
//! [`REFUSALS_BYTES_MAX`]; when the second is full the older one goes, which the log says. They hold positions: mode 0600.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{BufMut as _, BytesMut};

use super::RefuseReason;
use super::event::Event;
use super::file::append_durably;
use super::json::Object;

/// Largest refusals file: about 50,000 events.
pub const REFUSALS_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Where the forwarder `name` keeps them.
#[must_use]
pub fn refusals_of(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join("refused").join(format!("{name}.ndjson"))
}

/// The refusals of one forwarder.
#[derive(Debug)]
pub struct Refusals {
    path: PathBuf,
}

impl Refusals {
    /// Refusals kept at `path` and, when that is full, `path.1`. Nothing is created before the first refusal.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Appends one event and makes it durable.
    ///
    /// # Errors
    /// What the file system said; the event is not kept then, or twice after a repetition.
    pub async fn keep(
        &self,
        event: &Event,
        reason: RefuseReason,
        detail: &str,
        refused_at_ms: u64,
    ) -> io::Result<()> {
        let mut line = BytesMut::new();
        let mut object = Object::open(&mut line);
        object.time("refused_at", refused_at_ms);
        object.text("reason", reason.as_str());
        object.text("detail", detail);
        object.number("lsn", event.lsn.0);
        object.raw("event", &event.json);
        object.close();
        line.put_u8(b'\n');
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || keep_line(&path, &line))
            .await
            .unwrap_or_else(|panic| Err(panic.into()))
    }
}

fn keep_line(path: &Path, line: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if bytes > 0 && bytes + line.len() as u64 > REFUSALS_BYTES_MAX {
        let mut older = path.as_os_str().to_owned();
        older.push(".1");
        if std::fs::exists(&older)? {
            tracing::error!(path = %path.display(), "refusals are full: the older half is dropped");
        }
        std::fs::rename(path, &older)?;
    }
    append_durably(path, line, 0o600)
}
