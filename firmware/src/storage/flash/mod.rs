//! Storage on NOR flash that survives a power cut at any instant.
//!
//! ```text
//!  boot counter   two copies of every number                       [`counter`]
//!  device note    the last one of two sectors                      [`notes`]
//!  alarm  |
//!  health |       logs of records over rings of sectors            [`log`], [`scan`], [`reclaim`]
//!  routine|
//! ```
//!
//! **What was pushed is there after any cut; what was removed is gone, or comes back as a duplicate; and what cannot be read
//! any more is said** ([`crate::Storage::take_damage`], [`FlashReport`], a `defmt` line). No content of the flash keeps it
//! from mounting: a partition in which nothing can be read is erased, and that is said as a loss.
//!
//! Every word is written once between erases, written data is read back, and sectors are used in turn. Any part with sectors
//! of 512 bytes to 32 KiB and words of at most 4 bytes serves, behind `embedded-storage-async`'s [`NorFlash`]. Costs, wear and
//! why this is not a queue of another crate: `docs/decisions/0020`.

mod counter;
mod log;
mod medium;
mod notes;
mod reclaim;
mod record;
mod report;
mod scan;
mod sector;

use embedded_storage_async::nor_flash::NorFlash;
use fieldpost_protocol::BootId;

pub(crate) use self::record::crc32;
pub use self::report::{CounterState, FlashReport};
use self::{
    counter::BootCounter,
    log::Log,
    medium::Medium,
    notes::Notes,
    report::{FullSaid, Troubles},
};
use super::{Damage, Entry, FlashMap, Key, Note, Partition, Storage, StorageError};

/// Routine entries the index has room for, at 2 bytes each.
pub const ROUTINE_COUNT_MAX: usize = 3072;
/// Alarm entries, and health entries, the index has room for: four times their quota.
pub const SMALL_COUNT_MAX: usize = 128;
/// RAM of a [`FlashStorage`] beside the flash driver.
pub const FLASH_STORAGE_BYTES_MAX: usize = 8704;

const _: () =
    assert!(size_of::<FlashStorage<()>>() <= FLASH_STORAGE_BYTES_MAX, "the index has outgrown its budget");

/// Storage on a NOR flash. [`FlashStorage::mount`] it before use; until then nothing is written or found.
pub struct FlashStorage<F> {
    medium: Medium<F>,
    counter: BootCounter,
    notes: Notes,
    alarm: Log<heapless::Vec<u16, SMALL_COUNT_MAX>>,
    health: Log<heapless::Vec<u16, SMALL_COUNT_MAX>>,
    routine: Log<heapless::Vec<u16, ROUTINE_COUNT_MAX>>,
    is_mounted: bool,
    full: FullSaid,
    troubles: Troubles,
}

impl<F: NorFlash> FlashStorage<F> {
    /// A storage that has not looked at its flash yet.
    #[must_use]
    pub fn new(flash: F, map: &FlashMap) -> Self {
        let sector_bytes = F::ERASE_SIZE as u32;
        Self {
            medium: Medium::new(flash),
            counter: BootCounter::new(map.boot_counter, sector_bytes),
            notes: Notes::new(map.notes, sector_bytes),
            alarm: Log::new(map.alarm, sector_bytes),
            health: Log::new(map.health, sector_bytes),
            routine: Log::new(map.routine, sector_bytes),
            is_mounted: false,
            full: FullSaid::default(),
            troubles: Troubles::default(),
        }
    }

    /// Reads the whole flash and repairs what a power cut or a fault left. Whatever it holds, this succeeds.
    ///
    /// # Errors
    /// [`StorageError::Failed`] if the flash cannot be read at all.
    pub fn mount(&mut self) -> Result<(), StorageError> {
        for partition in Partition::ALL {
            let (log, medium) = self.log(partition);
            log.mount(medium)?;
        }
        self.notes.mount(&mut self.medium)?;
        self.counter.mount(&mut self.medium)?;
        self.is_mounted = true;
        self.medium.report.say();
        self.troubles = self.medium.report.troubles();
        Ok(())
    }

    /// What the start found and what has happened since.
    #[must_use]
    pub fn report(&self) -> &FlashReport {
        &self.medium.report
    }

    /// The flash, back from a storage that ends.
    #[must_use]
    pub fn into_flash(self) -> F {
        self.medium.into_flash()
    }

    fn log(&mut self, partition: Partition) -> (&mut Log, &mut Medium<F>) {
        let log: &mut Log = match partition {
            Partition::Alarm => &mut self.alarm,
            Partition::Routine => &mut self.routine,
            Partition::Health => &mut self.health,
        };
        (log, &mut self.medium)
    }

    fn mounted(&self) -> Result<(), StorageError> {
        if self.is_mounted { Ok(()) } else { Err(StorageError::Failed) }
    }
}

impl<F: NorFlash> Storage for FlashStorage<F> {
    fn next_boot(&mut self) -> Result<BootId, StorageError> {
        self.mounted()?;
        self.counter.next(&mut self.medium).map(BootId)
    }

    fn push(&mut self, partition: Partition, entry: &Entry) -> Result<Key, StorageError> {
        self.mounted()?;
        let (log, medium) = self.log(partition);
        let pushed = log.push(medium, entry);
        self.full.note(partition, pushed == Err(StorageError::Full));
        pushed
    }

    fn next(
        &mut self,
        partition: Partition,
        after: Option<Key>,
        entry: &mut Entry,
    ) -> Result<Option<Key>, StorageError> {
        let (log, medium) = self.log(partition);
        log.next(medium, after, entry)
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        for partition in [Partition::Routine, Partition::Alarm, Partition::Health] {
            let (log, medium) = self.log(partition);
            if log.remove(medium, key)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn count(&self, partition: Partition) -> usize {
        let log: &Log = match partition {
            Partition::Alarm => &self.alarm,
            Partition::Routine => &self.routine,
            Partition::Health => &self.health,
        };
        log.count()
    }

    /// As many as [`crate::outbox::Quotas::for_capacity`] shares out without exceeding any partition.
    fn capacity(&self) -> usize {
        let (alarm, health, routine): (&Log, &Log, &Log) = (&self.alarm, &self.health, &self.routine);
        let small = alarm.capacity().min(health.capacity());
        let routine = routine.capacity();
        let capacity = if routine < 192 { routine * 4 / 3 } else { routine + 64 };
        if small < 32 { capacity.min(8 * small) } else { capacity }
    }

    fn take_damage(&mut self) -> Damage {
        let troubles = self.medium.report.troubles();
        if troubles != self.troubles {
            self.troubles = troubles;
            troubles.say();
        }
        core::mem::take(&mut self.medium.damage)
    }

    fn read_note(&mut self, note: &mut Note) -> Result<bool, StorageError> {
        self.notes.read(&mut self.medium, note)
    }

    fn write_note(&mut self, note: &Note) -> Result<(), StorageError> {
        self.mounted()?;
        self.notes.write(&mut self.medium, note)
    }
}
