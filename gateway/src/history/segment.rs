//! A segment: the rows of one class and one hour that were written together. Written once, whole, never changed.
//!
//! **A segment is there whole or not at all**: written under another name, fsynced, renamed, its directory fsynced. Damage
//! costs the blocks it hits: each has its checksum, and so has each entry of the index.
//!
//! ```text
//! 0        header, 64 bytes: magic "FPHIST1\n" | crc32c of what follows | units u32 | rows u64 | index at u64
//!                            | first row's time u64 | last row's time u64 | zeros
//! 64       block | block ...        one a unit, in the order of the index (see `code`)
//! index    entry, 32 bytes ...      name hash u64 | place u64 | bytes u32 | rows u32 | crc32c of the block | of the entry
//! ```
//! Integers are little-endian. The index is in the order of the hash (first 8 bytes of the SHA-256 of `force/device`), so a
//! unit is found with some twenty small reads, none of which needs memory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;

use super::code;
use super::row::Row;
use crate::live::unit::UnitId;
use crate::spool::{Disk, DiskFile, read_full_at, write_all_at};

const MAGIC: [u8; 8] = *b"FPHIST1\n";
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 32;
/// Blocks are gathered to this size before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// What is known of a segment without reading its blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) units_count: u64,
    pub(super) rows_count: u64,
    pub(super) bytes: u64,
    pub(super) first_ms: u64,
    pub(super) last_ms: u64,
    index_at: u64,
}

/// Why a segment, or a part of it, could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SegmentError {
    #[error("cannot read {path}: {source}", path = .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is damaged ({what})", path = .path.display())]
    Damaged { path: PathBuf, what: &'static str },
}

/// A unit's name as the index knows it.
pub(super) fn hash_of(unit: &UnitId) -> u64 {
    let digest = digest::digest(&digest::SHA256, unit.to_string().as_bytes());
    u64::from_le_bytes(digest.as_ref()[..8].try_into().expect("SHA-256 is 32 bytes"))
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    at: u64,
    bytes: u32,
    rows: u32,
    check: u32,
}

impl Entry {
    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.hash.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.at.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.rows.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.check.to_le_bytes());
        let check = crc32c::crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let check = crc32c::crc32c(&bytes[..28]);
        (u32_at(bytes, 28) == check).then(|| Self {
            hash: u64_at(bytes, 0),
            at: u64_at(bytes, 8),
            bytes: u32_at(bytes, 16),
            rows: u32_at(bytes, 20),
            check: u32_at(bytes, 24),
        })
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Writes one segment. Units must come in the order of their hash. Dropped unfinished, it leaves a draft behind that the next
/// opening removes.
pub(super) struct Writer<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    draft: PathBuf,
    file: Arc<dyn DiskFile>,
    index: Vec<Entry>,
    waiting: Vec<u8>,
    at: u64,
    rows_count: u64,
    times: Option<(u64, u64)>,
}

/// Ending of a segment that is being written.
pub(super) const DRAFT: &str = "draft";

