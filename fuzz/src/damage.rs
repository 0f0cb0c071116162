//! Every way in which one bit or one torn write can damage a 64 KiB segment, tried out; no chance is involved.
//!
//! - **Every bit flipped**: the reader loses the record that the bit is in and no other, and says which; a bit of a header
//!   or behind the last record costs nothing.
//! - **Torn at every byte**, over zeros and over the stale records of a recycled file: recovery keeps every record that is
//!   whole, calls none damaged, and goes on with the next number.
//!
//! [`Rig::every_bit`] opens many damaged segments as one spool, so that opening costs little and the reader's own path is
//! what is tried; the walk of recovery is tried on the same bytes. What was wrong is an error that names the bit.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fieldpost_gateway::spool::faulty::FaultyDisk;
use fieldpost_gateway::spool::fuzz_door::{HEADER_BYTES, Record, Segment, walk_with, write_segment};
use fieldpost_gateway::spool::{BatchLimits, Entry, EntryClass, Gap, GapReason, Lsn, Spool, SpoolSettings};

/// Bytes of a segment.
pub const SEGMENT_BYTES: usize = 64 << 10;

/// Damaged segments in one spool.
const SEGMENTS: usize = 128;

/// What was tried.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Damaged segments read.
    pub tried: u64,
    /// Spools opened for that: each of many damaged segments, or of one torn one.
    pub opened: u64,
    /// Records that were lost, each told.
    pub lost: u64,
    /// Records read and compared.
    pub read: u64,
}

/// Clean segments that follow each other, and what to do to them.
pub struct Rig {
    segments: Vec<Segment>,
    /// Follows the last of them.
    seal: Segment,
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

impl Rig {
    /// Segments full of records of many sizes, in batches of one to seven.
    #[must_use]
    pub fn new() -> Self {
        let mut next = Lsn(1);
        let segments = (0..SEGMENTS as u64).map(|number| {
            let segment = full_segment(next, number);
            next = segment.records.last().expect("a segment has records").0.lsn.next();
            segment
        });
        let segments = segments.collect();
        let seal =
            write_segment(next, 7, false, SEGMENT_BYTES, &[vec![(EntryClass::Live, b"seal".to_vec())]]);
        Self { segments, seal }
    }

    /// How many bits there are to flip.
    #[must_use]
    pub fn bits() -> usize {
        SEGMENT_BYTES * 8
    }

    /// Flips each bit from `from` to before `to`, one a segment, and reads it all.
    ///
    /// # Errors
    /// What was wrong, and at which bit.
    pub fn every_bit(&self, from: usize, to: usize) -> Result<Tally, String> {
        let mut tally = Tally::default();
        let mut bit = from;
        while bit < to {
            let bits = bit..(bit + SEGMENTS).min(to);
            self.flip(bits.clone(), &mut tally)?;
            bit = bits.end;
        }
        Ok(tally)
    }

    fn flip(&self, bits: Range<usize>, tally: &mut Tally) -> Result<(), String> {
        let disk = FaultyDisk::new();
        let mut lost = Vec::new();
        for (bit, segment) in bits.clone().zip(&self.segments) {
            let mut bytes = segment.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let hit = segment.records.partition_point(|(_, place)| place.end <= bit / 8);
            let hit = segment.records.get(hit).filter(|(_, place)| place.contains(&(bit / 8)));
            let hit = hit.map(|(record, _)| record.lsn);
            recovery_loses(segment, &bytes, hit).map_err(|error| format!("bit {bit}: {error}"))?;
            disk.set_bytes(&path(segment), bytes);
            lost.extend(hit);
        }
        let damaged = &self.segments[..bits.len()];
        // The segment after them, undamaged, so that all of them are sealed.
        let seal = self.segments.get(bits.len()).unwrap_or(&self.seal);
        disk.set_bytes(&path(seal), seal.bytes.clone());
        let end = seal.records.last().expect("a segment has records").0.lsn;
        let seen = read(&disk, end).map_err(|error| format!("bits {bits:?}: {error}"))?;
        if seen.lost != lost {
            return Err(format!("bits {bits:?}: {:?} are damaged, the reader told {:?}", lost, seen.lost));
        }
        let written = damaged.iter().chain([seal]).flat_map(|segment| &segment.records);
        let intact =
            written.map(|(record, _)| record).filter(|record| lost.binary_search(&record.lsn).is_err());
        if !same(intact, &seen.entries) {
            return Err(format!("bits {bits:?}: the reader found other records than the intact ones"));
        }
        tally.tried += bits.len() as u64;
        tally.opened += 1;
        tally.lost += lost.len() as u64;
        tally.read += seen.entries.len() as u64;
        Ok(())
    }

