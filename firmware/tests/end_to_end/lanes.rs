//! Alarm before live, live before backlog; nothing lost and nothing twice while the connection holds.

use fieldpost_firmware::{Fix, Input, Settings};
use fieldpost_protocol::{Body, Class, ClockQuality, Downlink, Envelope, EventCode, Health, Lane, Mode};

use crate::bench::{Bench, NOON_MS, Published, every_fix, fix, seqs};

/// On duty, settled, connected.
fn online() -> Bench<crate::bench::Ram> {
    let mut bench = Bench::new(every_fix());
    let first = bench.connect(false);
    bench.settle(first);
    bench
}

#[test]
fn after_an_outage_alarm_is_first_live_second_and_backlog_last() {
    let mut bench = online();
    bench.disconnect();
    bench.walk(40);
    bench.device.on_button(bench.now_ms, false);
    bench.walk(1);
    let first = bench.connect(true);
    let published = bench.settle(first);
    let lanes: Vec<Lane> = published.iter().map(|frame| frame.lane).collect();
    assert_eq!(lanes[..3], [Lane::Alarm, Lane::Live, Lane::Backlog]);
    assert!(lanes[2..].iter().all(|lane| *lane == Lane::Backlog));
    let newest = published[1].records()[0].2.unwrap();
    assert_eq!(newest.latitude_udeg, 53_000_000 + 41 * 13, "live is the newest position");
    assert_eq!(bench.device.ledger().owed, 0);
}

#[test]
fn backlog_travels_in_batches_in_order() {
    let mut bench = online();
    bench.disconnect();
    bench.walk(100);
    let first = bench.connect(true);
    let published = bench.settle(first);
    let backlog: Vec<Published> = published.into_iter().filter(|frame| frame.lane == Lane::Backlog).collect();
    let counts: Vec<usize> = backlog.iter().map(|frame| frame.records().len()).collect();
    assert_eq!(counts, [30, 30, 30, 9], "99 positions; the hundredth is live");
    assert!(seqs(&backlog).is_sorted());
    let bytes: usize = backlog.iter().map(|frame| frame.frame.len()).sum();
    assert!(bytes <= 99 * 8, "{bytes} bytes for 99 positions");
}

#[test]
fn a_batch_ends_where_another_record_lies_between() {
    let mut bench = online();
    bench.disconnect();
    bench.walk(3);
    bench.event(EventCode::CED_SAFE);
    bench.walk(4);
    bench.now_ms += 60_000;
    let first = bench.connect(true);
    let published = bench.settle(first);
    let classes: Vec<(Lane, Class)> = published.iter().map(|frame| (frame.lane, frame.class())).collect();
    assert_eq!(
        classes,
        [
            (Lane::Live, Class::POSITION),
            (Lane::Backlog, Class::POSITION_BATCH),
            (Lane::Backlog, Class::SENSOR_EVENT),
            (Lane::Backlog, Class::POSITION_BATCH),
        ]
    );
    assert!(seqs(&published[1..]).is_sorted(), "nothing out of order within a lane");
}

#[test]
fn a_batch_ends_where_the_clock_changes() {
    let mut bench = Bench::new(every_fix());
    let mut buffer = [0; 64];
    let time = Downlink::Time { unix_ms: NOON_MS };
    bench.device.handle(0, Input::Downlink(time.encode(&mut buffer).unwrap()));
    for second in 1..4 {
        // Before 2026 is no time to this clock: these carry the gateway's.
        bench.now_ms = second * 1000;
        let rolled_over = Fix { unix_ms: 0, ..fix(bench.now_ms, 0) };
        bench.device.on_fix(bench.now_ms, &rolled_over);
    }
    bench.walk(3);
    let first = bench.connect(false);
    let published = bench.settle(first);
    let of = |clock| {
        let frames = published.iter().filter(move |frame| frame.head().clock == clock);
        frames.flat_map(Published::records).filter(|record| record.2.is_some()).count()
    };
    assert_eq!((of(ClockQuality::Network), of(ClockQuality::Gnss)), (3, 3));
    assert!(published.iter().any(|frame| frame.class() == Class::POSITION_BATCH));
}

#[test]
fn a_batch_ends_where_the_start_changes() {
    let mut bench = Bench::new(every_fix());
    bench.walk(1);
    let old = bench.device.ledger().boot;
    let mut bench = bench.restart(every_fix());
    // The alarm takes sequence 0, so that the positions' sequences ascend across the starts.
    bench.device.on_button(0, false);
    bench.now_ms = 2000;
    bench.walk(3);
    let first = bench.connect(false);
    let published = bench.settle(first);
    let of_old: Vec<u32> =
        seqs(&published.iter().filter(|frame| frame.head().boot == old).cloned().collect::<Vec<_>>());
    assert_eq!(of_old, [0]);
    assert!(published.iter().any(|frame| frame.class() == Class::POSITION_BATCH));
}

