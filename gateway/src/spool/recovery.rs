//! Opening: what is there, where it ends, and what was lost.
//!
//! **Only the last segment is read; of all others only the header page.** So the time to open depends on the segment
//! length, not on the backlog. What is found at the tail is written again and synced before it counts as committed:
//! after a failed fsync or a kill it may be in the page cache only, and those pages may be marked clean.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::batch::{Gap, GapReason};
use super::cursor::{CURSOR_DIR, read_cursors, sync_cursors};
use super::disk::{DirLock, Disk, DiskFile, read_full_at, read_sectors_at, write_all_at};
use super::format::{
    BATCH_BYTES_MAX, HeaderError, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, Step, Window,
    segment_base, segment_name,
};
use super::log::{Log, SegmentMeta, Spare, create_spare, new_header, promote_spare};
use super::writer::Active;
use super::{ExportedEntry, Lsn, SpoolError, SpoolSettings};
use crate::sabotage::{self, Sabotage};

/// The end of the log was cut by a crash in the middle of a write. Those entries were never acknowledged, unless the
/// bytes were damaged later on the disk (then the device's receipt and our log disagree: the cut is logged for that).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TornTail {
    /// The segment's file name.
    pub segment: String,
    /// Where the log ends now.
    pub at_offset: u64,
    /// Bytes of the unfinished batch after that.
    pub bytes: u64,
    /// Entries the unfinished batch had promised beyond the last good one; 0 if its header did not survive.
    pub entries_count: u64,
}

/// What opening found. An empty spool and a clean one both give a clean report.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RecoveryReport {
    /// Segment files.
    pub segments_count: u64,
    /// Earliest entry kept.
    pub first: Lsn,
    /// Newest entry; the last good one if the tail was torn.
    pub last: Lsn,
    /// The torn tail, if there was one.
    pub torn: Option<TornTail>,
    /// Entries lost inside the last segment. Those of its last batch may never have been acknowledged.
    pub damaged: Vec<Gap>,
    /// Segments whose header is damaged beyond both copies: all their entries are lost (readers report them).
    pub unreadable_segments: Vec<String>,
    /// Cursors whose file was damaged: they start again at the earliest entry, so sinks see duplicates, not losses.
    pub cursors_reset: Vec<String>,
    /// Numbers skipped because a cursor is ahead of the log or a damaged last segment may have held them: entries that
    /// were delivered, or lost with the storage. They are never given out twice.
    pub skipped: Option<Gap>,
}

impl RecoveryReport {
    /// True if nothing had to be cut, skipped or given up.
    pub fn is_clean(&self) -> bool {
        self.torn.is_none()
            && self.damaged.is_empty()
            && self.unreadable_segments.is_empty()
            && self.cursors_reset.is_empty()
            && self.skipped.is_none()
    }
}

/// Everything a spool needs to start.
pub(super) struct Recovered {
    pub(super) log: Log,
    pub(super) active: Active,
    pub(super) next_lsn: u64,
    pub(super) lock: Box<dyn DirLock>,
    pub(super) report: RecoveryReport,
}

/// The end of a segment's records.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// After the last intact record.
    pub(super) end: u64,
    pub(super) next_lsn: u64,
    pub(super) damaged: Vec<Gap>,
    /// Bytes and entries of an unfinished batch after `end`.
    pub(super) torn: Option<(u64, u64)>,
}

/// Opens what is in `dir`, creating it if need be.
pub(super) fn recover(
    dir: &Path,
    settings: &SpoolSettings,
    disk: &dyn Disk,
) -> Result<Recovered, SpoolError> {
    let cursor_dir = dir.join(CURSOR_DIR);
    disk.create_dir_all(&cursor_dir).map_err(io_error("create", &cursor_dir))?;
    let lock = take_lock(dir, disk)?;
    let mut report = RecoveryReport::default();
    let mut log = list_files(dir, settings, disk, &mut report)?;
    // A rename of the last run may not have reached the disk.
    disk.sync_dir(dir).map_err(io_error("sync", dir))?;
    let tail = read_tail(dir, settings, disk, &log, &mut report)?;
    let mut next_lsn = tail.as_ref().map_or(1, |(tail, _)| tail.next_lsn);
    if let Some(segment) = log.segments.back_mut()
        && let Some((tail, _)) = &tail
    {
        segment.end = tail.end;
    }
    let cursors = read_cursors(disk, &cursor_dir, log.first() - 1).map_err(io_error("read", &cursor_dir))?;
    (log.cursors, report.cursors_reset) = (cursors.positions, cursors.damaged);
    sync_cursors(disk, &cursor_dir).map_err(io_error("make durable again", &cursor_dir))?;
    let furthest_cursor = cursors.foremost;
    if furthest_cursor >= next_lsn {
        report.skipped =
            Some(Gap { from: Lsn(next_lsn), to: Lsn(furthest_cursor), reason: GapReason::Damaged });
        next_lsn = furthest_cursor + 1;
    }
    let active = match tail {
        Some((_, Some(active))) if report.skipped.is_none() => active,
        _ => start_segment(dir, settings, disk, &mut log, next_lsn)?,
    };
    log.committed = next_lsn - 1;
    report.segments_count = log.segments.len() as u64;
    report.first = Lsn(log.first());
    report.last = Lsn(log.committed);
    Ok(Recovered { log, active, next_lsn, lock, report })
}

