//! Custody at the front door: what a PUBACK means, and that nothing is lost or stored twice on the way to it.

use std::collections::BTreeSet;

use fieldpost_gateway::dedup::{Dedup, DedupBounds};
use fieldpost_gateway::ingest::Reason;
use fieldpost_gateway::record::{QuarantineReason, Record, RecordKind};
use fieldpost_gateway::spool::{Health, SpoolSettings};
use fieldpost_protocol::{Alarm, AlarmCause, BatchItem, Body, Class, Head, Mode, Seq, encode_batch};

use crate::door::{FORCE, TestDoor};
use crate::mqtt::{Client, Connect, Heard, a_position, envelope, head, now_ms, position};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puback_waits_for_commit() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    door.disk.hold_syncs();
    client.publish("fp1/pc-1/live", 7, &position(Mode::Test, 0)).await;
    // A ping answered after the publish was handled: had a PUBACK been written, it would come first.
    client.ping().await;
    assert_eq!(client.hear().await, Heard::Pingresp);
    assert_eq!(door.spool.committed().0, 0);
    door.disk.release_syncs();
    assert_eq!(client.hear().await, Heard::Puback { packet_id: 7, code: 0 });
    assert_eq!(door.spool.committed().0, 1);
}

#[tokio::test]
async fn pipelined_publishes_are_acknowledged_in_order() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    let publish = |n: u16| client.publish_bytes("fp1/pc-1/live", n, &[], &position(Mode::Test, u32::from(n)));
    let burst: Vec<u8> = (1..=200).flat_map(publish).collect();
    client.send(&burst).await;
    for packet_id in 1..=200 {
        assert_eq!(client.hear().await, Heard::Puback { packet_id, code: 0 });
    }
    let seqs: Vec<_> =
        door.records().await.iter().map(|record| record.envelope().unwrap().head.seq.0).collect();
    assert_eq!(seqs, (1..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_duplicate_is_counted_acknowledged_and_stored_once() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    let payload = position(Mode::Test, 0);
    door.disk.hold_syncs();
    client.publish("fp1/pc-1/live", 1, &payload).await;
    client.publish("fp1/pc-1/live", 2, &payload).await;
    client.ping().await;
    // The duplicate's PUBACK too waits for the record it repeats.
    assert_eq!(client.hear().await, Heard::Pingresp);
    door.disk.release_syncs();
    assert_eq!(client.hear().await, Heard::Puback { packet_id: 1, code: 0 });
    assert_eq!(client.hear().await, Heard::Puback { packet_id: 2, code: 0 });
    client.publish("fp1/pc-1/backlog", 3, &payload).await;
    assert_eq!(client.hear().await, Heard::Puback { packet_id: 3, code: 0 });
    assert_eq!(door.records().await.len(), 1);
    assert_eq!(door.metrics.ingest.duplicates.get(), 2);
}

/// Publishes an alarm and hears its PUBACK.
async fn raise(client: &mut Client, packet_id: u16, seq: u32, time_ms: u64) {
    let alarm = Alarm { cause: AlarmCause::BUTTON, silent: false, position: None, position_age_s: 0 };
    let mut body = [0; 64];
    let head = Head { time_ms, ..head(Class::ALARM, Mode::Test, seq) };
    let payload = envelope(head, alarm.encode(&mut body).unwrap());
    client.publish("fp1/pc-1/alarm", packet_id, &payload).await;
    assert_eq!(client.hear().await, Heard::Puback { packet_id, code: 0 });
}

#[tokio::test]
async fn an_alarm_of_a_wiped_device_is_stored_beside_the_one_whose_identity_it_repeats() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    let then_ms = now_ms() - 86_400_000;
    for (packet_id, time_ms) in (1..).zip([then_ms, then_ms, now_ms() - 5, now_ms()]) {
        raise(&mut client, packet_id, 0, time_ms).await;
    }
    // What repeats is a record of its own, and its redelivery is one.
    let repeated = door.records().await.pop().unwrap();
    client.publish("fp1/pc-1/alarm", 9, &repeated.payload).await;
    assert_eq!(client.hear().await, Heard::Puback { packet_id: 9, code: 0 });
    let records = door.records().await;
    let kinds: Vec<_> = records.iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [RecordKind::Envelope, RecordKind::Repeated, RecordKind::Repeated]);
    let mut keys: Vec<_> = records.iter().map(Record::key).collect();
    assert_eq!(keys[0], format!("{FORCE}.pc-1.1.0"));
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 3, "{keys:?}");
    assert_eq!((door.metrics.ingest.repeated.get(), door.metrics.ingest.duplicates.get()), (2, 2));
}

