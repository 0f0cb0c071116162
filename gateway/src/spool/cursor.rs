//! Cursors: how far each sink has durably got.
//!
//! **A cursor never says more than its sink has taken.** A file of two slots, written in turn: the position, a serial
//! number and a checksum each. A crash in the middle of one slot leaves the other, which is older: the sink then gets
//! some entries again (at least once), never a hole. Both slots damaged: back to the earliest entry, and reported.
//!
//! ```text
//! 0     magic "FPCURSR\n"  serial u64  position u64  crc32c u32     even serials
//! 4096  the same                                                    odd serials
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::disk::{Disk, DiskFile, read_full_at, write_all_at};
use super::recovery::io_error;
use super::shared::{Shared, lock};
use super::{Lsn, SpoolError};

pub(super) const CURSOR_DIR: &str = "cursors";
const SUFFIX: &str = ".cursor";
const MAGIC: [u8; 8] = *b"FPCURSR\n";
const SLOT_AT: [u64; 2] = [0, 4096];
const SLOT_BYTES: usize = 28;
const FILE_BYTES: u64 = 8192;

/// A sink's durable position. One owner at a time; dropping it closes it, the file stays.
pub struct Cursor {
    shared: Arc<Shared>,
    name: String,
    path: PathBuf,
    slots: Arc<Mutex<Slots>>,
}

struct Slots {
    file: Arc<dyn DiskFile>,
    serial: u64,
    position: u64,
    /// A write or sync failed: what the file holds is unknown until it is read again.
    failed: bool,
}

impl Cursor {
    pub(super) fn open(shared: Arc<Shared>, name: &str) -> Result<Self, SpoolError> {
        check_name(name)?;
        if !lock(&shared.log).cursors_open.insert(name.to_owned()) {
            return Err(SpoolError::CursorInUse { name: name.to_owned() });
        }
        let dir = shared.dir.join(CURSOR_DIR);
        let path = dir.join(format!("{name}{SUFFIX}"));
        match open_slots(&shared, name, &dir, &path) {
            Ok(slots) => {
                lock(&shared.log).cursors.insert(name.to_owned(), slots.position);
                Ok(Self { shared, name: name.to_owned(), path, slots: Arc::new(Mutex::new(slots)) })
            }
            Err(error) => {
                lock(&shared.log).cursors_open.remove(name);
                Err(io_error("open", &path)(error))
            }
        }
    }

    /// The cursor's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The newest entry the sink has durably taken; read on from [`Lsn::next`] of it.
    pub fn position(&self) -> Lsn {
        Lsn(lock(&self.slots).position)
    }

    /// Makes `to` the durable position: one small write and fdatasync, so call it per batch, not per entry. A position
    /// at or behind the present one changes nothing.
    ///
    /// Cancel-safe: a cancelled advance may or may not have happened; it is never half done.
    ///
    /// # Errors
    /// [`SpoolError::CursorAhead`]; [`SpoolError::Io`] if storage failed, after which every advance fails until the
    /// spool is opened again (entries are then delivered twice, not lost).
    pub async fn advance(&mut self, to: Lsn) -> Result<(), SpoolError> {
        let committed = self.shared.watch.borrow().committed;
        if to > committed {
            return Err(SpoolError::CursorAhead { name: self.name.clone(), to, committed });
        }
        let slots = Arc::clone(&self.slots);
        let shared = Arc::clone(&self.shared);
        let name = self.name.clone();
        let written = self.shared.off_runtime(move || {
            let mut slots = lock(&slots);
            if to.0 <= slots.position {
                return Ok(());
            }
            slots.write(to.0)?;
            lock(&shared.log).cursors.insert(name, to.0);
            shared.poke_keeper();
            Ok(())
        });
        let written = written.await.flatten();
        written.map_err(io_error("advance", &self.path))
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        lock(&self.shared.log).cursors_open.remove(&self.name);
    }
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor")
            .field("name", &self.name)
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

impl Slots {
    fn write(&mut self, position: u64) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write of this cursor failed"));
        }
        let serial = self.serial + 1;
        let at = SLOT_AT[(serial % 2) as usize];
        let written = write_all_at(&*self.file, &encode_slot(serial, position), at)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.failed = true;
            return Err(error);
        }
        self.serial = serial;
        self.position = position;
        Ok(())
    }
}

fn encode_slot(serial: u64, position: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[0..8].copy_from_slice(&MAGIC);
    slot[8..16].copy_from_slice(&serial.to_le_bytes());
    slot[16..24].copy_from_slice(&position.to_le_bytes());
    let crc = crc32c::crc32c(&slot[..24]);
    slot[24..28].copy_from_slice(&crc.to_le_bytes());
    slot
}

