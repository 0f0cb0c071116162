//! Writing the journal. Blocking; the live half runs it off its runtime.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::hash::{self, Hash};
use super::codec::{Entry, Known};
use super::format::{
    BATCH_HEAD_BYTES, BatchHead, FILE_HEAD_BYTES, MAGIC, PAYLOAD_BYTES_MAX, file_name, parse_name,
};
use crate::sabotage::{self, Sabotage};
use crate::spool::{Disk, DiskFile, read_full_at, write_all_at};

/// A full file: about ten minutes of a busy force of 10,000 units.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Milliseconds that a full file is kept.
    pub age_ms_max: u64,
    /// Bytes of all files together; the oldest give way.
    pub bytes_max: u64,
}

impl Default for Keep {
    /// 31 days, 16 GiB.
    fn default() -> Self {
        Self { age_ms_max: 31 * 24 * 3_600_000, bytes_max: 16 << 30 }
    }
}

/// Entries that are durable. Only the journal makes it; only its maker can send them.
#[derive(Debug)]
pub struct Committed {
    entries: Vec<Entry>,
}

/// The newest durable batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureHead {
    /// The newest change in it.
    pub n: u64,
    /// Its hash.
    pub hash: Hash,
}

impl PictureHead {
    /// Of a journal without a batch.
    #[must_use]
    pub fn none() -> Self {
        Self { n: 0, hash: hash::NOTHING }
    }
}

/// A file that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its first 40 bytes hold the hash of everything before it; this is that of the file itself.
    pub last: PictureHead,
}

/// The journal's writing end.
pub struct PictureFiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    keep: Keep,
    file_bytes_max: u64,
    head: PictureHead,
    next_index: u32,
    open: Option<Open>,
    retired: Vec<Retired>,
    /// Shown and not yet durable: only by sabotage.
    late: Vec<Entry>,
}

struct Open {
    file: Arc<dyn DiskFile>,
    bytes: u64,
    known: Known,
}

impl Committed {
    /// What is durable, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

impl PictureFiles {
    /// Finds where the journal ended, by the heads of its newest file's batches. Nothing is written before the first keyframe.
    ///
    /// # Errors
    /// The directory or the newest file cannot be read.
    pub fn open(disk: Arc<dyn Disk>, dir: PathBuf, keep: Keep) -> io::Result<Self> {
        disk.create_dir_all(&dir)?;
        let mut files = Self {
            disk,
            dir,
            keep,
            file_bytes_max: FILE_BYTES_MAX,
            head: PictureHead::none(),
            next_index: 1,
            open: None,
            retired: Vec::new(),
            late: Vec::new(),
        };
        if let Some((index, at_ms)) = files.list()?.last().copied() {
            files.head = files.end_of(&file_name(index, at_ms))?;
            files.next_index = index + 1;
        }
        Ok(files)
    }

    /// The same with smaller files, so that a test sees many.
    #[must_use]
    pub fn with_file_bytes_max(mut self, file_bytes_max: u64) -> Self {
        self.file_bytes_max = file_bytes_max;
        self
    }

    /// The newest durable batch.
    #[must_use]
    pub fn head(&self) -> PictureHead {
        self.head
    }

    /// Whether the next entry should be a keyframe: there is no file, or it is full.
    #[must_use]
    pub fn wants_keyframe(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.bytes >= self.file_bytes_max)
    }

    /// Files removed since the last call.
    pub fn take_retired(&mut self) -> Vec<Retired> {
        std::mem::take(&mut self.retired)
    }

    /// Makes entries durable. A keyframe begins a file. After an error the next entry must be one.
    ///
    /// # Errors
    /// What the operating system said: the entries may or may not be there, and must not be shown.
    pub fn commit(&mut self, at_ms: u64, entries: Vec<Entry>) -> io::Result<Committed> {
        let late = std::mem::take(&mut self.late);
        if sabotage::is(Sabotage::ShowBeforeLog) {
            self.late.clone_from(&entries);
        }
        let mut rest = if sabotage::is(Sabotage::ShowBeforeLog) { late.as_slice() } else { &entries };
        while !rest.is_empty() {
            let next_keyframe = rest[1..].iter().position(|entry| matches!(entry, Entry::Keyframe(_)));
            let (run, behind) = rest.split_at(next_keyframe.map_or(rest.len(), |at| at + 1));
            self.write(at_ms, run)?;
            rest = behind;
        }
        Ok(Committed { entries })
    }