pub(super) fn io_error<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> SpoolError + 'a {
    move |source| SpoolError::Io { action, path: path.to_owned(), source }
}

fn take_lock(dir: &Path, disk: &dyn Disk) -> Result<Box<dyn DirLock>, SpoolError> {
    let path = dir.join("lock");
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => SpoolError::Locked { dir: PathBuf::from(dir) },
        _ => io_error("lock", &path)(error),
    })
}

/// Sorts the directory into segments and spares; removes what a crash left half-made.
fn list_files(
    dir: &Path,
    settings: &SpoolSettings,
    disk: &dyn Disk,
    report: &mut RecoveryReport,
) -> Result<Log, SpoolError> {
    let mut log = Log::default();
    let mut names = disk.list(dir).map_err(io_error("list", dir))?;
    names.sort_unstable();
    for name in names {
        let path = dir.join(&name);
        if let Some(base) = segment_base(&name) {
            let meta = read_meta(disk, &path, base)?;
            if meta.header.is_none() {
                report.unreadable_segments.push(name);
            }
            log.segments.push_back(meta);
        } else if let Some(serial) = spare_serial(&name) {
            log.spare_serial = log.spare_serial.max(serial);
            let zeroed = name.ends_with(".free");
            let bytes =
                disk.open_read(&path).and_then(|file| file.len()).map_err(io_error("look at", &path))?;
            let useful = bytes == settings.segment_bytes
                && (zeroed || (name.ends_with(".used") && !settings.erase_recycled));
            if useful {
                log.spares.push_back(Spare { name, zeroed });
            } else {
                disk.remove(&path).map_err(io_error("remove", &path))?;
            }
        }
    }
    Ok(log)
}

fn spare_serial(name: &str) -> Option<u64> {
    let (serial, _) = name.strip_prefix("spare-")?.split_once('.')?;
    serial.parse().ok()
}

/// Reads one header page.
pub(super) fn read_meta(disk: &dyn Disk, path: &Path, base: Lsn) -> Result<SegmentMeta, SpoolError> {
    let file = disk.open_read(path).map_err(io_error("open", path))?;
    let file_bytes = file.len().map_err(io_error("look at", path))?;
    let mut page = vec![0; SEGMENT_HEADER_BYTES];
    // An unreadable sector is damage like any other: the rest of the spool is still good.
    let read_bytes = read_full_at(&*file, &mut page, 0).unwrap_or(0);
    let header = match SegmentHeader::decode(&page[..read_bytes]) {
        Ok(header) if header.base == base.0 => Some(header),
        Ok(_) | Err(HeaderError::Damaged) => None,
        Err(HeaderError::Newer(version)) => {
            return Err(SpoolError::NewerFormat { path: path.to_owned(), version });
        }
    };
    Ok(SegmentMeta { base: base.0, header, end: file_bytes, file_bytes, pin: Arc::new(()) })
}

/// Reads the last segment, makes its tail durable, and returns it ready to go on, unless its header is lost.
fn read_tail(
    dir: &Path,
    settings: &SpoolSettings,
    disk: &dyn Disk,
    log: &Log,
    report: &mut RecoveryReport,
) -> Result<Option<(Tail, Option<Active>)>, SpoolError> {
    let Some(segment) = log.segments.back() else {
        return Ok(None);
    };
    let Some(header) = segment.header else {
        // How many entries it held is unknown; more than this is impossible.
        let next_lsn = segment.base.saturating_add(segment.file_bytes / RECORD_HEADER_BYTES as u64);
        report.skipped =
            Some(Gap { from: Lsn(segment.base), to: Lsn(next_lsn - 1), reason: GapReason::Damaged });
        let tail = Tail { end: segment.file_bytes, next_lsn, ..Tail::default() };
        return Ok(Some((tail, None)));
    };
    let name = segment_name(Lsn(segment.base));
    let path = dir.join(&name);
    let file = disk.open(&path).map_err(io_error("open", &path))?;
    let mut bytes = read_segment(&*file, segment.file_bytes).map_err(io_error("read", &path))?;
    if sabotage::is(Sabotage::DamageInRecovery) {
        let end = find_tail(&bytes, &header, u64::MAX, &mut |_| {}).end as usize;
        bytes[SEGMENT_HEADER_BYTES.midpoint(end)] ^= 1;
    }
    let tail = find_tail(&bytes, &header, u64::MAX, &mut |_| {});
    report.damaged.clone_from(&tail.damaged);
    report.torn = tail.torn.map(|(torn_bytes, entries_count)| TornTail {
        segment: name,
        at_offset: tail.end,
        bytes: torn_bytes,
        entries_count,
    });
    if settings.rewrites_tail() {
        rewrite_tail(&*file, &bytes, tail.end).map_err(io_error("make durable again", &path))?;
    }
    let active = Active { file, header, end: tail.end };
    Ok(Some((tail, Some(active))))
}

