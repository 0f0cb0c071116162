//! Power cuts at every word written and every sector erased, torn each time.
//!
//! The rig knows what it was told was done. **What was pushed is there, what was removed is gone or comes back as it was, a boot
//! id never repeats, a note is the last or the one before, and every start after a cut succeeds.** Two storages that break a
//! rule on purpose must turn it red.

use std::{collections::BTreeMap, vec::Vec};

use fieldpost_firmware::{
    Storage, StorageError,
    storage::{Entry, Key, Note, Partition},
};
use fieldpost_protocol::BootId;
use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::{
    SECTOR, SmallStorage, mount, new_chip,
    nor::{Faults, Nor},
};

/// What the rig was told.
#[derive(Default, Clone)]
struct Told {
    /// Contents of live entries: pushed, and neither removed nor on the way out.
    live: BTreeMap<u32, Partition>,
    /// Removed for sure, or perhaps; pushed perhaps.
    perhaps: BTreeMap<u32, Partition>,
    /// Boot ids that were given out.
    boots: Vec<u32>,
    /// The note that was told durable.
    note: Option<u8>,
    /// Notes under way when power failed.
    notes_perhaps: Vec<u8>,
    next: u32,
    rounds: u32,
}

/// An entry's bytes say which one it is; their length differs.
fn entry(number: u32) -> Entry {
    let mut bytes = vec![number as u8; 31 + (number % 41) as usize];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    Entry::from_slice(&bytes).unwrap()
}

fn number_of(entry: &Entry) -> u32 {
    u32::from_le_bytes(entry[..4].try_into().unwrap())
}

fn contents(storage: &mut dyn Storage) -> BTreeMap<u32, (Partition, Key)> {
    let mut found = BTreeMap::new();
    for partition in Partition::ALL {
        let (mut after, mut read, mut last) = (None, Entry::new(), None);
        while let Some(key) = storage.next(partition, after, &mut read).unwrap() {
            let number = number_of(&read);
            assert_eq!(read, entry(number), "an entry is whole");
            assert!(found.insert(number, (partition, key)).is_none(), "an entry is there once");
            assert!(last < Some(number), "entries keep their order");
            (after, last) = (Some(key), Some(number));
        }
    }
    found
}

/// One operation of the load, and what is known after it.
fn act(storage: &mut dyn Storage, told: &mut Told, dead: &dyn Fn() -> bool) {
    told.rounds += 1;
    match told.rounds % 16 {
        0 => {
            let boot = storage.next_boot();
            if let (Ok(BootId(boot)), false) = (boot, dead()) {
                told.boots.push(boot);
            }
        }
        5 => {
            let note = told.rounds as u8;
            told.notes_perhaps.push(note);
            let written = storage.write_note(&Note::from_slice(&[note; 40]).unwrap());
            if written.is_ok() && !dead() {
                told.note = told.notes_perhaps.pop();
            }
        }
        // Removals come a little slower than pushes until it is full, and out of order.
        3 | 7 | 9 | 11 | 13 | 15 => remove_one(storage, told, dead),
        _ => push_one(storage, told, dead),
    }
}

fn push_one(storage: &mut dyn Storage, told: &mut Told, dead: &dyn Fn() -> bool) {
    let number = told.next;
    told.next += 1;
    let partition =
        Partition::ALL[if number.is_multiple_of(9) { 0 } else { 1 + usize::from(number.is_multiple_of(7)) }];
    told.perhaps.insert(number, partition);
    match storage.push(partition, &entry(number)) {
        Ok(_) if !dead() => {
            told.perhaps.remove(&number);
            told.live.insert(number, partition);
        }
        Err(StorageError::Full) if !dead() => {
            told.perhaps.remove(&number);
            for _ in 0..8 {
                remove_one(storage, told, dead);
            }
        }
        _ => {}
    }
}

fn remove_one(storage: &mut dyn Storage, told: &mut Told, dead: &dyn Fn() -> bool) {
    // One in five stays for long: sectors that are emptied have something in them.
    let leaves =
        |number: u32| !number.is_multiple_of(5) || told.rounds.is_multiple_of(64) || told.live.len() > 200;
    let mut leaving = told.live.iter().filter(|(number, _)| leaves(**number));
    let Some((number, partition)) =
        leaving.nth((told.rounds % 3) as usize).map(|(number, partition)| (*number, *partition))
    else {
        return;
    };
    let (mut after, mut read) = (None, Entry::new());
    while let Ok(Some(key)) = storage.next(partition, after, &mut read) {
        after = Some(key);
        if number_of(&read) == number {
            told.live.remove(&number);
            told.perhaps.insert(number, partition);
            // Removed and back after a cut is a duplicate, which the gateway knows.
            let _ = storage.remove(key);
            return;
        }
    }
    assert!(dead(), "entry {number} was pushed and is gone");
}