    fn write(&mut self, at_ms: u64, entries: &[Entry]) -> io::Result<()> {
        let is_keyframe = matches!(entries.first(), Some(Entry::Keyframe(_)));
        let open = self.open.take();
        let mut open = match open {
            Some(open) if !is_keyframe => open,
            _ if is_keyframe => self.begin(at_ms)?,
            _ => return Err(io::Error::other("a picture journal begins with a keyframe")),
        };
        let mut payload = Vec::new();
        entries.iter().for_each(|entry| open.known.put(&mut payload, entry));
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(io::Error::other("a picture is longer than the journal takes"));
        }
        let n = entries.last().map_or(self.head.n, Entry::n);
        let head = BatchHead::of(&self.head.hash, at_ms, n, &payload);
        let mut bytes = Vec::with_capacity(BATCH_HEAD_BYTES + payload.len());
        head.put(&mut bytes);
        bytes.extend_from_slice(&payload);
        write_all_at(&*open.file, &bytes, open.bytes)?;
        open.file.sync_data()?;
        open.bytes += bytes.len() as u64;
        self.head = PictureHead { n, hash: head.hash };
        self.open = Some(open);
        Ok(())
    }

    fn begin(&mut self, at_ms: u64) -> io::Result<Open> {
        // What is too old or too much goes first: a full disk has room again.
        self.retire(at_ms)?;
        let index = self.next_index;
        // Half begun after an error, it is not begun again.
        self.next_index += 1;
        let file = self.disk.create(&self.dir.join(file_name(index, at_ms)))?;
        let head = [MAGIC.as_slice(), &self.head.hash.0].concat();
        write_all_at(&*file, &head, 0)?;
        self.disk.sync_dir(&self.dir)?;
        Ok(Open { file, bytes: head.len() as u64, known: Known::default() })
    }

    fn retire(&mut self, at_ms: u64) -> io::Result<()> {
        let files = self.list()?;
        let mut sizes = Vec::with_capacity(files.len());
        for (index, begun_ms) in &files {
            sizes.push(self.disk.open_read(&self.dir.join(file_name(*index, *begun_ms)))?.len()?);
        }
        let mut total: u64 = sizes.iter().sum();
        for (at, (index, begun_ms)) in files.iter().enumerate() {
            // A file ended when the next began; the newest ends now.
            let ended_ms = files.get(at + 1).map_or(at_ms, |(_, next_ms)| *next_ms);
            let is_old = at_ms.saturating_sub(ended_ms) > self.keep.age_ms_max;
            if !is_old && total + self.file_bytes_max <= self.keep.bytes_max {
                break;
            }
            let name = file_name(*index, *begun_ms);
            let last = self.end_of(&name)?;
            self.disk.remove(&self.dir.join(&name))?;
            total -= sizes[at];
            self.retired.push(Retired { name, bytes: sizes[at], last });
        }
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<(u32, u64)>> {
        let mut files: Vec<_> =
            self.disk.list(&self.dir)?.iter().filter_map(|name| parse_name(name)).collect();
        files.sort_unstable();
        Ok(files)
    }

    /// The last batch that is whole, by lengths alone: a torn one was never committed.
    fn end_of(&self, name: &str) -> io::Result<PictureHead> {
        let file = self.disk.open_read(&self.dir.join(name))?;
        let bytes = file.len()?;
        let mut head = [0; BATCH_HEAD_BYTES];
        let mut end = PictureHead::none();
        if read_full_at(&*file, &mut head[..FILE_HEAD_BYTES], 0)? == FILE_HEAD_BYTES {
            end.hash.0.copy_from_slice(&head[MAGIC.len()..FILE_HEAD_BYTES]);
        }
        let mut at = FILE_HEAD_BYTES as u64;
        while read_full_at(&*file, &mut head, at)? == BATCH_HEAD_BYTES {
            let Some(batch) = BatchHead::read(&head) else { break };
            at += (BATCH_HEAD_BYTES + batch.payload_bytes) as u64;
            if at > bytes || batch.payload_bytes == 0 {
                break;
            }
            end = PictureHead { n: batch.n, hash: batch.hash };
        }
        Ok(end)
    }
}

impl std::fmt::Debug for PictureFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PictureFiles")
            .field("dir", &self.dir)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}
