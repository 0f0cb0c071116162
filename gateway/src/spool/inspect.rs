//! Looking at a spool from outside: `ls`, `verify`, `export`.
//!
//! **Nothing is written and no lock is taken**, so all three work on a spool in use and on a copy. Beside a running
//! gateway the very end is a moment's picture: a batch on its way looks torn, a segment may be retired meanwhile.

use std::io;
use std::path::Path;

use serde::Serialize;

use super::batch::{Gap, GapReason};
use super::cursor::{CURSOR_DIR, LanePlaces, read_cursors, read_lanes};
use super::disk::Disk;
use super::format::{segment_base, segment_name};
use super::log::SegmentMeta;
use super::recovery::{TornTail, find_tail, io_error, read_meta, read_segment};
use super::shared::CursorStats;
use super::{EntryClass, Lsn, RealDisk, SpoolError};
use super::{archive, archive_file};

/// One segment file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentListing {
    /// File name.
    pub file: String,
    /// Its first entry.
    pub first: Lsn,
    /// Its last entry; `None` for the last segment, whose end only reading it tells.
    pub last: Option<Lsn>,
    /// File length.
    pub bytes: u64,
    /// When it was started, unix ms; `None` if its header is damaged.
    pub created_at_ms: Option<u64>,
}

/// What [`ls`] found, read from names and headers only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// In order.
    pub segments: Vec<SegmentListing>,
    /// Preallocated files.
    pub spares_count: u64,
    /// Bytes of segments and spares.
    pub bytes: u64,
    /// Files kept of segments that went.
    pub archive_files_count: u64,
    /// Their bytes.
    pub archive_bytes: u64,
    /// Position of every cursor; a damaged one stands before the earliest entry.
    pub cursors: Vec<CursorStats>,
    /// Cursors whose file is damaged.
    pub cursors_damaged: Vec<String>,
}

/// One segment, read whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentVerdict {
    /// File name.
    pub file: String,
    /// Intact entries.
    pub entries_count: u64,
    /// False if both copies of the header are damaged.
    pub header_is_readable: bool,
}

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// True if every entry is intact and every cursor readable. A torn tail is no damage: it was never acknowledged.
    pub is_sound: bool,
    /// Intact entries.
    pub entries_count: u64,
    /// Earliest entry.
    pub first: Lsn,
    /// Newest intact entry.
    pub last: Lsn,
    /// Lost entries.
    pub damaged: Vec<Gap>,
    /// An unfinished batch at the end.
    pub torn: Option<TornTail>,
    /// Every segment.
    pub segments: Vec<SegmentVerdict>,
    /// Cursors whose file is damaged.
    pub cursors_damaged: Vec<String>,
    /// What is kept of segments that went.
    pub archive: Vec<ArchiveVerdict>,
}

/// One file of the archive, read whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArchiveVerdict {
    /// File name, in `archive`.
    pub file: String,
    /// Intact entries.
    pub entries_count: u64,
    /// Lost entries, at least.
    pub damaged_count: u64,
    /// False if both copies of the header are damaged: all of it is lost.
    pub header_is_readable: bool,
}

/// One entry as [`export`] hands it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportedEntry<'a> {
    /// Its place.
    pub lsn: Lsn,
    /// Its class.
    pub class: EntryClass,
    /// When the writer took the batch that it was committed with, unix ms; `None` if that is not kept: the archive does not.
    pub written_at_ms: Option<u64>,
    /// What was appended.
    pub payload: &'a [u8],
}

/// What [`export`] did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportSummary {
    /// Entries handed over.
    pub entries_count: u64,
    /// Entries in the range that are lost.
    pub damaged: Vec<Gap>,
}

/// Lists a spool directory. Blocking; reads header pages only.
///
/// # Errors
/// Storage errors, a newer format.
pub fn ls(dir: &Path) -> Result<Listing, SpoolError> {
    ls_on(&RealDisk, dir)
}

/// Reads every byte of a spool and says what is intact. Blocking; needs memory for one segment.
///
/// # Errors
/// Storage errors (not damage, which is the result), a newer format.
pub fn verify(dir: &Path) -> Result<Verification, SpoolError> {
    verify_on(&RealDisk, dir)
}

