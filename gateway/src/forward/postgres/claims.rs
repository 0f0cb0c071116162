//! Claims of the PostgreSQL sink, against Debian's server.

mod slow;

use std::sync::{Arc, Mutex};

use fieldpost_protocol::{
    Alarm, AlarmCause, BootId, Class, ClockQuality, DeviceId, Duty, Envelope, FixSource, ForceId, Head, Lane,
    Mode, Position, Power, ReportReason, ResetReason, Seq, Status,
};

use super::{PostgresSettings, PostgresSink, RetentionSettings, keep};
use crate::forward::event::{ClockBounds, Event, EventState, Gap, GapReason, Renderer};
use crate::forward::release::Release;
use crate::forward::{RetryReason, Sink as _, SinkError};
use crate::history::Hold;
use crate::postgres::Fault;
use crate::postgres::link::Link;
use crate::postgres::tests::Database;
use crate::record::{Record, RecordKind};
use crate::retention::Periods;
use crate::spool::Lsn;

const DAY_MS: u64 = 24 * 3_600_000;
/// Noon of a day.
const NOON_MS: u64 = 20_775 * DAY_MS + DAY_MS / 2;

fn position() -> Position {
    Position {
        latitude_udeg: 51_507_400,
        longitude_udeg: -127_758,
        speed_cmps: Some(134),
        course_turn256: Some(64),
        accuracy_m: 5,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    }
}

fn record(device: &str, seq: u32, at_ms: u64, class: Class, body: &[u8]) -> Record {
    let head = Head {
        version: 1,
        class,
        mode: Mode::Test,
        clock: ClockQuality::Gnss,
        boot: BootId(7),
        seq: Seq(seq),
        time_ms: at_ms,
    };
    let mut frame = [0; 256];
    let frame = Envelope { head, body, trailer: None }.encode(&mut frame).unwrap();
    Record {
        lsn: Lsn(u64::from(seq) + 1),
        received_at_ms: at_ms + 250,
        force: ForceId::try_new("met").unwrap(),
        device: DeviceId::try_new(device).unwrap(),
        ceiling: Mode::Test,
        lane: Lane::Live,
        kind: RecordKind::Envelope,
        payload: bytes::Bytes::copy_from_slice(frame),
    }
}

fn place(device: &str, seq: u32, at_ms: u64) -> Record {
    let mut body = [0; 64];
    record(device, seq, at_ms, Class::POSITION, position().encode(&mut body).unwrap())
}

fn alarm(device: &str, seq: u32, at_ms: u64) -> Record {
    let alarm =
        Alarm { cause: AlarmCause::BUTTON, silent: false, position: Some(position()), position_age_s: 1 };
    let mut body = [0; 64];
    let record = record(device, seq, at_ms, Class::ALARM, alarm.encode(&mut body).unwrap());
    Record { lane: Lane::Alarm, ..record }
}

fn status(device: &str, seq: u32, at_ms: u64) -> Record {
    let status = Status {
        duty: Duty::ON_DUTY,
        battery_pct: 80,
        power: Power::BATTERY,
        signal_dbm: -90,
        satellites: 8,
        temperature_degc: 20,
        storage_pct: 3,
        outbox_owed: 0,
        reset_reason: ResetReason::POWER_ON,
        firmware: [1, 2, 3],
        uptime_s: 60,
    };
    let mut body = [0; 64];
    record(device, seq, at_ms, Class::STATUS, status.encode(&mut body).unwrap())
}

fn events(records: &[Record]) -> Vec<Event> {
    let mut renderer = Renderer::new(ClockBounds::default(), Release::everything());
    records.iter().map(|record| renderer.event(record).unwrap()).collect()
}

fn settings(database: &Database) -> PostgresSettings {
    PostgresSettings {
        server: database.server(),
        clock: ClockBounds::default(),
        retention: RetentionSettings {
            periods: Periods::default(),
            holds: Arc::new(Vec::new),
            now_ms: Arc::new(|| NOON_MS),
        },
    }
}

async fn deliver(settings: &PostgresSettings, records: &[Record]) -> Result<(), SinkError> {
    let mut events = events(records);
    let done = PostgresSink::new(settings.clone()).deliver(&mut events).await;
    assert_eq!(done.is_ok(), events.iter().all(|event| event.state == EventState::Accepted));
    done
}

