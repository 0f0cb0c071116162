//! The segments on the disk: which there are, adding, merging and dropping them.
//!
//! **A row goes only when retention says so and no hold keeps it; what is merged is first durable in its new place.** A crash
//! between the two leaves a row twice, which is read once (see [`super::row`]).
//!
//! ```text
//! DIR/version                    1
//! DIR/movement/HOUR-SERIAL.rows  positions and statuses of one hour (hours since 1970)
//! DIR/alarms/HOUR-SERIAL.rows    alarms and what became of them
//! DIR/.../HOUR-SERIAL.draft      being written; removed at the next opening
//! DIR/.../HOUR-SERIAL.damaged    could not be read whole, its good rows were copied; goes with its hour
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::merge::merge;
use super::row::{Row, RowClass};
use super::segment::{DRAFT, Segment, SegmentError, Writer, hash_of};
use super::table::{Rows, Slot, in_order};
use crate::live::unit::UnitId;
use crate::spool::Disk;

const ROWS: &str = "rows";
const DAMAGED: &str = "damaged";
/// So many small segments of a slot are merged into one: a unit's hour is then few reads.
pub(super) const MERGE_AT: usize = 8;
/// Most rows of one merge: all may be one flooding unit's, which a merge holds in memory, 100 bytes each.
const MERGED_ROWS_MAX: u64 = 131_072;

/// The smallest of a slot's segments, as many as one merge takes. Larger ones stay as they are.
pub(super) fn smallest(segments: &[Segment]) -> Vec<Segment> {
    let mut by_rows = segments.to_vec();
    by_rows.sort_by_key(|segment| segment.rows_count);
    let mut rows_count = 0;
    let fits = by_rows.iter().take_while(|segment| {
        rows_count += segment.rows_count;
        rows_count <= MERGED_ROWS_MAX
    });
    let count = fits.count();
    by_rows.truncate(count);
    by_rows
}

/// Which rows stay beyond their time.
pub(super) type Keeps<'a> = &'a dyn Fn(&UnitId, &Row) -> bool;

pub(super) struct Shelf {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    slots: BTreeMap<Slot, Vec<Segment>>,
    /// Files that are kept beside their slot because they could not be read whole.
    damaged: BTreeMap<Slot, Vec<PathBuf>>,
    serial: u64,
    bytes: u64,
}

fn name_of(class: RowClass) -> &'static str {
    match class {
        RowClass::Movement => "movement",
        RowClass::Alarms => "alarms",
    }
}

impl Shelf {
    /// Opens the segments in `dir`, which is made if it is not there. Reads one header each.
    pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path) -> io::Result<Self> {
        let mut shelf = Self {
            disk,
            dir: dir.to_owned(),
            slots: BTreeMap::new(),
            damaged: BTreeMap::new(),
            serial: 0,
            bytes: 0,
        };
        for class in [RowClass::Movement, RowClass::Alarms] {
            let dir = shelf.dir.join(name_of(class));
            shelf.disk.create_dir_all(&dir)?;
            for name in shelf.disk.list(&dir)? {
                shelf.find(class, &dir.join(name))?;
            }
        }
        Ok(shelf)
    }

    fn find(&mut self, class: RowClass, path: &Path) -> io::Result<()> {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let numbers =
            stem.split_once('-').and_then(|(hour, serial)| Some((hour.parse().ok()?, serial.parse().ok()?)));
        let Some((hour, serial)) = numbers else { return Ok(()) };
        self.serial = self.serial.max(serial);
        let slot = Slot { class, hour };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(ROWS) => match Segment::open(&*self.disk, path) {
                Ok(segment) => self.insert(slot, segment),
                Err(error) => {
                    tracing::error!(%error, "a part of the history cannot be used: put aside");
                    self.put_aside(slot, path)?;
                }
            },
            Some(DAMAGED) => self.damaged.entry(slot).or_default().push(path.to_owned()),
            Some(DRAFT) => self.disk.remove(path)?,
            _ => {}
        }
        Ok(())
    }

    fn put_aside(&mut self, slot: Slot, path: &Path) -> io::Result<()> {
        let aside = path.with_extension(DAMAGED);
        self.disk.rename(path, &aside)?;
        self.damaged.entry(slot).or_default().push(aside);
        Ok(())
    }

    pub(super) fn insert(&mut self, slot: Slot, segment: Segment) {
        self.bytes += segment.bytes;
        self.slots.entry(slot).or_default().push(segment);
    }

    pub(super) fn shared_disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn rows_count(&self) -> u64 {
        self.slots.values().flatten().map(|segment| segment.rows_count).sum()
    }

    /// Slots of which a part could not be read.
    pub(super) fn damaged_count(&self) -> usize {
        self.damaged.len()
    }

    pub(super) fn is_damaged(&self, slot: Slot) -> bool {
        self.damaged.contains_key(&slot)
    }

    pub(super) fn slots(&self) -> impl DoubleEndedIterator<Item = Slot> {
        self.slots.keys().copied()
    }

    /// Those of which nothing can be read, too; some twice.
    pub(super) fn all_slots(&self) -> impl Iterator<Item = Slot> {
        self.slots.keys().chain(self.damaged.keys()).copied()
    }

    pub(super) fn segments(&self, slot: Slot) -> &[Segment] {
        self.slots.get(&slot).map(Vec::as_slice).unwrap_or_default()
    }

    /// A name for the next segment of `slot`.
    pub(super) fn next_path(&mut self, slot: Slot) -> PathBuf {
        self.serial += 1;
        self.dir.join(name_of(slot.class)).join(format!("{}-{}.{ROWS}", slot.hour, self.serial))
    }

    /// Makes the names of new segments durable.
    pub(super) fn sync(disk: &dyn Disk, path: &Path) -> io::Result<()> {
        disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }

    /// Takes a slot out of the answers; its files go with [`Old::clear`].
    pub(super) fn drop_slot(&mut self, slot: Slot) -> Old {
        let segments = self.slots.remove(&slot).unwrap_or_default();
        self.bytes -= segments.iter().map(|segment| segment.bytes).sum::<u64>();
        let damaged = self.damaged.remove(&slot).unwrap_or_default();
        let remove = segments.into_iter().map(|segment| segment.path).chain(damaged).collect();
        Old { dir: self.dir.join(name_of(slot.class)), put_aside: Vec::new(), remove }
    }

    /// Puts `merged` in the place of the segments it was made of; what could not be read whole is put aside. The files move
    /// with [`Old::clear`].
    pub(super) fn replace(&mut self, slot: Slot, merged: Merged) -> Old {
        let (old, new): (Vec<Segment>, Vec<Segment>) = self
            .slots
            .remove(&slot)
            .unwrap_or_default()
            .into_iter()
            .partition(|segment| merged.of.contains(segment));
        self.bytes -= old.iter().map(|segment| segment.bytes).sum::<u64>();
        self.bytes += merged.segment.as_ref().map_or(0, |segment| segment.bytes);
        let kept: Vec<Segment> = merged.segment.into_iter().chain(new).collect();
        if !kept.is_empty() {
            self.slots.insert(slot, kept);
        }
        let (put_aside, mut remove): (Vec<PathBuf>, Vec<PathBuf>) =
            old.into_iter().map(|segment| segment.path).partition(|path| merged.damaged.contains(path));
        let aside = put_aside.iter().map(|path| path.with_extension(DAMAGED));
        if merged.is_erasure {
            remove.extend(self.damaged.remove(&slot).unwrap_or_default());
            remove.extend(aside);
        } else if !put_aside.is_empty() {
            self.damaged.entry(slot).or_default().extend(aside);
        }
        Old { dir: self.dir.join(name_of(slot.class)), put_aside, remove }
    }
}

