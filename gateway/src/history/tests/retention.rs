//! What goes, when, and what a hold keeps.

use std::sync::{Arc, Mutex};

use super::super::{FileStore, HistoryStore, Hold, Retention, Track};
use super::{Bed, DAY_MS, Files, HOUR_MS, NOON_MS, place, settings, unit};
use crate::live::unit::UnitId;
use crate::spool::faulty::FaultyDisk;

async fn times(store: &dyn HistoryStore, of: &UnitId) -> Vec<u64> {
    let question = Track { unit: of.clone(), from_ms: 0, until_ms: u64::MAX, after: None, rows_max: 10_000 };
    store.track(question).await.unwrap().items.iter().map(|row| row.at_ms).collect()
}

/// No file holds bytes that only a row of that time could have put there.
fn files(disk: &FaultyDisk) -> usize {
    disk.paths().iter().filter(|path| path.extension().is_some_and(|extension| extension == "rows")).count()
}

#[tokio::test]
async fn whole_days_go_when_their_time_is_over_and_a_hold_keeps_its_rows_alone() {
    let disk = FaultyDisk::new();
    days_go_and_holds_keep_their_rows(&Files(disk.clone()), &|| Some(files(&disk))).await;
}

/// `files_count`: how many files there are, where there are files.
pub(super) async fn days_go_and_holds_keep_their_rows(
    bed: &impl Bed,
    files_count: &dyn Fn() -> Option<usize>,
) {
    let (anna, ben) = (unit("sim/anna"), unit("sim/ben"));
    let holds: Arc<Mutex<Vec<Hold>>> = Arc::default();
    let retention = Retention { movement_days: 2, alarms_days: 2 };
    let store = bed.open_with(retention, Arc::clone(&holds)).await;
    let at: Vec<u64> = (0..4).map(|hour| NOON_MS + hour * HOUR_MS).collect();
    for of in [&anna, &ben] {
        let rows = at.iter().zip(0..).map(|(at_ms, seq)| (of.clone(), place(*at_ms, seq)));
        store.take(rows.collect()).await.unwrap();
    }
    *holds.lock().unwrap() = vec![Hold {
        force: anna.force.clone(),
        unit: Some(anna.clone()),
        from_ms: at[1],
        until_ms: at[2] + 1,
    }];
    store.settle(NOON_MS + 2 * DAY_MS).await.unwrap();
    assert_eq!(times(&*store, &ben).await, at, "two whole days are not over yet");
    store.settle(NOON_MS + 3 * DAY_MS).await.unwrap();
    assert!(times(&*store, &ben).await.is_empty());
    assert_eq!(times(&*store, &anna).await, at[1..3]);
    assert!(files_count().is_none_or(|count| count == 2));
    // A late row of the same hour is not kept by its neighbour's hold, and the store stays so after a restart.
    store.take(vec![(ben.clone(), place(at[1] + 7, 99))]).await.unwrap();
    store.settle(NOON_MS + 3 * DAY_MS).await.unwrap();
    assert!(times(&*store, &ben).await.is_empty());
    let store = bed.open_with(retention, Arc::clone(&holds)).await;
    store.settle(NOON_MS + 3 * DAY_MS).await.unwrap();
    assert_eq!(times(&*store, &anna).await, at[1..3]);
    holds.lock().unwrap().clear();
    store.settle(NOON_MS + 3 * DAY_MS).await.unwrap();
    assert!(times(&*store, &anna).await.is_empty(), "the hold is lifted: nothing is left");
    assert!(files_count().is_none_or(|count| count == 0));
}

#[tokio::test]
async fn a_disk_that_is_used_up_costs_the_oldest_hour_and_the_page_says_so() {
    let disk = FaultyDisk::new();
    let mut settings = settings(&disk);
    settings.bytes_max = 3_000;
    let store = FileStore::open(settings).unwrap().0;
    let anna = unit("sim/anna");
    for hour in 0..10 {
        let rows =
            (0..40).map(|n| (anna.clone(), place(NOON_MS + hour * HOUR_MS + n, u32::try_from(n).unwrap())));
        store.take(rows.collect()).await.unwrap();
        store.settle(NOON_MS + 10 * HOUR_MS).await.unwrap();
        assert!(store.condition().bytes <= 3_000);
    }
    let left = times(&store, &anna).await;
    assert!(left.len() < 400 && left.last() == Some(&(NOON_MS + 9 * HOUR_MS + 39)), "the newest stay");
    let said = store.condition().degraded;
    assert!(said.iter().any(|words| words.contains("shorter than configured")), "{said:?}");
}