/// Checks a start after a cut against what was told.
fn check(storage: &mut SmallStorage, told: &mut Told) -> Result<(), String> {
    let found = contents(storage);
    for (number, partition) in &told.live {
        match found.get(number) {
            Some((held, _)) if held == partition => {}
            other => return Err(format!("entry {number} was told durable and is {other:?}")),
        }
    }
    for number in found.keys() {
        if !told.live.contains_key(number) && !told.perhaps.contains_key(number) {
            return Err(format!("entry {number} was never pushed"));
        }
    }
    // What is there now stays, whatever the rig thought of it; what is not there does not come back after this start.
    told.live = found.iter().map(|(number, (partition, _))| (*number, *partition)).collect();
    let damage = storage.take_damage();
    if !damage.is_none() {
        return Err(format!("a power cut alone loses nothing: {damage:?} {:?}", storage.report()));
    }
    let BootId(boot) = storage.next_boot().map_err(|error| error.to_string())?;
    if told.boots.iter().any(|before| *before >= boot) {
        return Err(format!("boot id {boot} after {:?}", told.boots));
    }
    told.boots.push(boot);
    let mut note = Note::new();
    let is_there = storage.read_note(&mut note).map_err(|error| error.to_string())?;
    let read = is_there.then(|| note[0]);
    if read != told.note && !read.is_some_and(|note| told.notes_perhaps.contains(&note)) {
        return Err(format!("note {read:?}, told {:?} and perhaps {:?}", told.note, told.notes_perhaps));
    }
    (told.note, told.notes_perhaps) = (read, Vec::new());
    Ok(())
}

/// Runs the load on a chip until power fails or the rounds are over.
fn load(storage: &mut dyn Storage, told: &mut Told, chip: &Nor<SECTOR>, rounds: u32) {
    for _ in 0..rounds {
        act(storage, told, &|| chip.is_dead());
        if chip.is_dead() {
            return;
        }
    }
}

/// A chip on which the ring has been round, and what the rig knows of it.
fn worn_chip() -> (Nor<SECTOR>, Told) {
    let (chip, mut told) = (new_chip(), Told::default());
    let mut storage = mount(&chip);
    load(&mut storage, &mut told, &chip, 1500);
    assert!(storage.report().entries_moved > 0, "the load makes the log move entries");
    (chip, told)
}

/// Mounts and runs the load; a cut may come in either.
fn start_and_load(chip: &Nor<SECTOR>, told: &mut Told, rounds: u32) {
    let mut storage = SmallStorage::new(chip.clone(), &super::SMALL);
    if storage.mount().is_ok() {
        load(&mut storage, told, chip, rounds);
    }
}

/// Cuts at every step of a few rounds from here on, each time again in the start after it. Returns how often an erase was
/// found interrupted, and how many steps there were.
fn cut_at_every_step(chip: &Nor<SECTOR>, told: &Told, rounds: u32) -> (u32, u64) {
    let steps = {
        let (chip, mut told) = (chip.fork(), told.clone());
        chip.power_on(Faults::default());
        start_and_load(&chip, &mut told, rounds);
        chip.steps()
    };
    let mut resumed = 0;
    for cut in 0..steps {
        let (chip, mut told) = (chip.fork(), told.clone());
        chip.power_on(Faults { cut_after: Some(cut), seed: cut, ..Faults::default() });
        start_and_load(&chip, &mut told, rounds);
        assert!(chip.is_dead());
        chip.power_on(Faults { cut_after: Some(cut % 40), seed: !cut, ..Faults::default() });
        start_and_load(&chip, &mut told, 10);
        chip.power_on(Faults::default());
        let mut storage = mount(&chip);
        check(&mut storage, &mut told).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        resumed += storage.report().erases_resumed;
        load(&mut storage, &mut told, &chip, 6);
        check(&mut mount(&chip), &mut told).unwrap_or_else(|error| panic!("after the cut at {cut}: {error}"));
    }
    (resumed, steps)
}

#[test]
fn a_cut_at_every_word_and_every_erase_loses_nothing() {
    let (chip, mut told) = worn_chip();
    let (mut resumed, mut steps) = (0, 0);
    for _ in 0..14 {
        let (window_resumed, window_steps) = cut_at_every_step(&chip, &told, 8);
        resumed += window_resumed;
        steps += window_steps;
        start_and_load(&chip, &mut told, 8);
    }
    println!("{steps} cuts, {resumed} of them in the middle of an erase");
    assert!(steps > 1500 && resumed > 0);
}

#[test]
fn no_boot_id_repeats_after_a_cut_in_a_start_and_a_sector_of_zeros_on_top() {
    // Past the end of both sectors, so that a cut comes in their erases as well.
    let chip = new_chip();
    for boot in 1..=2 * (SECTOR as u32 / 8) + 3 {
        for (cut, zeroed) in (0..8).flat_map(|cut| [(cut, 0), (cut, 1)]) {
            let chip = chip.fork();
            let mut storage = mount(&chip);
            chip.power_on(Faults { cut_after: Some(cut), seed: cut, ..Faults::default() });
            let given = storage.next_boot().ok().filter(|_| !chip.is_dead());
            assert!(given.is_none_or(|given| given == BootId(boot)));
            chip.power_on(Faults::default());
            chip.zero(super::SMALL.boot_counter.start as usize + zeroed * SECTOR, SECTOR);
            let BootId(next) = mount(&chip).next_boot().unwrap();
            assert!(next > boot - 1 + u32::from(given.is_some()), "boot {boot}, cut at {cut}: {next} again");
        }
        mount(&chip).next_boot().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn a_life_of_random_cuts_loses_nothing(cuts in prop::collection::vec((0u64..700, any::<u64>()), 1..60)) {
        let (chip, mut told) = (new_chip(), Told::default());
        for (at, (cut, seed)) in cuts.into_iter().enumerate() {
            chip.power_on(Faults { cut_after: Some(cut), seed, ..Faults::default() });
            let mut storage = SmallStorage::new(chip.clone(), &super::SMALL);
            if storage.mount().is_ok() {
                load(&mut storage, &mut told, &chip, 200);
            }
            chip.power_on(Faults::default());
            let mut storage = mount(&chip);
            check(&mut storage, &mut told).unwrap_or_else(|error| panic!("cut {at}: {error}"));
        }
    }
}
