//! The spool as a forwarder's source: a reader a lane, and one durable cursor that holds all three places.
//!
//! **Neither an alarm nor the newest position waits behind a backlog, and nothing is left out.** Of three readers each takes the
//! entries of its classes and steps over the others. While a lane has nothing, the spool's own count of what came last says
//! so without a read, so live records alone cost one reader.
//!
//! ```text
//! delivered by live   |======|          |====|      |=>        jumps: the newest first
//! delivered by backlog|===>  |..........|    |......|          ranges skipped, and all history
//!                            '-- skipped --'
//! ```
//! The backlog's reader never passes the live one, so a range that is skipped is always still ahead of it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, timeout, timeout_at};

use super::event::{Gap, GapReason};
use super::pace::Pace;
use super::source::{Lane, Source, SourceError, Taken};
use crate::alarms::{Acceptance, AlarmId};
use crate::sabotage::{self, Sabotage};
use crate::spool::{
    self, Batch, BatchLimits, Cursor, EntryClass, Health, LanePositions, Lsn, ReadError, Reader, Spool,
    SpoolError, Wanted,
};

/// Entries a look steps over at most: some milliseconds.
const LOOKED_MAX: usize = 50_000;
/// Skipped ranges kept apart: hours of a sink that is slower than its devices.
const SKIPPED_MAX: usize = 4_096;
/// Gaps remembered; one that was forgotten may be told again, under the same key.
const TOLD_MAX: usize = 256;
/// How long a forwarder waits until it is durable that its sink has an alarm.
const CONFIRM_MAX: Duration = Duration::from_secs(2);
/// Places that only stepped over entries are written so late: nobody would get anything twice.
const WRITE_LATE: Duration = Duration::from_secs(1);

/// Reads the spool behind the cursor of one forwarder.
pub struct SpoolSource {
    spool: Spool,
    readers: [Reader; 3],
    /// Where the places are kept; nowhere if somebody else keeps them.
    cursor: Option<Cursor>,
    places: LanePositions,
    /// Since when `places` says more than the cursor.
    ahead_since: Option<Instant>,
    /// The newest note of an alarm that the sink has.
    noted: Lsn,
    /// Gaps that one lane has met and others may meet again, the newest first.
    told: VecDeque<spool::Gap>,
    limits: BatchLimits,
    pace: Pace,
}

impl SpoolSource {
    /// Opens the cursor `name` and reads on after it. Blocking: small files.
    ///
    /// # Errors
    /// What [`Spool::cursor`] says: a bad name, a cursor that is open already, storage.
    pub fn open(spool: &Spool, name: &str, limits: BatchLimits) -> Result<Self, SpoolError> {
        let cursor = spool.cursor(name)?;
        let source = Self::after(spool, cursor.lanes(), limits);
        Ok(Self { cursor: Some(cursor), ..source })
    }

    /// Reads on after `places`, which somebody else keeps. It holds up nothing: what retention removes meanwhile is a gap.
    #[must_use]
    pub fn after(spool: &Spool, places: LanePositions, limits: BatchLimits) -> Self {
        let reader = |place: Lsn| spool.reader(place.next());
        let readers = [reader(places.alarm), reader(places.live), reader(places.backlog)];
        let pace = Pace::new(limits.count_max);
        let limits = BatchLimits { count_max: pace.count(), ..limits };
        Self {
            spool: spool.clone(),
            readers,
            cursor: None,
            places,
            ahead_since: None,
            noted: Lsn(0),
            told: VecDeque::new(),
            limits,
            pace,
        }
    }

    /// How far it has got.
    #[must_use]
    pub fn places(&self) -> &LanePositions {
        &self.places
    }

    /// Whether there may be something of `lane` that was not taken yet.
    fn has(&self, lane: Lane) -> bool {
        if sabotage::is(Sabotage::OneLane) {
            return lane == Lane::Live;
        }
        let next = self.readers[lane as usize].position();
        let has_class = |class: &EntryClass| self.spool.newest_of(*class) >= next;
        match lane {
            Lane::Alarm => ALARM_CLASSES.iter().any(has_class),
            Lane::Live => has_class(&EntryClass::Live),
            Lane::Backlog => has_class(&EntryClass::Backlog) || self.is_skipped_after(next),
        }
    }

    fn is_skipped_after(&self, next: Lsn) -> bool {
        self.places.skipped.last().is_some_and(|(_, through)| *through >= next)
    }

