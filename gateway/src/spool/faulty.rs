//! A test double of the storage seam: a file system in memory that can be told to go wrong.
//!
//! It keeps what was written apart from what was synced, so [`FaultyDisk::cut_power`] forgets exactly what a real power
//! cut may forget. Faults hit the files of the log (`*.seg`) only, so that a count means commits; space is shared by all
//! files. Nothing of this is used by the gateway itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::disk::{DirLock, Disk, DiskFile};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What survives of the writes, renames and removals that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// Nothing: the power cut came before any of it reached the disk.
    Lost,
    /// Everything, still unsynced: the process was killed, the page cache lives on.
    Kept,
    /// Each sector and each directory by a coin thrown from this seed: torn writes in any order.
    Torn(u64),
}

/// The double. Clones share one disk.
#[derive(Clone, Default)]
pub struct FaultyDisk {
    world: Arc<World>,
}

#[derive(Default)]
struct World {
    state: Mutex<State>,
    released: Condvar,
    held: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<u64, FileState>,
    names: BTreeMap<PathBuf, u64>,
    names_durable: BTreeMap<PathBuf, u64>,
    locks: BTreeSet<PathBuf>,
    next_file: u64,
    read_bytes: u64,
    changes_count: u64,
    faults: Faults,
}

#[derive(Default, Clone)]
struct FileState {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    dirty_sectors: BTreeSet<usize>,
}

#[derive(Default)]
struct Faults {
    dead: bool,
    syncs_held: bool,
    sync_lies: bool,
    space_bytes: Option<u64>,
    write_bytes_max: Option<usize>,
    /// Writes that still succeed, and the error after that.
    writes: Option<(u64, io::ErrorKind)>,
    /// Syncs that still succeed before one fails.
    sync_fails_after: Option<u64>,
    /// Reads fail.
    reads: Option<io::ErrorKind>,
    /// File and number of a sector that cannot be read.
    bad_sector: Option<(u64, usize)>,
    cursor_writes: Option<io::ErrorKind>,
    /// Changes of whatever file that still succeed, the error after that, and whether it stays.
    changes: Option<(u64, io::ErrorKind, Lasts)>,
}

/// How long a fault stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// One call fails, the next one succeeds.
    Once,
    /// Every call fails until [`FaultyDisk::heal`].
    UntilHealed,
}

