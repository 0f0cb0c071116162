//! The file sink: one JSON event a line (NDJSON), for whatever reads files.
//!
//! **The cursor moves only after fdatasync, and the file itself says what it holds.** At open the sink reads the ids at
//! the end of the file (and of the newest rotated one): a batch that was written but whose cursor had not moved when
//! the gateway died is recognised and not written again; a torn last line is cut off. The promise is still *at least
//! once*: remove the file and a batch may come twice, with the same ids.
//!
//! ```text
//! records.ndjson                    appended; mode 0640; locked against a second gateway
//! records.ndjson.20261121T093000Z   rotated when the next batch would pass `rotate_bytes`; never deleted by us
//! ```
//!
//! A file that another tool moves away or deletes is noticed before the next batch, and a new one begun.

#[cfg(test)]
mod claims;
mod log_file;
mod tail;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use self::log_file::{LogFile, OpenError};
use super::event::{Event, EventState};
use super::{RetryReason, Sink, SinkError};

/// Where and how large.
#[derive(Debug, Clone)]
pub struct FileSettings {
    /// The file; its directory must exist.
    pub path: PathBuf,
    /// A batch that would make the file larger than this starts a new one; 0 never rotates.
    pub rotate_bytes: u64,
}

/// The sink.
pub struct FileSink {
    settings: FileSettings,
    storage: Arc<Storage>,
    state: State,
}

enum State {
    /// Not open, or not to be trusted after an error: the next attempt opens and recovers.
    Closed,
    Open(LogFile),
    /// A write is running on a blocking thread. If its attempt was cut off, the next one waits for it first.
    Writing(JoinHandle<Result<LogFile, OpenError>>),
}

/// One event to append.
struct Line {
    key: String,
    json: Bytes,
}

impl FileSink {
    /// A sink that opens its file at the first batch.
    #[must_use]
    pub fn new(settings: FileSettings) -> Self {
        Self { settings, storage: Arc::new(Storage::real()), state: State::Closed }
    }

    /// Starts appending `lines` unless a write that was cut off is still running; then waits for that one instead.
    async fn append(&mut self, lines: Vec<Line>) -> Result<(), OpenError> {
        if let State::Writing(handle) = &mut self.state {
            // Whether it went well does not matter: the next open reads from the file what arrived.
            let _outcome = handle.await;
            self.state = State::Closed;
        }
        let open = match std::mem::replace(&mut self.state, State::Closed) {
            State::Open(file) => Some(file),
            State::Closed | State::Writing(_) => None,
        };
        let settings = self.settings.clone();
        let storage = Arc::clone(&self.storage);
        let handle = tokio::task::spawn_blocking(move || append_blocking(open, &settings, storage, &lines));
        self.state = State::Writing(handle);
        let State::Writing(handle) = &mut self.state else { return Ok(()) };
        let outcome = handle.await;
        self.state = State::Closed;
        let file = outcome.map_err(|panic| OpenError::Io(panic.into()))??;
        self.state = State::Open(file);
        Ok(())
    }
}

impl Sink for FileSink {
    fn kind(&self) -> &'static str {
        "file"
    }

    async fn deliver(&mut self, events: &mut [Event]) -> Result<(), SinkError> {
        let lines = events
            .iter()
            .filter(|event| event.state == EventState::Owed)
            .map(|event| Line { key: event.key.clone(), json: event.json.clone() })
            .collect();
        self.append(lines).await.map_err(|error| {
            let reason = match error {
                OpenError::Io(_) => RetryReason::Storage,
                OpenError::Foreign(_) => RetryReason::Misconfigured,
            };
            SinkError::retry(reason, format!("{}: {error}", self.settings.path.display()))
        })
    }
}

fn append_blocking(
    open: Option<LogFile>,
    settings: &FileSettings,
    storage: Arc<Storage>,
    lines: &[Line],
) -> Result<LogFile, OpenError> {
    let mut file = match open {
        Some(file) if file.is_still_at(&settings.path) => file,
        _ => LogFile::open(&settings.path, storage)?,
    };
    let bytes = file.new_lines(lines);
    let full = settings.rotate_bytes > 0 && file.len() + bytes.len() as u64 > settings.rotate_bytes;
    if full && file.len() > 0 {
        file = file.rotate(&settings.path)?;
    }
    file.append(&bytes)?;
    Ok(file)
}

type WriteAll = dyn Fn(&File, &[u8]) -> io::Result<()> + Send + Sync;
type SyncData = dyn Fn(&File) -> io::Result<()> + Send + Sync;

/// The two calls that a bad disk fails, so that a test can fail them.
struct Storage {
    write_all: Box<WriteAll>,
    sync: Box<SyncData>,
}

impl Storage {
    fn real() -> Self {
        Self {
            write_all: Box::new(|mut file, bytes| file.write_all(bytes)),
            sync: Box::new(|file| Ok(rustix::fs::fdatasync(file)?)),
        }
    }
}

/// Opens for appending, created with `mode` if missing; a new file's name is durable on return.
fn open_append(path: &Path, mode: u32) -> io::Result<File> {
    let is_new = !std::fs::exists(path)?;
    let file = OpenOptions::new().read(true).append(true).create(true).mode(mode).open(path)?;
    if is_new {
        sync_dir_of(path)?;
    }
    Ok(file)
}

fn sync_dir_of(path: &Path) -> io::Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    Ok(rustix::fs::fsync(File::open(dir)?)?)
}

/// Appends `bytes` and makes them durable. For small, rare writes: opens and closes the file each time.
pub(super) fn append_durably(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = open_append(path, mode)?;
    let len = file.metadata()?.len();
    let written = file.write_all(bytes).and_then(|()| Ok(rustix::fs::fdatasync(&file)?));
    if written.is_err() {
        // Half a line would spoil the next one. What failed will be written again.
        file.set_len(len)?;
    }
    written
}
