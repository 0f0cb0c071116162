//! Bytes on disk: segment header, batch header, record; and the walk over them that survives damage.
//!
//! **Nothing is believed that does not carry a checksum seeded with its own segment's epoch**, so neither zeros, nor
//! the stale records of a recycled segment, nor bytes a device put into its payload are taken for a frame.
//! The layout is drawn in the module documentation of [`super`].

use std::ops::Range;

use super::{EntryClass, Lsn};

/// Magic of a segment header.
pub(super) const SEGMENT_MAGIC: [u8; 8] = *b"FPSPOOL\n";
/// The only format version so far. A reader refuses a newer one by name.
pub(super) const FORMAT_VERSION: u16 = 1;
/// First byte of the first batch: one page, so that the headers never share a page with records.
pub(super) const SEGMENT_HEADER_BYTES: usize = 4096;
/// Two copies, in different sectors: a bad header sector costs nothing.
const HEADER_COPY_AT: [usize; 2] = [0, 2048];
const HEADER_COPY_BYTES: usize = 64;
/// Magic of a batch header.
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"FPB1");
/// Bytes before the first record of a batch.
pub(super) const BATCH_HEADER_BYTES: usize = 32;
/// Bytes before the payload of a record.
pub(super) const RECORD_HEADER_BYTES: usize = 16;
/// Largest batch, header included: start-up rewrites this many bytes at the tail (see [`super::recovery`]).
pub(super) const BATCH_BYTES_MAX: usize = 4 << 20;
/// Largest payload of one record. Far above any envelope, small enough that a damaged length cannot ask for much.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 10;

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// LSN of its first record; also its file name.
    pub(super) base: u64,
    /// Random and new each time a file becomes a segment: seeds every checksum in it.
    pub(super) epoch: u64,
    /// Length of the file.
    pub(super) segment_bytes: u64,
    /// When it became a segment, unix ms.
    pub(super) created_at_ms: u64,
    /// True if the file held another segment before, so that what follows the last record may be stale and not zero.
    pub(super) recycled: bool,
}

/// Why a segment header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Neither copy is intact.
    Damaged,
    /// Intact, but of a later format.
    Newer(u16),
}

impl SegmentHeader {
    /// The whole header page.
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut copy = [0u8; HEADER_COPY_BYTES];
        copy[0..8].copy_from_slice(&SEGMENT_MAGIC);
        copy[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        copy[10..12].copy_from_slice(&u16::from(self.recycled).to_le_bytes());
        copy[16..24].copy_from_slice(&self.base.to_le_bytes());
        copy[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        copy[32..40].copy_from_slice(&self.segment_bytes.to_le_bytes());
        copy[40..48].copy_from_slice(&self.created_at_ms.to_le_bytes());
        let crc = crc32c::crc32c(&copy);
        copy[12..16].copy_from_slice(&crc.to_le_bytes());
        let mut page = [0u8; SEGMENT_HEADER_BYTES];
        for at in HEADER_COPY_AT {
            page[at..at + HEADER_COPY_BYTES].copy_from_slice(&copy);
        }
        page
    }

    /// The first intact copy in a header page.
    pub(super) fn decode(page: &[u8]) -> Result<Self, HeaderError> {
        HEADER_COPY_AT
            .iter()
            .filter_map(|&at| page.get(at..at + HEADER_COPY_BYTES))
            .find_map(Self::decode_copy)
            .unwrap_or(Err(HeaderError::Damaged))
    }

    /// `None` if the copy is not intact.
    fn decode_copy(copy: &[u8]) -> Option<Result<Self, HeaderError>> {
        let mut unsigned: [u8; HEADER_COPY_BYTES] = copy.try_into().ok()?;
        unsigned[12..16].fill(0);
        if copy[0..8] != SEGMENT_MAGIC || u32_at(copy, 12) != crc32c::crc32c(&unsigned) {
            return None;
        }
        let version = u16::from_le_bytes([copy[8], copy[9]]);
        if version != FORMAT_VERSION {
            return Some(Err(HeaderError::Newer(version)));
        }
        Some(Ok(Self {
            base: u64_at(copy, 16),
            epoch: u64_at(copy, 24),
            segment_bytes: u64_at(copy, 32),
            created_at_ms: u64_at(copy, 40),
            recycled: copy[10] & 1 == 1,
        }))
    }

    /// Seed of every checksum in this segment.
    pub(super) fn seed(&self) -> u32 {
        crc32c::crc32c(&self.epoch.to_le_bytes())
    }
}

/// What one group commit says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub(super) first_lsn: u64,
    /// When the writer took the batch, unix ms.
    pub(super) written_at_ms: u64,
    /// Records in the batch.
    pub(super) count: u32,
    /// Bytes of the records, without this header.
    pub(super) bytes: u32,
}

