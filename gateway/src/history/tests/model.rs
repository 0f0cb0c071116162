//! Whatever order rows come in, however often, and whenever the store is written, merged, killed or opened anew: it
//! answers as a list of all rows would.

use std::collections::BTreeMap;

use fieldpost_protocol::Duty;
use proptest::prelude::*;

use super::super::row::{Row, RowClass, RowKey};
use super::super::standing::Standing;
use super::super::{Alarms, HistoryError, HistoryStore, LOOK_BACK_MS, Sees, Track};
use super::{Bed, FileStore, Files, HOUR_MS, NOON_MS, alarm, open, place, settings, status, unit};
use crate::live::unit::UnitId;
use crate::spool::faulty::{FaultyDisk, Unsynced};

#[derive(Debug, Clone)]
pub(super) enum Step {
    Take(Vec<(u8, Row)>),
    Settle,
    Restart,
    PowerCut(u64),
}

fn any_row() -> impl Strategy<Value = (u8, Row)> {
    // Six hours, so that slots are merged; few keys, so that rows come twice.
    (0u8..4, 0u64..6 * 60, 0u32..500, 0u8..6).prop_map(|(of, minute, seq, kind)| {
        let at_ms = NOON_MS + minute * 60_000;
        let row = match kind {
            0 => status(at_ms, seq, Duty::ON_DUTY),
            1 => status(at_ms, seq + 1_000, Duty::REFRESHMENTS),
            _ => place(at_ms, seq),
        };
        (of, row)
    })
}

pub(super) fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(any_row(), 1..40).prop_map(Step::Take),
        6 => Just(Step::Settle),
        1 => Just(Step::Restart),
        1 => any::<u64>().prop_map(Step::PowerCut),
    ]
}

/// Rows by unit, and which of them have been settled.
#[derive(Default, Clone)]
struct Model {
    rows: BTreeMap<(UnitId, RowKey), Row>,
}

impl Model {
    fn of(&self, of: &UnitId) -> Vec<&Row> {
        let mut rows: Vec<&Row> =
            self.rows.iter().filter(|((unit, _), _)| unit == of).map(|(_, row)| row).collect();
        rows.sort_by_key(|row| row.key());
        rows
    }

    fn standing(&self, of: &UnitId, at_ms: u64) -> Option<Standing> {
        let mut standing = Standing::new(of.clone(), at_ms);
        let recent = self.of(of).into_iter().filter(|row| row.at_ms + LOOK_BACK_MS >= at_ms);
        recent.for_each(|row| standing.fold(row));
        standing.is_known().then_some(standing)
    }
}

fn name(of: u8) -> UnitId {
    unit(&format!("sim/pc-000{of}"))
}

async fn whole_track(store: &dyn HistoryStore, of: &UnitId, rows_max: usize) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let after = rows.last().map(Row::key);
        let question = Track { unit: of.clone(), from_ms: 0, until_ms: u64::MAX, after, rows_max };
        let found = store.track(question).await.unwrap();
        assert!(found.items.len() <= rows_max);
        rows.extend(found.items);
        if !found.has_more {
            return rows;
        }
    }
}

