//! Cursors: how far each sink has durably got.
//!
//! **A cursor never says more than its sink has taken.** A file of two slots, written in turn: the position, a serial
//! number and a checksum each. A crash in the middle of one slot leaves the other, which is older: the sink then gets
//! some entries again (at least once), never a hole. Both slots damaged: back to the earliest entry, and reported.
//!
//! ```text
//! 0     magic "FPCURSR\n"  serial u64  position u64  crc32c u32  [lanes]     even serials
//! 4096  the same                                                             odd serials
//!
//! lanes, where they differ: "LANE"  serial u64  alarm u64  live u64  backlog u64  count u32
//!                           count x (after u64  through u64)  crc32c u32 of all from "LANE" on
//! ```
//! A release that knows no lanes reads the position alone, which is the hindmost lane: it delivers some entries twice and
//! leaves none out. What it then writes has another serial than the lanes behind it, so they are not believed any more.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::disk::{Disk, DiskFile, read_full_at, write_all_at};
use super::recovery::io_error;
use super::shared::{Shared, lock};
use super::{EntryClass, Lsn, SpoolError};

pub(super) const CURSOR_DIR: &str = "cursors";
const SUFFIX: &str = ".cursor";
const MAGIC: [u8; 8] = *b"FPCURSR\n";
const SLOT_AT: [u64; 2] = [0, 4096];
const SLOT_BYTES: usize = 28;
const LANES_MAGIC: [u8; 4] = *b"LANE";
/// "LANE", serial, three positions, count.
const LANES_HEAD_BYTES: usize = 40;
const RANGE_BYTES: usize = 16;
/// A slot with all its lanes fits a sector of 512 bytes, which a disk writes as one.
const SECTOR_BYTES: usize = 512;
/// Ranges that a slot has room for.
pub(super) const RANGES_MAX: usize = 24;
const _: () = assert!(SLOT_BYTES + LANES_HEAD_BYTES + RANGES_MAX * RANGE_BYTES + 4 <= SECTOR_BYTES);
const FILE_BYTES: u64 = 8192;

/// A sink's durable position. One owner at a time; dropping it closes it, the file stays.
pub struct Cursor {
    shared: Arc<Shared>,
    name: String,
    path: PathBuf,
    slots: Arc<Mutex<Slots>>,
}

/// How far a sink has got in each lane. An entry belongs to the lane of its class, except that the live entries of
/// `skipped` belong to the backlog: newer ones have overtaken them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LanePositions {
    /// The newest entry up to which every alarm, and everything the gateway wrote itself, is done with.
    pub alarm: Lsn,
    /// The same of live entries, but for `skipped`.
    pub live: Lsn,
    /// The same of history and of what was skipped.
    pub backlog: Lsn,
    /// Live entries after the first and up to the second number: ascending, apart from each other.
    pub skipped: Vec<(Lsn, Lsn)>,
}

impl LanePositions {
    /// All lanes at one place.
    #[must_use]
    pub fn all_at(lsn: Lsn) -> Self {
        Self { alarm: lsn, live: lsn, backlog: lsn, skipped: Vec::new() }
    }

    /// Everything up to here is done with.
    #[must_use]
    pub fn hindmost(&self) -> Lsn {
        self.alarm.min(self.live).min(self.backlog)
    }

    /// Nothing after this has been delivered.
    #[must_use]
    pub fn foremost(&self) -> Lsn {
        self.alarm.max(self.live).max(self.backlog)
    }

    /// Whether the entry `lsn` of `class` is done with.
    #[must_use]
    pub fn is_done(&self, class: EntryClass, lsn: Lsn) -> bool {
        let is_skipped = || self.skipped.iter().any(|(after, through)| *after < lsn && lsn <= *through);
        lsn <= match class {
            EntryClass::Alarm | EntryClass::Internal => self.alarm,
            EntryClass::Live if !is_skipped() => self.live,
            EntryClass::Live | EntryClass::Backlog => self.backlog,
        }
    }