#[tokio::test]
async fn a_restart_remembers_what_was_stored() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    client.publish("fp1/pc-1/live", 1, &position(Mode::Test, 5)).await;
    assert_eq!(client.hear().await, Heard::Puback { packet_id: 1, code: 0 });
    let dedup = Dedup::new(DedupBounds::default());
    assert_eq!(dedup.rebuild_from(&door.spool).await.unwrap(), 1);
    let seen = dedup.device(&FORCE.parse().unwrap(), &"pc-1".parse().unwrap());
    let boot = fieldpost_protocol::BootId(1);
    assert!(seen.lock().contains(boot, Seq(5)) && !seen.lock().contains(boot, Seq(6)));
}

#[tokio::test]
async fn what_cannot_be_a_record_is_kept_with_its_reason_and_acknowledged() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    let cases = [
        ("live", b"not an envelope".to_vec(), QuarantineReason::Envelope),
        ("live", Vec::new(), QuarantineReason::Envelope),
        ("live", envelope(head(Class::POSITION, Mode::Test, 1), &[1, 2]), QuarantineReason::Body),
        ("live", envelope(head(Class::POSITION_BATCH, Mode::Test, 2), &[9, 9]), QuarantineReason::Body),
        ("live", position(Mode::Actual, 3), QuarantineReason::AboveCeiling),
        ("live", position(Mode::Exercise, 4), QuarantineReason::AboveCeiling),
        ("alarm", position(Mode::Test, 5), QuarantineReason::WrongLane),
    ];
    for (packet_id, (lane, payload, _)) in (1..).zip(&cases) {
        client.publish(&format!("fp1/pc-1/{lane}"), packet_id, payload).await;
        assert_eq!(client.hear().await, Heard::Puback { packet_id, code: 0 });
    }
    let records = door.records().await;
    assert_eq!(records.len(), cases.len());
    for (record, (_, payload, reason)) in records.iter().zip(&cases) {
        assert_eq!(record.kind, RecordKind::Quarantine(*reason));
        assert_eq!(record.payload, payload[..]);
    }
    assert_eq!(door.metrics.ingest.quarantined(QuarantineReason::AboveCeiling).get(), 2);
    // Poison that comes again is recognised by its sequence, and not kept twice.
    client.publish("fp1/pc-1/live", 20, &cases[4].1).await;
    assert_eq!(client.hear().await, Heard::Puback { packet_id: 20, code: 0 });
    assert_eq!(door.records().await.len(), cases.len());
}