    /// Where a lane's reader may go to.
    fn end(&self, lane: Lane) -> Lsn {
        let committed = self.spool.committed();
        match lane {
            Lane::Alarm | Lane::Live => committed,
            Lane::Backlog => committed.min(self.places.live),
        }
    }

    /// The lanes that have nothing go along with the live one, without a read.
    fn step_over(&mut self) {
        let live = &self.readers[Lane::Live as usize];
        let is_idle = live.position() == self.places.live.next();
        for lane in [Lane::Alarm, Lane::Backlog] {
            let place = *self.place(lane);
            // Nothing of it is on its way to the sink.
            let is_settled = self.readers[lane as usize].position() == place.next();
            if is_idle && is_settled && place < self.places.live && !self.has(lane) {
                self.readers[lane as usize] = self.readers[Lane::Live as usize].fork();
                self.move_to(lane, self.places.live);
            }
        }
    }

    fn place(&mut self, lane: Lane) -> &mut Lsn {
        match lane {
            Lane::Alarm => &mut self.places.alarm,
            Lane::Live => &mut self.places.live,
            Lane::Backlog => &mut self.places.backlog,
        }
    }

    fn move_to(&mut self, lane: Lane, through: Lsn) {
        let place = self.place(lane);
        *place = through.max(*place);
        let backlog = self.places.backlog;
        self.places.skipped.retain(|(_, through)| *through > backlog);
        self.ahead_since.get_or_insert_with(Instant::now);
    }

    async fn write_places(&mut self) -> Result<(), SourceError> {
        if self.may_lose_a_note() {
            self.ahead_since = Some(Instant::now());
            return Ok(());
        }
        self.ahead_since = None;
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        let written = cursor.advance_lanes(self.places.clone()).await;
        written.map_err(|error| SourceError::Again(error.to_string()))
    }

    /// A note is not committed yet: were its alarm passed now and a crash took the note, no wearer would hear of it. Before the
    /// cursor the alarm comes again after a crash, and so does the note. A full spool may be waiting for this very cursor.
    fn may_lose_a_note(&self) -> bool {
        let commits = self.spool.committed_watch();
        let state = *commits.borrow();
        state.committed < self.noted && state.health != Health::Full
    }

    /// An entry of the backlog's reader belongs to the backlog: all history, and what live skipped.
    fn of_backlog(&self, lsn: Lsn) -> bool {
        let at = self.places.skipped.partition_point(|(_, through)| *through < lsn);
        self.places.skipped.get(at).is_some_and(|(after, _)| *after < lsn)
    }

    /// A gap has no lane: whose reader meets it first tells of it.
    fn is_news(&mut self, gap: spool::Gap) -> bool {
        let is_known = self.told.iter().any(|told| told.from <= gap.from && gap.to <= told.to);
        if !is_known {
            self.told.truncate(TOLD_MAX - 1);
            self.told.push_front(gap);
        }
        !is_known
    }

    fn taken(&mut self, lane: Lane, batch: &Batch, end: Lsn) -> Taken {
        let is_backlog = lane == Lane::Backlog;
        let is_ours = |entry: &spool::Entry| {
            !is_backlog || entry.class == EntryClass::Backlog || self.of_backlog(entry.lsn)
        };
        let ours: Vec<_> = batch.entries().filter(is_ours).collect();
        Taken {
            gaps: batch.gap.filter(|gap| self.is_news(*gap)).iter().map(of_spool).collect(),
            overtaken: ours.iter().map(|entry| is_backlog && entry.class == EntryClass::Live).collect(),
            entries: ours.into_iter().map(|entry| (entry.lsn, entry.payload)).collect(),
            through: batch.end,
            has_more: batch.end < end,
        }
    }
}

/// What belongs to alarms: who took them, and which system has them.
const ALARM_CLASSES: [EntryClass; 2] = [EntryClass::Alarm, EntryClass::Internal];

impl Source for SpoolSource {
    async fn wait(&mut self) -> Result<(), SourceError> {
        let mut watch = self.spool.committed_watch();
        let mut deadline = None;
        loop {
            self.step_over();
            let state = *watch.borrow_and_update();
            let ends = state.closed || state.health == Health::Failed;
            let waiting = state.committed.0.saturating_sub(self.places.live.0);
            let has_history = self.has(Lane::Backlog) && self.end(Lane::Backlog) > self.places.backlog;
            let has_alarm = self.has(Lane::Alarm) && state.committed > self.places.alarm;
            if has_history || has_alarm || waiting >= self.limits.count_max as u64 {
                return Ok(());
            }
            if waiting > 0 {
                let age = Duration::from_millis(self.limits.age_ms_max);
                let until = *deadline.get_or_insert_with(|| Instant::now() + age);
                if ends || Instant::now() >= until {
                    return Ok(());
                }
            } else if ends {
                return Err(ended(state.health));
            }
            let write_at = self.ahead_since.map(|since| since + WRITE_LATE);
            if write_at.is_some_and(|at| Instant::now() >= at) {
                // What it may say, the next one says that has something delivered to note.
                _ = self.write_places().await;
                continue;
            }
            let changed = watch.changed();
            match deadline.into_iter().chain(write_at).min() {
                Some(until) => _ = timeout_at(until, changed).await,
                None => _ = changed.await,
            }
        }
    }