    /// Cuts the last segment at each byte from `from` to before `to`. Every `open_step`-th is opened as a spool, written
    /// to and opened again; the walk of recovery is tried at each.
    ///
    /// # Errors
    /// What was wrong, and at which byte.
    pub fn every_cut(&self, from: usize, to: usize, open_step: usize) -> Result<Tally, String> {
        let (segment, stale) = (&self.segments[0], &self.segments[1].bytes);
        let mut tally = Tally::default();
        for cut in from.max(HEADER_BYTES)..to {
            for behind in [&[0; SEGMENT_BYTES][..], stale] {
                let mut bytes = segment.bytes.clone();
                bytes[cut..].copy_from_slice(&behind[cut..]);
                // Whole, also where the bytes behind the cut happen to be those that were there.
                let is_whole = |place: &Range<usize>| bytes[place.clone()] == segment.bytes[place.clone()];
                let kept = segment.records.iter().take_while(|(_, place)| is_whole(place));
                let kept: Vec<_> = kept.map(|(record, _)| record).collect();
                let (same, gaps) = recovery_finds(&bytes, kept.iter().copied())?;
                if !gaps.is_empty() || !same {
                    return Err(format!(
                        "cut at byte {cut}: recovery found other records than the whole ones"
                    ));
                }
                tally.tried += 1;
                tally.read += kept.len() as u64;
                if cut % open_step != 0 {
                    continue;
                }
                torn(segment, bytes, &kept).map_err(|error| format!("cut at byte {cut}: {error}"))?;
                tally.opened += 1;
            }
        }
        Ok(tally)
    }
}

/// Walks the segment as recovery does: every record but `lost`, in order.
fn recovery_loses(segment: &Segment, bytes: &[u8], lost: Option<Lsn>) -> Result<(), String> {
    let intact = segment.records.iter().map(|(record, _)| record).filter(|record| Some(record.lsn) != lost);
    match recovery_finds(bytes, intact)? {
        (true, _) => Ok(()),
        (false, _) => Err("recovery found other records than the intact ones".to_owned()),
    }
}

/// Whether recovery finds exactly these records, in order, and what it reports lost.
fn recovery_finds<'r>(
    bytes: &[u8],
    mut expected: impl Iterator<Item = &'r Record>,
) -> Result<(bool, Vec<Gap>), String> {
    let mut same = true;
    let (gaps, _) = walk_with(bytes, &mut |lsn, class, payload| {
        same &= expected
            .next()
            .is_some_and(|record| record.lsn == lsn && record.class == class && record.payload == payload);
    })
    .ok_or("no header")?;
    Ok((same && expected.next().is_none(), gaps))
}

fn same<'r>(records: impl Iterator<Item = &'r Record>, entries: &[Entry]) -> bool {
    let entries = entries.iter().map(|entry| (entry.lsn, entry.class, &entry.payload[..]));
    records.map(|record| (record.lsn, record.class, &record.payload[..])).eq(entries)
}

