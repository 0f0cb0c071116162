//! Readers: committed entries in order, and every hole by name.
//!
//! **A reader returns each LSN exactly once: as an entry or inside a [`Gap`].** It waits on the commit watch, then reads
//! with pread (the newest bytes are in the page cache) up to the committed end and never past it. Readers share nothing
//! with each other and hold nothing back.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::time::Instant;

use super::disk::{DiskFile, read_full_at, read_sectors_at};
use super::format::{BATCH_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, Step, Window, segment_name};
use super::log::View;
use super::shared::{Shared, lock};
use super::{EntryClass, Health, Lsn};

/// Bytes read at once: some thousand records.
const WINDOW_BYTES: usize = 256 << 10;

/// A failing read is reported this often before the sectors in question count as damaged: a passing fault must not
/// become a loss, and a bad sector must not stop a sink for ever.
const READ_TRIES: u32 = 3;

/// How soon a reader that lets its batch grow sees that it is full.
const LOOK: Duration = Duration::from_millis(25);

/// When a batch is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most entries in a batch (0 counts as 1).
    pub count_max: usize,
    /// Most payload bytes in a batch; a single larger entry still comes, alone.
    pub bytes_max: usize,
    /// How long to let a batch grow after its first entry was seen; 0 = hand over what is there.
    pub age_ms_max: u64,
}

/// What a look of [`Reader::look`] is after.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'c> {
    /// Entries of these classes; others are stepped over.
    pub classes: &'c [EntryClass],
    /// And none after this one.
    pub through: Lsn,
    /// Entries stepped over or taken at most: the longest a look takes.
    pub looked_max: usize,
}

/// [`Wanted`] as a walk needs it.
#[derive(Clone, Copy)]
struct Filter {
    /// One bit a class, by [`EntryClass::index`].
    classes: u8,
    through: u64,
    looked_max: usize,
}

impl Filter {
    const EVERYTHING: Self = Self { classes: u8::MAX, through: u64::MAX, looked_max: usize::MAX };

    fn takes(self, class: EntryClass) -> bool {
        self.classes & (1 << class.index()) != 0
    }
}

impl From<Wanted<'_>> for Filter {
    fn from(wanted: Wanted<'_>) -> Self {
        let classes = wanted.classes.iter().fold(0, |bits, class| bits | (1 << class.index()));
        Self { classes, through: wanted.through.0, looked_max: wanted.looked_max.max(1) }
    }
}

/// One committed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub lsn: Lsn,
    /// Its class.
    pub class: EntryClass,
    /// What was appended. Shares one buffer (up to 256 KiB and one record) with its neighbours: copy it to keep it.
    pub payload: Bytes,
}

/// Why entries are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GapReason {
    /// Retention removed them before this reader came.
    Retention,
    /// Their bytes are damaged or missing on the disk.
    Damaged,
}

/// Entries that will never come: loss is data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// First missing entry.
    pub from: Lsn,
    /// Last missing entry.
    pub to: Lsn,
    /// Why.
    pub reason: GapReason,
}

impl Gap {
    /// Missing entries.
    pub fn count(&self) -> u64 {
        self.to.0 - self.from.0 + 1
    }
}

/// What a reader hands over: a gap or entries or both; the gap comes before the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Entries missing right before `entries`.
    pub gap: Option<Gap>,
    /// In order, without holes.
    pub entries: Vec<Entry>,
    /// The last LSN this batch accounts for: where a cursor goes once the batch is delivered.
    pub end: Lsn,
}

/// Why a reader ends.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// All that is committed was read, and the storage failed: no more will come until a restart.
    #[error(
        "the spool's storage failed; everything committed before was read: check the disk, then restart the gateway"
    )]
    Failed,
    /// All that is committed was read, and the spool is closed.
    #[error("the spool is closed and everything in it was read")]
    Closed,
    /// A segment could not be opened or read. The reader stays where it is; trying again later is safe.
    #[error("cannot read the spool: {0}; check the disk, the reader goes on from the same place")]
    Io(#[from] io::Error),
}

