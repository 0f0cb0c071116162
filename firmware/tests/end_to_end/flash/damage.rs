//! Flipped bits, sectors of zeros, flash that was never formatted, flash that fails: what each costs, and that it is said.

use std::vec::Vec;

use fieldpost_firmware::{
    CounterState, FlashReport, FlashStorage, Storage, StorageError,
    storage::{Damage, Entry, FlashMap, NOTE_BYTES_MAX, Note, Partition},
};
use fieldpost_protocol::{Body, BootId, Envelope, LossReason};

use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

use crate::bench::{Bench, every_fix};

use super::{
    SECTOR, SMALL, SMALL_BYTES, mount, new_chip,
    nor::{Faults, Nor},
};

const ENTRY_COUNT: usize = 40;

fn entry(number: u8) -> Entry {
    Entry::from_slice(&[number; 31]).unwrap()
}

/// Three starts, forty routine entries, an alarm and a note.
fn filled_chip() -> Nor<SECTOR> {
    let chip = new_chip();
    for _ in 0..3 {
        mount(&chip).next_boot().unwrap();
    }
    let mut storage = mount(&chip);
    for number in 0..ENTRY_COUNT {
        storage.push(Partition::Routine, &entry(number as u8)).unwrap();
    }
    storage.push(Partition::Alarm, &entry(0xA1)).unwrap();
    storage.write_note(&Note::from_slice(b"on duty").unwrap()).unwrap();
    chip
}

fn routine<S: Storage>(storage: &mut S) -> Vec<u8> {
    let (mut after, mut read, mut found) = (None, Entry::new(), Vec::new());
    while let Some(key) = storage.next(Partition::Routine, after, &mut read).unwrap() {
        assert!(read.iter().all(|byte| *byte == read[0]), "an entry is whole");
        found.push(read[0]);
        after = Some(key);
    }
    found
}

fn all_numbers() -> Vec<u8> {
    (0..ENTRY_COUNT as u8).collect()
}

#[test]
fn any_single_flipped_bit_costs_nothing() {
    let chip = filled_chip();
    let used = {
        let bytes = &chip.0.borrow().bytes;
        (0..bytes.len()).filter(|at| bytes[*at] != 0xFF).collect::<Vec<_>>()
    };
    for at in used {
        let chip = chip.fork();
        chip.flip(at * 8 + at % 8);
        let mut storage = mount(&chip);
        assert_eq!(routine(&mut storage), all_numbers(), "byte {at}");
        assert_eq!(storage.count(Partition::Alarm), 1, "byte {at}");
        assert!(storage.take_damage().is_none(), "byte {at}");
        let BootId(boot) = storage.next_boot().unwrap();
        assert!(boot > 3, "boot id {boot} after a flip in byte {at}");
        let mut note = Note::new();
        assert!(storage.read_note(&mut note).unwrap() && note == b"on duty"[..], "byte {at}");
    }
}

#[test]
fn a_flip_while_it_runs_is_put_right_when_the_entry_is_read() {
    let chip = filled_chip();
    let mut storage = mount(&chip);
    let first_body = SMALL.routine.start as usize + 16 + 16;
    chip.flip(first_body * 8 + 3);
    assert_eq!(routine(&mut storage), all_numbers());
    assert_eq!(storage.report().records_repaired, 1);
}

#[test]
fn a_record_beyond_repair_is_one_loss_and_takes_no_other_with_it() {
    for running in [false, true] {
        let chip = filled_chip();
        let mut storage = mount(&chip);
        let body = SMALL.routine.start as usize + 16 + 2 * 48 + 16;
        chip.zero(body, 20);
        if !running {
            storage = mount(&chip);
        }
        let expected: Vec<u8> = all_numbers().into_iter().filter(|number| *number != 2).collect();
        assert_eq!(routine(&mut storage), expected);
        assert_eq!(storage.take_damage(), Damage { records: 1, ..Damage::default() });
        assert_eq!(storage.report().records_damaged, 1);
        // Said once: the next start does not find it again.
        assert!(mount(&chip).take_damage().is_none());
    }
}

