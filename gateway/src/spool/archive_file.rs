//! One file of the archive: how what is kept of a segment is written, and read back.
//!
//! **A file is written whole and read whole.** A header page as a segment's, then batches; their numbers have gaps.

use std::io;

use super::disk::{DiskFile, read_full_at};
use super::format::{
    BATCH_HEADER_BYTES, BatchHeader, SEGMENT_HEADER_BYTES, SegmentHeader, Step, Window, push_record,
    seal_batch,
};
use super::keep::Verdict;
use super::log::new_epoch;
use super::{ExportedEntry, Lsn};

/// A batch is sealed at this size, so that damage to its header costs little.
const BATCH_BYTES: usize = 64 << 10;

/// What one file leaves: the bytes of an archive file, without its header page.
pub(super) struct Remains {
    header: SegmentHeader,
    bytes: Vec<u8>,
    batch: Vec<u8>,
    first_lsn: u64,
    count: u32,
    kept_count: u64,
    pub(super) erased_count: u64,
    /// When the first of them may go.
    pub(super) due_ms: u64,
}

impl Remains {
    pub(super) fn new(header: SegmentHeader) -> Self {
        // An epoch of its own: no record of another file is ever taken for one of this.
        let header = SegmentHeader { epoch: new_epoch(), recycled: false, ..header };
        Self {
            header,
            bytes: vec![0; SEGMENT_HEADER_BYTES],
            batch: Vec::new(),
            first_lsn: 0,
            count: 0,
            kept_count: 0,
            erased_count: 0,
            due_ms: u64::MAX,
        }
    }

    pub(super) fn take(&mut self, verdict: Verdict, entry: ExportedEntry<'_>) {
        let Verdict::Keep { until_ms } = verdict else {
            self.erased_count += 1;
            return;
        };
        self.due_ms = self.due_ms.min(until_ms);
        self.kept_count += 1;
        if self.batch.len() + entry.payload.len() > BATCH_BYTES {
            self.seal();
        }
        if self.count == 0 {
            self.batch.resize(BATCH_HEADER_BYTES, 0);
            self.first_lsn = entry.lsn.0;
        }
        push_record(&mut self.batch, entry.lsn.0, entry.class, entry.payload);
        self.count += 1;
    }

    fn seal(&mut self) {
        if self.count == 0 {
            return;
        }
        let header = BatchHeader {
            first_lsn: self.first_lsn,
            written_at_ms: self.header.created_at_ms,
            count: self.count,
            bytes: (self.batch.len() - BATCH_HEADER_BYTES) as u32,
        };
        seal_batch(&mut self.batch, self.header.seed(), header);
        self.bytes.append(&mut self.batch);
        self.count = 0;
    }

    /// The whole file; `None` if nothing is kept.
    pub(super) fn finish(mut self) -> (Option<Vec<u8>>, u64) {
        self.seal();
        if self.kept_count == 0 {
            return (None, u64::MAX);
        }
        self.header.segment_bytes = self.bytes.len() as u64;
        self.bytes[..SEGMENT_HEADER_BYTES].copy_from_slice(&self.header.encode());
        (Some(self.bytes), self.due_ms)
    }
}

/// What a walk over an archive file found beside its entries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) entries_count: u64,
    pub(super) damaged_count: u64,
}

/// Hands every intact entry of an archive file to `each`. `None` if its header is damaged.
pub(super) fn walk(bytes: &[u8], base: u64, each: &mut dyn FnMut(ExportedEntry<'_>)) -> Option<Found> {
    let page = bytes.get(..SEGMENT_HEADER_BYTES)?;
    let header = SegmentHeader::decode(page).ok().filter(|header| header.base == base)?;
    let window = Window { bytes, complete: true, seed: header.seed(), limit: u64::MAX };
    let (mut at, mut expected) = (SEGMENT_HEADER_BYTES, base);
    let mut found = Found::default();
    let mut promised_count = 0;
    // Damage to the end of the file, or a header of a batch that went with its count: at least one record is lost.
    let mut skipped_count = u64::from(bytes.len() as u64 != header.segment_bytes);
    loop {
        // Numbers have gaps here: what stands at `at` may say itself which one is next.
        let raw = bytes.get(at + 8..at + 16).and_then(|raw| Some(u64::from_le_bytes(raw.try_into().ok()?)));
        let hint = raw.filter(|raw| *raw > expected && *raw < u64::MAX);
        let step = match hint.map(|hint| window.step(at, hint)) {
            Some(step @ (Step::Batch(_) | Step::Record { .. })) => step,
            _ => window.step(at, expected),
        };
        match step {
            Step::Batch(batch) => {
                promised_count += u64::from(batch.count);
                at += BATCH_HEADER_BYTES;
                expected = batch.first_lsn;
            }
            Step::Record { lsn, class, payload_start, end } => {
                found.entries_count += 1;
                // A batch here has the time at which the segment began: when a record of it was committed is not kept.
                let payload = &bytes[payload_start..end];
                each(ExportedEntry { lsn: Lsn(lsn), class, written_at_ms: None, payload });
                (at, expected) = (end, lsn + 1);
            }
            Step::Damage { resume_at, resume_lsn } => {
                skipped_count += u64::from(resume_at > at);
                (at, expected) = (resume_at, resume_lsn);
            }
            Step::NeedMore | Step::End => {
                skipped_count += u64::from(at < bytes.len());
                break;
            }
        }
    }
    let missing_count = promised_count.saturating_sub(found.entries_count);
    found.damaged_count = missing_count.max(u64::from(skipped_count > 0));
    Some(found)
}

/// The whole file. Unlike a segment's reader this takes no unreadable sector for zeros: what cannot be read is not erased.
pub(super) fn read_whole(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let read_bytes = read_full_at(file, &mut bytes, 0)?;
    bytes.truncate(read_bytes);
    Ok(bytes)
}
