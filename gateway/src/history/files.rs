//! The embedded store: rows in memory, then in segments of one class and hour each.
//!
//! **What [`HistoryStore::settle`] has returned for is durable; the spool's cursor goes no further.** The spool is the log of
//! what is in memory: a crash costs reading a minute of records again.
//!
//! Answers hold a shared lock for the reads of one slot at a time; only putting a new segment in place takes it alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::row::{Row, RowClass};
use super::segment::{SegmentError, hash_of};
use super::shelf::{MERGE_AT, Shelf, merge_into, write};
use super::standing::Standing;
use super::table::{HOUR_MS, Rows, Slot, Table, in_order};
use super::{
    AlarmStory, Alarms, Answer, Condition, Found, HistoryError, HistoryStore, Hold, Holds, LOOK_BACK_MS,
    Retention, Sees, Track,
};
use crate::live::unit::UnitId;
use crate::spool::{Disk, RealDisk};

/// File that says that this is a history, and of which version.
const VERSION_FILE: &str = "version";
const VERSION: &[u8] = b"1\n";
const DAY_HOURS: u64 = 24;
/// How long the page says that rows went before their time.
const TOLD_MS: u64 = 24 * HOUR_MS;

/// Places and bounds of the store.
#[derive(Clone)]
pub struct Settings {
    /// Its directory.
    pub dir: PathBuf,
    /// On which disk.
    pub disk: Arc<dyn Disk>,
    /// Most rows in memory.
    pub rows_max: usize,
    /// Most bytes on disk.
    pub bytes_max: u64,
    /// How long rows are kept.
    pub retention: Retention,
    /// What is kept longer.
    pub holds: Holds,
}

impl Settings {
    /// The defaults in `dir`.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            disk: Arc::new(RealDisk),
            // 26 s of the national load, 25 MB.
            rows_max: 262_144,
            bytes_max: 16 << 30,
            retention: Retention { movement_days: 31, alarms_days: 366 },
            holds: Arc::new(Vec::new),
        }
    }
}

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A later release wrote it.
    #[error("{} was written by another release: move it away and the history is rebuilt from the spool", .0.display())]
    Version(PathBuf),
    /// Storage refused.
    #[error("cannot open the history in {}: {source}; check the disk and the directory's owner", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// The embedded store. Clones share it.
#[derive(Clone)]
pub struct FileStore {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    state: RwLock<State>,
    /// Held by the one who settles.
    settling: Mutex<Settling>,
}

struct State {
    fresh: Table,
    /// On its way to the disk.
    writing: Arc<Table>,
    shelf: Shelf,
    degraded: Vec<String>,
}

#[derive(Default)]
struct Settling {
    /// Slots whose time is over and of which only these holds' rows are left, in so many segments.
    held: HashMap<Slot, (Vec<Hold>, usize)>,
    /// When rows last went before their time, Unix ms.
    shortened_ms: Option<u64>,
}

impl FileStore {
    /// Opens the store, or makes it. Blocking: reads a header of each segment. Returns whether it is new.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(settings: Settings) -> Result<(Self, bool), OpenError> {
        let failed = |source| OpenError::Io { dir: settings.dir.clone(), source };
        settings.disk.create_dir_all(&settings.dir).map_err(failed)?;
        let shelf = Shelf::open(Arc::clone(&settings.disk), &settings.dir).map_err(failed)?;
        let is_new = is_new(&*settings.disk, &settings.dir)?;
        let state = State { fresh: Table::default(), writing: Arc::default(), shelf, degraded: Vec::new() };
        let inner = Inner { settings, state: RwLock::new(state), settling: Mutex::default() };
        Ok((Self { inner: Arc::new(inner) }, is_new))
    }

    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, HistoryError> + Send + 'static,
    ) -> Answer<T> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || work(&inner)).await;
            done.unwrap_or_else(|_| Err(HistoryError::Storage("the work on it panicked".to_owned())))
        })
    }
}