#[test]
fn a_sector_of_zeros_is_a_loss_of_unknown_size_and_the_rest_stays() {
    let chip = filled_chip();
    let sectors_used = ENTRY_COUNT / ((SECTOR - 16) / 48) + 1;
    for sector in 0..sectors_used {
        let chip = chip.fork();
        chip.zero(SMALL.routine.start as usize + sector * SECTOR, SECTOR);
        let mut storage = mount(&chip);
        let left = routine(&mut storage);
        let per_sector = (SECTOR - 16) / 48;
        let expected = all_numbers().into_iter().filter(|number| usize::from(*number) / per_sector != sector);
        assert_eq!(left, expected.collect::<Vec<_>>());
        assert_eq!(storage.take_damage(), Damage { is_unknown: true, ..Damage::default() });
        assert_eq!(storage.report().sectors_unreadable, 1);
        for number in 0..60 {
            storage.push(Partition::Routine, &entry(number)).unwrap();
        }
    }
}

#[test]
fn a_flash_that_was_never_erased_is_erased_and_that_is_said() {
    for byte in [0x00, 0xA5] {
        let chip = Nor::<SECTOR>::filled(SMALL_BYTES, byte);
        let mut storage = mount(&chip);
        assert_eq!(storage.take_damage(), Damage { is_formatted: true, ..Damage::default() });
        assert_eq!(storage.report().partitions_formatted, 3);
        // Nobody knows how often it started before.
        assert_eq!(storage.report().boot_counter, CounterState::Jumped);
        assert!(storage.next_boot().unwrap().0 > 1 << 20);
        storage.push(Partition::Alarm, &entry(1)).unwrap();
        let mut storage = mount(&chip);
        assert_eq!(storage.count(Partition::Alarm), 1);
        assert!(storage.take_damage().is_none());
    }
}

#[test]
fn an_erased_flash_is_a_first_start_and_no_loss() {
    let mut storage = mount(&new_chip());
    assert_eq!(
        *storage.report(),
        FlashReport { boot_counter: CounterState::First, ..FlashReport::default() }
    );
    assert!(storage.take_damage().is_none());
    assert_eq!(storage.next_boot(), Ok(BootId(1)));
}

#[test]
fn either_copy_of_the_boot_counter_is_enough() {
    let chip = filled_chip();
    for sector in 0..2 {
        for byte in [0x00, 0xFF] {
            let chip = chip.fork();
            let start = SMALL.boot_counter.start as usize + sector * SECTOR;
            chip.0.borrow_mut().bytes[start..start + SECTOR].fill(byte);
            let mut storage = mount(&chip);
            assert_eq!(storage.report().boot_counter, CounterState::OneCopy);
            assert_eq!(storage.next_boot(), Ok(BootId(4)));
            assert_eq!(mount(&chip).next_boot(), Ok(BootId(5)), "and the copy is made again");
            assert_eq!(mount(&chip).report().boot_counter, CounterState::Good);
        }
    }
}

#[test]
fn without_a_boot_counter_the_boot_id_jumps_beyond_every_one_known() {
    for byte in [0x00, 0xFF] {
        let chip = filled_chip();
        let range = SMALL.boot_counter.range();
        chip.0.borrow_mut().bytes[range.start as usize..range.end as usize].fill(byte);
        let mut storage = mount(&chip);
        assert_eq!(storage.report().boot_counter, CounterState::Jumped);
        assert_eq!(storage.next_boot(), Ok(BootId(3 + (1 << 20) + 1)));
    }
}

#[test]
fn the_boot_counter_goes_round_its_sectors() {
    let chip = new_chip();
    for boot in 1..=500 {
        assert_eq!(mount(&chip).next_boot(), Ok(BootId(boot)));
    }
    let erases = chip.0.borrow().erases[..2].to_vec();
    // 64 cells of 8 bytes in 512.
    assert_eq!(erases, [7, 7]);
}

