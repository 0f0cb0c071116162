//! What it costs: reads per operation, erases per day, and that they are shared out.

use std::vec::Vec;

use fieldpost_firmware::{
    FlashStorage, Storage,
    storage::{Entry, FLASH_STORAGE_BYTES_MAX, FlashMap, Partition},
};

use super::nor::{Faults, Nor};

const SECTOR: usize = 4096;
const CHIP_BYTES: usize = 0x7_0000;
/// A position as the outbox stores it.
const POSITION_BYTES: usize = 31;

fn mounted(chip: &Nor<SECTOR>) -> FlashStorage<Nor<SECTOR>> {
    let mut storage = FlashStorage::new(chip.clone(), &FlashMap::STANDARD);
    storage.mount().unwrap();
    storage
}

fn new_chip() -> Nor<SECTOR> {
    let chip = Nor::erased(CHIP_BYTES);
    chip.power_on(Faults::default());
    chip
}

fn position() -> Entry {
    Entry::from_slice(&[0x5C; POSITION_BYTES]).unwrap()
}

/// Flash reads, bytes read and words written by something.
fn cost(chip: &Nor<SECTOR>, act: impl FnOnce()) -> (u64, u64, u64) {
    let before = chip.0.borrow().clone();
    act();
    let after = chip.0.borrow();
    (
        after.reads - before.reads,
        after.bytes_read - before.bytes_read,
        after.words_written - before.words_written,
    )
}

#[test]
fn an_operation_costs_the_same_however_much_is_owed() {
    println!("owed  operation  reads  bytes read  words written");
    for owed in [1000, 3000] {
        let chip = new_chip();
        let mut storage = mounted(&chip);
        let mut keys = Vec::new();
        for _ in 0..owed {
            keys.push(storage.push(Partition::Routine, &position()).unwrap());
        }
        let mut read = Entry::new();
        for place in [0, owed / 2, owed - 2] {
            let next = cost(&chip, || {
                storage.next(Partition::Routine, Some(keys[place]), &mut read).unwrap();
            });
            println!("{owed}  next       {}  {}  {}", next.0, next.1, next.2);
            // A binary search and the record.
            assert!(next.0 <= 14 && next.1 <= 13 * 4 + 88);
        }
        let remove = cost(&chip, || storage.remove(keys[owed / 2]).unwrap());
        println!("{owed}  remove     {}  {}  {}", remove.0, remove.1, remove.2);
        assert!(remove.0 <= 18 && remove.2 == 1);
        let push = cost(&chip, || {
            storage.push(Partition::Routine, &position()).unwrap();
        });
        println!("{owed}  push       {}  {}  {}", push.0, push.1, push.2);
        assert!(push.0 <= 4 && push.2 <= 11);
        let mount = cost(&chip, || {
            mounted(&chip);
        });
        println!("{owed}  mount      {}  {}  {}", mount.0, mount.1, mount.2);
    }
}

#[test]
fn a_flash_storage_and_its_quota_fit_their_budgets() {
    let storage = mounted(&new_chip());
    let bytes = size_of::<FlashStorage<()>>();
    println!("flash storage {bytes} bytes of RAM, {} longest entries", storage.capacity());
    assert!(bytes <= FLASH_STORAGE_BYTES_MAX);
    assert!(storage.capacity() >= 2500);
}

#[test]
fn a_month_of_shifts_wears_every_sector_alike() {
    let chip = new_chip();
    let mut storage = mounted(&chip);
    // Ten hours at a position every 30 s and a status every 15 minutes: 1,240 records a day. Thirty days are enough to tell.
    const RECORDS_PER_DAY: u32 = 1240;
    let status = Entry::from_slice(&[0x33; 43]).unwrap();
    let mut read = Entry::new();
    for record in 0..30 * RECORDS_PER_DAY {
        let entry = if record.is_multiple_of(31) { status.clone() } else { position() };
        storage.push(Partition::Routine, &entry).unwrap();
        // The link is down for an hour now and then.
        if record % 600 > 120 {
            for _ in 0..2 {
                if let Some(key) = storage.next(Partition::Routine, None, &mut read).unwrap() {
                    storage.remove(key).unwrap();
                }
            }
        }
    }
    let first = FlashMap::STANDARD.routine.start as usize / SECTOR;
    let erases = chip.0.borrow().erases[first..first + 64].to_vec();
    let (least, most) = (*erases.iter().min().unwrap(), *erases.iter().max().unwrap());
    let per_day = f64::from(erases.iter().sum::<u32>()) / 30.0;
    println!("{per_day:.1} erases a day, {least} to {most} a sector in 30 days");
    assert!(per_day < 17.0 && most - least <= 1, "{erases:?}");
}

#[test]
fn entries_that_stay_for_long_do_not_stop_the_others() {
    // What a queue that frees its head only cannot do: one held record in every sector, and the log goes on around them.
    let chip = new_chip();
    let mut storage = mounted(&chip);
    let mut read = Entry::new();
    let mut held = Vec::new();
    for record in 0..40_000u32 {
        let key = storage.push(Partition::Routine, &position()).unwrap();
        if record.is_multiple_of(80) && held.len() < 500 {
            held.push(key);
        } else {
            storage.remove(key).unwrap();
        }
    }
    assert_eq!(storage.count(Partition::Routine), held.len());
    for key in &held {
        let before = fieldpost_firmware::storage::Key(key.0 - 1);
        assert_eq!(storage.next(Partition::Routine, Some(before), &mut read), Ok(Some(*key)));
    }
    let report = storage.report();
    println!("{} erases, {} entries moved in 40,000 records", report.erases, report.entries_moved);
}

#[test]
fn the_longest_push_is_bounded_when_the_flash_is_nearly_full() {
    // 2,500 records are held and go in no order: every sector that is emptied is half full and more.
    let chip = new_chip();
    let mut storage = mounted(&chip);
    let mut held = Vec::new();
    let (mut words_max, mut erases_max, mut words_all) = (0, 0, 0);
    let mut state = 1u64;
    for _ in 0..20_000 {
        let erases = chip.0.borrow().erases.iter().sum::<u32>();
        let (_, _, words) = cost(&chip, || held.push(storage.push(Partition::Routine, &position()).unwrap()));
        words_all += words;
        words_max = words_max.max(words);
        erases_max = erases_max.max(chip.0.borrow().erases.iter().sum::<u32>() - erases);
        if held.len() > 2500 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = held.swap_remove((state >> 33) as usize % held.len());
            storage.remove(key).unwrap();
        }
    }
    println!(
        "nearly full: at most {words_max} words and {erases_max} erases in a push, {} words on average",
        words_all / 20_000
    );
    assert!(words_max < 500 && erases_max == 1 && words_all / 20_000 <= 13);
}