#[tokio::test]
async fn each_event_stands_in_the_table_of_its_class_with_place_and_time() {
    let database = Database::new();
    let settings = settings(&database);
    let records = [place("pc-1", 0, NOON_MS), alarm("pc-1", 1, NOON_MS + 1), status("pc-1", 2, NOON_MS + 2)];
    let mut sent = events(&records);
    let gap = Gap { first: Lsn(5), last: Lsn(9), reason: GapReason::Retention };
    sent.push(Renderer::new(ClockBounds::default(), Release::everything()).gap("cad", &gap, NOON_MS));
    PostgresSink::new(settings).deliver(&mut sent).await.unwrap();
    assert!(sent.iter().all(|event| event.state == EventState::Accepted));
    let found = database.sql(
        "SELECT device, boot, seq, repeat, extract(epoch from at)::numeric(20,3), at_is_device_time, mode, lane, marking, \
         ST_AsText(place, 6), accuracy_m, round(speed_mps::numeric, 2), round(course_deg::numeric) FROM fieldpost.positions",
    );
    let at = format!("{}.000", NOON_MS / 1000);
    assert_eq!(
        found,
        format!("pc-1|7|0|0|{at}|t|test|live|official-sensitive|POINT(-0.127758 51.5074)|5|1.34|90")
    );
    let found =
        database.sql("SELECT kind, ST_AsText(place, 6), event->'data'->>'cause' FROM fieldpost.alarms");
    assert_eq!(found, "alarm|POINT(-0.127758 51.5074)|button");
    let found = database.sql("SELECT kind, event->'data'->>'battery_pct' FROM fieldpost.events");
    assert_eq!(found, "status|80");
    let found = database.sql("SELECT id, event->'data'->>'count' FROM fieldpost.gateway_losses");
    assert_eq!(found, "gateway.cad.5-9|5");
}

/// The same key again: at once, in the same batch, by another session, and dated otherwise by another gateway.
#[tokio::test]
async fn a_key_stands_once_whatever_day_it_comes_again_with() {
    let database = Database::new();
    let settings = settings(&database);
    let first: Vec<Record> = (0..50).map(|seq| place("pc-1", seq, NOON_MS)).collect();
    deliver(&settings, &first).await.unwrap();
    deliver(&settings, &first).await.unwrap();
    let twice: Vec<Record> = first.iter().chain(&first).cloned().collect();
    deliver(&settings, &twice).await.unwrap();
    let mut later = first.clone();
    // Another gateway got it two days later, when it believed the clock no more.
    later.iter_mut().for_each(|record| record.received_at_ms = NOON_MS + 2 * DAY_MS);
    let strict =
        PostgresSettings { clock: ClockBounds { future_ms_max: 0, past_ms_max: 0 }, ..settings.clone() };
    deliver(&strict, &later).await.unwrap();
    let new: Vec<Record> = (50..60).map(|seq| place("pc-1", seq, NOON_MS + 2 * DAY_MS)).collect();
    deliver(&settings, &new).await.unwrap();
    let found = database.sql("SELECT count(*), count(DISTINCT seq) FROM fieldpost.positions");
    assert_eq!(found, "60|60");
}

