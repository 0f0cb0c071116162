//! Refused events that a person sends again, or drops.
//!
//! ```text
//! fieldpost refused retry -> NAME.asked/ --forwarder--> NAME.again.ndjson --deliver--> Sink
//!                                            '- who asked for what, and why: on the disclosure log first
//! ```
//! **An event is in one of the files until its sink has it or a person dropped it.** What is chosen is durable in
//! `NAME.again.ndjson` before it leaves `NAME.ndjson`; a crash in between leaves it in both, and it is sent again once more under
//! the same key. A request is done for what was refused before it was made, so one that a crash repeats touches nothing that
//! nobody has seen. Of what is dropped a line without its event is left: `fieldpost trace` must not take it for accepted.
//!
//! **Where a period is promised for a record's class, its refused event has the same**, and the same legal holds: it is looked at once
//! an hour. What was chosen to be sent again is still to reach its sink, and stays.
//!
//! Bounds: one request at a time, [`ASKED_BYTES_MAX`] each; at most the two files of refusals wait to be sent again, and of
//! these [`CHUNK_COUNT`] events are in memory.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::refusals::{Line, Subject, again_of, older_of};
use crate::retention::{RetentionClass, Rules};
use crate::spool::{EntryClass, ExportedEntry, Keep as _, Pass, Verdict};

/// Longest request: 50,000 ids.
pub const ASKED_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most requests that wait: a person types them.
const ASKED_COUNT_MAX: usize = 1_000;
/// Events sent again in one go.
pub(super) const CHUNK_COUNT: usize = 256;

/// What a person wants done with refused events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Sent to the sink again.
    Retry,
    /// Removed for good.
    Drop,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// When, Unix ms: what is refused later is not meant.
    pub at_ms: u64,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
    /// What.
    pub wish: Wish,
    /// Which events, by id; all of them, if empty.
    #[serde(default)]
    pub ids: BTreeSet<String>,
}

/// A refused event, as a person is told of it: no position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The event's key.
    pub id: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it was refused, RFC 3339.
    pub refused_at: String,
    /// Why, from a closed list.
    pub reason: String,
    /// What the sink said.
    pub detail: String,
    /// Whether it can be sent again: what it takes was kept with it.
    pub can_be_sent: bool,
}

/// The files of one forwarder.
#[derive(Debug, Clone)]
pub struct RefusedFiles {
    newest: PathBuf,
}

/// A few of the events to be sent again.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) lines: Vec<Waiting>,
    /// Where the next ones begin, in bytes.
    pub(super) next: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) subject: Subject,
    /// Its line.
    pub(super) text: Vec<u8>,
}

impl RefusedFiles {
    /// Those beside the refusals at `newest`.
    #[must_use]
    pub fn new(newest: PathBuf) -> Self {
        Self { newest }
    }

