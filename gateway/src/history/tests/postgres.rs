//! The claims of the seam for the store on PostgreSQL, and its own: a database that is slow or gone delays nobody.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::super::{
    HistoryError, HistoryStore, Hold, PostgresSettings, PostgresStore, Retention, Sees, Track,
};
use super::model::{alarms_are_found_with_what_became_of_them, answers_as_a_list_would, any_step};
use super::retention::days_go_and_holds_keep_their_rows;
use super::{Bed, DAY_MS, NOON_MS, place, unit};
use crate::postgres::Server;
use crate::postgres::link::Link;
use crate::postgres::tests::Database;

/// A schema of a database.
struct Schema(Server);

impl Bed for Schema {
    async fn open_with(&self, retention: Retention, holds: Arc<Mutex<Vec<Hold>>>) -> Box<dyn HistoryStore> {
        Box::new(open_on(self.0.clone(), retention, holds).await.0)
    }

    /// What is in memory goes when the store is dropped; the rest is the database's.
    fn cut_power(&mut self, _: u64) {}
}

async fn open(
    database: &Database,
    retention: Retention,
    holds: Arc<Mutex<Vec<Hold>>>,
) -> (PostgresStore, bool) {
    open_on(database.server(), retention, holds).await
}

async fn open_on(
    server: Server,
    retention: Retention,
    holds: Arc<Mutex<Vec<Hold>>>,
) -> (PostgresStore, bool) {
    let holds = Arc::new(move || holds.lock().unwrap().clone());
    let settings = PostgresSettings { server, rows_max: 5_000, retention, holds };
    PostgresStore::open(settings, Duration::from_secs(60)).await
}

const KEPT: Retention = Retention { movement_days: 31, alarms_days: 366 };

/// Cases, each in a schema of its own; more with PROPTEST_CASES.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(4)
}

#[test]
fn the_store_on_postgres_answers_as_a_list_would() {
    let database = Database::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { cases: cases(), max_shrink_iters: 50, ..ProptestConfig::default() };
    let number = AtomicU32::new(0);
    let done = TestRunner::new(config).run(&prop::collection::vec(any_step(), 1..30), |steps| {
        let schema = format!("case_{}", number.fetch_add(1, Ordering::Relaxed));
        let mut bed = Schema(Server { schema: schema.clone(), ..database.server() });
        runtime.block_on(answers_as_a_list_would(&mut bed, steps));
        database.sql(&format!("DROP SCHEMA {schema} CASCADE"));
        Ok(())
    });
    done.unwrap();
}

#[tokio::test]
async fn an_alarm_in_postgres_is_found_with_what_became_of_it_and_pages_go_on() {
    let database = Database::new();
    alarms_are_found_with_what_became_of_them(&Schema(database.server())).await;
}

#[tokio::test]
async fn whole_days_go_from_postgres_when_their_time_is_over_and_a_hold_keeps_its_rows_alone() {
    let database = Database::new();
    days_go_and_holds_keep_their_rows(&Schema(database.server()), &|| None).await;
}

#[tokio::test]
async fn a_new_schema_is_told_from_one_with_rows_so_that_the_spool_is_read_again() {
    let database = Database::new();
    assert!(open(&database, KEPT, Arc::default()).await.1);
    assert!(!open(&database, KEPT, Arc::default()).await.1);
}

fn everything() -> Track {
    Track { unit: unit("sim/anna"), from_ms: 0, until_ms: u64::MAX, after: None, rows_max: 10_000 }
}