impl FaultyDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds every sync of a segment back until [`FaultyDisk::release_syncs`]; its caller blocks.
    pub fn hold_syncs(&self) {
        self.state().faults.syncs_held = true;
    }

    /// Lets held syncs go on.
    pub fn release_syncs(&self) {
        self.state().faults.syncs_held = false;
        self.world.released.notify_all();
    }

    /// Waits until a sync of a segment is being held back.
    pub async fn sync_is_held(&self) {
        let mut held = self.world.held.subscribe();
        // The sender lives in `self`, so this ends only with the condition.
        let _ = held.wait_for(|&count| count > 0).await;
    }

    /// Lets `count` more writes to segments succeed; from then on each fails with `kind`, until [`FaultyDisk::heal`].
    pub fn fail_write_after(&self, count: u64, kind: io::ErrorKind) {
        self.state().faults.writes = Some((count, kind));
    }

    /// Lets `count` more syncs of segments succeed; the next one fails and, like the kernel, forgets the pages it could
    /// not write. Later syncs succeed again, over the missing data.
    pub fn fail_sync_after(&self, count: u64) {
        self.state().faults.sync_fails_after = Some(count);
    }

    /// Makes reads of segments fail with `kind` until [`FaultyDisk::heal`].
    pub fn fail_reads(&self, kind: io::ErrorKind) {
        self.state().faults.reads = Some(kind);
    }

    /// Makes every read that touches the sector at `offset` of a file fail until [`FaultyDisk::heal`].
    pub fn break_sector(&self, path: &Path, offset: usize) {
        let mut state = self.state();
        state.faults.bad_sector = state.names.get(path).map(|id| (*id, offset / SECTOR_BYTES));
    }

    /// Makes writes of cursor files fail with `kind` until [`FaultyDisk::heal`].
    pub fn fail_cursor_writes(&self, kind: io::ErrorKind) {
        self.state().faults.cursor_writes = Some(kind);
    }

    /// Lets `count` more changes of the disk succeed, whatever the file; the next one fails with `kind`. A change is a
    /// file created, written, grown, synced, renamed or removed, a directory made or synced. A write that fails leaves
    /// half of its bytes behind; a sync that fails forgets what it could not write, as the kernel does.
    pub fn fail_change_after(&self, count: u64, kind: io::ErrorKind, lasts: Lasts) {
        self.state().faults.changes = Some((count, kind, lasts));
    }

    /// Changes tried so far.
    pub fn changes_count(&self) -> u64 {
        self.state().changes_count
    }

    /// Limits the bytes of all files together (`None` = no limit): growing over it is `StorageFull`.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.state().faults.space_bytes = bytes;
    }

    /// Makes every write take at most `bytes` at once.
    pub fn short_writes(&self, bytes: usize) {
        self.state().faults.write_bytes_max = Some(bytes);
    }

    /// A disk that reports a sync without doing it: what no software can survive, so a rig must notice it.
    pub fn lie_about_sync(&self) {
        self.state().faults.sync_lies = true;
    }

    /// Takes all faults away, except a cut power.
    pub fn heal(&self) {
        let mut state = self.state();
        let dead = state.faults.dead;
        state.faults = Faults { dead, ..Faults::default() };
        drop(state);
        self.world.released.notify_all();
    }

    /// Cuts the power, or kills the process ([`Unsynced::Kept`]): this disk answers everything with an error from now on; the returned one is what the next start
    /// finds, without locks or faults.
    #[must_use]
    pub fn cut_power(&self, unsynced: Unsynced) -> Self {
        let mut state = self.state();
        state.faults.dead = true;
        let mut coin = Coin(match unsynced {
            Unsynced::Torn(seed) => seed,
            Unsynced::Lost | Unsynced::Kept => 0,
        });
        let mut keep = || matches!(unsynced, Unsynced::Torn(_)) && coin.throw();
        let survivor = if unsynced == Unsynced::Kept {
            // Nothing reached the disk by this: a power cut after the next start may still take it.
            State {
                files: state.files.clone(),
                names: state.names.clone(),
                names_durable: state.names_durable.clone(),
                next_file: state.next_file,
                ..State::default()
            }
        } else {
            let files = state.files.iter().map(|(&id, file)| (id, file.after_power_cut(&mut keep))).collect();
            // A journalling file system keeps directory changes in order: all of them or none here.
            let names = if keep() { &state.names } else { &state.names_durable };
            State {
                files,
                names: names.clone(),
                names_durable: names.clone(),
                next_file: state.next_file,
                ..State::default()
            }
        };
        drop(state);
        self.world.released.notify_all();
        Self { world: Arc::new(World { state: Mutex::new(survivor), ..World::default() }) }
    }

    /// Bytes read so far.
    pub fn read_bytes(&self) -> u64 {
        self.state().read_bytes
    }

    /// Bytes of all files that have a name.
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// All file paths, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    /// The length of a file; `None` if there is no such file.
    pub fn len_of(&self, path: &Path) -> Option<u64> {
        let state = self.state();
        state.files.get(state.names.get(path)?).map(|file| file.bytes.len() as u64)
    }

    /// The bytes of a file as a process would read them; `None` if there is no such file.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let id = state.names.get(path)?;
        Some(state.files[id].bytes.clone())
    }

    /// Replaces the bytes of a file, durably: damage, or a file from elsewhere. Creates it if there is none.
    pub fn set_bytes(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        let id = match state.names.get(path) {
            Some(&id) => id,
            None => state.new_file(path),
        };
        state.names_durable.insert(path.to_owned(), id);
        let file = FileState { durable: bytes.clone(), bytes, dirty_sectors: BTreeSet::new() };
        state.files.insert(id, file);
    }

    /// Removes a file, durably, as an accident would.
    pub fn lose_file(&self, path: &Path) {
        let mut state = self.state();
        state.names.remove(path);
        state.names_durable.remove(path);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.world.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.faults.dead {
            return Err(io::Error::other("the power is off"));
        }
        Ok(state)
    }

    /// [`FaultyDisk::alive`], for a call that changes something.
    fn changing(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.alive()?;
        state.change()?;
        Ok(state)
    }

    fn file(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.alive()?;
        let id = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        drop(state);
        Ok(Arc::new(FaultyFile { disk: self.clone(), id }))
    }
}

