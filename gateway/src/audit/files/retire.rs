//! What becomes of lines whose time is over.
//!
//! ```text
//! a day is over --> a new file: a file's lines are of one day
//! its newest line is older than the period, and no legal hold stands --> file_retired {name, bytes, sha256, last_n, last_hash},
//!                                                                     durable --> the file is removed
//! ```
//! **Never silently**: the line is durable before the file goes, and the line that says so is in the part that is left, so the
//! verification tells a cut that the gateway made from one that somebody else did. A crash between the two says it twice; a file that
//! cannot be removed is tried again every hour, and not said again.
//!
//! A file without a whole line goes with the file before it, and is named: it has no age of its own.
//!
//! **While a legal hold stands, whoever's it is, nothing goes**: a file holds lines about everybody. Without a period, which is the
//! default, nothing is ever removed here, and files are as large as they may be.
//!
//! Whoever writes waits for it: at most one file, 16 MiB to read, every [`LOOK_MS`] while there are such, every hour otherwise.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::super::hash::{self, Hash};
use super::super::line::{FileNote, Note};
use super::super::look::What;
use super::end::end_of;
use super::newest::{Newest, sync};
use super::{AccessFiles, SUPERSEDED, indices};
use crate::retention::Holds;

/// Between a file that was removed and the look at the next.
const LOOK_MS: u64 = 10_000;
/// Between looks that find nothing.
const REST_MS: u64 = 3_600_000;
const DAY_MS: u64 = 86_400_000;

/// How long lines are kept.
#[derive(Debug, Clone)]
pub struct KeepLines {
    age_ms_max: u64,
    holds: Holds,
    next_look_ms: u64,
    /// What the chain said is removed, and could not be.
    said: Vec<FileNote>,
    /// [`fs::remove_file`]; a test has one that fails.
    remove: fn(&Path) -> io::Result<()>,
}

/// A file whose time is over.
struct Over {
    path: PathBuf,
    note: FileNote,
}

impl KeepLines {
    /// For so many days, and while `holds` has one that stands; `None`, for ever, if it is 0 days.
    #[must_use]
    pub fn days(days: u32, holds: Holds) -> Option<Self> {
        (days > 0).then(|| Self {
            age_ms_max: u64::from(days) * DAY_MS,
            holds,
            next_look_ms: 0,
            said: Vec::new(),
            remove: |path| fs::remove_file(path),
        })
    }
}

impl AccessFiles {
    /// Whether the file's day is over, where lines go by their age: else a small force's file would be kept for months.
    pub(super) fn is_over(&self, newest: &Newest, at_ms: u64) -> bool {
        self.keep.is_some() && at_ms / DAY_MS > newest.began_ms / DAY_MS
    }

    /// Removes the oldest file if its time is over, once `newest` says so.
    ///
    /// # Errors
    /// The line could not be written. That a file cannot be read or removed is in the gateway's log, and tried again.
    pub(super) fn retire(&mut self, newest: &mut Newest, at_ms: u64) -> io::Result<()> {
        let Some(keep) = self.keep.as_mut().filter(|keep| keep.next_look_ms <= at_ms) else { return Ok(()) };
        keep.next_look_ms = at_ms + REST_MS;
        let (limit_ms, holds) = (at_ms.saturating_sub(keep.age_ms_max), keep.holds.clone());
        let over = match self.over(newest.index, limit_ms) {
            Ok(over) if over.is_empty() => return Ok(()),
            Ok(over) => over,
            Err(error) => {
                tracing::warn!(%error, "the oldest file of the chain cannot be read: it stays");
                return Ok(());
            }
        };
        match holds.while_none_stands(|| self.remove(newest, &over, at_ms)) {
            Ok(Some(removed)) => removed?,
            Ok(None) => tracing::info!("a legal hold stands: nothing of the chain is removed"),
            Err(error) => tracing::warn!(%error, "nothing of the chain is removed"),
        }
        Ok(())
    }

    fn remove(&mut self, newest: &mut Newest, over: &[Over], at_ms: u64) -> io::Result<()> {
        let Some(keep) = self.keep.as_mut() else { return Ok(()) };
        let unsaid = over.iter().map(|over| &over.note).filter(|note| !keep.said.contains(note));
        let own = |file: &FileNote| Note { file: Some(file.clone()), ..Note::own(at_ms, What::FileRetired) };
        let notes: Vec<Note> = unsaid.map(own).collect();
        newest.write(&notes)?;
        let removed = over.iter().try_for_each(|over| (keep.remove)(&over.path));
        if let Err(error) = removed.and_then(|()| sync(&File::open(&self.dir)?)) {
            keep.said = over.iter().map(|over| over.note.clone()).collect();
            tracing::warn!(%error, "a file of the chain whose time is over could not be removed");
            return Ok(());
        }
        keep.said.clear();
        keep.next_look_ms = at_ms + LOOK_MS;
        tracing::info!(files = over.len(), "files of the chain were removed by age; the chain says which");
        Ok(())
    }

    /// The oldest file, if all of it is from before `limit_ms`, those behind it without a line, and what is older than the chain.
    fn over(&self, newest: u32, limit_ms: u64) -> io::Result<Vec<Over>> {
        let mut over = Vec::new();
        let mut has_line = false;
        for index in indices(&self.dir)?.into_iter().filter(|index| *index != newest) {
            let file = self.read(self.series.file_name(index))?;
            let end = end_of(&file.1);
            let Some((_, newest_ms)) = end.times_ms else {
                over.push(said(&self.dir, file, None));
                continue;
            };
            if has_line || newest_ms >= limit_ms {
                break;
            }
            has_line = true;
            over.push(said(&self.dir, file, end.hash.map(|hash| (end.n, hash))));
        }
        if has_line && self.dir.join(SUPERSEDED).is_file() {
            over.push(self.superseded()?);
        }
        Ok(over)
    }

    fn read(&self, name: String) -> io::Result<(String, Vec<u8>)> {
        let text = fs::read(self.dir.join(&name))?;
        Ok((name, text))
    }

    /// What is older than the chain. It may be of any size.
    fn superseded(&self) -> io::Result<Over> {
        let path = self.dir.join(SUPERSEDED);
        let (sha256, bytes) = hash::of_all(BufReader::new(File::open(&path)?))?;
        let note = FileNote {
            name: Some(SUPERSEDED.to_owned()),
            bytes: Some(bytes),
            sha256: Some(sha256.to_string()),
            ..FileNote::default()
        };
        Ok(Over { path, note })
    }
}

fn said(dir: &Path, (name, text): (String, Vec<u8>), last: Option<(u64, Hash)>) -> Over {
    let path = dir.join(&name);
    let note = FileNote {
        name: Some(name),
        bytes: Some(text.len() as u64),
        sha256: Some(hash::of(&text).to_string()),
        last_n: last.map(|(n, _)| n),
        last_hash: last.map(|(_, hash)| hash.to_string()),
        ..FileNote::default()
    };
    Over { path, note }
}

#[cfg(test)]
mod tests;