/// Reads committed entries from a position on.
pub struct Reader {
    shared: Arc<Shared>,
    /// `None` only while a read is under way or after one was cancelled.
    place: Option<Place>,
    /// Where `place` starts again if it is lost.
    next: u64,
    /// Reads that failed in a row.
    failures_count: u32,
}

/// Where a reader is.
#[derive(Clone, Default)]
struct Place {
    next: u64,
    open: Option<OpenSegment>,
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

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, from: Lsn) -> Self {
        Self { shared, place: None, next: from.0.max(1), failures_count: 0 }
    }

    /// Another reader at the same place, which need not look for it.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            place: self.place.clone(),
            next: self.next,
            failures_count: 0,
        }
    }

    /// The next LSN this reader will account for.
    pub fn position(&self) -> Lsn {
        Lsn(self.next)
    }

    /// The next batch. Waits for the first entry, then up to `age_ms_max` for more, but not if an alarm or an entry of the
    /// gateway itself is among them. Never empty.
    ///
    /// Cancel-safe: a cancelled call took nothing.
    ///
    /// # Errors
    /// See [`ReadError`]; `Failed` and `Closed` only after everything committed was handed over.
    pub async fn next_batch(&mut self, limits: BatchLimits) -> Result<Batch, ReadError> {
        self.wait_for_first().await?;
        if limits.age_ms_max > 0 {
            self.wait_for_more(limits).await;
        }
        self.read(limits, Filter::EVERYTHING).await
    }

    /// What is there now of some classes, without waiting. `None` if nothing is committed from here to `wanted.through`.
    /// The batch may hold no entry: then there is none up to its end.
    ///
    /// Cancel-safe: a cancelled call took nothing.
    ///
    /// # Errors
    /// [`ReadError::Io`].
    pub async fn look(
        &mut self,
        limits: BatchLimits,
        wanted: Wanted<'_>,
    ) -> Result<Option<Batch>, ReadError> {
        let is_due = |next| {
            let committed = self.shared.watch.borrow().committed;
            next <= committed.min(wanted.through).0 || lock(&self.shared.log).first() > next
        };
        if !is_due(self.next) {
            return Ok(None);
        }
        self.read(limits, wanted.into()).await.map(Some)
    }

    async fn read(&mut self, limits: BatchLimits, filter: Filter) -> Result<Batch, ReadError> {
        let mut place = self.place.take().unwrap_or_else(|| Place { next: self.next, open: None });
        let shared = Arc::clone(&self.shared);
        let salvage = self.failures_count >= READ_TRIES;
        let read = self.shared.off_runtime(move || {
            let batch = read_batch(&shared, &mut place, limits, filter, salvage);
            (place, batch)
        });
        let (place, batch) = read.await?;
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                self.failures_count += 1;
                return Err(error.into());
            }
        };
        self.failures_count = 0;
        self.next = place.next;
        self.place = Some(place);
        Ok(batch)
    }

    async fn wait_for_first(&self) -> Result<(), ReadError> {
        let mut watch = self.shared.watch.subscribe();
        loop {
            let state = *watch.borrow_and_update();
            if state.committed.0 >= self.next || lock(&self.shared.log).first() > self.next {
                return Ok(());
            }
            if state.health == Health::Failed {
                return Err(ReadError::Failed);
            }
            if state.closed || watch.changed().await.is_err() {
                return Err(ReadError::Closed);
            }
        }
    }

    /// Returns when a full batch is there, an entry that must not wait, the time is over or nothing more will come. Commits
    /// come hundreds of times a second and do not wake a reader that has time.
    async fn wait_for_more(&self, limits: BatchLimits) {
        let deadline = Instant::now() + Duration::from_millis(limits.age_ms_max);
        let mut news = self.shared.news.subscribe();
        loop {
            news.mark_unchanged();
            let state = *self.shared.watch.borrow();
            let is_over = state.closed || state.health == Health::Failed || Instant::now() >= deadline;
            if is_over || state.urgent.0 >= self.next || self.enough(state.committed.0, limits) {
                return;
            }
            let look_at = deadline.min(Instant::now() + LOOK);
            _ = tokio::time::timeout_at(look_at, news.changed()).await;
        }
    }

    fn enough(&self, committed: u64, limits: BatchLimits) -> bool {
        if (committed + 1).saturating_sub(self.next) >= limits.count_max.max(1) as u64 {
            return true;
        }
        let log = lock(&self.shared.log);
        let active = log.segments.back().map(|active| (active.base, active.end));
        match (&self.place, active) {
            // In the active segment the bytes ahead are known; anywhere else there is at least a segment's worth.
            (Some(Place { open: Some(open), .. }), Some((base, end))) if open.base == base => {
                end.saturating_sub(open.offset) >= limits.bytes_max as u64
            }
            (_, Some((base, end))) if self.next >= base => end >= limits.bytes_max as u64,
            _ => true,
        }
    }
}

