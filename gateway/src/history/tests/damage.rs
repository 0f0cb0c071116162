//! Damage of the disk: never a wrong row, and what is missing is told.

use std::path::PathBuf;

use super::super::{Alarms, HistoryStore, Sees, Track};
use super::{HOUR_MS, NOON_MS, alarm, open, place, unit};
use crate::spool::faulty::FaultyDisk;

#[tokio::test]
async fn any_flipped_byte_costs_at_most_what_it_hits_and_is_told() {
    let disk = FaultyDisk::new();
    let store = open(&disk);
    let units: Vec<_> = (0..3).map(|n| unit(&format!("sim/pc-{n}"))).collect();
    for of in &units {
        let rows = (0..20).map(|n| (of.clone(), place(NOON_MS + u64::from(n) * 1_000, n)));
        store.take(rows.collect()).await.unwrap();
    }
    store.settle(NOON_MS).await.unwrap();
    let path = disk.paths().into_iter().find(|path| path.extension().is_some_and(|e| e == "rows")).unwrap();
    let good = disk.bytes(&path).unwrap();
    let mut whole_count = 0;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        disk.set_bytes(&path, bad);
        let store = open(&disk);
        let mut missing = 0;
        let mut told = false;
        for of in &units {
            let question =
                Track { unit: of.clone(), from_ms: 0, until_ms: u64::MAX, after: None, rows_max: 1000 };
            let found = store.track(question).await.unwrap();
            let expected: Vec<_> = (0..20).map(|n| place(NOON_MS + u64::from(n) * 1_000, n)).collect();
            assert!(found.items.is_empty() || found.items == expected, "byte {at}: a wrong row");
            missing += usize::from(found.items.is_empty());
            told |= !found.damaged.is_empty();
        }
        let end_ms = NOON_MS + 60_000;
        let everyone = store.everyone(end_ms, Sees::All).await.unwrap();
        assert!(everyone.items.len() >= 3 - missing, "byte {at}");
        let window = store.window(NOON_MS, end_ms, Sees::All, 1_000).await.unwrap();
        let is_whole = window.items.len() == 60;
        assert!(is_whole || !window.damaged.is_empty(), "byte {at}: {} of 60", window.items.len());
        for of in &units {
            let found = store.at(of.clone(), end_ms).await.unwrap();
            assert!(!found.items.is_empty() || !found.damaged.is_empty(), "byte {at}: {of} is nowhere");
        }
        assert!(missing == 0 || told, "byte {at}: {missing} units are gone and nobody says so");
        whole_count += usize::from(missing == 0);
        // What was put aside at opening goes back to its name for the next byte.
        for aside in disk.paths().into_iter().filter(|path| path.extension().is_some_and(|e| e == "damaged"))
        {
            disk.lose_file(&aside);
        }
    }
    // Only bytes of the header that say nothing may be flipped without loss.
    assert!(whole_count < 64, "{whole_count} of {} flips cost nothing", good.len());
}

#[tokio::test]
async fn merging_keeps_the_good_rows_of_a_damaged_segment() {
    let disk = FaultyDisk::new();
    let store = open(&disk);
    let (anna, ben) = (unit("sim/anna"), unit("sim/ben"));
    store.take(vec![(anna.clone(), place(NOON_MS, 0)), (ben.clone(), place(NOON_MS, 0))]).await.unwrap();
    store.settle(NOON_MS).await.unwrap();
    let path = disk.paths().into_iter().find(|path| path.extension().is_some_and(|e| e == "rows")).unwrap();
    let mut bytes = disk.bytes(&path).unwrap();
    bytes[70] ^= 0xFF;
    disk.set_bytes(&path, bytes);
    for n in 1..9 {
        store.take(vec![(anna.clone(), place(NOON_MS + n, 1 + u32::try_from(n).unwrap()))]).await.unwrap();
        store.settle(NOON_MS).await.unwrap();
    }
    let found = async |of: &crate::live::unit::UnitId| {
        let question = Track { unit: of.clone(), from_ms: 0, until_ms: u64::MAX, after: None, rows_max: 100 };
        store.track(question).await.unwrap()
    };
    let (of_anna, of_ben) = (found(&anna).await, found(&ben).await);
    assert_eq!(of_anna.items.len() + of_ben.items.len(), 9, "one block of ten rows is lost");
    assert!(!of_anna.damaged.is_empty() && !store.condition().degraded.is_empty(), "and told");
}

#[tokio::test]
async fn damage_of_the_hour_in_which_an_alarm_was_closed_is_told() {
    let disk = FaultyDisk::new();
    let store = open(&disk);
    let (anna, id) = (unit("sim/pc-0000"), "sim/pc-0000/1/0");
    store.take(vec![(anna.clone(), alarm(NOON_MS, 0, "raised", id))]).await.unwrap();
    store.settle(NOON_MS).await.unwrap();
    let whole = disk.paths();
    let later_ms = NOON_MS + 5 * HOUR_MS;
    store.take(vec![(anna, alarm(later_ms, 1, "closed", id))]).await.unwrap();
    store.settle(later_ms).await.unwrap();
    let is_later = |path: &PathBuf| !whole.contains(path) && path.extension().is_some_and(|e| e == "rows");
    let path = disk.paths().into_iter().find(is_later).unwrap();
    let mut bytes = disk.bytes(&path).unwrap();
    bytes[70] ^= 0xFF;
    disk.set_bytes(&path, bytes);
    let (from_ms, until_ms) = (NOON_MS, NOON_MS + HOUR_MS);
    let question = Alarms { from_ms, until_ms, after: None, alarms_max: 9, sees: Sees::All };
    let found = store.alarms(question).await.unwrap();
    assert!(found.items[0].since.is_empty(), "it looks as if it still stood");
    assert_eq!(found.damaged.len(), 1, "and that may be wrong: {:?}", found.damaged);
    assert!((found.damaged[0].0..found.damaged[0].1).contains(&later_ms), "{:?}", found.damaged);
}