fn is_new(disk: &dyn Disk, dir: &Path) -> Result<bool, OpenError> {
    let failed = |source| OpenError::Io { dir: dir.to_owned(), source };
    let path = dir.join(VERSION_FILE);
    match disk.open_read(&path) {
        Ok(file) => {
            let mut version = [0; VERSION.len()];
            let read_bytes = crate::spool::read_full_at(&*file, &mut version, 0).map_err(failed)?;
            if read_bytes == VERSION.len() && version == *VERSION {
                Ok(false)
            } else {
                Err(OpenError::Version(path))
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            crate::sealed::write(disk, &path, VERSION).map_err(failed)?;
            Ok(true)
        }
        Err(error) => Err(failed(error)),
    }
}

impl HistoryStore for FileStore {
    fn take(&self, rows: Vec<(UnitId, Row)>) -> Answer<()> {
        let mut state = self.inner.write();
        let taken = if state.fresh.rows_count() + rows.len() > self.inner.settings.rows_max {
            Err(HistoryError::Full)
        } else {
            rows.into_iter().for_each(|(unit, row)| state.fresh.add(unit, row));
            Ok(())
        };
        drop(state);
        Box::pin(std::future::ready(taken))
    }

    fn settle(&self, now_ms: u64) -> Answer<()> {
        self.blocking(move |inner| {
            inner.settle(now_ms).map_err(|error| HistoryError::Storage(error.to_string()))
        })
    }

    fn let_go(&self) -> Answer<u64> {
        let rows_count = std::mem::take(&mut self.inner.write().fresh).rows_count() as u64;
        Box::pin(std::future::ready(Ok(rows_count)))
    }

    fn track(&self, question: Track) -> Answer<Found<Row>> {
        self.blocking(move |inner| inner.track(&question))
    }

    fn at(&self, unit: UnitId, at_ms: u64) -> Answer<Option<Standing>> {
        self.blocking(move |inner| inner.at(&unit, at_ms))
    }

    fn everyone(&self, at_ms: u64, sees: Sees) -> Answer<Found<Standing>> {
        self.blocking(move |inner| inner.everyone(at_ms, &sees))
    }

    fn window(&self, from_ms: u64, until_ms: u64, sees: Sees, rows_max: usize) -> Answer<Vec<(UnitId, Row)>> {
        self.blocking(move |inner| inner.window(from_ms, until_ms, &sees, rows_max))
    }

    fn alarms(&self, question: Alarms) -> Answer<Found<AlarmStory>> {
        self.blocking(move |inner| inner.alarms(&question))
    }

    fn condition(&self) -> Condition {
        let state = self.inner.read();
        let mut degraded = state.degraded.clone();
        if state.shelf.damaged_count() > 0 {
            let count = state.shelf.damaged_count();
            degraded.push(format!("History: {count} hours are damaged, their good rows are kept"));
        }
        Condition {
            bytes: state.shelf.bytes(),
            rows_count: state.shelf.rows_count(),
            oldest_ms: state.shelf.slots().map(Slot::starts_ms).min(),
            degraded,
        }
    }
}

/// Is handed rows of a unit.
type Each<'a> = &'a mut dyn FnMut(&UnitId, &[Row]) -> Result<(), HistoryError>;

/// Reading.
impl Inner {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic while a segment is put in place leaves at worst a slot too few until the next start.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Slots of `class` with rows in `[from_ms, until_ms)`, oldest first.
    fn slots(&self, class: RowClass, from_ms: u64, until_ms: u64) -> Vec<Slot> {
        let state = self.read();
        let in_memory = state.fresh.slots().chain(state.writing.slots()).map(|(slot, _)| slot);
        let slots: BTreeSet<Slot> = state.shelf.all_slots().chain(in_memory).collect();
        let overlaps =
            |slot: &Slot| slot.class == class && slot.starts_ms() < until_ms && slot.ends_ms() > from_ms;
        slots.into_iter().filter(overlaps).collect()
    }

    /// The rows of `unit` in `slot`, in order; notes the slot if a part could not be read.
    fn rows(
        &self,
        slot: Slot,
        unit: &UnitId,
        damaged: &mut Vec<(u64, u64)>,
    ) -> Result<Vec<Row>, HistoryError> {
        let state = self.read();
        let mut rows = Vec::new();
        let mut is_whole = !state.shelf.is_damaged(slot);
        for segment in state.shelf.segments(slot) {
            let found = segment.read(state.shelf.disk()).and_then(|reader| reader.rows_of(unit));
            rows.extend(or_damaged(found, &mut is_whole)?.unwrap_or_default());
        }
        for table in [&state.fresh, &*state.writing] {
            rows.extend(table.slot(slot).and_then(|rows| rows.get(unit)).into_iter().flatten().cloned());
        }
        drop(state);
        if !is_whole {
            damaged.push((slot.starts_ms(), slot.ends_ms()));
        }
        in_order(&mut rows);
        Ok(rows)
    }

    /// Calls `each` with the rows of every unit in `slot`, several times for a unit, in no order. `skips` says by hash which
    /// units need not be read.
    fn every(
        &self,
        slot: Slot,
        damaged: &mut Vec<(u64, u64)>,
        skips: &dyn Fn(u64) -> bool,
        each: Each<'_>,
    ) -> Result<(), HistoryError> {
        let state = self.read();
        let mut is_whole = !state.shelf.is_damaged(slot);
        for segment in state.shelf.segments(slot) {
            let Some(reader) = or_damaged(segment.read(state.shelf.disk()), &mut is_whole)? else { continue };
            for n in 0..reader.units_count() {
                let Some(hash) = or_damaged(reader.hash_at(n), &mut is_whole)? else { continue };
                if skips(hash) {
                    continue;
                }
                if let Some((unit, rows)) = or_damaged(reader.block(n), &mut is_whole)? {
                    each(&unit, &rows)?;
                }
            }
        }
        for table in [&state.fresh, &*state.writing] {
            for (unit, rows) in table.slot(slot).into_iter().flatten() {
                each(unit, rows)?;
            }
        }
        if !is_whole {
            damaged.push((slot.starts_ms(), slot.ends_ms()));
        }
        Ok(())
    }

    fn track(&self, question: &Track) -> Result<Found<Row>, HistoryError> {
        let mut found = Found { items: Vec::new(), has_more: false, damaged: Vec::new() };
        let from_ms = question.after.map_or(question.from_ms, |after| after.at_ms.max(question.from_ms));
        for slot in self.slots(RowClass::Movement, from_ms, question.until_ms) {
            let rows = self.rows(slot, &question.unit, &mut found.damaged)?;
            let is_asked = |row: &Row| {
                (from_ms..question.until_ms).contains(&row.at_ms)
                    && question.after.is_none_or(|after| row.key() > after)
            };
            found.items.extend(rows.into_iter().filter(is_asked));
            if found.items.len() > question.rows_max {
                found.items.truncate(question.rows_max);
                found.has_more = true;
                break;
            }
        }
        Ok(found)
    }

    fn at(&self, unit: &UnitId, at_ms: u64) -> Result<Option<Standing>, HistoryError> {
        let mut standing = Standing::new(unit.clone(), at_ms);
        let slots =
            self.slots(RowClass::Movement, at_ms.saturating_sub(LOOK_BACK_MS), at_ms.saturating_add(1));
        for slot in slots.into_iter().rev() {
            let rows = self.rows(slot, unit, &mut Vec::new())?;
            rows.iter().for_each(|row| standing.fold(row));
            if standing.is_settled() {
                break;
            }
        }
        Ok(standing.is_known().then_some(standing))
    }

    fn everyone(&self, at_ms: u64, sees: &Sees) -> Result<Found<Standing>, HistoryError> {
        let mut standings: BTreeMap<UnitId, Standing> = BTreeMap::new();
        let mut settled: BTreeSet<u64> = BTreeSet::new();
        let mut damaged = Vec::new();
        let slots =
            self.slots(RowClass::Movement, at_ms.saturating_sub(LOOK_BACK_MS), at_ms.saturating_add(1));
        for slot in slots.into_iter().rev() {
            let skips = |hash: u64| settled.contains(&hash);
            self.every(slot, &mut damaged, &skips, &mut |unit, rows| {
                if sees.force(&unit.force) {
                    let fresh = || Standing::new(unit.clone(), at_ms);
                    let standing = standings.entry(unit.clone()).or_insert_with(fresh);
                    rows.iter().for_each(|row| standing.fold(row));
                }
                Ok(())
            })?;
            let done = standings.values().filter(|standing| standing.is_settled());
            settled = done.map(|standing| hash_of(&standing.unit)).collect();
        }
        let items = standings.into_values().filter(Standing::is_known).collect();
        Ok(Found { items, has_more: false, damaged })
    }

    fn window(
        &self,
        from_ms: u64,
        until_ms: u64,
        sees: &Sees,
        rows_max: usize,
    ) -> Result<Vec<(UnitId, Row)>, HistoryError> {
        let mut found = Vec::new();
        for slot in self.slots(RowClass::Movement, from_ms, until_ms) {
            self.every(slot, &mut Vec::new(), &|_| false, &mut |unit, rows| {
                if sees.force(&unit.force) {
                    let within = rows.iter().filter(|row| (from_ms..until_ms).contains(&row.at_ms));
                    found.extend(within.map(|row| (unit.clone(), row.clone())));
                }
                if found.len() > rows_max { Err(HistoryError::TooMuch { rows_max }) } else { Ok(()) }
            })?;
        }
        found.sort_unstable_by(|a, b| (a.1.key(), &a.0).cmp(&(b.1.key(), &b.0)));
        found.dedup_by(|a, b| (a.1.key(), &a.0) == (b.1.key(), &b.0));
        Ok(found)
    }

    fn alarms(&self, question: &Alarms) -> Result<Found<AlarmStory>, HistoryError> {
        let mut found = Found { items: Vec::new(), has_more: false, damaged: Vec::new() };
        for slot in self.slots(RowClass::Alarms, question.from_ms, question.until_ms) {
            let mut raised = BTreeMap::new();
            self.every(slot, &mut found.damaged, &|_| false, &mut |unit, rows| {
                let within =
                    rows.iter().filter(|row| (question.from_ms..question.until_ms).contains(&row.at_ms));
                for row in within.filter(|_| question.sees.force(&unit.force)) {
                    let Some(event) = row.alarm_event().filter(|event| event.what == "raised") else {
                        continue;
                    };
                    let key = (row.at_ms, event.alarm.clone());
                    if question.after.as_ref().is_none_or(|after| key > *after) {
                        raised.entry(key).or_insert_with(|| (unit.clone(), row.clone(), event));
                    }
                }
                Ok(())
            })?;
            for (unit, raised, event) in raised.into_values() {
                if found.items.len() >= question.alarms_max {
                    found.has_more = true;
                    return Ok(found);
                }
                let since = self.since(&unit, &raised, &event.alarm)?;
                found.items.push(AlarmStory { unit, raised, event, since });
            }
        }
        Ok(found)
    }

    /// What happened to an alarm after it was raised.
    fn since(
        &self,
        unit: &UnitId,
        raised: &Row,
        alarm: &str,
    ) -> Result<Vec<(u64, super::AlarmEvent)>, HistoryError> {
        let mut since = Vec::new();
        // An acknowledgement may be dated before an alarm whose device's clock is ahead.
        for slot in self.slots(RowClass::Alarms, raised.at_ms.saturating_sub(HOUR_MS), u64::MAX) {
            for row in self.rows(slot, unit, &mut Vec::new())? {
                let event = row.alarm_event().filter(|event| event.alarm == alarm && event.what != "raised");
                since.extend(event.map(|event| (row.at_ms, event)));
            }
        }
        Ok(since)
    }
}

fn or_damaged<T>(found: Result<T, SegmentError>, is_whole: &mut bool) -> Result<Option<T>, HistoryError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(SegmentError::Damaged { .. }) => {
            *is_whole = false;
            Ok(None)
        }
        Err(error) => Err(HistoryError::Storage(error.to_string())),
    }
}

