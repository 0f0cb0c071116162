//! The file of a chain that is appended to.

use std::fs::File;
use std::io::{self, Write as _};

use super::super::hash::{self, Hash};
use super::super::line::{FileNote, Note};
use super::super::look::What;
use super::{Head, PURPOSE};
use crate::sabotage::{self, CrashPoint};

/// The file that is appended to.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) file: File,
    pub(super) index: u32,
    pub(super) bytes: u64,
    /// When its first line was written, Unix ms.
    pub(super) began_ms: u64,
    pub(super) n: u64,
    pub(super) hash: Hash,
}

impl Newest {
    /// Whether the chain comes to this head, or past it.
    pub(super) fn reaches(&self, head: &Head) -> bool {
        self.n > head.n || (self.n == head.n && self.hash.to_string() == head.hash)
    }

    /// Writes the notes and returns once they are durable.
    pub(super) fn write(&mut self, notes: &[Note]) -> io::Result<()> {
        self.write_behind(b"", notes)
    }

    /// Writes `start` and the notes at one go, and returns once they are durable.
    fn write_behind(&mut self, start: &[u8], notes: &[Note]) -> io::Result<()> {
        let mut text = start.to_vec();
        let (mut n, mut hash) = (self.n, self.hash);
        for note in notes {
            n += 1;
            hash = note.write(&mut text, n, &hash);
        }
        let is_disclosure = notes.iter().any(|note| note.disclosure.is_some());
        if is_disclosure && sabotage::ends_at(CrashPoint::HalfALine) {
            _ = self.file.write_all(&text[..text.len() / 2]);
            std::process::abort();
        }
        self.file.write_all(&text)?;
        if is_disclosure {
            sabotage::pass(CrashPoint::BeforeSync);
        }
        sync(&self.file)?;
        (self.n, self.hash) = (n, hash);
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// The line that a file begins with.
    pub(super) fn say_opened(&mut self, at_ms: u64) -> io::Result<()> {
        let mut note = Note::own(at_ms, What::FileOpened);
        note.file = Some(FileNote {
            previous: Some(self.hash.to_string()),
            purpose: Some(PURPOSE.to_owned()),
            ..FileNote::default()
        });
        self.write(&[note])
    }

    pub(super) fn say_torn(&mut self, line_feed: &[u8], torn: &[u8], at_ms: u64) -> io::Result<()> {
        let mut note = Note::own(at_ms, What::TornTail);
        note.file = Some(FileNote {
            previous: Some(self.hash.to_string()),
            bytes: Some(torn.len() as u64),
            sha256: Some(hash::of(torn).to_string()),
            ..FileNote::default()
        });
        tracing::warn!(bytes = torn.len(), "a torn line of the chain was ended");
        self.write_behind(line_feed, &[note])
    }
}

#[expect(clippy::disallowed_methods, reason = "not the spool's; a test holds the whole journal back instead")]
pub(super) fn sync(file: &File) -> io::Result<()> {
    file.sync_all()
}