impl<'a> Writer<'a> {
    pub(super) fn create(disk: &'a dyn Disk, path: &Path) -> io::Result<Self> {
        let draft = path.with_extension(DRAFT);
        match disk.remove(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.create(&draft)?;
        Ok(Self {
            disk,
            path: path.to_owned(),
            draft,
            file,
            index: Vec::new(),
            waiting: Vec::new(),
            at: HEADER_BYTES as u64,
            rows_count: 0,
            times: None,
        })
    }

    /// Adds a unit's rows, which are in the order of their keys.
    pub(super) fn add(&mut self, unit: &UnitId, rows: &[Row]) -> io::Result<()> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        let (known_first, known_last) = self.times.unwrap_or((first.at_ms, last.at_ms));
        self.times = Some((known_first.min(first.at_ms), known_last.max(last.at_ms)));
        let start = self.waiting.len();
        code::encode(&mut self.waiting, unit, rows);
        let block = &self.waiting[start..];
        let too_large = |_| io::Error::other("one unit has more rows in an hour than a segment takes");
        self.index.push(Entry {
            hash: hash_of(unit),
            at: self.at + start as u64,
            bytes: u32::try_from(block.len()).map_err(too_large)?,
            rows: u32::try_from(rows.len()).map_err(too_large)?,
            check: crc32c::crc32c(block),
        });
        self.rows_count += rows.len() as u64;
        if self.waiting.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        write_all_at(&*self.file, &self.waiting, self.at)?;
        self.at += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    /// Makes the segment durable under its name; the caller fsyncs the directory. `None`, and no file, if it holds no row.
    pub(super) fn finish(mut self) -> io::Result<Option<Segment>> {
        let Some((first_ms, last_ms)) = self.times else {
            self.disk.remove(&self.draft)?;
            return Ok(None);
        };
        self.flush()?;
        let index_at = self.at;
        let entries: Vec<u8> = self.index.iter().flat_map(Entry::encode).collect();
        write_all_at(&*self.file, &entries, index_at)?;
        let segment = Segment {
            path: self.path,
            units_count: self.index.len() as u64,
            rows_count: self.rows_count,
            bytes: index_at + entries.len() as u64,
            first_ms,
            last_ms,
            index_at,
        };
        write_all_at(&*self.file, &segment.header(), 0)?;
        self.file.sync_data()?;
        self.disk.rename(&self.draft, &segment.path)?;
        Ok(Some(segment))
    }
}

impl Segment {
    fn header(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        let numbers =
            [self.units_count, self.rows_count, self.index_at, self.first_ms, self.last_ms, self.bytes];
        for (number, at) in numbers.iter().zip((16..).step_by(8)) {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let check = crc32c::crc32c(&bytes[16..]);
        bytes[8..12].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads the header of the segment at `path`.
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, SegmentError> {
        let damaged = |what| SegmentError::Damaged { path: path.to_owned(), what };
        let failed = |source| SegmentError::Io { path: path.to_owned(), source };
        let file = disk.open_read(path).map_err(failed)?;
        let mut bytes = [0; HEADER_BYTES];
        let read_bytes = read_full_at(&*file, &mut bytes, 0).map_err(failed)?;
        if read_bytes < HEADER_BYTES || bytes[..8] != MAGIC {
            return Err(damaged("not a segment of this version"));
        }
        if u32_at(&bytes, 8) != crc32c::crc32c(&bytes[16..]) {
            return Err(damaged("its header's checksum does not match"));
        }
        let segment = Self {
            path: path.to_owned(),
            units_count: u64_at(&bytes, 16),
            rows_count: u64_at(&bytes, 24),
            index_at: u64_at(&bytes, 32),
            first_ms: u64_at(&bytes, 40),
            last_ms: u64_at(&bytes, 48),
            bytes: u64_at(&bytes, 56),
        };
        if file.len().map_err(failed)? < segment.bytes {
            return Err(damaged("its end is missing"));
        }
        Ok(segment)
    }

    /// Opens the segment for reading rows.
    pub(super) fn read(&self, disk: &dyn Disk) -> Result<SegmentReader, SegmentError> {
        let file = disk.open_read(&self.path).map_err(|source| self.failed(source))?;
        Ok(SegmentReader { segment: self.clone(), file })
    }

    fn failed(&self, source: io::Error) -> SegmentError {
        SegmentError::Io { path: self.path.clone(), source }
    }

    fn damaged(&self, what: &'static str) -> SegmentError {
        SegmentError::Damaged { path: self.path.clone(), what }
    }
}

/// Reads rows of one segment.
pub(super) struct SegmentReader {
    segment: Segment,
    file: Arc<dyn DiskFile>,
}

impl SegmentReader {
    /// How many blocks there are.
    pub(super) fn units_count(&self) -> u64 {
        self.segment.units_count
    }

    /// The name hash of block `n`.
    pub(super) fn hash_at(&self, n: u64) -> Result<u64, SegmentError> {
        Ok(self.entry(n)?.hash)
    }

    /// The unit and rows of block `n`.
    pub(super) fn block(&self, n: u64) -> Result<(UnitId, Vec<Row>), SegmentError> {
        let entry = self.entry(n)?;
        let bytes = self.bytes_of(&entry)?;
        code::decode(&bytes).map_err(|_| self.segment.damaged("a block does not decode"))
    }

    /// The rows of `unit`, in the order of their keys; none if it has none here.
    pub(super) fn rows_of(&self, unit: &UnitId) -> Result<Vec<Row>, SegmentError> {
        let hash = hash_of(unit);
        let mut n = self.first_at_or_after(hash)?;
        while n < self.segment.units_count && self.hash_at(n)? == hash {
            let entry = self.entry(n)?;
            let bytes = self.bytes_of(&entry)?;
            let damaged = |_| self.segment.damaged("a block does not decode");
            if code::unit_of(&bytes).map_err(damaged)? == *unit {
                return code::decode(&bytes).map(|(_, rows)| rows).map_err(damaged);
            }
            n += 1;
        }
        Ok(Vec::new())
    }

    fn first_at_or_after(&self, hash: u64) -> Result<u64, SegmentError> {
        let (mut low, mut high) = (0, self.segment.units_count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.hash_at(middle)? < hash { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    fn entry(&self, n: u64) -> Result<Entry, SegmentError> {
        let mut bytes = [0; ENTRY_BYTES];
        let at = self.segment.index_at.saturating_add(n.saturating_mul(ENTRY_BYTES as u64));
        self.fill(&mut bytes, at)?;
        Entry::decode(&bytes).ok_or_else(|| self.segment.damaged("an entry of its index does not match"))
    }

    fn bytes_of(&self, entry: &Entry) -> Result<Vec<u8>, SegmentError> {
        if u64::from(entry.bytes) > self.segment.bytes {
            return Err(self.segment.damaged("a block is longer than the file"));
        }
        let mut bytes = vec![0; entry.bytes as usize];
        self.fill(&mut bytes, entry.at)?;
        if crc32c::crc32c(&bytes) == entry.check {
            Ok(bytes)
        } else {
            Err(self.segment.damaged("a block's checksum does not match"))
        }
    }

    fn fill(&self, bytes: &mut [u8], at: u64) -> Result<(), SegmentError> {
        let read_bytes =
            read_full_at(&*self.file, bytes, at).map_err(|source| self.segment.failed(source))?;
        if read_bytes == bytes.len() { Ok(()) } else { Err(self.segment.damaged("its end is missing")) }
    }
}
