//! Storage on flash does what storage in RAM does.

use std::vec::Vec;

use fieldpost_firmware::{
    RamStorage, Storage, StorageError,
    storage::{Entry, Key, NOTE_BYTES_MAX, Partition},
};
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::{mount, new_chip};

#[derive(Debug, Clone)]
enum Act {
    Push(usize, Vec<u8>),
    /// Removes the n-th oldest of a partition, if there is one.
    Remove(usize, usize),
    /// Removes everything up to the n-th oldest.
    RemoveFront(usize, usize),
    Restart,
    Boot,
    Note(Vec<u8>),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let entry = || prop::collection::vec(any::<u8>(), 1..=72);
    let act = prop_oneof![
        8 => (0..3usize, entry()).prop_map(|(partition, entry)| Act::Push(partition, entry)),
        4 => (0..3usize, 0..40usize).prop_map(|(partition, at)| Act::Remove(partition, at)),
        1 => (0..3usize, 0..40usize).prop_map(|(partition, at)| Act::RemoveFront(partition, at)),
        1 => Just(Act::Restart),
        1 => Just(Act::Boot),
        1 => prop::collection::vec(any::<u8>(), 0..=NOTE_BYTES_MAX).prop_map(Act::Note),
    ];
    prop::collection::vec(act, 1..300)
}

fn all<S: Storage>(storage: &mut S, partition: Partition) -> Vec<(Key, Entry)> {
    let (mut after, mut entry, mut found) = (None, Entry::new(), Vec::new());
    while let Some(key) = storage.next(partition, after, &mut entry).unwrap() {
        found.push((key, entry.clone()));
        after = Some(key);
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn flash_and_ram_hold_the_same(acts in acts()) {
        let chip = new_chip();
        let mut flash = mount(&chip);
        let mut ram = RamStorage::<512>::new();
        let mut note = fieldpost_firmware::storage::Note::new();
        for act in acts {
            match act {
                Act::Push(partition, bytes) => {
                    let entry = Entry::from_slice(&bytes).unwrap();
                    let partition = Partition::ALL[partition];
                    match flash.push(partition, &entry) {
                        Ok(_) => {
                            ram.push(partition, &entry).unwrap();
                        }
                        Err(error) => prop_assert_eq!(error, StorageError::Full),
                    }
                }
                Act::Remove(partition, at) => {
                    let partition = Partition::ALL[partition];
                    let (in_flash, in_ram) = (all(&mut flash, partition), all(&mut ram, partition));
                    if let (Some(in_flash), Some(in_ram)) = (in_flash.get(at), in_ram.get(at)) {
                        flash.remove(in_flash.0).unwrap();
                        ram.remove(in_ram.0).unwrap();
                        // A second time is not an error.
                        flash.remove(in_flash.0).unwrap();
                    }
                }
                Act::RemoveFront(partition, at) => {
                    let partition = Partition::ALL[partition];
                    for (key, _) in all(&mut flash, partition).iter().take(at) {
                        flash.remove(*key).unwrap();
                    }
                    for (key, _) in all(&mut ram, partition).iter().take(at) {
                        ram.remove(*key).unwrap();
                    }
                }
                Act::Restart => flash = mount(&chip),
                Act::Boot => prop_assert_eq!(flash.next_boot().unwrap(), ram.next_boot().unwrap()),
                Act::Note(bytes) => {
                    note = fieldpost_firmware::storage::Note::from_slice(&bytes).unwrap();
                    flash.write_note(&note).unwrap();
                }
            }
            for partition in Partition::ALL {
                let contents = |held: Vec<(Key, Entry)>| held.into_iter().map(|(_, entry)| entry).collect::<Vec<_>>();
                prop_assert_eq!(flash.count(partition), ram.count(partition));
                let in_flash = all(&mut flash, partition);
                prop_assert!(in_flash.windows(2).all(|pair| pair[0].0 < pair[1].0), "keys ascend");
                prop_assert_eq!(contents(in_flash), contents(all(&mut ram, partition)));
            }
            let mut read = fieldpost_firmware::storage::Note::new();
            if flash.read_note(&mut read).unwrap() {
                prop_assert_eq!(&read, &note);
            }
            prop_assert!(flash.take_damage().is_none());
        }
        let report = *flash.report();
        prop_assert_eq!((report.records_damaged, report.sectors_unreadable, report.writes_torn), (0, 0, 0));
    }
}