impl std::fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FaultyDisk")
    }
}

impl State {
    fn new_file(&mut self, path: &Path) -> u64 {
        self.next_file += 1;
        self.files.insert(self.next_file, FileState::default());
        self.names.insert(path.to_owned(), self.next_file);
        self.next_file
    }

    /// Counts a change and says whether it is the one to fail.
    fn change(&mut self) -> io::Result<()> {
        self.changes_count += 1;
        match &mut self.faults.changes {
            Some((0, kind, lasts)) => {
                let error = (*kind).into();
                if *lasts == Lasts::Once {
                    self.faults.changes = None;
                }
                Err(error)
            }
            Some((left, ..)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn has_suffix(&self, id: u64, suffix: &str) -> bool {
        self.names.iter().any(|(path, &named)| named == id && path.to_string_lossy().ends_with(suffix))
    }

    /// Bytes of all files that have a name.
    fn used_bytes(&self) -> u64 {
        let ids: BTreeSet<_> = self.names.values().collect();
        ids.iter().filter_map(|id| self.files.get(id)).map(|file| file.bytes.len() as u64).sum()
    }

    fn grow(&mut self, id: u64, bytes: usize) -> io::Result<()> {
        let present = self.files.get(&id).map_or(0, |file| file.bytes.len());
        if bytes <= present {
            return Ok(());
        }
        let more = (bytes - present) as u64;
        if let Some(space_bytes) = self.faults.space_bytes
            && self.used_bytes() + more > space_bytes
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.files.entry(id).or_default().bytes.resize(bytes, 0);
        Ok(())
    }
}

impl FileState {
    fn after_power_cut(&self, keep: &mut impl FnMut() -> bool) -> Self {
        let mut bytes = self.durable.clone();
        if self.bytes.len() > bytes.len() && keep() {
            bytes.resize(self.bytes.len(), 0);
        }
        for &sector in &self.dirty_sectors {
            let from = sector * SECTOR_BYTES;
            let to = (from + SECTOR_BYTES).min(self.bytes.len()).min(bytes.len());
            if keep() && from < to {
                bytes[from..to].copy_from_slice(&self.bytes[from..to]);
            }
        }
        Self { durable: bytes.clone(), bytes, dirty_sectors: BTreeSet::new() }
    }

    fn sync(&mut self) {
        self.durable.resize(self.bytes.len(), 0);
        for sector in std::mem::take(&mut self.dirty_sectors) {
            let from = sector * SECTOR_BYTES;
            let to = (from + SECTOR_BYTES).min(self.bytes.len());
            self.durable[from..to].copy_from_slice(&self.bytes[from..to]);
        }
    }
}

impl Disk for FaultyDisk {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        self.changing().map(drop)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.alive()?;
        let names = state
            .names
            .keys()
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        Ok(names)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        if !self.alive()?.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(FaultyLock { disk: self.clone(), path: path.to_owned() }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        {
            let mut state = self.changing()?;
            if state.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.new_file(path);
        }
        self.file(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.changing()?;
        let id = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.changing()?;
        state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.changing()?;
        if state.faults.sync_lies {
            return Ok(());
        }
        let inside = |path: &PathBuf| path.parent() == Some(dir);
        state.names_durable.retain(|path, _| !inside(path));
        let now: Vec<_> = state
            .names
            .iter()
            .filter(|(path, _)| inside(path))
            .map(|(path, &id)| (path.clone(), id))
            .collect();
        state.names_durable.extend(now);
        Ok(())
    }
}

struct FaultyLock {
    disk: FaultyDisk,
    path: PathBuf,
}

impl DirLock for FaultyLock {}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    id: u64,
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.alive()?;
        if let Some(kind) = state.faults.reads
            && state.has_suffix(self.id, ".seg")
        {
            return Err(kind.into());
        }
        let bytes = state.files.get(&self.id).map_or(&[][..], |file| &file.bytes);
        let from = usize::try_from(offset).map_or(bytes.len(), |from| from.min(bytes.len()));
        let read_bytes = buf.len().min(bytes.len() - from);
        let sectors = from / SECTOR_BYTES..(from + read_bytes).div_ceil(SECTOR_BYTES);
        if state.faults.bad_sector.is_some_and(|(id, bad)| id == self.id && sectors.contains(&bad)) {
            return Err(io::Error::other("simulated I/O error of a sector"));
        }
        buf[..read_bytes].copy_from_slice(&bytes[from..from + read_bytes]);
        state.read_bytes += read_bytes as u64;
        Ok(read_bytes)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.alive()?;
        if let Some(kind) = state.faults.cursor_writes
            && state.has_suffix(self.id, ".cursor")
        {
            return Err(kind.into());
        }
        if state.has_suffix(self.id, ".seg")
            && let Some((left, kind)) = &mut state.faults.writes
        {
            if *left == 0 {
                return Err((*kind).into());
            }
            *left -= 1;
        }
        let failed = state.change();
        let written_bytes = match failed {
            Ok(()) => buf.len().min(state.faults.write_bytes_max.unwrap_or(usize::MAX)),
            Err(_) => buf.len() / 2,
        };
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let to = from + written_bytes;
        state.grow(self.id, to)?;
        let file = state.files.entry(self.id).or_default();
        file.bytes[from..to].copy_from_slice(&buf[..written_bytes]);
        file.dirty_sectors.extend(from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES));
        failed.map(|()| written_bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.alive()?;
        let is_segment = state.has_suffix(self.id, ".seg");
        if is_segment && state.faults.syncs_held {
            self.disk.world.held.send_modify(|count| *count += 1);
            while state.faults.syncs_held && !state.faults.dead {
                state = self.disk.world.released.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            self.disk.world.held.send_modify(|count| *count -= 1);
            if state.faults.dead {
                return Err(io::Error::other("the power is off"));
            }
        }
        if state.faults.sync_lies {
            return Ok(());
        }
        if let Err(error) = state.change() {
            state.files.entry(self.id).or_default().dirty_sectors.clear();
            return Err(error);
        }
        if is_segment && let Some(left) = &mut state.faults.sync_fails_after {
            if *left == 0 {
                state.faults.sync_fails_after = None;
                // As Linux does: reported once, then the pages count as clean.
                let file = state.files.entry(self.id).or_default();
                file.dirty_sectors.clear();
                return Err(io::Error::other("simulated I/O error in fdatasync"));
            }
            *left -= 1;
        }
        state.files.entry(self.id).or_default().sync();
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        self.disk.changing()?.grow(self.id, bytes)
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.alive()?;
        let bytes = state.files.get(&self.id).map_or(0, |file| file.bytes.len());
        Ok(bytes as u64)
    }
}

/// A coin with a seed (splitmix64).
struct Coin(u64);

impl Coin {
    fn throw(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) & 1 == 1
    }
}