/// Sessions of the gateway's role are refused and cut; rows are taken meanwhile, up to the bound, and none is lost.
#[tokio::test]
async fn a_database_that_is_gone_delays_no_row_is_said_and_has_everything_later() {
    let database = Database::new();
    let (store, _) = open(&database, KEPT, Arc::default()).await;
    let rows = |from: u32, count: u32| {
        (from..from + count).map(|n| (unit("sim/anna"), place(NOON_MS + u64::from(n), n))).collect::<Vec<_>>()
    };
    store.take(rows(0, 1_000)).await.unwrap();
    store.settle(NOON_MS).await.unwrap();
    assert!(store.condition().degraded.is_empty());
    let name = &database.name;
    database.cluster.sql("postgres", &format!("ALTER DATABASE {name} CONNECTION LIMIT 0")).unwrap();
    database
        .cluster
        .sql(
            "postgres",
            &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"),
        )
        .unwrap();
    store.take(rows(1_000, 4_000)).await.unwrap();
    assert!(matches!(store.settle(NOON_MS).await, Err(HistoryError::Storage(_))));
    let said = store.condition().degraded;
    assert!(said.iter().any(|words| words.contains("PostgreSQL")), "{said:?}");
    assert!(matches!(store.track(everything()).await, Err(HistoryError::Storage(_))));
    assert!(matches!(store.everyone(NOON_MS, Sees::All).await, Err(HistoryError::Storage(_))));
    store.take(rows(5_000, 1_000)).await.unwrap();
    assert_eq!(store.take(rows(6_000, 1)).await, Err(HistoryError::Full), "the bound of memory holds");
    database.cluster.sql("postgres", &format!("ALTER DATABASE {name} CONNECTION LIMIT -1")).unwrap();
    store.settle(NOON_MS).await.unwrap();
    assert_eq!(store.track(everything()).await.unwrap().items.len(), 6_000);
    assert!(store.condition().degraded.is_empty(), "{:?}", store.condition().degraded);
}

/// An analyst's transaction that has read a day and stays open.
#[tokio::test]
async fn a_reader_that_holds_up_retention_holds_up_no_row() {
    let database = Database::new();
    let (store, _) = open(&database, KEPT, Arc::default()).await;
    let row = |n: u32, at_ms| vec![(unit("sim/anna"), place(at_ms, n))];
    let days =
        || database.sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'fieldpost.movement'::regclass");
    store.take(row(0, NOON_MS)).await.unwrap();
    store.settle(NOON_MS).await.unwrap();
    let reader = Link::open(&database.server()).await.unwrap();
    reader.client().batch_execute("BEGIN; SELECT FROM fieldpost.movement").await.unwrap();
    let later_ms = NOON_MS + 40 * DAY_MS;
    for (n, waited_ms) in [(1, 0), (2, 1_000), (3, 5 * 60_000)] {
        store.take(row(n, later_ms + waited_ms)).await.unwrap();
        let started = std::time::Instant::now();
        store.settle(later_ms + waited_ms).await.unwrap();
        // A session waits 10 s for a lock.
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
        assert_eq!(database.sql("SELECT count(*) FROM fieldpost.movement"), (n + 1).to_string());
        assert_eq!(store.condition().degraded, Vec::<String>::new());
    }
    reader.client().batch_execute("COMMIT").await.unwrap();
    store.settle(later_ms + 6 * 60_000).await.unwrap();
    assert_eq!(days(), "2", "it is not tried at each settling");
    store.settle(later_ms + 10 * 60_000).await.unwrap();
    assert_eq!(days(), "1", "nothing is in its way any more");
}

/// A settling that is given up on its way leaves every row where a question and the next settling find it.
#[tokio::test]
async fn a_settling_that_is_dropped_at_any_await_loses_nothing() {
    let database = Database::new();
    let (store, _) = open(&database, KEPT, Arc::default()).await;
    for n in 0..40u32 {
        store.take(vec![(unit("sim/anna"), place(NOON_MS + u64::from(n) * DAY_MS / 10, n))]).await.unwrap();
        let mut settling = store.settle(NOON_MS);
        for _ in 0..n {
            if tokio::time::timeout(Duration::from_millis(1), &mut settling).await.is_ok() {
                break;
            }
        }
        drop(settling);
        assert_eq!(store.track(everything()).await.unwrap().items.len(), n as usize + 1);
    }
    store.settle(NOON_MS).await.unwrap();
    let rows = database.sql("SELECT count(*), count(DISTINCT seq) FROM fieldpost.movement");
    assert_eq!(rows, "40|40");
}