/// Hands every intact entry from `from` to `to` (inclusive) to `each`, in order. Blocking.
///
/// # Errors
/// Storage errors, a newer format, and whatever `each` returns.
pub fn export(
    dir: &Path,
    from: Lsn,
    to: Lsn,
    each: &mut dyn FnMut(ExportedEntry<'_>) -> io::Result<()>,
) -> Result<ExportSummary, SpoolError> {
    export_on(&RealDisk, dir, from, to, each)
}

/// How far every sink has got, lane by lane; a damaged cursor is left out. Blocking.
///
/// # Errors
/// Storage errors.
pub fn lanes(dir: &Path) -> Result<LanePlaces, SpoolError> {
    let dir = dir.join(CURSOR_DIR);
    match read_lanes(&RealDisk, &dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(LanePlaces::new()),
        read => read.map_err(io_error("read", &dir)),
    }
}

/// [`ls`] on any disk.
///
/// # Errors
/// As [`ls`].
pub fn ls_on(disk: &dyn Disk, dir: &Path) -> Result<Listing, SpoolError> {
    let metas = segments_of(disk, dir)?;
    let names = disk.list(dir).map_err(io_error("list", dir))?;
    let spares = names
        .iter()
        .filter(|name| name.starts_with("spare-"))
        .filter_map(|name| disk.open_read(&dir.join(name)).ok()?.len().ok());
    let (spares_count, spare_bytes) = spares.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
    let (cursors, cursors_damaged) = cursors_of(disk, dir, &metas)?;
    let segments = metas.iter().enumerate().map(|(index, meta)| SegmentListing {
        file: segment_name(Lsn(meta.base)),
        first: Lsn(meta.base),
        last: metas.get(index + 1).map(|next| Lsn(next.base - 1)),
        bytes: meta.file_bytes,
        created_at_ms: meta.header.map(|header| header.created_at_ms),
    });
    let archived = archive::list(disk, dir).map_err(io_error("list the archive of", dir))?;
    let archive_bytes = archived.iter().filter_map(|(_, path)| disk.open_read(path).ok()?.len().ok()).sum();
    Ok(Listing {
        archive_files_count: archived.len() as u64,
        archive_bytes,
        segments: segments.collect(),
        spares_count,
        bytes: spare_bytes + metas.iter().map(|meta| meta.file_bytes).sum::<u64>(),
        cursors,
        cursors_damaged,
    })
}

/// [`verify`] on any disk.
///
/// # Errors
/// As [`verify`].
pub fn verify_on(disk: &dyn Disk, dir: &Path) -> Result<Verification, SpoolError> {
    let metas = segments_of(disk, dir)?;
    let (_, cursors_damaged) = cursors_of(disk, dir, &metas)?;
    let first = metas.first().map_or(1, |meta| meta.base);
    let mut found = Verification {
        is_sound: true,
        entries_count: 0,
        first: Lsn(first),
        last: Lsn(first - 1),
        damaged: Vec::new(),
        torn: None,
        segments: Vec::new(),
        cursors_damaged,
        archive: Vec::new(),
    };
    walk_archive(disk, dir, &mut |_| {}, &mut |verdict| found.archive.push(verdict))?;
    for (index, meta) in metas.iter().enumerate() {
        let next_base = metas.get(index + 1).map(|next| next.base);
        let mut entries_count = 0;
        let walk = walk_segment(disk, dir, meta, next_base, &mut |_| {
            entries_count += 1;
        })?;
        found.last = found.last.max(Lsn(walk.next_lsn - 1));
        found.entries_count += entries_count;
        found.damaged.extend(walk.damaged);
        found.torn = walk.torn;
        found.segments.push(SegmentVerdict {
            file: segment_name(Lsn(meta.base)),
            entries_count,
            header_is_readable: meta.header.is_some(),
        });
    }
    found.is_sound = found.damaged.is_empty()
        && found.cursors_damaged.is_empty()
        && found.segments.iter().all(|one| one.header_is_readable)
        && found.archive.iter().all(|one| one.header_is_readable && one.damaged_count == 0);
    Ok(found)
}

/// [`export`] on any disk.
///
/// # Errors
/// As [`export`].
pub fn export_on(
    disk: &dyn Disk,
    dir: &Path,
    from: Lsn,
    to: Lsn,
    each: &mut dyn FnMut(ExportedEntry<'_>) -> io::Result<()>,
) -> Result<ExportSummary, SpoolError> {
    let metas = segments_of(disk, dir)?;
    let mut summary = ExportSummary { entries_count: 0, damaged: Vec::new() };
    for (index, meta) in metas.iter().enumerate() {
        let next_base = metas.get(index + 1).map(|next| next.base);
        if meta.base > to.0 || next_base.is_some_and(|next| next <= from.0) {
            continue;
        }
        let mut outcome = Ok(());
        let walk = walk_segment(disk, dir, meta, next_base, &mut |entry| {
            if outcome.is_ok() && (from..=to).contains(&entry.lsn) {
                outcome = each(entry);
                summary.entries_count += 1;
            }
        })?;
        outcome.map_err(io_error("export from", dir))?;
        let within = |gap: &Gap| gap.from <= to && gap.to >= from;
        summary.damaged.extend(walk.damaged.into_iter().filter(within));
    }
    Ok(summary)
}

/// Hands every intact entry of the archive of the spool in `dir` to `each`, oldest first, and each file's verdict to
/// `verdict`. An entry may be in a segment as well, after a crash or beside a running gateway. Blocking.
///
/// # Errors
/// Storage errors.
pub fn walk_archive(
    disk: &dyn Disk,
    dir: &Path,
    each: &mut dyn FnMut(ExportedEntry<'_>),
    verdict: &mut dyn FnMut(ArchiveVerdict),
) -> Result<(), SpoolError> {
    for (base, path) in archive::list(disk, dir).map_err(io_error("list the archive of", dir))? {
        let bytes = match disk.open_read(&path).and_then(|file| archive_file::read_whole(&*file)) {
            // Erased since the listing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            bytes => bytes.map_err(io_error("read", &path))?,
        };
        let found = archive_file::walk(&bytes, base, each);
        verdict(ArchiveVerdict {
            file: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            entries_count: found.map_or(0, |found| found.entries_count),
            damaged_count: found.map_or(0, |found| found.damaged_count),
            header_is_readable: found.is_some(),
        });
    }
    Ok(())
}

/// What one segment holds.
struct Walk {
    next_lsn: u64,
    damaged: Vec<Gap>,
    torn: Option<TornTail>,
}

fn walk_segment(
    disk: &dyn Disk,
    dir: &Path,
    meta: &SegmentMeta,
    next_base: Option<u64>,
    each: &mut dyn FnMut(ExportedEntry<'_>),
) -> Result<Walk, SpoolError> {
    let path = dir.join(segment_name(Lsn(meta.base)));
    let mut walk = Walk { next_lsn: meta.base, damaged: Vec::new(), torn: None };
    if let Some(header) = &meta.header {
        let file = match disk.open_read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Retired since the listing.
                walk.next_lsn = next_base.unwrap_or(meta.base);
                return Ok(walk);
            }
            file => file.map_err(io_error("open", &path))?,
        };
        let bytes = read_segment(&*file, meta.file_bytes).map_err(io_error("read", &path))?;
        let tail = find_tail(&bytes, header, next_base.unwrap_or(u64::MAX), each);
        walk.next_lsn = tail.next_lsn;
        walk.damaged = tail.damaged;
        walk.torn = tail.torn.filter(|_| next_base.is_none()).map(|(torn_bytes, entries_count)| TornTail {
            segment: segment_name(Lsn(meta.base)),
            at_offset: tail.end,
            bytes: torn_bytes,
            entries_count,
        });
    }
    if let Some(next_base) = next_base.filter(|&next| next > walk.next_lsn) {
        walk.damaged.push(Gap {
            from: Lsn(walk.next_lsn),
            to: Lsn(next_base - 1),
            reason: GapReason::Damaged,
        });
        walk.next_lsn = next_base;
    }
    Ok(walk)
}

/// Headers of all segments, in order. One that is retired meanwhile is not there.
fn segments_of(disk: &dyn Disk, dir: &Path) -> Result<Vec<SegmentMeta>, SpoolError> {
    let mut bases: Vec<_> =
        disk.list(dir).map_err(io_error("list", dir))?.iter().filter_map(|name| segment_base(name)).collect();
    bases.sort_unstable();
    let mut metas = Vec::new();
    for base in bases {
        match read_meta(disk, &dir.join(segment_name(base)), base) {
            Err(SpoolError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            meta => metas.push(meta?),
        }
    }
    Ok(metas)
}

fn cursors_of(
    disk: &dyn Disk,
    dir: &Path,
    metas: &[SegmentMeta],
) -> Result<(Vec<CursorStats>, Vec<String>), SpoolError> {
    let cursor_dir = dir.join(CURSOR_DIR);
    let earliest = metas.first().map_or(0, |meta| meta.base - 1);
    let cursors = match read_cursors(disk, &cursor_dir, earliest) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Default::default(),
        read => read.map_err(io_error("read", &cursor_dir))?,
    };
    let stats = cursors.positions.into_iter();
    let stats = stats.map(|(name, position)| CursorStats { name, position: Lsn(position) });
    Ok((stats.collect(), cursors.damaged))
}
