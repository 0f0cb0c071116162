//! A device's memory that outlives its power: the firmware's own `RamStorage`, with a power cut at a chosen write.
//!
//! **From the cut on nothing is written**; the write it falls on is there whole or not at all, by a coin. That is the promise
//! of the storage seam; how flash keeps it is tested beside the flash.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fieldpost_firmware::{
    RamStorage, Storage, StorageError,
    storage::{Entry, Key, Note, Partition},
};
use fieldpost_protocol::BootId;

/// Entries that a simulated device holds.
pub(super) const ENTRIES: usize = 64;

/// The memory. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Flash(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    ram: RamStorage<ENTRIES>,
    /// Writes until the power goes, and whether the last of them is done.
    cut: Option<(u32, bool)>,
    is_dead: bool,
}

impl Flash {
    /// Cuts the power at the `writes`-th write from now; `is_written`: that one still reaches the medium.
    pub(super) fn cut_after(&self, writes: u32, is_written: bool) {
        self.lock().cut = Some((writes, is_written));
    }

    /// Whether the power has gone.
    pub(super) fn is_dead(&self) -> bool {
        self.lock().is_dead
    }

    /// The power is back.
    pub(super) fn revive(&self) {
        let mut state = self.lock();
        (state.cut, state.is_dead) = (None, false);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&mut RamStorage<ENTRIES>) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut state = self.lock();
        if state.is_dead {
            return Err(StorageError::Failed);
        }
        match &mut state.cut {
            Some((0, is_written)) => {
                let is_written = *is_written;
                state.is_dead = true;
                if is_written {
                    // Whatever it says, nobody hears it.
                    _ = work(&mut state.ram);
                }
                Err(StorageError::Failed)
            }
            Some((left, _)) => {
                *left -= 1;
                work(&mut state.ram)
            }
            None => work(&mut state.ram),
        }
    }
}

impl Storage for Flash {
    fn next_boot(&mut self) -> Result<BootId, StorageError> {
        self.write(Storage::next_boot)
    }

    fn push(&mut self, partition: Partition, entry: &Entry) -> Result<Key, StorageError> {
        self.write(|ram| ram.push(partition, entry))
    }

    fn next(
        &mut self,
        partition: Partition,
        after: Option<Key>,
        entry: &mut Entry,
    ) -> Result<Option<Key>, StorageError> {
        self.lock().ram.next(partition, after, entry)
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        self.write(|ram| ram.remove(key))
    }

    fn count(&self, partition: Partition) -> usize {
        self.lock().ram.count(partition)
    }

    fn capacity(&self) -> usize {
        ENTRIES
    }

    fn read_note(&mut self, note: &mut Note) -> Result<bool, StorageError> {
        self.lock().ram.read_note(note)
    }

    fn write_note(&mut self, note: &Note) -> Result<(), StorageError> {
        self.write(|ram| ram.write_note(note))
    }
}