#[test]
fn a_damaged_note_brings_the_one_before_and_then_none() {
    let chip = filled_chip();
    mount(&chip).write_note(&Note::from_slice(b"off duty").unwrap()).unwrap();
    let second = SMALL.notes.start as usize + 16 + NOTE_BYTES_MAX;
    chip.zero(second + 16, 8);
    let mut note = Note::new();
    assert!(mount(&chip).read_note(&mut note).unwrap());
    assert_eq!(note, b"on duty"[..]);
    chip.zero(SMALL.notes.start as usize, SECTOR);
    let mut storage = mount(&chip);
    assert!(!storage.read_note(&mut note).unwrap());
    storage.write_note(&note).unwrap();
    assert!(mount(&chip).read_note(&mut note).unwrap());
}

/// The loss records that a device sends after this happened to its flash while it was off: reason, and whether it names any.
fn losses_said(happens: impl FnOnce(&Nor<SECTOR>)) -> Vec<(LossReason, bool)> {
    let chip = new_chip();
    let mut bench = Bench::with_storage(every_fix(), mount(&chip));
    bench.walk(60);
    drop(bench);
    happens(&chip);
    let mut bench = Bench::with_storage(every_fix(), mount(&chip));
    let first = bench.connect(false);
    let published = bench.settle(first);
    assert_eq!(bench.device.ledger().owed, 0);
    let losses = published.iter().filter_map(|frame| {
        let envelope = Envelope::decode(&frame.frame).unwrap();
        match Body::decode(&envelope.head, envelope.body) {
            Ok(Body::Loss(loss)) => Some((loss.reason, !loss.ranges.is_empty())),
            _ => None,
        }
    });
    losses.collect()
}

#[test]
fn what_the_flash_lost_is_said_to_the_gateway() {
    let routine = SMALL.routine.start as usize;
    assert_eq!(losses_said(|_| {}), []);
    // A record, a sector, a partition.
    assert_eq!(losses_said(|chip| chip.zero(routine + 16 + 16, 8)), [(LossReason::DAMAGED, false)]);
    assert_eq!(losses_said(|chip| chip.zero(routine, SECTOR)), [(LossReason::DAMAGED, false)]);
    let all = SMALL.routine.bytes as usize;
    assert_eq!(losses_said(|chip| chip.zero(routine, all)), [(LossReason::FORMATTED, false)]);
}

#[test]
fn a_full_flash_takes_nothing_and_keeps_everything() {
    let chip = new_chip();
    let mut storage = mount(&chip);
    let mut pushed = Vec::new();
    let error = loop {
        match storage.push(Partition::Routine, &entry(pushed.len() as u8)) {
            Ok(_) => pushed.push(pushed.len() as u8),
            Err(error) => break error,
        }
    };
    assert_eq!(error, StorageError::Full);
    let steps = chip.steps();
    assert_eq!(storage.push(Partition::Routine, &entry(0)), Err(StorageError::Full));
    assert_eq!(chip.steps(), steps, "nothing was written");
    assert_eq!(routine(&mut storage), pushed);
    assert_eq!(routine(&mut mount(&chip)), pushed);
    storage.push(Partition::Alarm, &entry(1)).unwrap();
}

#[test]
fn failing_words_are_skipped_and_nothing_acknowledged_is_lost() {
    for fails_silently in [false, true] {
        let chip = new_chip();
        let mut storage = mount(&chip);
        chip.power_on(Faults { fail_write_every: Some(37), fails_silently, ..Faults::default() });
        let mut pushed = Vec::new();
        for number in 0..=255 {
            if storage.push(Partition::Routine, &entry(number)).is_ok() {
                pushed.push(number);
            }
        }
        assert!(pushed.len() > 80, "{} {:?}", pushed.len(), storage.report());
        assert!(storage.report().write_failures > 0);
        assert_eq!(routine(&mut storage), pushed);
        chip.power_on(Faults::default());
        let mut storage = mount(&chip);
        assert!(pushed.iter().all(|number| routine(&mut storage).contains(number)));
    }
}

#[test]
fn notes_that_cannot_be_written_leave_the_newest_in_place() {
    for fails_silently in [false, true] {
        let chip = filled_chip();
        let mut storage = mount(&chip);
        chip.power_on(Faults { fail_write_every: Some(1), fails_silently, ..Faults::default() });
        for number in 0..100 {
            assert!(storage.write_note(&Note::from_slice(&[number]).unwrap()).is_err());
        }
        chip.power_on(Faults::default());
        let mut note = Note::new();
        assert!(mount(&chip).read_note(&mut note).unwrap());
        assert_eq!(note, b"on duty"[..]);
    }
}