#[tokio::test]
async fn two_gateways_that_write_the_same_at_once_write_it_once() {
    let database = Database::new();
    let settings = settings(&database);
    let records: Vec<Record> = (0..400).map(|seq| place("pc-1", seq, NOON_MS + u64::from(seq))).collect();
    let writers = (0..4).map(|_| {
        let (settings, records) = (settings.clone(), records.clone());
        tokio::spawn(async move {
            for part in records.chunks(40) {
                deliver(&settings, part).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(database.sql("SELECT count(*), count(DISTINCT seq) FROM fieldpost.positions"), "400|400");
}

fn reason(done: Result<(), SinkError>) -> (RetryReason, String) {
    match done {
        Err(SinkError::Retry { reason, detail, .. }) => (reason, detail),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_foreign_a_newer_and_a_changed_schema_are_refused_and_left_as_they_were() {
    let cases = [
        ("CREATE TABLE fieldpost.cases (id int)", "\"cases\", which is not ours"),
        (
            "CREATE TABLE fieldpost.fieldpost_schema (version int, purpose text, checksum bigint); \
          INSERT INTO fieldpost.fieldpost_schema VALUES (1, 'history', 0)",
            "is for history",
        ),
        (
            "CREATE TABLE fieldpost.fieldpost_schema (version int, purpose text, checksum bigint); \
          INSERT INTO fieldpost.fieldpost_schema VALUES (99, 'events', 0)",
            "update the gateway",
        ),
        (
            "CREATE TABLE fieldpost.fieldpost_schema (version int, purpose text, checksum bigint); \
          INSERT INTO fieldpost.fieldpost_schema VALUES (1, 'events', 0)",
            "changed by hand",
        ),
    ];
    for (made, said) in cases {
        let database = Database::new();
        database.sql("CREATE SCHEMA fieldpost AUTHORIZATION gateway");
        database.sql(&format!("SET ROLE gateway; {made}"));
        let tables = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relnamespace = 'fieldpost'::regnamespace";
        let before = database.sql(tables);
        let (reason, detail) = reason(deliver(&settings(&database), &[place("pc-1", 0, NOON_MS)]).await);
        assert_eq!(reason, RetryReason::Misconfigured);
        assert!(detail.contains(said), "{detail}");
        assert_eq!(database.sql(tables), before);
    }
}

#[tokio::test]
async fn an_older_schema_is_brought_up_with_its_rows() {
    let database = Database::new();
    let settings = settings(&database);
    deliver(&settings, &[place("pc-1", 0, NOON_MS)]).await.unwrap();
    database
        .sql("DROP TABLE fieldpost.gateway_losses; DELETE FROM fieldpost.fieldpost_schema WHERE version = 2");
    deliver(&settings, &[place("pc-1", 0, NOON_MS), place("pc-1", 1, NOON_MS)]).await.unwrap();
    let found = database.sql(
        "SELECT (SELECT max(version) FROM fieldpost.fieldpost_schema), (SELECT count(*) FROM fieldpost.positions), \
         (SELECT count(*) FROM fieldpost.gateway_losses)",
    );
    assert_eq!(found, "2|2|0");
}

#[tokio::test]
async fn a_database_that_will_not_write_is_said_with_its_reason_and_takes_everything_later() {
    let database = Database::new();
    let settings = settings(&database);
    let name = &database.name;
    database.sql(&format!("ALTER ROLE gateway IN DATABASE {name} SET default_transaction_read_only = on"));
    let (kind, detail) = reason(deliver(&settings, &[place("pc-1", 0, NOON_MS)]).await);
    assert_eq!(kind, RetryReason::Failing);
    assert!(detail.contains("read-only"), "{detail}");
    database.sql(&format!(
        "ALTER ROLE gateway IN DATABASE {name} RESET ALL; REVOKE CREATE ON DATABASE {name} FROM gateway"
    ));
    let (kind, detail) = reason(deliver(&settings, &[place("pc-1", 0, NOON_MS)]).await);
    assert_eq!(kind, RetryReason::Misconfigured);
    assert!(detail.contains("CREATE SCHEMA \"fieldpost\" AUTHORIZATION"), "{detail}");
    let elsewhere = PostgresSettings {
        server: crate::postgres::Server {
            url: database.cluster.url("gateway", "nowhere"),
            ..settings.server.clone()
        },
        ..settings.clone()
    };
    assert_eq!(reason(deliver(&elsewhere, &[place("pc-1", 0, NOON_MS)]).await).0, RetryReason::Misconfigured);
    database.sql("CREATE SCHEMA fieldpost AUTHORIZATION gateway");
    deliver(&settings, &[place("pc-1", 0, NOON_MS)]).await.unwrap();
}

/// JSON may hold what PostgreSQL's text cannot: NUL. One such event is refused alone and names no value.
#[tokio::test]
async fn an_event_that_the_database_cannot_store_is_refused_alone() {
    let database = Database::new();
    let mut sink = PostgresSink::new(settings(&database));
    let mut sent = events(&[status("pc-1", 0, NOON_MS), status("pc-1", 1, NOON_MS)]);
    sent[1].json = bytes::Bytes::from_static(b"{\"secret\":\"\\u0000\"}");
    let Err(SinkError::Refuse { detail, .. }) = sink.deliver(&mut sent).await else { panic!("taken") };
    assert!(!detail.contains("secret"), "{detail}");
    let (good, poison) = sent.split_at_mut(1);
    sink.deliver(good).await.unwrap();
    assert!(matches!(sink.deliver(poison).await, Err(SinkError::Refuse { .. })));
    assert_eq!(database.sql("SELECT count(*) FROM fieldpost.events"), "1");
}

#[tokio::test]
async fn days_that_are_over_are_dropped_and_a_hold_keeps_its_rows_alone() {
    let database = Database::new();
    let mut settings = settings(&database);
    let held: Arc<Mutex<Vec<Hold>>> = Arc::default();
    let (asked, day) = (Arc::clone(&held), 24 * 3_600_000);
    settings.retention.holds = Arc::new(move || asked.lock().unwrap().clone());
    settings.retention.periods = Periods { own_ms: [None, Some(2 * day), Some(day), None], spool_ms: day };
    let mut records = Vec::new();
    for (device, first) in [("anna", 0), ("ben", 100)] {
        records.extend((0..4u32).map(|n| place(device, first + n, NOON_MS + u64::from(n) * DAY_MS)));
        records.push(alarm(device, first + 10, NOON_MS));
    }
    // Late: of the first day, and received only now.
    let mut late = place("carl", 0, NOON_MS);
    late.received_at_ms = NOON_MS + 4 * DAY_MS;
    records.push(late);
    deliver(&settings, &records).await.unwrap();
    let unit = |device: &str| format!("met/{device}").parse().unwrap();
    *held.lock().unwrap() = vec![Hold {
        force: ForceId::try_new("met").unwrap(),
        unit: Some(unit("anna")),
        from_ms: NOON_MS + DAY_MS,
        until_ms: NOON_MS + DAY_MS + 1,
    }];
    settings.retention.now_ms = Arc::new(|| NOON_MS + 4 * DAY_MS);
    keep::once(&settings).await.unwrap();
    let left = |table: &str| {
        database.sql(&format!(
            "SELECT string_agg(device || (extract(epoch from at)::bigint - {})/86400, ' ' ORDER BY device, at) FROM fieldpost.{table}",
            NOON_MS / 1000
        ))
    };
    assert_eq!(left("positions"), "anna1 anna2 anna3 ben2 ben3 carl0");
    assert_eq!(left("alarms"), "anna0 ben0", "a class without a period stays");
    // A day that was dropped is made again for a row that comes later still.
    settings.retention.now_ms = Arc::new(|| NOON_MS + 7 * DAY_MS);
    held.lock().unwrap().clear();
    // Whoever reads meanwhile is left alone, and holds the writers up no longer than a moment: a session waits 10 s for a lock.
    let reader = Link::open(&settings.server).await.unwrap();
    reader.client().batch_execute("BEGIN; SELECT FROM fieldpost.positions").await.unwrap();
    let started = std::time::Instant::now();
    let held_up = keep::once(&settings).await;
    assert!(matches!(held_up, Err(Fault::Again { reason: RetryReason::Timeout, .. })), "{held_up:?}");
    assert!(started.elapsed() < std::time::Duration::from_secs(8), "{:?}", started.elapsed());
    reader.client().batch_execute("COMMIT").await.unwrap();
    keep::once(&settings).await.unwrap();
    assert_eq!(left("positions"), "");
    deliver(&settings, &[place("ben", 200, NOON_MS)]).await.unwrap();
    assert_eq!(left("positions"), "ben0");
}

#[tokio::test]
async fn a_day_that_somebody_reads_holds_up_no_other() {
    let database = Database::new();
    let mut settings = settings(&database);
    settings.retention.periods =
        Periods { own_ms: [None, Some(DAY_MS), Some(DAY_MS), None], spool_ms: DAY_MS };
    let places = (0..3u32).map(|n| place("pc-1", n, NOON_MS + u64::from(n) * DAY_MS));
    let records: Vec<Record> = places.chain([alarm("pc-1", 9, NOON_MS)]).collect();
    deliver(&settings, &records).await.unwrap();
    settings.retention.now_ms = Arc::new(|| NOON_MS + 9 * DAY_MS);
    let first = database.sql("SELECT min(tableoid::regclass::text) FROM fieldpost.positions");
    let reader = Link::open(&settings.server).await.unwrap();
    reader.client().batch_execute(&format!("BEGIN; SELECT FROM {first}")).await.unwrap();
    let held_up = keep::once(&settings).await;
    assert!(matches!(held_up, Err(Fault::Again { reason: RetryReason::Timeout, .. })), "{held_up:?}");
    reader.client().batch_execute("COMMIT").await.unwrap();
    assert_eq!(database.sql("SELECT string_agg(seq::text, ' ') FROM fieldpost.positions"), "0");
    assert_eq!(database.sql("SELECT count(*) FROM fieldpost.alarms"), "1", "a class without a period stays");
    keep::once(&settings).await.unwrap();
    assert_eq!(database.sql("SELECT count(*) FROM fieldpost.positions"), "0");
}