    async fn take(&mut self, lane: Lane) -> Result<Option<Taken>, SourceError> {
        let end = self.end(lane);
        // The live reader looks all the same: where it has been, the others may step.
        if lane != Lane::Live && !self.has(lane) {
            return Ok(None);
        }
        let classes: &[EntryClass] = match lane {
            Lane::Live if sabotage::is(Sabotage::OneLane) => &EntryClass::ALL,
            Lane::Alarm => &ALARM_CLASSES,
            Lane::Live => &[EntryClass::Live],
            Lane::Backlog if self.places.skipped.is_empty() => &[EntryClass::Backlog],
            Lane::Backlog => &[EntryClass::Backlog, EntryClass::Live],
        };
        let wanted = Wanted { classes, through: end, looked_max: LOOKED_MAX };
        let batch = self.readers[lane as usize].look(self.limits, wanted).await;
        let batch = batch.map_err(|error| of_read(&error))?;
        Ok(batch.map(|batch| self.taken(lane, &batch, end)))
    }

    fn overtake(&mut self) -> bool {
        let (committed, done) = (self.spool.committed(), self.places.live);
        let count_max = self.limits.count_max as u64;
        // The newest is in the next batch anyway.
        let is_little = committed.0.saturating_sub(done.0) <= count_max;
        if is_little || sabotage::is(Sabotage::OneLane) {
            return false;
        }
        let newest_after = Lsn(committed.0 - count_max);
        self.readers[Lane::Live as usize] = self.spool.reader(newest_after.next());
        self.move_to(Lane::Live, newest_after);
        match self.places.skipped.last_mut().filter(|(_, through)| *through == done) {
            Some((_, through)) => *through = newest_after,
            None => self.places.skipped.push((done, newest_after)),
        }
        self.places.merge_skipped(SKIPPED_MAX);
        true
    }

    async fn advance(&mut self, lane: Lane, through: Lsn) -> Result<(), SourceError> {
        self.move_to(lane, through);
        self.write_places().await
    }

    fn pass(&mut self, lane: Lane, through: Lsn) {
        self.move_to(lane, through);
    }

    async fn confirm(&mut self, acceptance: &Acceptance, mut alarms: Vec<AlarmId>) -> Vec<AlarmId> {
        let mut noted = Lsn(0);
        let mut bytes = BytesMut::new();
        while let Some(alarm) = alarms.pop() {
            bytes.clear();
            acceptance.clone().record(&alarm).encode(&mut bytes);
            match self.spool.try_append(EntryClass::Internal, &bytes) {
                Ok(lsn) => noted = lsn,
                Err(_) => {
                    alarms.push(alarm);
                    break;
                }
            }
        }
        self.noted = self.noted.max(noted);
        // If that takes longer, the lane goes on and its cursor waits.
        _ = timeout(CONFIRM_MAX, self.spool.wait_committed(noted)).await;
        alarms
    }

    fn took(&mut self, count: usize, is_full: bool, took: Duration) {
        self.pace.note(count, is_full, took);
        self.limits.count_max = self.pace.count();
    }

    fn lag_records_count(&self) -> u64 {
        self.spool.committed().0.saturating_sub(self.places.hindmost().0)
    }
}

fn ended(health: Health) -> SourceError {
    let error = if health == Health::Failed { ReadError::Failed } else { ReadError::Closed };
    SourceError::Ended(error.to_string())
}

fn of_read(error: &ReadError) -> SourceError {
    match error {
        ReadError::Failed | ReadError::Closed => SourceError::Ended(error.to_string()),
        ReadError::Io(_) => SourceError::Again(error.to_string()),
    }
}

fn of_spool(gap: &spool::Gap) -> Gap {
    let reason = match gap.reason {
        spool::GapReason::Retention => GapReason::Retention,
        spool::GapReason::Damaged => GapReason::Damaged,
    };
    Gap { first: gap.from, last: gap.to, reason }
}
