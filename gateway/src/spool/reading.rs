//! Reading segments: from where a reader is, up to the committed end and never past it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Lsn;
use super::batch::{Batch, BatchLimits, Filter, Gap, GapReason, Portion, Taken};
use super::disk::{DiskFile, read_full_at, read_sectors_at};
use super::format::{BATCH_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, Step, Window, segment_name};
use super::log::View;
use super::run::{Classes, Part, Run, Slot};
use super::shared::{Shared, lock};

/// Bytes read at once: some hundred records, and below the 128 KiB from where on the C library maps memory anew each time.
const WINDOW_BYTES: usize = 64 << 10;

/// Where a reader is.
#[derive(Clone)]
pub(super) struct Place {
    next: u64,
    open: Option<OpenSegment>,
    /// Where `next` lies, if the reader came there in memory and has not walked to it.
    spot: Option<Spot>,
}

/// The entry `lsn` is due at `offset` of the segment `base`, if it is in that segment.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) base: u64,
    pub(super) offset: u64,
    pub(super) lsn: u64,
}

/// A segment a reader has open.
#[derive(Clone)]
struct OpenSegment {
    base: u64,
    file: Arc<dyn DiskFile>,
    /// Keeps the file from being recycled.
    _pin: Arc<()>,
    /// Start of the next frame.
    offset: u64,
    /// LSN due there.
    expected: u64,
    /// Committed bytes from `offset` on that were read with the last batch and not handed over: a small batch does not pay
    /// for a large read. Empty once a reader has come to the end.
    ahead: Bytes,
}

impl Place {
    pub(super) fn new(next: u64) -> Self {
        Self { next, open: None, spot: None }
    }

    /// Where the reader goes on.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The reader has taken everything before `spot` from memory.
    pub(super) fn move_to(&mut self, spot: Spot) {
        self.next = spot.lsn;
        self.spot = Some(spot);
        self.open = self.open.take().filter(|open| open.base == spot.base);
        if let Some(open) = &mut self.open {
            open.ahead = Bytes::new();
        }
    }

    /// How far the reader is in the segment `base`, if that is known.
    pub(super) fn offset_in(&self, base: u64) -> Option<u64> {
        let spot = self.spot.filter(|spot| spot.base == base).map(|spot| spot.offset);
        spot.or_else(|| self.open.as_ref().filter(|open| open.base == base).map(|open| open.offset))
    }

    /// Goes to the spot without walking there.
    fn skip(&mut self) {
        if let (Some(open), Some(spot)) = (&mut self.open, self.spot.take())
            && open.base == spot.base
            && open.offset < spot.offset
        {
            (open.offset, open.expected, open.ahead) = (spot.offset, spot.lsn, Bytes::new());
        }
    }
}

/// Reads one batch; leaves `place` after it. An error leaves the place where an attempt may start again.
pub(super) fn read_batch(
    shared: &Shared,
    place: &mut Place,
    limits: BatchLimits,
    filter: Filter,
    salvage: bool,
) -> io::Result<Batch> {
    let mut reading = Reading {
        gap: None,
        portion: Portion::new(limits, filter),
        slots: Vec::new(),
        salvage,
        #[cfg(test)]
        stop_at_damage: shared.settings.sabotaged(super::settings::Sabotage::StopAtDamage),
    };
    let mut next = place.next;
    loop {
        let view = if next > filter.through { View::Tail } else { lock(&shared.log).view(next) };
        let done = match view {
            View::Tail => true,
            View::Retired { first } => {
                place.open = None;
                !reading.lose(&mut next, first, GapReason::Retention)
            }
            View::Unreadable { limit } => {
                place.open = None;
                !reading.lose(&mut next, limit, GapReason::Damaged)
            }
            View::Segment { header, end, limit, pin } => {
                if !open_segment(shared, place, &header, pin)? {
                    // Retired between the look and the open: look again.
                    continue;
                }
                let open = place.open.as_mut().expect("opened above");
                !reading.read_segment(open, &header, end, limit, &mut next)?
            }
        };
        if done {
            break;
        }
    }
    place.next = next;
    if let Some(gap) = reading.gap.filter(|gap| gap.reason == GapReason::Damaged) {
        shared.counters.damaged.fetch_add(gap.count(), Ordering::Relaxed);
    }
    Ok(reading.portion.finish(reading.gap, next))
}

/// Makes `place.open` the segment of `header`; false if its file is gone.
fn open_segment(
    shared: &Shared,
    place: &mut Place,
    header: &SegmentHeader,
    pin: Arc<()>,
) -> io::Result<bool> {
    if place.open.as_ref().is_some_and(|open| open.base == header.base) {
        place.skip();
        return Ok(true);
    }
    place.open = None;
    let path = shared.dir.join(segment_name(Lsn(header.base)));
    let file = match shared.disk.open_read(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Gone although the map has it: somebody deleted it by hand. Only then is it an error.
            let still_mapped = lock(&shared.log).segments.iter().any(|segment| segment.base == header.base);
            return if still_mapped { Err(error) } else { Ok(false) };
        }
        Err(error) => return Err(error),
    };
    place.open = Some(OpenSegment {
        base: header.base,
        file,
        _pin: pin,
        offset: SEGMENT_HEADER_BYTES as u64,
        expected: header.base,
        ahead: Bytes::new(),
    });
    place.skip();
    Ok(true)
}