    /// At most `count` skipped ranges: the nearest become one, so what lies between them is delivered twice.
    pub fn merge_skipped(&mut self, count: usize) {
        while self.skipped.len() > count.max(1) {
            let gap = |at: &usize| self.skipped[at + 1].0.0.saturating_sub(self.skipped[*at].1.0);
            let Some(at) = (0..self.skipped.len() - 1).min_by_key(gap) else { return };
            self.skipped[at].1 = self.skipped.remove(at + 1).1;
        }
    }
}

/// The places of several sinks, by name.
pub type LanePlaces = BTreeMap<String, LanePositions>;

struct Slots {
    file: Arc<dyn DiskFile>,
    serial: u64,
    position: u64,
    lanes: LanePositions,
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

    /// How far the sink has got in each lane, as it was last written.
    pub fn lanes(&self) -> LanePositions {
        lock(&self.slots).lanes.clone()
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
        if to <= self.position() {
            return Ok(());
        }
        self.advance_lanes(LanePositions::all_at(to)).await
    }

    /// Makes `lanes` the durable positions, in one write and fdatasync. More than 24 skipped ranges are merged.
    ///
    /// Cancel-safe: as [`Cursor::advance`].
    ///
    /// # Errors
    /// As [`Cursor::advance`].
    pub async fn advance_lanes(&mut self, mut lanes: LanePositions) -> Result<(), SpoolError> {
        let committed = self.shared.watch.borrow().committed;
        let to = lanes.foremost();
        if to > committed {
            return Err(SpoolError::CursorAhead { name: self.name.clone(), to, committed });
        }
        lanes.merge_skipped(RANGES_MAX);
        let slots = Arc::clone(&self.slots);
        let shared = Arc::clone(&self.shared);
        let name = self.name.clone();
        let written = self.shared.off_runtime(move || {
            let mut slots = lock(&slots);
            if lanes == slots.lanes {
                return Ok(());
            }
            let position = lanes.hindmost().0;
            let moves = position > slots.position;
            slots.write(lanes)?;
            if moves {
                lock(&shared.log).cursors.insert(name, position);
                shared.poke_keeper();
            }
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
    fn write(&mut self, lanes: LanePositions) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write of this cursor failed"));
        }
        let serial = self.serial + 1;
        let at = SLOT_AT[(serial % 2) as usize];
        let position = lanes.hindmost().0;
        let mut slot = encode_slot(serial, position).to_vec();
        if lanes != LanePositions::all_at(Lsn(position)) {
            encode_lanes(&mut slot, serial, &lanes);
        }
        let written = write_all_at(&*self.file, &slot, at).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.failed = true;
            return Err(error);
        }
        self.serial = serial;
        self.position = position;
        self.lanes = lanes;
        Ok(())
    }
}

fn encode_lanes(slot: &mut Vec<u8>, serial: u64, lanes: &LanePositions) {
    let from = slot.len();
    slot.extend(LANES_MAGIC);
    for number in [serial, lanes.alarm.0, lanes.live.0, lanes.backlog.0] {
        slot.extend(number.to_le_bytes());
    }
    slot.extend((lanes.skipped.len() as u32).to_le_bytes());
    for (after, through) in &lanes.skipped {
        slot.extend(after.0.to_le_bytes());
        slot.extend(through.0.to_le_bytes());
    }
    let crc = crc32c::crc32c(&slot[from..]);
    slot.extend(crc.to_le_bytes());
}

/// The lanes behind an intact slot of `serial`, if they belong to it.
fn decode_lanes(bytes: &[u8], serial: u64) -> Option<LanePositions> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let count = u32::from_le_bytes(bytes.get(36..40)?.try_into().ok()?) as usize;
    if bytes[..4] != LANES_MAGIC || number(4)? != serial || count > RANGES_MAX {
        return None;
    }
    let end = LANES_HEAD_BYTES + count * RANGE_BYTES;
    let crc = u32::from_le_bytes(bytes.get(end..end + 4)?.try_into().ok()?);
    if crc != crc32c::crc32c(&bytes[..end]) {
        return None;
    }
    let range = |nth: usize| {
        let at = LANES_HEAD_BYTES + nth * RANGE_BYTES;
        Some((Lsn(number(at)?), Lsn(number(at + 8)?)))
    };
    Some(LanePositions {
        alarm: Lsn(number(12)?),
        live: Lsn(number(20)?),
        backlog: Lsn(number(28)?),
        skipped: (0..count).map(range).collect::<Option<_>>()?,
    })
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