#[test]
fn failing_erases_cost_sectors_and_no_entries() {
    let chip = new_chip();
    let mut storage = mount(&chip);
    chip.power_on(Faults { fail_erase_every: Some(7), ..Faults::default() });
    let mut next = 0u8;
    for _ in 0..600 {
        storage.push(Partition::Routine, &entry(next)).unwrap();
        next = next.wrapping_add(1);
        if storage.count(Partition::Routine) > 20 {
            let mut read = Entry::new();
            let oldest = storage.next(Partition::Routine, None, &mut read).unwrap().unwrap();
            assert_eq!(read[0], next.wrapping_sub(21));
            storage.remove(oldest).unwrap();
        }
    }
    assert!(storage.report().erase_failures > 3, "{:?}", storage.report());
    assert_eq!(storage.count(Partition::Routine), 20);
}

#[test]
fn a_storage_that_was_not_mounted_does_nothing() {
    let chip = filled_chip();
    let before = chip.0.borrow().bytes.clone();
    let mut storage = FlashStorage::new(chip.clone(), &SMALL);
    assert_eq!(storage.next_boot(), Err(StorageError::Failed));
    assert_eq!(storage.push(Partition::Alarm, &entry(1)), Err(StorageError::Failed));
    assert_eq!(storage.write_note(&Note::new()), Err(StorageError::Failed));
    assert_eq!(chip.0.borrow().bytes, before);
}

#[test]
fn the_standard_map_fits_its_flash_and_its_regions_do_not_overlap() {
    let FlashMap { slot_a, slot_b, boot_counter, notes, alarm, health, routine } = FlashMap::STANDARD;
    let regions = [slot_a, slot_b, boot_counter, notes, alarm, health, routine];
    for pair in regions.windows(2) {
        assert!(pair[0].range().end <= pair[1].start);
    }
    assert!(
        regions.iter().all(|region| region.start.is_multiple_of(4096) && region.bytes.is_multiple_of(4096))
    );
}

#[test]
fn a_ruined_key_does_not_use_up_all_keys() {
    // Found by the test below: the record is given up and marked, and its key of ones was believed at the next start.
    let chip = filled_chip();
    let key = SMALL.routine.start as usize + 16 + 4;
    chip.0.borrow_mut().bytes[key..key + 4].fill(0xFF);
    for _ in 0..2 {
        mount(&chip).push(Partition::Routine, &entry(1)).unwrap();
    }
}

proptest! {
    #[test]
    fn no_content_of_the_flash_stops_a_device(
        ranges in prop::collection::vec((0..SMALL_BYTES, 1..700usize, 0..4u8), 0..12),
        seed: u64,
    ) {
        let chip = filled_chip();
        for (start, length, style) in ranges {
            for at in start..(start + length).min(SMALL_BYTES) {
                let noise = (seed ^ at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[0];
                let byte = &mut chip.0.borrow_mut().bytes[at];
                *byte = [0x00, 0xFF, noise, *byte & noise][usize::from(style)];
            }
        }
        for life in 0..3u8 {
            let mut storage = mount(&chip);
            storage.next_boot().unwrap();
            storage.take_damage();
            let held = routine(&mut storage);
            for number in 0..80 {
                storage.push(Partition::Routine, &entry(number)).unwrap();
            }
            storage.push(Partition::Alarm, &entry(life)).unwrap();
            storage.write_note(&Note::from_slice(&[life]).unwrap()).unwrap();
            let after: Vec<u8> = held.into_iter().chain(0..80).collect();
            prop_assert_eq!(&routine(&mut storage), &after);
            let mut storage = mount(&chip);
            prop_assert_eq!(routine(&mut storage), after);
            prop_assert!(storage.take_damage().is_none(), "said once: {:?}", storage.report());
            let mut read = Entry::new();
            while let Some(key) = storage.next(Partition::Routine, None, &mut read).unwrap() {
                storage.remove(key).unwrap();
            }
        }
    }
}