/// The whole file, with zeros for sectors that cannot be read.
pub(super) fn read_segment(file: &dyn DiskFile, file_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file_bytes).map_err(io::Error::other)?];
    if read_full_at(file, &mut bytes, 0).is_err() {
        read_sectors_at(file, &mut bytes, 0);
    }
    Ok(bytes)
}

/// Walks a whole segment, handing every intact record to `each` (LSN, class byte, payload).
pub(super) fn find_tail(
    bytes: &[u8],
    header: &SegmentHeader,
    limit: u64,
    each: &mut dyn FnMut(ExportedEntry<'_>),
) -> Tail {
    let window = Window { bytes, complete: true, seed: header.seed(), limit };
    let mut at = SEGMENT_HEADER_BYTES;
    let mut tail = Tail { end: at as u64, next_lsn: header.base, ..Tail::default() };
    // End and last LSN of the newest batch whose header is intact.
    let mut promised: Option<(u64, u64)> = None;
    let mut batch_at_ms = None;
    let mut before_last = (tail.end, tail.next_lsn);
    loop {
        match window.step(at, tail.next_lsn) {
            Step::Batch(batch) => {
                at += super::format::BATCH_HEADER_BYTES;
                promised =
                    Some((at as u64 + u64::from(batch.bytes), batch.first_lsn + u64::from(batch.count)));
                batch_at_ms = Some(batch.written_at_ms);
            }
            Step::Record { lsn, class, payload_start, end } => {
                before_last = (tail.end, tail.next_lsn);
                // Behind damage a record may stand without its batch.
                let written_at_ms = batch_at_ms.filter(|_| promised.is_some_and(|(_, next)| lsn < next));
                let payload = &bytes[payload_start..end];
                each(ExportedEntry { lsn: Lsn(lsn), class, written_at_ms, payload });
                at = end;
                tail.end = end as u64;
                tail.next_lsn = lsn + 1;
            }
            Step::Damage { resume_at, resume_lsn } => {
                if resume_lsn > tail.next_lsn {
                    tail.damaged.push(Gap {
                        from: Lsn(tail.next_lsn),
                        to: Lsn(resume_lsn - 1),
                        reason: GapReason::Damaged,
                    });
                }
                at = resume_at;
                tail.next_lsn = resume_lsn;
            }
            Step::NeedMore | Step::End => break,
        }
    }
    if sabotage::is(Sabotage::ForgetLastRecord) {
        (tail.end, tail.next_lsn) = before_last;
    }
    tail.torn = match promised {
        Some((end, next_lsn)) if next_lsn > tail.next_lsn => {
            Some((end.saturating_sub(tail.end), next_lsn - tail.next_lsn))
        }
        // In a file that began as zeros, anything after the end is the start of a batch.
        _ if !header.recycled => {
            let rest = bytes.get(tail.end as usize..).unwrap_or_default();
            rest.iter().rposition(|&byte| byte != 0).map(|last| (last as u64 + 1, 0))
        }
        _ => None,
    };
    tail
}

/// Writes the bytes that one in-flight batch may have touched once more, and syncs them.
fn rewrite_tail(file: &dyn DiskFile, bytes: &[u8], end: u64) -> io::Result<()> {
    let end = end as usize;
    let from = end.saturating_sub(BATCH_BYTES_MAX).max(SEGMENT_HEADER_BYTES);
    write_all_at(file, &bytes[from..end], from as u64)?;
    file.sync_data()
}

/// Adds a segment that starts with `base`.
fn start_segment(
    dir: &Path,
    settings: &SpoolSettings,
    disk: &dyn Disk,
    log: &mut Log,
    base: u64,
) -> Result<Active, SpoolError> {
    let spare = match log.spares.pop_front() {
        Some(spare) => spare,
        None => {
            log.spare_serial += 1;
            create_spare(disk, dir, log.spare_serial, settings.segment_bytes)
                .map_err(io_error("create a segment in", dir))?
        }
    };
    let header = new_header(settings, base, &spare);
    let (file, meta) =
        promote_spare(disk, dir, &spare, &header).map_err(io_error("start a segment in", dir))?;
    let end = meta.end;
    log.segments.push_back(meta);
    Ok(Active { file, header, end })
}