#[tokio::test]
async fn a_batch_becomes_one_record_an_item() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    let start_ms = now_ms() - 60_000;
    let item = |n: u32| {
        let mut position = a_position();
        position.latitude_udeg += i32::try_from(n).unwrap() * 37;
        BatchItem { seq: Seq(10 + 2 * n), time_ms: start_ms + u64::from(n) * 1000, position }
    };
    let items: Vec<_> = (0..30).map(item).collect();
    let mut body = [0; fieldpost_protocol::limits::BODY_BYTES_MAX];
    let (count, body) = encode_batch(&items, &mut body).unwrap();
    assert_eq!(count, 30);
    let mut batch_head = head(Class::POSITION_BATCH, Mode::Test, 10);
    batch_head.time_ms = start_ms;
    let frame = envelope(batch_head, body);
    // One item is there already: the rest of the batch is not lost for it.
    let mut lone = [0; 64];
    let lone = items[3].position.encode(&mut lone).unwrap().to_vec();
    let same = Head { time_ms: items[3].time_ms, ..head(Class::POSITION, Mode::Test, 16) };
    client.publish("fp1/pc-1/live", 1, &envelope(same, &lone)).await;
    client.hear().await;
    client.publish("fp1/pc-1/backlog", 2, &frame).await;
    assert_eq!(client.hear().await, Heard::Puback { packet_id: 2, code: 0 });
    let records = door.records().await;
    assert_eq!(records.len(), 30);
    let stored = items.iter().filter(|item| item.seq != Seq(16));
    for (record, item) in records[1..].iter().zip(stored) {
        let envelope = record.envelope().unwrap();
        assert_eq!((envelope.head.class, envelope.head.seq), (Class::POSITION, item.seq));
        assert_eq!((envelope.head.time_ms, envelope.head.boot.0), (item.time_ms, 1));
        assert_eq!(Body::decode(&envelope.head, envelope.body), Ok(Body::Position(item.position)));
    }
    assert_eq!(door.metrics.ingest.duplicates.get(), 1);
}

#[tokio::test]
async fn a_wrong_clock_loses_nothing_and_is_counted() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    let mut body = [0; 64];
    let body = a_position().encode(&mut body).unwrap().to_vec();
    let year_ms = 365 * 24 * 3_600_000;
    for (packet_id, time_ms) in [(1, now_ms() + year_ms), (2, now_ms() - year_ms), (3, u64::MAX)] {
        let mut head = head(Class::POSITION, Mode::Test, u32::from(packet_id));
        head.time_ms = time_ms;
        client.publish("fp1/pc-1/live", packet_id, &envelope(head, &body)).await;
        assert_eq!(client.hear().await, Heard::Puback { packet_id, code: 0 });
    }
    let records = door.records().await;
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|record| record.received_at_ms.abs_diff(now_ms()) < 60_000));
    assert_eq!(door.metrics.ingest.clock_future.get(), 2);
    assert_eq!(door.metrics.ingest.clock_ancient.get(), 1);
}

#[tokio::test]
async fn a_client_of_mqtt_3_1_1_is_served_the_same() {
    let mut door = TestDoor::open().await;
    let credentials = door.issue(FORCE, "pc-1", Mode::Test);
    let mut client = Client::dial(&door, Some(&credentials), 4).await.unwrap();
    client.connect(&Connect::clean("pc-1")).await;
    assert!(matches!(client.hear().await, Heard::Connack { code: 0, session_present: false, .. }));
    client.publish("fp1/pc-1/live", 1, &position(Mode::Test, 0)).await;
    assert_eq!(client.hear().await, Heard::Puback { packet_id: 1, code: 0 });
    client.publish("fp1/pc-1/live", 0, &position(Mode::Test, 1)).await;
    client.publish("fp1/pc-1/live", 2, &position(Mode::Test, 2)).await;
    assert_eq!(client.hear().await, Heard::Puback { packet_id: 2, code: 0 });
    assert_eq!(door.records().await.len(), 3, "quality 0 is stored too");
    client.publish("fp1/pc-2/live", 3, &position(Mode::Test, 3)).await;
    assert_eq!(client.hear().await, Heard::End);
    door.ended(Reason::TopicForeign).await;
}