async fn check(store: &dyn HistoryStore, model: &Model) {
    for of in (0..4).map(name) {
        let track = whole_track(store, &of, 7).await;
        assert_eq!(track.iter().collect::<Vec<_>>(), model.of(&of));
        for at_ms in (0..7).map(|hour| NOON_MS + hour * HOUR_MS) {
            let expected = model.standing(&of, at_ms);
            let standing = store.at(of.clone(), at_ms).await.unwrap().items.pop();
            let told = |standing: &Option<Standing>| {
                standing
                    .as_ref()
                    .map(|s| (s.place().cloned(), s.shown().cloned(), s.duty(), s.last_report_ms()))
            };
            assert_eq!(told(&standing), told(&expected), "{of} at {at_ms}");
            let everyone = store.everyone(at_ms, Sees::All).await.unwrap();
            let among = everyone.items.into_iter().find(|standing| standing.unit == of);
            assert_eq!(told(&among), told(&expected), "{of} among all at {at_ms}");
        }
    }
    let (from_ms, until_ms) = (NOON_MS + 30 * 60_000, NOON_MS + 150 * 60_000);
    let window = store.window(from_ms, until_ms, Sees::All, 100_000).await.unwrap().items;
    let within =
        |row: &Row| (from_ms..until_ms).contains(&row.at_ms) && row.said.class() == RowClass::Movement;
    assert_eq!(window.len(), model.rows.values().filter(|row| within(row)).count());
    assert!(window.is_sorted_by_key(|(_, row)| row.at_ms));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_as_a_list_would(steps in prop::collection::vec(any_step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(answers_as_a_list_would(&mut Files(FaultyDisk::new()), steps));
    }
}

pub(super) async fn answers_as_a_list_would(bed: &mut impl Bed, steps: Vec<Step>) {
    let mut store = bed.open().await;
    let (mut model, mut durable) = (Model::default(), Model::default());
    for step in steps {
        match step {
            Step::Take(rows) => {
                let rows: Vec<_> = rows.into_iter().map(|(of, row)| (name(of), row)).collect();
                let entries = rows.iter().map(|(unit, row)| ((unit.clone(), row.key()), row.clone()));
                for (key, row) in entries {
                    model.rows.entry(key).or_insert(row);
                }
                store.take(rows).await.unwrap();
            }
            Step::Settle => {
                store.settle(NOON_MS).await.unwrap();
                durable = model.clone();
            }
            Step::Restart => {
                store = bed.open().await;
                model = durable.clone();
            }
            Step::PowerCut(seed) => {
                bed.cut_power(seed);
                store = bed.open().await;
                model = durable.clone();
            }
        }
    }
    check(&*store, &model).await;
}

/// A power cut at every change of the disk while a store settles: what an earlier settling returned for is there, and
/// reading the rest again makes it whole.
#[tokio::test]
async fn a_power_cut_at_any_write_costs_nothing_that_was_settled() {
    let first: Vec<_> = (0..60).map(|n| (name(0), place(NOON_MS + u64::from(n) * 60_000, n))).collect();
    let second: Vec<_> = (60..240).map(|n| (name(1), place(NOON_MS + u64::from(n) * 60_000, n))).collect();
    let mut cuts_count = 0;
    for cut in 0.. {
        let disk = FaultyDisk::new();
        let store = open(&disk);
        for part in first.chunks(8) {
            store.take(part.to_vec()).await.unwrap();
            store.settle(NOON_MS).await.unwrap();
        }
        store.take(second.clone()).await.unwrap();
        disk.fail_change_after(cut, std::io::ErrorKind::Other, crate::spool::faulty::Lasts::UntilHealed);
        let settled = store.settle(NOON_MS).await.is_ok();
        let disk = disk.cut_power(Unsynced::Lost);
        disk.heal();
        let store = open(&disk);
        assert_eq!(whole_track(&store, &name(0), 1000).await.len(), first.len(), "cut {cut}");
        store.take(second.clone()).await.unwrap();
        store.settle(NOON_MS).await.unwrap();
        assert_eq!(whole_track(&store, &name(1), 1000).await.len(), second.len(), "cut {cut}");
        if settled {
            break;
        }
        cuts_count += 1;
    }
    assert!(cuts_count > 20, "{cuts_count} places to cut");
}

#[tokio::test]
async fn a_store_without_room_takes_nothing_and_says_so() {
    let disk = FaultyDisk::new();
    let mut settings = settings(&disk);
    settings.rows_max = 10;
    let store = FileStore::open(settings).unwrap().0;
    let rows: Vec<_> = (0..8).map(|n| (name(0), place(NOON_MS, n))).collect();
    store.take(rows.clone()).await.unwrap();
    assert_eq!(store.take(rows.clone()).await, Err(HistoryError::Full));
    store.settle(NOON_MS).await.unwrap();
    store.take(rows).await.unwrap();
    assert_eq!(whole_track(&store, &name(0), 100).await.len(), 8, "and what came twice is there once");
}

#[tokio::test]
async fn an_alarm_is_found_with_what_became_of_it_and_pages_go_on() {
    alarms_are_found_with_what_became_of_them(&Files(FaultyDisk::new())).await;
}

pub(super) async fn alarms_are_found_with_what_became_of_them(bed: &impl Bed) {
    let store = bed.open().await;
    let raised = (0..5u32)
        .map(|n| (name(0), alarm(NOON_MS + u64::from(n), n, "raised", &format!("sim/pc-0000/1/{n}"))));
    store.take(raised.collect()).await.unwrap();
    store.settle(NOON_MS).await.unwrap();
    let late = alarm(NOON_MS + 5 * HOUR_MS, 90, "acknowledged", "sim/pc-0000/1/3");
    store.take(vec![(name(0), late)]).await.unwrap();
    let question = |after| Alarms {
        from_ms: NOON_MS,
        until_ms: NOON_MS + HOUR_MS,
        after,
        alarms_max: 2,
        sees: Sees::All,
    };
    let mut stories = Vec::new();
    loop {
        let after = stories
            .last()
            .map(|story: &super::super::AlarmStory| (story.raised.at_ms, story.event.alarm.clone()));
        let found = store.alarms(question(after)).await.unwrap();
        stories.extend(found.items);
        if !found.has_more {
            break;
        }
    }
    let told: Vec<_> = stories.iter().map(|story| (story.event.alarm.as_str(), story.since.len())).collect();
    let none =
        ["sim/pc-0000/1/0", "sim/pc-0000/1/1", "sim/pc-0000/1/2", "sim/pc-0000/1/3", "sim/pc-0000/1/4"];
    assert_eq!(told, none.map(|id| (id, usize::from(id.ends_with('3')))));

    // An hour later four of the five still stand; whoever asks for them is given them before what is new.
    let closed = alarm(NOON_MS + 5, 91, "closed", "sim/pc-0000/1/1");
    let new = alarm(NOON_MS + HOUR_MS, 92, "raised", "sim/pc-0000/1/92");
    store.take(vec![(name(0), closed), (name(0), new)]).await.unwrap();
    let later = |after| Alarms {
        from_ms: NOON_MS + HOUR_MS,
        until_ms: NOON_MS + 2 * HOUR_MS,
        alarms_max: 3,
        ..question(after)
    };
    let names = |found: &super::super::Found<super::super::AlarmStory>| {
        found
            .items
            .iter()
            .map(|story| story.event.alarm.rsplit('/').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let first = super::super::ask::standing(&*store, later(None)).await.unwrap();
    assert_eq!((names(&first), first.has_more), (["0", "2", "3"].map(str::to_owned).to_vec(), true));
    let last = first.items.last().map(|story| (story.raised.at_ms, story.event.alarm.clone()));
    let rest = super::super::ask::standing(&*store, later(last)).await.unwrap();
    assert_eq!((names(&rest), rest.has_more), (["4", "92"].map(str::to_owned).to_vec(), false));
    assert_eq!(names(&store.alarms(later(None)).await.unwrap()), ["92"], "raised in that time");
    let nobody = Alarms { sees: Sees::Only(std::collections::BTreeSet::default()), ..question(None) };
    assert!(store.alarms(nobody).await.unwrap().items.is_empty());
}