/// Files that no answer needs any more. What the disk refuses to take away is found again at the next opening.
#[must_use]
pub(super) struct Old {
    dir: PathBuf,
    put_aside: Vec<PathBuf>,
    remove: Vec<PathBuf>,
}

impl Old {
    /// Takes them away. Blocking: not under the store's lock.
    pub(super) fn clear(self, disk: &dyn Disk) -> io::Result<()> {
        for path in &self.put_aside {
            disk.rename(path, &path.with_extension(DAMAGED))?;
        }
        for path in &self.remove {
            match disk.remove(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        disk.sync_dir(&self.dir)
    }
}

/// What a merge made of which segments.
pub(super) struct Merged {
    pub(super) of: Vec<Segment>,
    pub(super) segment: Option<Segment>,
    pub(super) damaged: Vec<PathBuf>,
    /// Rows were left out because their time is over: nothing of them may stay, damaged or not.
    pub(super) is_erasure: bool,
}

/// Writes the rows of one slot as a segment at `path`.
pub(super) fn write(disk: &dyn Disk, path: &Path, rows: &Rows) -> io::Result<Option<Segment>> {
    let mut units: Vec<(u64, &UnitId)> = rows.keys().map(|unit| (hash_of(unit), unit)).collect();
    units.sort_unstable();
    let mut writer = Writer::create(disk, path)?;
    for (_, unit) in units {
        let mut rows = rows[unit].clone();
        in_order(&mut rows);
        writer.add(unit, &rows)?;
    }
    let segment = writer.finish()?;
    Shelf::sync(disk, path)?;
    Ok(segment)
}

/// Merges `segments` into one at `path`; only rows that `keeps`, if given.
pub(super) fn merge_into(
    disk: &dyn Disk,
    path: &Path,
    segments: Vec<Segment>,
    keeps: Option<Keeps<'_>>,
) -> Result<Merged, SegmentError> {
    let failed = |source| SegmentError::Io { path: path.to_owned(), source };
    let mut writer = Writer::create(disk, path).map_err(failed)?;
    let damaged = merge(disk, &segments, |unit, mut rows| {
        if let Some(keeps) = keeps {
            rows.retain(|row| keeps(unit, row));
        }
        writer.add(unit, &rows).map_err(failed)
    })?;
    let segment = writer.finish().map_err(failed)?;
    Shelf::sync(disk, path).map_err(failed)?;
    Ok(Merged { of: segments, segment, damaged, is_erasure: keeps.is_some() })
}
