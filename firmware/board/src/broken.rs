//! The image that uses a boot id again, for the rig that must notice. **Never in a device image** (`entropy.rs`).

use fieldpost_firmware::{
    Storage, StorageError,
    storage::{Damage, Entry, Key, Note, Partition},
};
use fieldpost_protocol::BootId;

/// Every start is boot 1; everything else as it is.
pub(crate) struct BootIdReused<S>(pub(crate) S);

impl<S: Storage> Storage for BootIdReused<S> {
    fn next_boot(&mut self) -> Result<BootId, StorageError> {
        self.0.next_boot().map(|_| BootId(1))
    }

    fn push(&mut self, partition: Partition, entry: &Entry) -> Result<Key, StorageError> {
        self.0.push(partition, entry)
    }

    fn next(
        &mut self,
        partition: Partition,
        after: Option<Key>,
        entry: &mut Entry,
    ) -> Result<Option<Key>, StorageError> {
        self.0.next(partition, after, entry)
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        self.0.remove(key)
    }

    fn count(&self, partition: Partition) -> usize {
        self.0.count(partition)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn take_damage(&mut self) -> Damage {
        self.0.take_damage()
    }

    fn read_note(&mut self, note: &mut Note) -> Result<bool, StorageError> {
        self.0.read_note(note)
    }

    fn write_note(&mut self, note: &Note) -> Result<(), StorageError> {
        self.0.write_note(note)
    }
}
