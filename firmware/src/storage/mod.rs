//! Where records wait until the gateway has STORED them: the seam to flash, or to RAM in tests and simulations.
//!
//! The caller gives the [`Storage`]; [`crate::outbox`] decides what goes in and out. Three partitions keep a flood of one
//! kind from pushing out another. Entries are lone frames of at most [`ENTRY_BYTES_MAX`] bytes.

mod flash;
mod map;
mod ram;

use fieldpost_protocol::BootId;

pub(crate) use self::flash::crc32;
pub use self::{
    flash::{
        CounterState, FLASH_STORAGE_BYTES_MAX, FlashReport, FlashStorage, ROUTINE_COUNT_MAX, SMALL_COUNT_MAX,
    },
    map::{FlashMap, Region},
    ram::RamStorage,
};

/// Longest entry: an alarm is 46 at most; a loss record takes as many ranges as fit, usually eight.
pub const ENTRY_BYTES_MAX: usize = 72;

/// Longest note: what a device remembers across restarts beside its records.
pub const NOTE_BYTES_MAX: usize = 144;

/// The note's bytes, opaque to the storage.
pub type Note = heapless::Vec<u8, NOTE_BYTES_MAX>;

/// One entry's bytes.
pub type Entry = heapless::Vec<u8, ENTRY_BYTES_MAX>;

/// Names an entry of any partition. A later entry has a larger key; a key is not used twice within one start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Key(pub u32);

/// Keeps kinds of records apart, each with its own quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Partition {
    /// Alarms and their cancellations.
    Alarm,
    /// Everything of the live and backlog lanes.
    Routine,
    /// Opt-in health.
    Health,
}

impl Partition {
    /// All partitions, most urgent first.
    pub const ALL: [Self; 3] = [Self::Alarm, Self::Routine, Self::Health];
}

/// The storage did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StorageError {
    /// No room; nothing was written.
    Full,
    /// The medium failed; the entry may or may not be there after a restart.
    Failed,
}

impl core::fmt::Display for StorageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Full => "no room; nothing was written",
            Self::Failed => "the medium failed",
        })
    }
}

impl core::error::Error for StorageError {}

/// What a medium lost of the entries it held. The outbox says it to the gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Damage {
    /// Entries that were there and cannot be read any more. They are not counted as held.
    pub records: u32,
    /// More may have been lost, nobody knows how many.
    pub is_unknown: bool,
    /// Nothing could be read in a partition, and all of it was erased.
    pub is_formatted: bool,
}

impl Damage {
    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A store of entries, oldest first within a partition, and a counter of starts.
pub trait Storage {
    /// Counts this start. The number is durable before it is returned and larger than every one before it.
    ///
    /// # Errors
    /// [`StorageError::Failed`]: without a boot id no record may be made.
    fn next_boot(&mut self) -> Result<BootId, StorageError>;

    /// Appends an entry, durable on return.
    ///
    /// # Errors
    /// [`StorageError`]; only after [`StorageError::Full`] is it certain that nothing was written.
    fn push(&mut self, partition: Partition, entry: &Entry) -> Result<Key, StorageError>;

    /// Copies the first entry of the partition whose key is greater than `after` to `entry`.
    ///
    /// # Errors
    /// [`StorageError::Failed`] if the medium cannot be read.
    fn next(
        &mut self,
        partition: Partition,
        after: Option<Key>,
        entry: &mut Entry,
    ) -> Result<Option<Key>, StorageError>;

    /// Removes an entry; one that is not there is not an error.
    ///
    /// # Errors
    /// [`StorageError::Failed`]: the entry may come back after a restart, which the gateway sees as a duplicate.
    fn remove(&mut self, key: Key) -> Result<(), StorageError>;

    /// What was lost since the last call; asked after every other call, so the books stay balanced.
    fn take_damage(&mut self) -> Damage {
        Damage::default()
    }

    /// Copies the note that was written last to `note`; false if there is none. A storage without room for one keeps
    /// none: the device then starts with its settings alone.
    ///
    /// # Errors
    /// [`StorageError::Failed`] if the medium cannot be read.
    fn read_note(&mut self, note: &mut Note) -> Result<bool, StorageError> {
        let _ = note;
        Ok(false)
    }

    /// Replaces the note, durable on return; after a power cut the old one or the new one is read, nothing else.
    ///
    /// # Errors
    /// [`StorageError::Failed`]: the old note or the new one stands.
    fn write_note(&mut self, note: &Note) -> Result<(), StorageError> {
        let _ = note;
        Ok(())
    }

    /// Entries in a partition.
    fn count(&self, partition: Partition) -> usize;

    /// Entries of the longest size that all partitions hold together.
    fn capacity(&self) -> usize;
}

impl<S: Storage + ?Sized> Storage for &mut S {
    fn next_boot(&mut self) -> Result<BootId, StorageError> {
        (**self).next_boot()
    }

    fn push(&mut self, partition: Partition, entry: &Entry) -> Result<Key, StorageError> {
        (**self).push(partition, entry)
    }

    fn next(
        &mut self,
        partition: Partition,
        after: Option<Key>,
        entry: &mut Entry,
    ) -> Result<Option<Key>, StorageError> {
        (**self).next(partition, after, entry)
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        (**self).remove(key)
    }

    fn take_damage(&mut self) -> Damage {
        (**self).take_damage()
    }

    fn read_note(&mut self, note: &mut Note) -> Result<bool, StorageError> {
        (**self).read_note(note)
    }

    fn write_note(&mut self, note: &Note) -> Result<(), StorageError> {
        (**self).write_note(note)
    }

    fn count(&self, partition: Partition) -> usize {
        (**self).count(partition)
    }

    fn capacity(&self) -> usize {
        (**self).capacity()
    }
}