/// Serial and position of an intact slot.
fn decode_slot(slot: &[u8]) -> Option<(u64, u64)> {
    let slot: &[u8; SLOT_BYTES] = slot.try_into().ok()?;
    let crc = u32::from_le_bytes(slot[24..28].try_into().ok()?);
    if slot[0..8] != MAGIC || crc != crc32c::crc32c(&slot[..24]) {
        return None;
    }
    let serial = u64::from_le_bytes(slot[8..16].try_into().ok()?);
    let position = u64::from_le_bytes(slot[16..24].try_into().ok()?);
    Some((serial, position))
}

/// The newest intact slot of a cursor file.
fn read_slots(file: &dyn DiskFile) -> Option<(u64, u64)> {
    SLOT_AT
        .iter()
        .filter_map(|&at| {
            let mut slot = [0; SLOT_BYTES];
            // A sector that cannot be read is a damaged slot.
            let read_bytes = read_full_at(file, &mut slot, at).ok()?;
            decode_slot(&slot[..read_bytes])
        })
        .max()
}

/// Every cursor in `dir` with its position (`earliest` if damaged), and the names of the damaged ones.
pub(super) fn read_cursors(
    disk: &dyn Disk,
    dir: &Path,
    earliest: u64,
) -> io::Result<(BTreeMap<String, u64>, Vec<String>)> {
    let mut positions = BTreeMap::new();
    let mut damaged = Vec::new();
    for file_name in disk.list(dir)? {
        let Some(name) = file_name.strip_suffix(SUFFIX) else {
            continue;
        };
        let file = disk.open_read(&dir.join(&file_name))?;
        let position = match read_slots(&*file) {
            Some((_, position)) => position,
            None => {
                damaged.push(name.to_owned());
                earliest
            }
        };
        positions.insert(name.to_owned(), position);
    }
    damaged.sort_unstable();
    Ok((positions, damaged))
}

/// Writes every intact position once more and syncs it: after a kill it may be in the page cache only, and retention
/// must not act on a position that a power cut could take back.
pub(super) fn sync_cursors(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    for file_name in disk.list(dir)? {
        if !file_name.ends_with(SUFFIX) {
            continue;
        }
        let file = disk.open(&dir.join(&file_name))?;
        if let Some((serial, position)) = read_slots(&*file) {
            let at = SLOT_AT[(serial % 2) as usize];
            write_all_at(&*file, &encode_slot(serial, position), at)?;
            file.sync_data()?;
        }
    }
    disk.sync_dir(dir)
}

fn open_slots(shared: &Shared, name: &str, dir: &Path, path: &Path) -> io::Result<Slots> {
    let disk = &*shared.disk;
    let known = lock(&shared.log).cursors.get(name).copied();
    if known.is_some() {
        let file = disk.open(path)?;
        if let Some((serial, position)) = read_slots(&*file) {
            return Ok(Slots { file, serial, position, failed: false });
        }
    }
    let position = known.unwrap_or_else(|| lock(&shared.log).first() - 1);
    let file = create_slots(disk, dir, path, position)?;
    Ok(Slots { file, serial: 0, position, failed: false })
}

/// A new file, complete before it has its name.
fn create_slots(disk: &dyn Disk, dir: &Path, path: &Path, position: u64) -> io::Result<Arc<dyn DiskFile>> {
    let unfinished = path.with_extension("new");
    match disk.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&unfinished)?;
    let mut bytes = vec![0; FILE_BYTES as usize];
    bytes[..SLOT_BYTES].copy_from_slice(&encode_slot(0, position));
    write_all_at(&*file, &bytes, 0)?;
    file.sync_data()?;
    disk.rename(&unfinished, path)?;
    disk.sync_dir(dir)?;
    Ok(file)
}

/// Removes a cursor that is not open.
pub(super) fn retire(shared: &Shared, name: &str) -> Result<(), SpoolError> {
    check_name(name)?;
    if lock(&shared.log).cursors_open.contains(name) {
        return Err(SpoolError::CursorInUse { name: name.to_owned() });
    }
    let dir = shared.dir.join(CURSOR_DIR);
    let path = dir.join(format!("{name}{SUFFIX}"));
    match shared.disk.remove(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("remove", &path)(error));
        }
        _ => {}
    }
    shared.disk.sync_dir(&dir).map_err(io_error("sync", &dir))?;
    lock(&shared.log).cursors.remove(name);
    shared.poke_keeper();
    Ok(())
}

fn check_name(name: &str) -> Result<(), SpoolError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(SpoolError::CursorName { name: name.to_owned() })
    }
}
