//! Storage in RAM: for the simulator and tests. It survives a restart of the device logic, not a power cut.

use fieldpost_protocol::BootId;

use super::{Entry, Key, Note, Partition, Storage, StorageError};

#[derive(Clone)]
struct Slot {
    key: Key,
    partition: Partition,
    entry: Entry,
}

/// At most `N` entries of all partitions together, about 90 bytes each. No `Debug`: positions are not for logs.
#[derive(Clone)]
pub struct RamStorage<const N: usize> {
    slots: [Option<Slot>; N],
    /// Indices of the used slots, oldest first.
    order: heapless::Vec<u16, N>,
    counts: [usize; 3],
    next_key: u32,
    last_boot: u32,
    note: Option<Note>,
}

impl<const N: usize> Default for RamStorage<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> RamStorage<N> {
    /// An empty store whose first start is boot 1.
    #[must_use]
    pub fn new() -> Self {
        Self::after_boot(BootId(0))
    }

    /// An empty store whose first start comes after `last_boot`: for a caller whose device had earlier lives that left
    /// nothing but their number. A boot id that repeats makes new records look like ones the gateway has.
    #[must_use]
    pub fn after_boot(last_boot: BootId) -> Self {
        const { assert!(N <= u16::MAX as usize, "slots are indexed by u16") };
        Self {
            slots: [const { None }; N],
            order: heapless::Vec::new(),
            counts: [0; 3],
            next_key: 0,
            last_boot: last_boot.0,
            note: None,
        }
    }

    /// Place in `order` of the first key greater than `after`.
    fn place_after(&self, after: Option<Key>) -> usize {
        let Some(after) = after else { return 0 };
        self.order.partition_point(|index| self.key_at(*index) <= after)
    }

    fn slot(&self, index: u16) -> &Slot {
        self.slots[usize::from(index)].as_ref().expect("order names used slots only")
    }

    fn key_at(&self, index: u16) -> Key {
        self.slot(index).key
    }
}

impl<const N: usize> Storage for RamStorage<N> {
    fn next_boot(&mut self) -> Result<BootId, StorageError> {
        self.last_boot = self.last_boot.checked_add(1).ok_or(StorageError::Failed)?;
        Ok(BootId(self.last_boot))
    }

    fn push(&mut self, partition: Partition, entry: &Entry) -> Result<Key, StorageError> {
        let index = self.slots.iter().position(Option::is_none).ok_or(StorageError::Full)?;
        let place = u16::try_from(index).map_err(|_| StorageError::Full)?;
        self.order.push(place).map_err(|_| StorageError::Full)?;
        let key = Key(self.next_key);
        self.next_key += 1;
        self.slots[index] = Some(Slot { key, partition, entry: entry.clone() });
        self.counts[partition as usize] += 1;
        Ok(key)
    }

    fn next(
        &mut self,
        partition: Partition,
        after: Option<Key>,
        entry: &mut Entry,
    ) -> Result<Option<Key>, StorageError> {
        if self.counts[partition as usize] == 0 {
            return Ok(None);
        }
        let from = self.place_after(after);
        let found =
            self.order[from..].iter().map(|index| self.slot(*index)).find(|slot| slot.partition == partition);
        let Some(slot) = found else { return Ok(None) };
        entry.clone_from(&slot.entry);
        Ok(Some(slot.key))
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        if let Ok(place) = self.order.binary_search_by(|index| self.key_at(*index).cmp(&key)) {
            let index = self.order.remove(place);
            if let Some(slot) = self.slots[usize::from(index)].take() {
                self.counts[slot.partition as usize] -= 1;
            }
        }
        Ok(())
    }

    fn read_note(&mut self, note: &mut Note) -> Result<bool, StorageError> {
        note.clear();
        if let Some(kept) = &self.note {
            note.clone_from(kept);
        }
        Ok(self.note.is_some())
    }

    fn write_note(&mut self, note: &Note) -> Result<(), StorageError> {
        self.note = Some(note.clone());
        Ok(())
    }

    fn count(&self, partition: Partition) -> usize {
        self.counts[partition as usize]
    }

    fn capacity(&self) -> usize {
        N
    }
}