/// Reads one batch; leaves `place` after it. An error leaves the place where an attempt may start again.
fn read_batch(
    shared: &Shared,
    place: &mut Place,
    limits: BatchLimits,
    filter: Filter,
    salvage: bool,
) -> io::Result<Batch> {
    let mut reading = Reading {
        gap: None,
        entries: Vec::new(),
        bytes: 0,
        count_max: limits.count_max.max(1),
        bytes_max: limits.bytes_max,
        filter,
        looked: 0,
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
    Ok(Batch { gap: reading.gap, entries: reading.entries, end: Lsn(next - 1) })
}

/// Makes `place.open` the segment of `header`; false if its file is gone.
fn open_segment(
    shared: &Shared,
    place: &mut Place,
    header: &SegmentHeader,
    pin: Arc<()>,
) -> io::Result<bool> {
    if place.open.as_ref().is_some_and(|open| open.base == header.base) {
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
    Ok(true)
}

/// A batch in the making.
struct Reading {
    gap: Option<Gap>,
    entries: Vec<Entry>,
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
    filter: Filter,
    /// Entries stepped over or taken.
    looked: usize,
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
        if !self.entries.is_empty() || self.gap.is_some_and(is_another) {
            return false;
        }
        let from = self.gap.map_or(Lsn(*next), |gap| gap.from);
        self.gap = Some(Gap { from, to: Lsn(resume - 1), reason });
        *next = resume;
        true
    }

    fn is_full(&self, payload_bytes: usize) -> bool {
        self.entries.len() >= self.count_max
            || (!self.entries.is_empty() && self.bytes + payload_bytes > self.bytes_max)
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
            let (walked, outcome) = self.walk(&window, &bytes, open, next);
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
    fn walk(
        &mut self,
        window: &Window<'_>,
        bytes: &Bytes,
        open: &mut OpenSegment,
        next: &mut u64,
    ) -> (usize, Outcome) {
        let mut at = 0;
        loop {
            match window.step(at, open.expected) {
                Step::Batch(_) => at += BATCH_HEADER_BYTES,
                Step::Record { lsn, class, payload_start, end } => {
                    // Entries before `next` are only walked over, to find where `next` is.
                    if lsn >= *next {
                        let is_wanted = self.filter.takes(class);
                        let is_over = lsn > self.filter.through || self.looked >= self.filter.looked_max;
                        if is_over || (is_wanted && self.is_full(end - payload_start)) {
                            return (at, Outcome::BatchFull);
                        }
                        if is_wanted {
                            self.push(lsn, class, bytes, payload_start..end);
                        }
                        self.looked += 1;
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

    fn push(&mut self, lsn: u64, class: EntryClass, bytes: &Bytes, payload: Range<usize>) {
        self.bytes += payload.len();
        self.entries.push(Entry { lsn: Lsn(lsn), class, payload: bytes.slice(payload) });
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