/// Writing.
impl Inner {
    fn settle(&self, now_ms: u64) -> Result<(), SegmentError> {
        let mut settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_fresh()?;
        self.retire(now_ms, &mut settling)?;
        self.merge_slots()?;
        let mut degraded = Vec::new();
        let bytes_max = self.settings.bytes_max;
        if !self.bound(now_ms, &mut settling)? {
            degraded.push(format!(
                "History: over its {bytes_max} bytes, and all of it is held: raise history.bytes_max or lift a hold"
            ));
        }
        if settling.shortened_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < TOLD_MS) {
            degraded.push(format!(
                "History: shorter than configured, its {bytes_max} bytes are used up: raise history.bytes_max"
            ));
        }
        self.write().degraded = degraded;
        Ok(())
    }

    fn write_fresh(&self) -> Result<(), SegmentError> {
        let table = {
            let mut state = self.write();
            state.writing = Arc::new(std::mem::take(&mut state.fresh));
            Arc::clone(&state.writing)
        };
        let mut written = BTreeSet::new();
        let mut outcome = Ok(());
        for (slot, rows) in table.slots() {
            outcome = self.write_slot(slot, rows);
            if outcome.is_err() {
                break;
            }
            written.insert(slot);
        }
        let mut state = self.write();
        state.writing = Arc::default();
        for (slot, rows) in table.slots().filter(|(slot, _)| !written.contains(slot)) {
            state.fresh.put_back(slot, rows);
        }
        outcome
    }

    fn write_slot(&self, slot: Slot, rows: &Rows) -> Result<(), SegmentError> {
        let (path, disk) = self.next_path(slot);
        let segment = write(&*disk, &path, rows).map_err(|source| SegmentError::Io { path, source })?;
        segment.into_iter().for_each(|segment| self.write().shelf.insert(slot, segment));
        Ok(())
    }

    fn next_path(&self, slot: Slot) -> (PathBuf, Arc<dyn Disk>) {
        let mut state = self.write();
        (state.shelf.next_path(slot), state.shelf.shared_disk())
    }

    fn merge_slots(&self) -> Result<(), SegmentError> {
        let many: Vec<Slot> = {
            let state = self.read();
            state.shelf.slots().filter(|slot| state.shelf.segments(*slot).len() >= MERGE_AT).collect()
        };
        many.into_iter().try_for_each(|slot| self.merge(slot, None))
    }

    fn merge(&self, slot: Slot, holds: Option<&[Hold]>) -> Result<(), SegmentError> {
        let (path, disk) = self.next_path(slot);
        let segments = self.read().shelf.segments(slot).to_vec();
        let is_held = |unit: &UnitId, row: &Row| {
            holds.is_none_or(|holds| holds.iter().any(|hold| hold.covers(unit, row)))
        };
        let merged = merge_into(&*disk, &path, segments, holds.map(|_| &is_held as _))?;
        for damaged in &merged.damaged {
            tracing::error!(path = %damaged.display(), "a part of the history is damaged: its good rows were kept");
        }
        let replaced = self.write().shelf.replace(slot, merged);
        replaced.map_err(|source| SegmentError::Io { path, source })
    }

    /// Drops what is older than its class is kept, but for what is held.
    fn retire(&self, now_ms: u64, settling: &mut Settling) -> Result<(), SegmentError> {
        let today = now_ms / HOUR_MS / DAY_HOURS;
        let retention = self.settings.retention;
        let over: Vec<(Slot, usize)> = {
            let state = self.read();
            let is_over = |slot: &Slot| slot.hour / DAY_HOURS + retention.days(slot.class) < today;
            state
                .shelf
                .all_slots()
                .filter(is_over)
                .map(|slot| (slot, state.shelf.segments(slot).len()))
                .collect()
        };
        if over.is_empty() {
            return Ok(());
        }
        let holds = (self.settings.holds)();
        for (slot, segments_count) in over {
            let of_slot: Vec<Hold> = holds
                .iter()
                .filter(|hold| hold.from_ms < slot.ends_ms() && hold.until_ms > slot.starts_ms())
                .cloned()
                .collect();
            if of_slot.is_empty() {
                settling.held.remove(&slot);
                self.drop_slot(slot)?;
            } else if settling.held.get(&slot) != Some(&(of_slot.clone(), segments_count)) {
                self.merge(slot, Some(&of_slot))?;
                settling.held.insert(slot, (of_slot, 1));
            }
        }
        Ok(())
    }

    fn drop_slot(&self, slot: Slot) -> Result<(), SegmentError> {
        let dropped = self.write().shelf.drop_slot(slot);
        dropped.map_err(|source| SegmentError::Io { path: self.settings.dir.clone(), source })
    }

    /// Keeps the bound of the disk: the oldest movements that nobody holds go before their time, then alarms. False if all
    /// that is left is held.
    fn bound(&self, now_ms: u64, settling: &mut Settling) -> Result<bool, SegmentError> {
        let holds = (self.settings.holds)();
        let is_free = |slot: &Slot| {
            !holds.iter().any(|hold| hold.from_ms < slot.ends_ms() && hold.until_ms > slot.starts_ms())
        };
        loop {
            let (bytes, oldest) = {
                let state = self.read();
                (state.shelf.bytes(), state.shelf.slots().find(is_free))
            };
            if bytes <= self.settings.bytes_max {
                return Ok(true);
            }
            let Some(slot) = oldest else { return Ok(false) };
            tracing::warn!(
                hour = slot.hour,
                "the history's disk is used up: its oldest hour goes before its time"
            );
            settling.shortened_ms = Some(now_ms);
            self.drop_slot(slot)?;
        }
    }
}
