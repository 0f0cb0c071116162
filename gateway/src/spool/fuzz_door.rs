//! The spool's format for the fuzz targets in `fuzz`: a segment as the writer makes it, and the walk of recovery.

use std::ops::Range;

use super::format::{
    BATCH_HEADER_BYTES, BatchHeader, SEGMENT_HEADER_BYTES, SegmentHeader, push_record, seal_batch,
    segment_name,
};
use super::recovery::find_tail;
use super::{EntryClass, Gap, Lsn};

/// One record of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub lsn: Lsn,
    /// Its class.
    pub class: EntryClass,
    /// What was appended.
    pub payload: Vec<u8>,
}

/// A segment as a file.
#[derive(Debug, Clone)]
pub struct Segment {
    /// What the file is called.
    pub file_name: String,
    /// The file.
    pub bytes: Vec<u8>,
    /// Every record in it, and where it lies in `bytes`.
    pub records: Vec<(Record, Range<usize>)>,
}

/// What walking over a segment gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    /// Records found, in the order of the file.
    pub records: Vec<Record>,
    /// Numbers reported lost.
    pub gaps: Vec<Gap>,
    /// The number after the last record found.
    pub next: Lsn,
}

/// Where the records begin.
pub const HEADER_BYTES: usize = SEGMENT_HEADER_BYTES;

/// Writes a segment of `file_bytes` or as many as it takes: `batches` of records, each one group commit.
#[must_use]
pub fn write_segment(
    base: Lsn,
    epoch: u64,
    recycled: bool,
    file_bytes: usize,
    batches: &[Vec<(EntryClass, Vec<u8>)>],
) -> Segment {
    let header =
        SegmentHeader { base: base.0, epoch, segment_bytes: file_bytes as u64, created_at_ms: 1, recycled };
    let mut bytes = header.encode().to_vec();
    let mut records = Vec::new();
    let mut lsn = base;
    for batch in batches {
        let mut block = vec![0; BATCH_HEADER_BYTES];
        let first_lsn = lsn.0;
        for (class, payload) in batch {
            let start = bytes.len() + block.len();
            push_record(&mut block, lsn.0, *class, payload);
            let record = Record { lsn, class: *class, payload: payload.clone() };
            records.push((record, start..bytes.len() + block.len()));
            lsn = lsn.next();
        }
        let batch = BatchHeader {
            first_lsn,
            written_at_ms: 1,
            count: u32::try_from(batch.len()).expect("a batch is small here"),
            bytes: u32::try_from(block.len() - BATCH_HEADER_BYTES).expect("a batch is small here"),
        };
        seal_batch(&mut block, header.seed(), batch);
        bytes.extend_from_slice(&block);
    }
    bytes.resize(bytes.len().max(file_bytes), 0);
    Segment { file_name: segment_name(base), bytes, records }
}

/// Walks a file as recovery does; `None` if neither copy of its header can be read.
#[must_use]
pub fn walk(bytes: &[u8]) -> Option<Walked> {
    let mut records = Vec::new();
    let (gaps, next) = walk_with(bytes, &mut |lsn, class, payload| {
        records.push(Record { lsn, class, payload: payload.to_vec() });
    })?;
    Some(Walked { records, gaps, next })
}

/// The same without keeping anything: hands every record found to `each`, and returns what is lost and the number after
/// the last record found.
pub fn walk_with(bytes: &[u8], each: &mut dyn FnMut(Lsn, EntryClass, &[u8])) -> Option<(Vec<Gap>, Lsn)> {
    let header = SegmentHeader::decode(bytes).ok()?;
    let tail = find_tail(bytes, &header, u64::MAX, &mut |entry| {
        each(entry.lsn, entry.class, entry.payload);
    });
    Some((tail.damaged, Lsn(tail.next_lsn)))
}
