//! Claims of the task: what it has taken when it stops, and how soon it moves on while the spool is full.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use fieldpost_protocol::{
    BootId, Class, ClockQuality, Envelope, FixSource, Head, Lane, Mode, Position, ReportReason, Seq,
};
use tokio_util::sync::CancellationToken;

use super::{NOON_MS, open, unit};
use crate::history::task::{CURSOR_NAME, Surroundings, start_on};
use crate::history::{HistoryStore as _, Track};
use crate::live::order::ClockBounds;
use crate::metrics::Metrics;
use crate::record::{Record, RecordKind};
use crate::spool::faulty::FaultyDisk;
use crate::spool::{Crew, EntryClass, Health, Lsn, Spool, SpoolSettings, Wait};

/// Where the unit was at noon.
fn position(seq: u32) -> Record {
    let position = Position {
        latitude_udeg: 51_500_000,
        longitude_udeg: -120_000,
        speed_cmps: None,
        course_turn256: None,
        accuracy_m: 5,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    };
    let head = Head {
        version: 1,
        class: Class::POSITION,
        mode: Mode::Test,
        clock: ClockQuality::Gnss,
        boot: BootId(1),
        seq: Seq(seq),
        time_ms: NOON_MS,
    };
    let (mut body, mut payload) = ([0; 64], [0; 128]);
    let body = position.encode(&mut body).unwrap();
    let payload = Envelope { head, body, trailer: None }.encode(&mut payload).unwrap();
    let unit = unit("sim/anna");
    Record {
        lsn: Lsn(0),
        received_at_ms: NOON_MS,
        force: unit.force,
        device: unit.device,
        ceiling: Mode::Test,
        lane: Lane::Live,
        kind: RecordKind::Envelope,
        payload: Bytes::copy_from_slice(payload),
    }
}

fn around<'a>(spool: &'a Spool, shutdown: &'a CancellationToken) -> Surroundings<'a> {
    Surroundings {
        spool,
        clock_bounds: ClockBounds::default(),
        now_ms: Arc::new(|| NOON_MS),
        metrics: Metrics::new(),
        shutdown,
    }
}

#[tokio::test]
async fn what_is_committed_when_the_gateway_stops_is_in_the_history() {
    let mut settings = SpoolSettings::default();
    (settings.segment_bytes, settings.bytes_max, settings.reserve_bytes) = (2 << 20, 64 << 20, 2 << 20);
    let (spool, mut crew, _) =
        Spool::open_by_hand(Path::new("/spool"), settings, Arc::new(FaultyDisk::new())).unwrap();
    let mut bytes = BytesMut::new();
    position(0).encode(&mut bytes);
    let last = spool.try_append(EntryClass::Live, &bytes).unwrap();
    while crew.step(Instant::now() + Duration::from_secs(1)) == Some(Wait::Nothing) {}

    let store = Arc::new(open(&FaultyDisk::new()));
    let shutdown = CancellationToken::new();
    // Stopped before the task has had a turn.
    start_on(Arc::clone(&store) as _, around(&spool, &shutdown)).unwrap().stop().await;

    let question = Track { unit: unit("sim/anna"), from_ms: 0, until_ms: u64::MAX, after: None, rows_max: 9 };
    assert_eq!(store.track(question).await.unwrap().items.len(), 1);
    assert_eq!(spool.cursor(CURSOR_NAME).unwrap().position(), last);
}

/// Does what the spool's threads would do now.
fn work(crew: &mut Crew) {
    crew.tend();
    while crew.step(Instant::now() + Duration::from_secs(1)) == Some(Wait::Nothing) {}
}

#[tokio::test(start_paused = true)]
async fn a_full_spool_has_room_when_its_sink_is_back_and_does_not_wait_for_the_history() {
    let mut settings = SpoolSettings::default();
    (settings.segment_bytes, settings.bytes_max, settings.reserve_bytes) = (16 << 10, 96 << 10, 32 << 10);
    (settings.pending_bytes_max, settings.tail_bytes_max, settings.retain_ms) = (4 << 10, 2 << 10, 0);
    let (spool, mut crew, _) =
        Spool::open_by_hand(Path::new("/spool"), settings, Arc::new(FaultyDisk::new())).unwrap();
    let mut sink = spool.cursor("sink").unwrap();
    let shutdown = CancellationToken::new();
    let history = start_on(Arc::new(open(&FaultyDisk::new())), around(&spool, &shutdown)).unwrap();
    let health = || spool.committed_watch().borrow().health;
    let mut seq = 0;
    while health() != Health::Full {
        let mut bytes = BytesMut::new();
        position(seq).encode(&mut bytes);
        seq += 1;
        // One that finds no room is one of those that are waited with.
        _ = spool.try_append(EntryClass::Live, &bytes);
        work(&mut crew);
    }
    history.history().wait_taken(spool.committed()).await;
    let back_at = tokio::time::Instant::now();
    sink.advance(spool.committed()).await.unwrap();
    while health() == Health::Full {
        assert!(back_at.elapsed() < Duration::from_secs(5), "the history holds it");
        tokio::time::sleep(Duration::from_millis(50)).await;
        work(&mut crew);
    }
    history.stop().await;
}