#[tokio::test]
async fn more_than_the_receive_maximum_ends_the_connection() {
    let mut door = TestDoor::with(|config| config.receive_max = 100, SpoolSettings::default()).await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    door.disk.hold_syncs();
    for n in 0..=100 {
        client.publish("fp1/pc-1/live", n + 1, &position(Mode::Test, u32::from(n))).await;
    }
    assert_eq!(client.hear().await, Heard::Disconnect { code: 0x93 });
    door.disk.release_syncs();
    door.ended(Reason::ReceiveMaximum).await;
}

#[tokio::test]
async fn a_window_that_was_full_is_read_on_once_it_was_acknowledged() {
    let mut door = TestDoor::with(|config| config.receive_max = 100, SpoolSettings::default()).await;
    let credentials = door.issue(FORCE, "pc-1", Mode::Test);
    // 3.1.1 has no receive maximum: a client may have more under way than the gateway takes at once.
    let mut client = Client::dial(&door, Some(&credentials), 4).await.unwrap();
    client.connect(&Connect::clean("pc-1")).await;
    assert!(matches!(client.hear().await, Heard::Connack { code: 0, .. }));
    door.disk.hold_syncs();
    let publish = |n: u16| client.publish_bytes("fp1/pc-1/live", n, &[], &position(Mode::Test, u32::from(n)));
    let burst: Vec<u8> = (1..=350).flat_map(publish).collect();
    client.send(&burst).await;
    door.until("the window is full", |door| door.metrics.ingest.records.get() == 100).await;
    door.disk.release_syncs();
    for packet_id in 1..=350 {
        assert_eq!(client.hear().await, Heard::Puback { packet_id, code: 0 });
    }
}

#[tokio::test]
async fn quality_0_held_for_room_is_bounded_and_stored_once_there_is_room() {
    let settings = SpoolSettings { pending_bytes_max: 1024, ..SpoolSettings::default() };
    let mut door = TestDoor::with(|_| {}, settings).await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    door.disk.hold_syncs();
    // Empty payloads: what is held is bounded by count as well as by bytes.
    let empty = client.publish_bytes("fp1/pc-1/live", 0, &[], &[]);
    let burst: Vec<u8> = (0..3000).flat_map(|_| empty.clone()).collect();
    client.send(&burst).await;
    client.ping().await;
    door.until("the bound is reached", |door| door.metrics.ingest.publishes.get() > 100).await;
    assert!(door.metrics.ingest.publishes.get() < 1500, "reading stops at the bound");
    door.disk.release_syncs();
    assert_eq!(client.hear().await, Heard::Pingresp);
    door.until("committed", |door| door.spool.committed().0 == 3000).await;
}

/// A spool of small segments, with a reserve for alarms.
async fn tight_door() -> TestDoor {
    let settings = SpoolSettings {
        segment_bytes: 16 << 10,
        bytes_max: 1 << 20,
        reserve_bytes: 32 << 10,
        retain_ms: 0,
        pending_bytes_max: 4 << 10,
        ..SpoolSettings::default()
    };
    // A client that sends on without waiting for its PUBACKs: it must not meet the receive maximum first.
    TestDoor::with(|config| config.receive_max = 10_000, settings).await
}

