//! What a device costs.

use fieldpost_firmware::{
    Device, RamStorage, Storage, StorageError,
    device::DEVICE_BYTES_MAX,
    storage::{Entry, Key, Partition},
};
use fieldpost_protocol::BootId;

/// Storage elsewhere: what is left is the device itself.
struct Elsewhere;

impl Storage for Elsewhere {
    fn next_boot(&mut self) -> Result<BootId, StorageError> {
        Ok(BootId(1))
    }

    fn push(&mut self, _: Partition, _: &Entry) -> Result<Key, StorageError> {
        Err(StorageError::Full)
    }

    fn next(&mut self, _: Partition, _: Option<Key>, _: &mut Entry) -> Result<Option<Key>, StorageError> {
        Ok(None)
    }

    fn remove(&mut self, _: Key) -> Result<(), StorageError> {
        Ok(())
    }

    fn count(&self, _: Partition) -> usize {
        0
    }

    fn capacity(&self) -> usize {
        0
    }
}

#[test]
fn a_device_and_a_slot_of_ram_storage_fit_their_budgets() {
    let device_bytes = size_of::<Device<Elsewhere>>();
    let slot_bytes = size_of::<RamStorage<256>>() / 256;
    println!("device {device_bytes} bytes beside its storage, {slot_bytes} bytes for each entry in RAM");
    assert!(device_bytes <= DEVICE_BYTES_MAX && slot_bytes <= 96);
}

#[test]
fn a_storage_too_small_is_refused_at_start() {
    let error = Device::start(crate::bench::every_fix(), Elsewhere).err();
    assert_eq!(error, Some(fieldpost_firmware::StartError::StorageTooSmall));
}
