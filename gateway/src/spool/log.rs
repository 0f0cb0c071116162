//! The map of segments: which files hold which LSNs, which are spare, and who still needs them.
//!
//! **The map is the only authority on what exists.** A segment leaves the map before its file is touched, so no reader
//! can newly find it; one that a reader has pinned is unlinked (its bytes stay until the reader lets go) and never
//! recycled under the reader.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, DiskFile, write_all_at};
use super::format::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use super::{Lsn, SpoolSettings};

/// What is known of one segment without reading its records.
#[derive(Debug)]
pub(super) struct SegmentMeta {
    /// LSN of its first record.
    pub(super) base: u64,
    /// `None` if both copies of the header are damaged: its records cannot be checked, so they are lost.
    pub(super) header: Option<SegmentHeader>,
    /// End of its records, if known; else the end of the file.
    pub(super) end: u64,
    /// Length of its file.
    pub(super) file_bytes: u64,
    /// Held by readers that have the file open.
    pub(super) pin: Arc<()>,
}

/// A preallocated file waiting to become a segment.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) name: String,
    /// True if it holds nothing but zeros.
    pub(super) zeroed: bool,
}

/// Everything about files and positions, under one short lock. The last segment is the active one.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) segments: VecDeque<SegmentMeta>,
    pub(super) spares: VecDeque<Spare>,
    /// Taken from `spares` and not among `segments` yet: a file all the same.
    in_hand_count: u64,
    /// Next number for a spare's name.
    pub(super) spare_serial: u64,
    pub(super) committed: u64,
    /// Durable position of every cursor there is a file for.
    pub(super) cursors: BTreeMap<String, u64>,
    /// Names of the cursors that are open.
    pub(super) cursors_open: BTreeSet<String>,
    /// Why the spares could not be refilled the last time, if so.
    pub(super) scarce: Option<String>,
}

/// Where to read on.
#[derive(Debug)]
pub(super) enum View {
    /// Nothing committed from here on.
    Tail,
    /// The first LSN kept is later.
    Retired { first: u64 },
    /// In a segment whose header is lost; the next LSN that may be readable.
    Unreadable { limit: u64 },
    /// In this segment.
    Segment {
        header: SegmentHeader,
        end: u64,
        /// First LSN that is not in this segment or not committed.
        limit: u64,
        pin: Arc<()>,
    },
}

impl Log {
    /// The earliest LSN kept (or the next to come).
    pub(super) fn first(&self) -> u64 {
        self.segments.front().map_or(1, |segment| segment.base)
    }

    /// The position of the slowest cursor, if there is any.
    pub(super) fn slowest_cursor(&self) -> Option<u64> {
        self.cursors.values().min().copied()
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self, segment_bytes: u64) -> u64 {
        let segments: u64 = self.segments.iter().map(|segment| segment.file_bytes).sum();
        segments + (self.spares.len() as u64 + self.in_hand_count) * segment_bytes
    }

    /// Takes a spare to make a segment of it, until [`Log::add_segment`] or [`Log::put_back`].
    pub(super) fn take_spare(&mut self) -> Option<Spare> {
        let spare = self.spares.pop_front()?;
        self.in_hand_count += 1;
        Some(spare)
    }

    /// The spare could not become a segment now.
    pub(super) fn put_back(&mut self, spare: Spare) {
        self.in_hand_count -= 1;
        self.spares.push_front(spare);
    }

    /// The spare has become a segment.
    pub(super) fn add_segment(&mut self, segment: SegmentMeta) {
        self.in_hand_count -= 1;
        self.segments.push_back(segment);
    }

    /// The segment where `next` is due.
    pub(super) fn view(&self, next: u64) -> View {
        if next < self.first() {
            return View::Retired { first: self.first() };
        }
        if next > self.committed {
            return View::Tail;
        }
        let after = self.segments.partition_point(|segment| segment.base <= next);
        let segment = &self.segments[after - 1];
        let next_base = self.segments.get(after).map_or(u64::MAX, |next| next.base);
        let limit = next_base.min(self.committed + 1);
        match segment.header {
            None => View::Unreadable { limit },
            Some(header) => View::Segment { header, end: segment.end, limit, pin: Arc::clone(&segment.pin) },
        }
    }
}

/// An epoch that no other file has and no device can know.
pub(super) fn new_epoch() -> u64 {
    // The standard library seeds this from the system's randomness.
    RandomState::new().build_hasher().finish()
}

/// The header of a new segment, with an epoch that no earlier segment had and no device can know.
pub(super) fn new_header(settings: &SpoolSettings, base: u64, spare: &Spare) -> SegmentHeader {
    let epoch = new_epoch();
    #[cfg(test)]
    let epoch = if settings.sabotaged(super::settings::Sabotage::ForgetEpoch) { 0 } else { epoch };
    SegmentHeader {
        base,
        epoch,
        segment_bytes: settings.segment_bytes,
        created_at_ms: settings.clock.now_ms(),
        recycled: !spare.zeroed,
    }
}

/// Creates a zero-filled spare. Nothing is left behind on an error.
pub(super) fn create_spare(
    disk: &dyn Disk,
    dir: &Path,
    serial: u64,
    segment_bytes: u64,
) -> io::Result<Spare> {
    let unfinished = dir.join(format!("spare-{serial:06}.tmp"));
    let name = format!("spare-{serial:06}.free");
    let filled = disk.create(&unfinished).and_then(|file| {
        file.allocate(segment_bytes)?;
        fill_with_zeros(&*file, segment_bytes)?;
        disk.rename(&unfinished, &dir.join(&name))?;
        disk.sync_dir(dir)
    });
    if let Err(error) = filled {
        // Best effort: a leftover is removed at the next open.
        let _ = disk.remove(&unfinished);
        return Err(error);
    }
    Ok(Spare { name, zeroed: true })
}

/// Writes zeros over a whole file and makes them durable, so that later writes change no size and no extent.
pub(super) fn fill_with_zeros(file: &dyn DiskFile, bytes: u64) -> io::Result<()> {
    let zeros = vec![0u8; 256 << 10];
    let mut at = 0;
    while at < bytes {
        let chunk_bytes = (bytes - at).min(zeros.len() as u64);
        write_all_at(file, &zeros[..chunk_bytes as usize], at)?;
        at += chunk_bytes;
    }
    file.sync_data()
}

/// Makes a spare the segment that starts with `header.base`: durable header first, then the name.
pub(super) fn promote_spare(
    disk: &dyn Disk,
    dir: &Path,
    spare: &Spare,
    header: &SegmentHeader,
) -> io::Result<(Arc<dyn DiskFile>, SegmentMeta)> {
    let from = dir.join(&spare.name);
    let file = disk.open(&from)?;
    write_all_at(&*file, &header.encode(), 0)?;
    file.sync_data()?;
    disk.rename(&from, &dir.join(segment_name(Lsn(header.base))))?;
    disk.sync_dir(dir)?;
    let meta = SegmentMeta {
        base: header.base,
        header: Some(*header),
        end: SEGMENT_HEADER_BYTES as u64,
        file_bytes: header.segment_bytes,
        pin: Arc::new(()),
    };
    Ok((file, meta))
}