/// What the newest intact slot of a cursor file says.
struct Slot {
    serial: u64,
    position: u64,
    lanes: LanePositions,
    /// The slot as it is.
    bytes: Vec<u8>,
}

/// The newest intact slot of a cursor file.
fn read_slots(file: &dyn DiskFile) -> Option<Slot> {
    let slots = SLOT_AT.iter().filter_map(|&at| {
        let mut bytes = vec![0; SECTOR_BYTES];
        // A sector that cannot be read is a damaged slot.
        let read_bytes = read_full_at(file, &mut bytes, at).ok()?;
        bytes.truncate(read_bytes);
        let (serial, position) = decode_slot(bytes.get(..SLOT_BYTES)?)?;
        let lanes = decode_lanes(&bytes[SLOT_BYTES..], serial);
        let lanes = lanes.unwrap_or_else(|| LanePositions::all_at(Lsn(position)));
        Some(Slot { serial, position, lanes, bytes })
    });
    slots.max_by_key(|slot| slot.serial)
}

/// The places of every cursor in `dir`; damaged ones are left out.
pub(super) fn read_lanes(disk: &dyn Disk, dir: &Path) -> io::Result<LanePlaces> {
    let mut places = LanePlaces::new();
    for file_name in disk.list(dir)? {
        if let Some(name) = file_name.strip_suffix(SUFFIX)
            && let Some(slot) = read_slots(&*disk.open_read(&dir.join(&file_name))?)
        {
            places.insert(name.to_owned(), slot.lanes);
        }
    }
    Ok(places)
}

/// The cursors in a directory.
#[derive(Default)]
pub(super) struct Found {
    /// Each with its position, the earliest if it is damaged.
    pub(super) positions: BTreeMap<String, u64>,
    /// The furthest that any lane of any cursor has got.
    pub(super) foremost: u64,
    /// The damaged ones.
    pub(super) damaged: Vec<String>,
}

/// Every cursor in `dir`; a damaged one is at `earliest`.
pub(super) fn read_cursors(disk: &dyn Disk, dir: &Path, earliest: u64) -> io::Result<Found> {
    let mut found = Found::default();
    for file_name in disk.list(dir)? {
        let Some(name) = file_name.strip_suffix(SUFFIX) else {
            continue;
        };
        let file = disk.open_read(&dir.join(&file_name))?;
        let (position, foremost) = match read_slots(&*file) {
            Some(slot) => (slot.position, slot.lanes.foremost().0),
            None => {
                found.damaged.push(name.to_owned());
                (earliest, earliest)
            }
        };
        found.positions.insert(name.to_owned(), position);
        found.foremost = found.foremost.max(foremost);
    }
    found.damaged.sort_unstable();
    Ok(found)
}

/// Writes every intact position once more and syncs it: after a kill it may be in the page cache only, and retention
/// must not act on a position that a power cut could take back.
pub(super) fn sync_cursors(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    for file_name in disk.list(dir)? {
        if !file_name.ends_with(SUFFIX) {
            continue;
        }
        let file = disk.open(&dir.join(&file_name))?;
        if let Some(slot) = read_slots(&*file) {
            write_all_at(&*file, &slot.bytes, SLOT_AT[(slot.serial % 2) as usize])?;
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
        if let Some(Slot { serial, position, lanes, .. }) = read_slots(&*file) {
            return Ok(Slots { file, serial, position, lanes, failed: false });
        }
    }
    let position = known.unwrap_or_else(|| lock(&shared.log).first() - 1);
    let file = create_slots(disk, dir, path, position)?;
    Ok(Slots { file, serial: 0, position, lanes: LanePositions::all_at(Lsn(position)), failed: false })
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
