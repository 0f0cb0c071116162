//! Who looked at positions: one line for each look, durable before the look (Data Protection Act 2018, section 62).
//!
//! **Log before look: no position is served before its line is fsynced.** If it cannot be written, nothing is shown. Looks
//! that wait together are written together. One JSON object a line; the file is opened anew for every writing, so that it
//! may be moved away at any time, and a line torn by a crash is ended before the next one begins.
//!
//! ```text
//! {"time":"2026-11-21T10:00:00.123Z","at_ms":..,"operator":"anna","session":"1f..","from":"127.0.0.1","what":"stream_opened","scope":"*"}
//! ```

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::metrics::Metrics;

/// File name in the data directory.
pub const ACCESS_FILE: &str = "access.ndjson";
/// Looks waiting to be written.
const WAITING_MAX: usize = 256;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An operator logged in.
    SessionOpened,
    /// The list of units was read.
    UnitsRead,
    /// The alarm queue was read.
    AlarmsRead,
    /// The loss ledger was read: no position, but when which device was heard.
    LedgerRead,
    /// A live page was opened: every position from here to its closing is shown.
    StreamOpened,
    /// It was closed.
    StreamClosed,
    /// An alarm, with its position, was taken.
    AlarmAcknowledged,
}

/// One look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Look {
    /// When, Unix ms.
    pub at_ms: u64,
    /// Who.
    pub operator: String,
    /// Which of their sessions; not the cookie.
    pub session: String,
    /// From which address.
    pub from: IpAddr,
    /// What they did.
    pub what: What,
    /// Whose positions: `*` for all, or `force/device`.
    pub scope: String,
}

/// The look was not written, so it must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the access record cannot be written: no position is shown until it can; check the data directory's disk"
)]
pub struct NotWritten;

/// Where lines become durable.
pub trait Journal: Send + 'static {
    /// Appends whole lines and returns once they are durable. Blocking.
    ///
    /// # Errors
    /// What the operating system said; the lines may or may not be there.
    fn append(&mut self, lines: &[u8]) -> io::Result<()>;
}

/// [`ACCESS_FILE`] in the data directory, mode 0600.
#[derive(Debug)]
pub struct AccessFile {
    path: PathBuf,
}

/// The way to the journal's writer. Clones share it.
#[derive(Debug, Clone)]
pub struct AccessLog {
    waiting: mpsc::Sender<Waiting>,
    metrics: Arc<Metrics>,
}

type Waiting = (Look, Option<oneshot::Sender<()>>);

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    look: &'a Look,
}

impl AccessFile {
    /// The file in `data_dir`.
    #[must_use]
    pub fn new(data_dir: &std::path::Path) -> Self {
        Self { path: data_dir.join(ACCESS_FILE) }
    }
}

impl Journal for AccessFile {
    #[expect(
        clippy::disallowed_methods,
        reason = "not the spool's; a test holds the whole journal back instead"
    )]
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let is_new = !self.path.exists();
        let mut options = fs::OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        if ends_torn(&mut file)? {
            file.write_all(b"\n")?;
        }
        file.write_all(lines)?;
        file.sync_all()?;
        if is_new && let Some(dir) = self.path.parent() {
            fs::File::open(dir)?.sync_all()?;
        }
        Ok(())
    }
}

fn ends_torn(file: &mut fs::File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

impl AccessLog {
    /// Starts the writer on the current runtime; it ends when every clone is gone.
    #[must_use]
    pub fn start(journal: impl Journal, metrics: Arc<Metrics>) -> Self {
        let (waiting, queue) = mpsc::channel(WAITING_MAX);
        tokio::spawn(write(queue, Box::new(journal)));
        Self { waiting, metrics }
    }

    /// Returns once the look is durable. Cancelled, the line may be written all the same.
    ///
    /// # Errors
    /// [`NotWritten`]: do not serve the position.
    pub async fn record(&self, look: Look) -> Result<(), NotWritten> {
        let (written, outcome) = oneshot::channel();
        let sent = self.waiting.send((look, Some(written))).await;
        let outcome = if sent.is_ok() { outcome.await.map_err(|_| NotWritten) } else { Err(NotWritten) };
        if outcome.is_err() {
            self.metrics.live.access_record_failures.inc();
        }
        outcome
    }

    /// Hands over a line that nothing waits for: the end of a look.
    pub fn note(&self, look: Look) {
        if self.waiting.try_send((look, None)).is_err() {
            self.metrics.live.access_record_failures.inc();
        }
    }
}

async fn write(mut queue: mpsc::Receiver<Waiting>, mut journal: Box<dyn Journal>) {
    let mut looks = Vec::new();
    while queue.recv_many(&mut looks, WAITING_MAX).await > 0 {
        let mut lines = Vec::new();
        for (look, _) in &looks {
            line(&mut lines, look);
        }
        let written = tokio::task::spawn_blocking(move || {
            let outcome = journal.append(&lines);
            (journal, outcome)
        });
        // Only a panic in the journal ends the writer; then every look is refused.
        let Ok((back, outcome)) = written.await else { return };
        journal = back;
        if let Err(error) = &outcome {
            tracing::error!(%error, "access record not written; positions are refused");
        }
        for (_, written) in looks.drain(..) {
            // Dropping the sender is the refusal.
            written.filter(|_| outcome.is_ok()).map(|written| written.send(()));
        }
    }
}

fn line(lines: &mut Vec<u8>, look: &Look) {
    let at_ms = i64::try_from(look.at_ms).unwrap_or(i64::MAX);
    let time =
        jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| String::new(), |time| format!("{time:.3}"));
    serde_json::to_writer(&mut *lines, &Line { time, look }).expect("strings and numbers are JSON");
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(operator: &str) -> Look {
        Look {
            at_ms: 1_795_000_000_123,
            operator: operator.to_owned(),
            session: "1f2e".to_owned(),
            from: "127.0.0.1".parse().unwrap(),
            what: What::StreamOpened,
            scope: "*".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_look_is_one_line_in_a_private_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let log = AccessLog::start(AccessFile::new(dir.path()), Metrics::new());
        log.record(look("anna")).await.unwrap();
        log.record(look("ben")).await.unwrap();
        let path = dir.path().join(ACCESS_FILE);
        let text = fs::read_to_string(&path).unwrap();
        let first = r#"{"time":"2026-11-18T11:06:40.123Z","at_ms":1795000000123,"operator":"anna","session":"1f2e","from":"127.0.0.1","what":"stream_opened","scope":"*"}"#;
        assert_eq!(text.lines().next(), Some(first));
        assert_eq!(text.lines().count(), 2);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_torn_line_does_not_swallow_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ACCESS_FILE);
        fs::write(&path, "{\"time\":\"2026-11-").unwrap();
        let log = AccessLog::start(AccessFile::new(dir.path()), Metrics::new());
        log.record(look("anna")).await.unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let last = text.lines().last().unwrap();
        assert_eq!((text.lines().count(), last.contains("anna")), (2, true));
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_refused_until_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ACCESS_FILE);
        fs::create_dir(&path).unwrap();
        let log = AccessLog::start(AccessFile::new(dir.path()), Metrics::new());
        assert_eq!(log.record(look("anna")).await, Err(NotWritten));
        fs::remove_dir(&path).unwrap();
        assert_eq!(log.record(look("anna")).await, Ok(()));
    }
}