/// A batch in the making.
struct Reading {
    gap: Option<Gap>,
    portion: Portion,
    /// Taken of the window at hand.
    slots: Vec<Slot>,
    /// Take sectors that cannot be read for damaged.
    salvage: bool,
    #[cfg(test)]
    stop_at_damage: bool,
}

impl Reading {
    /// Notes that everything from `next` to before `resume` is missing, and steps over it. False if this batch cannot
    /// tell it: then the next one will.
    fn lose(&mut self, next: &mut u64, resume: u64, reason: GapReason) -> bool {
        if resume <= *next {
            return true;
        }
        // What was stepped over since an earlier gap is no part of it.
        let is_another = |gap: Gap| gap.reason != reason || gap.to.next().0 != *next;
        if self.portion.count > 0 || self.gap.is_some_and(is_another) {
            return false;
        }
        let from = self.gap.map_or(Lsn(*next), |gap| gap.from);
        self.gap = Some(Gap { from, to: Lsn(resume - 1), reason });
        *next = resume;
        true
    }

    /// Reads on in one segment. True if the batch may go on behind `limit`.
    fn read_segment(
        &mut self,
        open: &mut OpenSegment,
        header: &SegmentHeader,
        end: u64,
        limit: u64,
        next: &mut u64,
    ) -> io::Result<bool> {
        let mut window_bytes = WINDOW_BYTES;
        loop {
            let left = usize::try_from(end.saturating_sub(open.offset)).unwrap_or(usize::MAX);
            let ahead = std::mem::take(&mut open.ahead);
            let is_ahead = !ahead.is_empty();
            let (bytes, complete) = if is_ahead {
                let complete = left <= ahead.len();
                (ahead, complete)
            } else {
                let bytes = read_window(&*open.file, open.offset, left.min(window_bytes), self.salvage)?;
                let complete = bytes.len() < window_bytes || left <= window_bytes;
                (bytes, complete)
            };
            let window = Window { bytes: &bytes, complete, seed: header.seed(), limit };
            let (walked, outcome) = self.walk(&window, open, next);
            self.close_run(&bytes);
            open.offset += walked as u64;
            match outcome {
                Outcome::BatchFull => {
                    open.ahead = bytes.slice(walked..);
                    return Ok(false);
                }
                Outcome::SegmentDone => return Ok(true),
                Outcome::NeedMore if walked == 0 && is_ahead => {}
                Outcome::NeedMore if walked == 0 => window_bytes *= 2,
                Outcome::NeedMore => window_bytes = WINDOW_BYTES,
            }
        }
    }

    /// Takes what a window holds; returns how far it got.
    fn walk(&mut self, window: &Window<'_>, open: &mut OpenSegment, next: &mut u64) -> (usize, Outcome) {
        let mut at = 0;
        loop {
            match window.step(at, open.expected) {
                Step::Batch(_) => at += BATCH_HEADER_BYTES,
                Step::Record { lsn, class, payload_start, end } => {
                    // Entries before `next` are only walked over, to find where `next` is.
                    if lsn >= *next {
                        match self.portion.take(lsn, class, end - payload_start) {
                            Taken::NotNow => return (at, Outcome::BatchFull),
                            Taken::Yes => self.slots.push(Slot::new(lsn, class, payload_start..end)),
                            Taken::SteppedOver => {}
                        }
                        *next = lsn + 1;
                    }
                    open.expected = lsn + 1;
                    at = end;
                }
                Step::Damage { resume_at, resume_lsn } => {
                    #[cfg(test)]
                    if self.stop_at_damage {
                        open.expected = window.limit;
                        *next = window.limit;
                        return (window.bytes.len(), Outcome::SegmentDone);
                    }
                    if !self.lose(next, resume_lsn, GapReason::Damaged) {
                        return (at, Outcome::BatchFull);
                    }
                    open.expected = resume_lsn;
                    at = resume_at;
                }
                Step::NeedMore => return (at, Outcome::NeedMore),
                Step::End => {
                    let due = open.expected;
                    if due < window.limit {
                        if !self.lose(next, window.limit, GapReason::Damaged) {
                            return (at, Outcome::BatchFull);
                        }
                        open.expected = window.limit;
                        at = window.bytes.len();
                    }
                    return (at, Outcome::SegmentDone);
                }
            }
        }
    }

    /// What was taken of a window is a run of its own.
    fn close_run(&mut self, window: &Bytes) {
        let slots = std::mem::take(&mut self.slots);
        if !slots.is_empty() {
            let part = 0..slots.len();
            let run = Arc::new(Run::new(window.clone(), slots));
            self.portion.parts.push(Part { run, slots: part, classes: Classes::ALL });
        }
    }
}

/// Why a walk stopped.
enum Outcome {
    BatchFull,
    SegmentDone,
    NeedMore,
}

/// Reads `len` bytes, fewer at the end of the file.
fn read_window(file: &dyn DiskFile, offset: u64, len: usize, salvage: bool) -> io::Result<Bytes> {
    let mut bytes = vec![0; len];
    if salvage {
        read_sectors_at(file, &mut bytes, offset);
    } else {
        let read_bytes = read_full_at(file, &mut bytes, offset)?;
        bytes.truncate(read_bytes);
    }
    Ok(Bytes::from(bytes))
}