#[tokio::test]
async fn a_full_spool_holds_pubacks_back_lets_alarms_through_and_recovers() {
    let mut door = tight_door().await;
    // Holds the segments: nothing was forwarded yet.
    let _cursor = door.spool.cursor("slow").unwrap();
    door.spool.tend().await;
    // Somebody else fills the disk: what was made beforehand is there, nothing can grow.
    door.disk.set_space(Some(0));
    let mut client = Client::connected(&mut door, "pc-1").await;
    let mut sent: u16 = 0;
    let mut acknowledged: u16 = 0;
    let health = || door.spool.committed_watch().borrow().health;
    while health() == Health::Ok {
        sent += 1;
        client.publish("fp1/pc-1/backlog", sent, &position(Mode::Test, u32::from(sent))).await;
        // One at a time: with more than a connection may hold back, not even a ping would be read once it is full.
        while acknowledged < sent && health() == Health::Ok {
            client.ping().await;
            loop {
                match client.hear().await {
                    Heard::Pingresp => break,
                    Heard::Puback { code: 0, .. } => acknowledged += 1,
                    other => panic!("{other:?} after {sent} records"),
                }
            }
        }
        door.spool.tend().await;
    }
    // From here on nothing but alarms is acknowledged.
    for _ in 0..20 {
        sent += 1;
        client.publish("fp1/pc-1/backlog", sent, &position(Mode::Test, u32::from(sent))).await;
    }
    let mut body = [0; 64];
    let alarm = Alarm { cause: AlarmCause::BUTTON, silent: false, position: None, position_age_s: 0 };
    let body = alarm.encode(&mut body).unwrap().to_vec();
    let alarm_id = 60_000;
    client
        .publish("fp1/pc-1/alarm", alarm_id, &envelope(head(Class::ALARM, Mode::Test, 60_000), &body))
        .await;
    let mut heard = client.hear().await;
    let mut last_acknowledged = 0;
    while heard != (Heard::Puback { packet_id: alarm_id, code: 0 }) {
        let Heard::Puback { packet_id, code: 0 } = heard else { panic!("{heard:?}") };
        last_acknowledged = packet_id;
        heard = client.hear().await;
    }
    assert!(last_acknowledged < sent, "records wait");
    client.ping().await;
    assert_eq!(client.hear().await, Heard::Pingresp, "the connection lives");
    door.disk.set_space(None);
    door.spool.tend().await;
    while last_acknowledged < sent {
        let heard = client.hear().await;
        let Heard::Puback { packet_id, code: 0 } = heard else { panic!("{heard:?}") };
        last_acknowledged = last_acknowledged.max(packet_id);
    }
    let mut seqs: Vec<_> =
        door.records().await.iter().map(|record| record.envelope().unwrap().head.seq.0).collect();
    seqs.sort_unstable();
    let all: Vec<_> = (1..=u32::from(sent)).chain([60_000]).collect();
    assert_eq!(seqs, all, "everything is there once");
}

/// Backlog records of 1 KB, until only the reserve is left.
async fn fill_up(door: &TestDoor, client: &mut Client) -> u16 {
    let mut sent: u16 = 0;
    while door.spool.committed_watch().borrow().health == Health::Ok {
        sent += 1;
        client.publish("fp1/pc-1/backlog", sent, &large(sent)).await;
        client.ping().await;
        loop {
            match client.hear().await {
                Heard::Pingresp => break,
                Heard::Puback { code: 0, .. } => {}
                other => panic!("{other:?} after {sent} records"),
            }
        }
        door.spool.tend().await;
    }
    sent
}

fn large(seq: u16) -> Vec<u8> {
    let head = Head { time_ms: 1_790_000_000_000, ..head(Class(0x66), Mode::Test, u32::from(seq)) };
    envelope(head, &[0x55; 1000])
}