#[test]
fn an_alarm_finds_room_however_full_the_window_is() {
    let mut bench = online();
    bench.disconnect();
    bench.walk(200);
    bench.connect(true);
    for _ in 0..20 {
        bench.event(EventCode::DOORS);
    }
    let stuck = bench.drain();
    assert!(!stuck.is_empty());
    assert_eq!(bench.drain(), [], "nobody answers: the window is full");
    bench.device.on_button(bench.now_ms, false);
    let published = bench.drain();
    assert_eq!(published.len(), 1);
    assert_eq!(published[0].lane, Lane::Alarm);
}

#[test]
fn nothing_is_removed_before_it_is_stored() {
    let mut bench = online();
    let stored = bench.device.ledger().stored;
    bench.walk(1);
    let published = bench.drain();
    assert_eq!(bench.device.ledger().owed, 1, "sent is not stored");
    bench.disconnect();
    assert_eq!(bench.device.ledger().owed, 1);
    let again = bench.connect(true);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].frame, published[0].frame, "the same record, byte for byte");
    assert_ne!(again[0].handle, published[0].handle);
    bench.device.handle(bench.now_ms, Input::Acknowledged(published[0].handle));
    assert_eq!(bench.device.ledger().owed, 1, "a handle of the last connection is void");
    bench.acknowledge(&again[0]);
    assert_eq!((bench.device.ledger().owed, bench.device.ledger().stored), (0, stored + 1));
}

#[test]
fn a_resumed_session_gets_everything_unanswered_again() {
    let mut bench = online();
    bench.walk(1);
    let mut unanswered = bench.drain();
    for _ in 0..4 {
        bench.walk(1);
        unanswered.extend(bench.drain());
    }
    bench.event(EventCode::UNHOLSTERED);
    unanswered.extend(bench.drain());
    assert_eq!(unanswered.len(), 6);
    bench.disconnect();
    let first = bench.connect(true);
    let live = seqs(&first.iter().filter(|frame| frame.lane == Lane::Live).cloned().collect::<Vec<_>>());
    assert_eq!(live, seqs(&unanswered)[4..], "newest position and the event, and these first");
    assert!(first[..2].iter().all(|frame| frame.lane == Lane::Live));
    let published = bench.settle(first);
    let mut again = seqs(&published);
    again.sort_unstable();
    assert_eq!(again, seqs(&unanswered), "each of them once");
    assert_eq!(bench.device.ledger().owed, 0);
}

#[test]
fn a_refused_publish_waits_for_the_next_connection() {
    let mut bench = online();
    bench.walk(1);
    let published = bench.drain();
    bench.device.handle(bench.now_ms, Input::Refused(published[0].handle));
    assert_eq!(bench.drain(), [], "not in a circle");
    assert_eq!(bench.device.outbox_counters().publishes_refused, 1);
    bench.disconnect();
    let again = bench.connect(true);
    assert_eq!(seqs(&again), seqs(&published));
}

#[test]
fn records_of_an_earlier_start_keep_their_identity() {
    let mut bench = online();
    bench.disconnect();
    bench.walk(5);
    let before = bench.device.ledger();
    let mut bench = bench.restart(every_fix());
    assert_ne!(bench.device.ledger().boot, before.boot);
    bench.now_ms = 100_000;
    bench.walk(5);
    let first = bench.connect(false);
    let published = bench.settle(first);
    let old: Vec<u32> = published
        .iter()
        .filter(|frame| frame.head().boot == before.boot)
        .flat_map(|frame| frame.records().into_iter().map(|record| record.0))
        .collect();
    assert_eq!(old.len(), 5);
    assert!(old.iter().all(|seq| *seq < before.issued));
    for frame in &published {
        let envelope = Envelope::decode(&frame.frame).unwrap();
        assert!(Body::decode(&envelope.head, envelope.body).is_ok());
    }
    assert_eq!(bench.device.ledger().owed, 0);
}

#[test]
fn a_device_that_stands_still_reports_its_status_every_fifteen_minutes() {
    let mut bench = Bench::new(Settings::body_worn(Mode::Test));
    let first = bench.connect(false);
    assert_eq!(bench.settle(first).len(), 1, "at start");
    let mut hour = Vec::new();
    for _ in 0..4 {
        let first = bench.wait(900_000);
        hour.extend(bench.settle(first));
    }
    assert_eq!(hour.iter().filter(|frame| frame.class() == Class::STATUS).count(), 4);
}

#[test]
fn health_goes_after_live_and_before_backlog_and_keeps_to_its_quota() {
    let mut bench = online();
    bench.disconnect();
    for _ in 0..40 {
        bench.device.on_health(bench.now_ms, Health { heart_rate_bpm: 72, confidence_pct: 90 });
    }
    bench.walk(5);
    let first = bench.connect(true);
    let published = bench.settle(first);
    let mut lanes: Vec<Lane> = published.iter().map(|frame| frame.lane).collect();
    lanes.dedup();
    assert_eq!(lanes, [Lane::Live, Lane::Health, Lane::Backlog]);
    let of_health = published.iter().filter(|frame| frame.lane == Lane::Health);
    assert_eq!(of_health.count(), 32, "an eighth of the storage, and no position gave way for it");
    assert_eq!(bench.device.ledger().lost, 8, "named like any other loss");
    assert!(published.iter().any(|frame| frame.class() == Class::LOSS));
}
