//! The embedded store: rows in memory, then in segments of one class and hour each.
//!
//! **What [`HistoryStore::settle`] has returned for is durable; the spool's cursor goes no further.** The spool is the log of
//! what is in memory: a crash costs reading a minute of records again.
//!
//! **The lock is never held over a call of the disk**: rows are taken and the condition is told on the runtime's workers, which
//! also serve the front door. Answers are in `read`.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::row::Row;
use super::segment::{Segment, SegmentError};
use super::shelf::{MERGE_AT, Shelf, merge_into, smallest, write};
use super::standing::Standing;
use super::table::{HOUR_MS, Rows, Slot, Table};
use super::{
    AlarmStory, Alarms, Answer, Condition, Found, HistoryError, HistoryStore, Hold, Holds, Retention, Sees,
    Track,
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
            // 40 s of the largest force. With their keys, and the segment being written, a row takes about 400 bytes: 26 MB.
            rows_max: 65_536,
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

pub(super) struct Inner {
    pub(super) settings: Settings,
    state: RwLock<State>,
    /// Held by the one who settles.
    settling: Mutex<Settling>,
}

pub(super) struct State {
    pub(super) fresh: Table,
    /// On its way to the disk.
    pub(super) writing: Arc<Table>,
    pub(super) shelf: Shelf,
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
            state.fresh.add(rows);
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

    fn at(&self, unit: UnitId, at_ms: u64) -> Answer<Found<Standing>> {
        self.blocking(move |inner| inner.at(&unit, at_ms))
    }

    fn everyone(&self, at_ms: u64, sees: Sees) -> Answer<Found<Standing>> {
        self.blocking(move |inner| inner.everyone(at_ms, &sees))
    }

    fn window(
        &self,
        from_ms: u64,
        until_ms: u64,
        sees: Sees,
        rows_max: usize,
    ) -> Answer<Found<(UnitId, Row)>> {
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

impl Inner {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic while a segment is put in place leaves at worst a slot too few until the next start.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
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
        let many: Vec<(Slot, Vec<Segment>)> = {
            let state = self.read();
            let small = state.shelf.slots().map(|slot| (slot, smallest(state.shelf.segments(slot))));
            small.filter(|(_, segments)| segments.len() >= MERGE_AT).collect()
        };
        many.into_iter().try_for_each(|(slot, segments)| self.merge(slot, segments, None))
    }

    fn merge(&self, slot: Slot, segments: Vec<Segment>, holds: Option<&[Hold]>) -> Result<(), SegmentError> {
        let (path, disk) = self.next_path(slot);
        let is_held = |unit: &UnitId, row: &Row| {
            holds.is_none_or(|holds| holds.iter().any(|hold| hold.covers(unit, row)))
        };
        let merged = merge_into(&*disk, &path, segments, holds.map(|_| &is_held as _))?;
        for damaged in &merged.damaged {
            tracing::error!(path = %damaged.display(), "a part of the history is damaged: its good rows were kept");
        }
        let old = self.write().shelf.replace(slot, merged);
        old.clear(&*disk).map_err(|source| SegmentError::Io { path, source })
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
                let segments = self.read().shelf.segments(slot).to_vec();
                self.merge(slot, segments, Some(&of_slot))?;
                settling.held.insert(slot, (of_slot, 1));
            }
        }
        Ok(())
    }

    fn drop_slot(&self, slot: Slot) -> Result<(), SegmentError> {
        let old = self.write().shelf.drop_slot(slot);
        old.clear(&*self.settings.disk)
            .map_err(|source| SegmentError::Io { path: self.settings.dir.clone(), source })
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