#[tokio::test]
async fn an_alarm_behind_any_number_of_records_that_wait_is_stored_and_they_come_again() {
    let mut door = tight_door().await;
    let _cursor = door.spool.cursor("slow").unwrap();
    door.spool.tend().await;
    door.disk.set_space(Some(0));
    let credentials = door.issue(FORCE, "pc-1", Mode::Test);
    let mut client = Client::dial(&door, Some(&credentials), 5).await.unwrap();
    client.connect(&Connect::clean("pc-1")).await;
    client.hear().await;
    let full = fill_up(&door, &mut client).await;
    // Six times what a connection may hold.
    for packet_id in full + 1..=full + 200 {
        client.publish("fp1/pc-1/backlog", packet_id, &large(packet_id)).await;
    }
    let alarm = Alarm { cause: AlarmCause::BUTTON, silent: false, position: None, position_age_s: 0 };
    let mut body = [0; 64];
    let alarm = envelope(head(Class::ALARM, Mode::Test, 60_000), alarm.encode(&mut body).unwrap());
    client.publish("fp1/pc-1/alarm", 60_000, &alarm).await;
    let mut acknowledged = BTreeSet::new();
    while !acknowledged.contains(&60_000) {
        let Heard::Puback { packet_id, code: 0 } = client.hear().await else { panic!("a PUBACK") };
        acknowledged.insert(packet_id);
    }
    assert!(!acknowledged.contains(&(full + 200)), "the others wait");
    // There is room again: what was held is acknowledged, what was let go is asked for.
    door.disk.set_space(None);
    door.spool.tend().await;
    loop {
        match client.hear().await {
            Heard::Puback { packet_id, code: 0 } => _ = acknowledged.insert(packet_id),
            Heard::Disconnect { code } => break assert_eq!(code, 0x89),
            other => panic!("{other:?}"),
        }
    }
    door.ended(Reason::RoomAgain).await;
    let mut client = Client::dial(&door, Some(&credentials), 5).await.unwrap();
    client.connect(&Connect::clean("pc-1")).await;
    client.hear().await;
    for packet_id in full + 1..=full + 200 {
        client.publish("fp1/pc-1/backlog", packet_id, &large(packet_id)).await;
    }
    for packet_id in full + 1..=full + 200 {
        assert_eq!(client.hear().await, Heard::Puback { packet_id, code: 0 });
    }
    let mut keys: Vec<_> = door.records().await.iter().map(Record::key).collect();
    let stored = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!((keys.len(), stored), (usize::from(full) + 201, usize::from(full) + 201), "everything, once");
}

#[tokio::test]
async fn a_device_that_sends_without_end_keeps_nobody_else_waiting() {
    let mut door = TestDoor::with(|config| config.receive_max = 10_000, SpoolSettings::default()).await;
    let mut rogue = Client::connected(&mut door, "pc-1").await;
    let mut other = Client::connected(&mut door, "pc-2").await;
    door.disk.hold_syncs();
    // Twice what all devices together may have pending.
    let burst: Vec<u8> =
        (1..=2_000).flat_map(|n| rogue.publish_bytes("fp1/pc-1/live", n, &[], &large(n))).collect();
    // It is not read to its end while the disk is held: the gateway takes what it may, and then the socket is full.
    let sending = tokio::spawn(async move {
        rogue.send(&burst).await;
        rogue
    });
    door.until("the rogue has its share", |door| door.metrics.ingest.records.get() >= 100).await;
    other.publish("fp1/pc-2/live", 1, &position(Mode::Test, 1)).await;
    other.ping().await;
    assert_eq!(other.hear().await, Heard::Pingresp);
    // Appended, so in the next commit: had it been held, the spool would not have it.
    let is_there = |door: &TestDoor| door.metrics.ingest.publishes.get() > door.metrics.ingest.records.get();
    assert!(is_there(&door), "the rogue is held back");
    door.disk.release_syncs();
    assert_eq!(other.hear().await, Heard::Puback { packet_id: 1, code: 0 });
    let place = |records: &[Record]| records.iter().position(|record| record.device.as_str() == "pc-2");
    let at = place(&door.records().await).unwrap();
    assert!(at < 400, "behind a share of the rogue's, not behind all of it: {at}");
    let mut rogue = sending.await.unwrap();
    for packet_id in 1..=2_000 {
        assert_eq!(rogue.hear().await, Heard::Puback { packet_id, code: 0 });
    }
}

#[tokio::test]
async fn a_failed_disk_acknowledges_nothing_and_ends_the_connection() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    door.disk.fail_sync_after(0);
    client.publish("fp1/pc-1/live", 1, &position(Mode::Test, 0)).await;
    assert_eq!(client.hear().await, Heard::Disconnect { code: 0x88 });
    assert_eq!(client.hear().await, Heard::End);
    door.ended(Reason::SpoolFailed).await;
}