impl BatchHeader {
    fn encode_into(&self, out: &mut [u8], seed: u32) {
        out[0..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        out[8..16].copy_from_slice(&self.first_lsn.to_le_bytes());
        out[16..24].copy_from_slice(&self.written_at_ms.to_le_bytes());
        out[24..28].copy_from_slice(&self.count.to_le_bytes());
        out[28..32].copy_from_slice(&self.bytes.to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &out[8..BATCH_HEADER_BYTES]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    fn decode(bytes: &[u8], seed: u32) -> Option<Self> {
        let intact = u32_at(bytes, 4) == crc32c::crc32c_append(seed, &bytes[8..BATCH_HEADER_BYTES]);
        intact.then(|| Self {
            first_lsn: u64_at(bytes, 8),
            written_at_ms: u64_at(bytes, 16),
            count: u32_at(bytes, 24),
            bytes: u32_at(bytes, 28),
        })
    }
}

/// Appends a record whose checksum [`seal_batch`] fills in. The caller has checked `PAYLOAD_BYTES_MAX`.
pub(super) fn push_record(out: &mut Vec<u8>, lsn: u64, class: EntryClass, payload: &[u8]) {
    let class_and_len = (class as u32) << 24 | (payload.len() as u32);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&class_and_len.to_le_bytes());
    out.extend_from_slice(&lsn.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Fills in every checksum of a batch made of `BATCH_HEADER_BYTES` free bytes and records from [`push_record`].
pub(super) fn seal_batch(batch: &mut [u8], seed: u32, header: BatchHeader) {
    header.encode_into(batch, seed);
    let mut at = BATCH_HEADER_BYTES;
    while at < batch.len() {
        let end = at + RECORD_HEADER_BYTES + payload_len(&batch[at..]);
        let crc = crc32c::crc32c_append(seed, &batch[at + 4..end]);
        batch[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        at = end;
    }
}

/// What [`seal_batch`] has sealed: number, class, and where the payload lies.
pub(super) fn sealed_records(batch: &[u8]) -> impl Iterator<Item = (u64, EntryClass, Range<usize>)> + '_ {
    let mut at = BATCH_HEADER_BYTES;
    std::iter::from_fn(move || {
        let record = batch.get(at..).filter(|rest| rest.len() >= RECORD_HEADER_BYTES)?;
        let start = at + RECORD_HEADER_BYTES;
        at = start + payload_len(record);
        Some((u64_at(record, 8), EntryClass::from_byte(record[7])?, start..at))
    })
}

/// A run of a segment's bytes to walk over.
pub(super) struct Window<'a> {
    pub(super) bytes: &'a [u8],
    /// True if no byte of the segment that could matter follows.
    pub(super) complete: bool,
    /// [`SegmentHeader::seed`].
    pub(super) seed: u32,
    /// LSNs from here on are not in this segment.
    pub(super) limit: u64,
}

/// One step of a walk; positions are relative to the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// An intact batch header.
    Batch(BatchHeader),
    /// An intact record; its payload is `end - payload_len .. end`.
    Record { lsn: u64, class: EntryClass, payload_start: usize, end: usize },
    /// Damaged bytes up to `resume_at`, where the next intact frame starts with `resume_lsn`. The records from the
    /// expected one to before `resume_lsn` are lost; none if only a batch header was hit.
    Damage { resume_at: usize, resume_lsn: u64 },
    /// The window is too short to tell.
    NeedMore,
    /// Nothing intact follows.
    End,
}

/// A frame found at one position.
enum Frame {
    Batch(BatchHeader),
    Record { lsn: u64, class: EntryClass, end: usize },
    None,
    Cut,
}

impl Window<'_> {
    /// What lies at `at`, where the record `expected` is due.
    pub(super) fn step(&self, at: usize, expected: u64) -> Step {
        if expected >= self.limit {
            return Step::End;
        }
        match self.frame(at, expected) {
            Frame::Batch(header) if header.first_lsn == expected => Step::Batch(header),
            Frame::Record { lsn, class, end } if lsn == expected => {
                Step::Record { lsn, class, payload_start: at + RECORD_HEADER_BYTES, end }
            }
            Frame::Batch(BatchHeader { first_lsn: lsn, .. }) | Frame::Record { lsn, .. } => {
                Step::Damage { resume_at: at, resume_lsn: lsn }
            }
            Frame::Cut => Step::NeedMore,
            Frame::None => self.resync(at + 1, expected),
        }
    }

    /// The next intact frame at or after `from`, byte by byte: a damaged length says nothing about where it is.
    fn resync(&self, from: usize, expected: u64) -> Step {
        // Zeros hold no frame: skip them by the page (compared by memcmp), for the unused end of a fresh segment.
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut at = from;
        while at < self.bytes.len() {
            while self.bytes.get(at..at + ZEROS.len()) == Some(&ZEROS[..]) {
                // The last bytes of the page may be the start of a frame's checksum, so step over all but those.
                at += ZEROS.len() - BATCH_HEADER_BYTES;
            }
            match self.frame(at, expected) {
                Frame::Batch(BatchHeader { first_lsn: lsn, .. }) | Frame::Record { lsn, .. } => {
                    return Step::Damage { resume_at: at, resume_lsn: lsn };
                }
                Frame::Cut => return Step::NeedMore,
                Frame::None => at += 1,
            }
        }
        if self.complete { Step::End } else { Step::NeedMore }
    }

    /// The intact frame that starts at `at` with an LSN of `expected` or later.
    fn frame(&self, at: usize, expected: u64) -> Frame {
        let rest = &self.bytes[at.min(self.bytes.len())..];
        if rest.len() < RECORD_HEADER_BYTES {
            return self.cut();
        }
        let lsn = u64_at(rest, 8);
        // A record takes at least its header, so no LSN can be further ahead than this: a strong, cheap filter.
        let furthest = expected.saturating_add((BATCH_BYTES_MAX + self.bytes.len()) as u64);
        if lsn < expected || lsn >= self.limit || lsn > furthest {
            return Frame::None;
        }
        if u32_at(rest, 0) == BATCH_MAGIC {
            if rest.len() < BATCH_HEADER_BYTES {
                return self.cut();
            }
            if let Some(header) = BatchHeader::decode(rest, self.seed) {
                return Frame::Batch(header);
            }
        }
        let Some(class) = EntryClass::from_byte(rest[7]) else {
            return Frame::None;
        };
        let len = payload_len(rest);
        if len > PAYLOAD_BYTES_MAX {
            return Frame::None;
        }
        let end = RECORD_HEADER_BYTES + len;
        if rest.len() < end {
            return self.cut();
        }
        let intact = u32_at(rest, 0) == crc32c::crc32c_append(self.seed, &rest[4..end]);
        // Planted: the checksum of a record is not looked at.
        #[cfg(feature = "fuzz-doors")]
        let intact = intact || fieldpost_protocol::planted::is_awake();
        if !intact {
            return Frame::None;
        }
        Frame::Record { lsn, class, end: at + end }
    }

    fn cut(&self) -> Frame {
        if self.complete { Frame::None } else { Frame::Cut }
    }
}

fn payload_len(record: &[u8]) -> usize {
    (u32_at(record, 4) & 0x00ff_ffff) as usize
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Name of the segment that starts with `base`: sorts by LSN.
pub(super) fn segment_name(base: Lsn) -> String {
    format!("{:020}.seg", base.0)
}

/// The base LSN a segment's name tells, or `None` for any other file.
pub(super) fn segment_base(name: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 20).then(|| digits.parse().ok().map(Lsn))?
}