/// Opens a torn segment: the whole records are there, none is called damaged, and the next entry follows them.
fn torn(segment: &Segment, bytes: Vec<u8>, kept: &[&Record]) -> Result<(), String> {
    let disk = FaultyDisk::new();
    disk.set_bytes(&path(segment), bytes);
    let last = kept.last().map_or(Lsn(0), |record| record.lsn);
    let (spool, report) =
        Spool::open(dir(), settings(), Arc::new(disk.clone())).map_err(|error| error.to_string())?;
    if report.last != last || !report.damaged.is_empty() {
        return Err(format!("{last} records are whole, recovery says {report:?}"));
    }
    let lsn = spool.try_append(EntryClass::Alarm, b"new").map_err(|error| error.to_string())?;
    let runtime = runtime();
    runtime.block_on(spool.wait_committed(lsn)).map_err(|error| error.to_string())?;
    if lsn != last.next() {
        return Err(format!("the next entry got number {lsn}"));
    }
    runtime.block_on(spool.close());
    let seen = read(&disk, lsn)?;
    let new = Record { lsn, class: EntryClass::Alarm, payload: b"new".to_vec() };
    if !seen.lost.is_empty() || !same(kept.iter().copied().chain([&new]), &seen.entries) {
        return Err("what is read after the next start is not what was whole".to_owned());
    }
    Ok(())
}

fn full_segment(base: Lsn, number: u64) -> Segment {
    let mut coin = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut throw = |sides: u64| {
        coin ^= coin << 13;
        coin ^= coin >> 7;
        coin ^= coin << 17;
        coin % sides
    };
    let mut batches = Vec::new();
    let mut room = SEGMENT_BYTES - HEADER_BYTES;
    // 32 bytes a batch header, 16 a record header, payloads of up to 600 bytes.
    while room > 7 * 616 + 32 {
        let batch: Vec<_> = (0..1 + throw(7))
            .map(|_| {
                let bytes = (0..throw(600)).map(|_| throw(256) as u8).collect::<Vec<_>>();
                ([EntryClass::Live, EntryClass::Alarm, EntryClass::Backlog][throw(3) as usize], bytes)
            })
            .collect();
        room -= 32 + batch.iter().map(|(_, payload)| 16 + payload.len()).sum::<usize>();
        batches.push(batch);
    }
    // To the last byte, so that there is no place where damage costs nothing.
    batches.push(vec![(EntryClass::Live, (0..room - 48).map(|_| throw(256) as u8).collect())]);
    write_segment(base, number.wrapping_mul(0x1234_5678_9abc_def1), false, SEGMENT_BYTES, &batches)
}

struct Seen {
    entries: Vec<Entry>,
    lost: Vec<Lsn>,
}

/// Opens the spool and reads it up to `end`.
fn read(disk: &FaultyDisk, end: Lsn) -> Result<Seen, String> {
    let (spool, report) =
        Spool::open(dir(), settings(), Arc::new(disk.clone())).map_err(|error| error.to_string())?;
    if report.last != end {
        return Err(format!("{end} entries were written, {} found", report.last));
    }
    let runtime = runtime();
    let mut reader = spool.reader(Lsn(1));
    let limits = BatchLimits { count_max: usize::MAX, bytes_max: usize::MAX, age_ms_max: 0 };
    let mut seen = Seen { entries: Vec::new(), lost: Vec::new() };
    while reader.position() <= end {
        let batch = runtime.block_on(reader.next_batch(limits)).map_err(|error| error.to_string())?;
        if let Some(gap) = batch.gap {
            if gap.reason != GapReason::Damaged {
                return Err(format!("the reader told {gap:?}"));
            }
            seen.lost.extend((gap.from.0..=gap.to.0).map(Lsn));
        }
        seen.entries.extend(batch.entries());
    }
    runtime.block_on(spool.close());
    Ok(seen)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}

fn dir() -> &'static Path {
    Path::new("/spool")
}

fn path(segment: &Segment) -> PathBuf {
    dir().join(&segment.file_name)
}

/// Nothing retires.
fn settings() -> SpoolSettings {
    SpoolSettings {
        segment_bytes: SEGMENT_BYTES as u64,
        bytes_max: 1 << 30,
        reserve_bytes: 0,
        retain_ms: u64::MAX,
        pending_bytes_max: 16 << 10,
        ..SpoolSettings::default()
    }
}