    /// Every refused event that nobody dropped, the oldest first. Blocking; bounded by the two files.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn list(&self) -> io::Result<Vec<Refused>> {
        let mut all = Vec::new();
        for path in self.both() {
            each_line(&path, |_, line| {
                all.extend(line.filter(|line| line.dropped.is_none()).map(Refused::from));
                Ok(())
            })?;
        }
        Ok(all)
    }

    /// Asks the forwarder, which does it within a second or two, or at its next start. Blocking.
    ///
    /// # Errors
    /// The request cannot be made durable, or too many wait.
    pub fn ask(&self, asked: &Asked) -> io::Result<()> {
        let text = serde_json::to_vec(asked).map_err(io::Error::other)?;
        if text.len() as u64 > ASKED_BYTES_MAX {
            return Err(io::Error::other("too many ids at once: ask for all, or in parts"));
        }
        let dir = self.asked_dir();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        if self.requests()?.len() >= ASKED_COUNT_MAX {
            return Err(io::Error::other("too many requests wait: is the gateway running?"));
        }
        let name = format!("{:016}-{}", asked.at_ms, std::process::id());
        let unfinished = dir.join(format!(".{name}"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(&text)?;
        rename_durably(file, &unfinished, &dir.join(name))
    }

    /// Whether somebody asked, or something asked for is not done. Two looks at names.
    ///
    /// # Errors
    /// The directory of requests cannot be read.
    pub(super) fn has_work(&self) -> io::Result<bool> {
        Ok(self.again_path().try_exists()? || !self.requests()?.is_empty())
    }

    /// The oldest request, and how many events it means; `None` if there is none. One that cannot be read is put aside.
    /// Blocking.
    pub(super) fn next_asked(&self) -> io::Result<Option<(PathBuf, Asked, u64)>> {
        while let Some(path) = self.requests()?.into_iter().next() {
            let mut text = Vec::new();
            File::open(&path)?.take(ASKED_BYTES_MAX).read_to_end(&mut text)?;
            let Ok(asked) = serde_json::from_slice::<Asked>(&text) else {
                tracing::error!(path = %path.display(), "no request of ours about refused events: put aside");
                fs::rename(&path, path.with_extension("damaged"))?;
                continue;
            };
            let mut count = 0;
            for path in self.both() {
                each_line(&path, |_, line| {
                    count += u64::from(line.is_some_and(|line| asked.means(&line)));
                    Ok(())
                })?;
            }
            return Ok(Some((path, asked, count)));
        }
        Ok(None)
    }

    /// Does what was asked, up to the sending. Blocking.
    pub(super) fn carry_out(&self, request: &Path, asked: &Asked) -> io::Result<()> {
        for path in self.both() {
            self.carry_out_in(&path, asked)?;
        }
        remove(request)
    }

    fn carry_out_in(&self, path: &Path, asked: &Asked) -> io::Result<()> {
        if !path.exists() {
            return Ok(());
        }
        let unfinished = path.with_extension("unfinished");
        let mut left = BufWriter::new(create(&unfinished)?);
        let again = OpenOptions::new().append(true).create(true).mode(0o600).open(self.again_path())?;
        let mut again = BufWriter::new(again);
        each_line(path, |text, line| match line.filter(|line| asked.means(line)) {
            None => left.write_all(text),
            Some(line) if asked.wish == Wish::Drop => {
                let mut dropped = BytesMut::new();
                line.write_dropped(&mut dropped, &format!("by {}: {}", asked.by, asked.why));
                left.write_all(&dropped)
            }
            Some(_) => again.write_all(text),
        })?;
        // Here before it is gone there.
        let again = again.into_inner().map_err(io::IntoInnerError::into_error)?;
        sync(&again)?;
        sync_dir_of(path)?;
        if again.metadata()?.len() == 0 {
            remove(&self.again_path())?;
        }
        rename_durably(left.into_inner().map_err(io::IntoInnerError::into_error)?, &unfinished, path)
    }

    /// Leaves of every refused event whose record's period is over, and that no hold keeps, a line without the event. What a person
    /// sent again goes to the sink first. Blocking.
    ///
    /// # Errors
    /// A file cannot be read or written, or the holds cannot be read: the events stay.
    pub(super) fn let_expired_go(&self, rules: &Rules, now_ms: u64) -> io::Result<()> {
        for path in self.both() {
            self.let_expired_go_in(&path, rules, now_ms)?;
        }
        Ok(())
    }

    fn let_expired_go_in(&self, path: &Path, rules: &Rules, now_ms: u64) -> io::Result<()> {
        let mut pass = rules.begin(now_ms, false).map_err(io::Error::other)?;
        let (mut number, mut expired) = (0_usize, BTreeSet::new());
        each_line(path, |_, line| {
            if line.is_some_and(|line| is_expired(&mut *pass, rules, &line)) {
                expired.insert(number);
            }
            number += 1;
            Ok(())
        })?;
        if expired.is_empty() {
            return Ok(());
        }
        let unfinished = path.with_extension("unfinished");
        let mut left = BufWriter::new(create(&unfinished)?);
        number = 0;
        each_line(path, |text, line| {
            let line = line.filter(|_| expired.contains(&number));
            number += 1;
            let Some(line) = line else { return left.write_all(text) };
            let mut dropped = BytesMut::new();
            line.write_dropped(&mut dropped, "its period is over");
            left.write_all(&dropped)
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        pass.erasing(&format!("refused/{name}"), 0).map_err(io::Error::other)?;
        rename_durably(left.into_inner().map_err(io::IntoInnerError::into_error)?, &unfinished, path)
    }

    /// The events to be sent again that begin `from` bytes into their file; `None` at its end. Blocking.
    pub(super) fn chunk(&self, from: u64) -> io::Result<Option<Chunk>> {
        let mut file = match File::open(self.again_path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        file.seek(SeekFrom::Start(from))?;
        let mut chunk = Chunk { lines: Vec::new(), next: from };
        let mut file = BufReader::new(file);
        let mut text = Vec::new();
        while chunk.lines.len() < CHUNK_COUNT && file.read_until(b'\n', &mut text)? > 0 {
            chunk.next += text.len() as u64;
            let text = std::mem::take(&mut text);
            let subject = Line::parse(&text).and_then(|line| line.subject());
            chunk.lines.extend(subject.map(|subject| Waiting { subject, text }));
        }
        Ok((chunk.next > from).then_some(chunk))
    }

    /// Everything that was chosen is delivered, or refused or withheld and kept again. Blocking.
    pub(super) fn sent(&self) -> io::Result<()> {
        remove(&self.again_path())
    }

    /// Finished requests, the oldest first; a first look bounds how many.
    fn requests(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(self.asked_dir()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let is_finished = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        };
        let paths = entries.take(4 * ASKED_COUNT_MAX).map(|entry| entry.map(|entry| entry.path()));
        let mut paths =
            paths.filter(|path| path.as_ref().map_or(true, is_finished)).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    fn both(&self) -> [PathBuf; 2] {
        [older_of(&self.newest), self.newest.clone()]
    }

    fn again_path(&self) -> PathBuf {
        again_of(&self.newest)
    }

    fn asked_dir(&self) -> PathBuf {
        self.newest.with_extension("asked")
    }
}

impl Asked {
    fn means(&self, line: &Line) -> bool {
        let at_ms = u64::try_from(line.refused_at.as_millisecond()).unwrap_or(0);
        line.dropped.is_none()
            && at_ms <= self.at_ms
            && (self.ids.is_empty() || self.ids.contains(&line.event.id))
            && (self.wish == Wish::Drop || line.subject().is_some())
    }
}

impl From<Line> for Refused {
    fn from(line: Line) -> Self {
        let can_be_sent = line.subject().is_some();
        let refused_at = format!("{:.3}", line.refused_at);
        let (id, kind) = (line.event.id, line.event.kind);
        Self { id, kind, refused_at, reason: line.reason, detail: line.detail, can_be_sent }
    }
}

/// Whether a promised period of the line's record is over and nobody holds it.
fn is_expired(pass: &mut dyn Pass, rules: &Rules, line: &Line) -> bool {
    let Some(Subject::Record(kept)) = line.subject() else { return false };
    let mut payload = BytesMut::new();
    kept.record.encode(&mut payload);
    let class = RetentionClass::of(&kept.record);
    let entry = ExportedEntry {
        lsn: kept.record.lsn,
        class: EntryClass::Backlog,
        written_at_ms: None,
        payload: &payload,
    };
    rules.promises(class) && pass.judge(entry) == Verdict::Erase
}

/// Shows every whole line, with its line feed, and what it says; none if there is no file.
fn each_line(path: &Path, mut show: impl FnMut(&[u8], Option<Line>) -> io::Result<()>) -> io::Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let mut file = BufReader::new(file);
    let mut text = Vec::new();
    while file.read_until(b'\n', &mut text)? > 0 {
        if text.ends_with(b"\n") {
            show(&text, Line::parse(&text))?;
        }
        text.clear();
    }
    Ok(())
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn rename_durably(file: File, from: &Path, to: &Path) -> io::Result<()> {
    sync(&file)?;
    drop(file);
    fs::rename(from, to)?;
    sync_dir_of(to)
}

fn sync(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fdatasync(file)?)
}

fn sync_dir_of(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::fsync(File::open(path.parent().unwrap_or(Path::new(".")))?)?)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
