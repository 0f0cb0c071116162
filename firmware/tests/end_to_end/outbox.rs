//! Full: what gives way is named exactly, and the ledger balances to the record.

use std::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use fieldpost_firmware::{
    Input, RamStorage, Storage, StorageError,
    storage::{Entry, Key, Partition},
};
use fieldpost_protocol::{AlarmCause, Body, BootId, Class, Envelope, EventCode};
use proptest::prelude::{Just, Strategy, prop, prop_assert_eq, prop_oneof, proptest};

use crate::bench::{Bench, Published, every_fix};

/// As small as it may be: everything fills up soon.
type Small = RamStorage<48>;

/// Sequences that loss records name, by boot.
fn named_lost(published: &[Published]) -> BTreeSet<(u32, u32)> {
    let mut named = BTreeSet::new();
    for frame in published {
        let envelope = Envelope::decode(&frame.frame).unwrap();
        if let Ok(Body::Loss(loss)) = Body::decode(&envelope.head, envelope.body) {
            for range in loss.ranges {
                for seq in range.first.0..=range.last().unwrap().0 {
                    named.insert((loss.boot.0, seq));
                }
            }
        }
    }
    named
}

#[test]
fn a_full_outbox_names_exactly_what_it_dropped() {
    let mut bench = Bench::with_storage(every_fix(), Small::new());
    bench.walk(200);
    let first = bench.connect(false);
    let published = bench.settle(first);
    let named = named_lost(&published);
    let ledger = bench.device.ledger();
    assert_eq!(u32::try_from(named.len()).unwrap(), ledger.lost);
    for seq in 0..ledger.issued {
        let key = (ledger.boot.0, seq);
        assert!(
            bench.stored.contains_key(&key) != named.contains(&key),
            "sequence {seq} is stored or named, and not both"
        );
    }
    let losses = published.iter().filter(|frame| frame.class() == Class::LOSS).count();
    assert_eq!(losses, 1, "a long outage costs one loss record");
}

#[test]
fn positions_give_way_before_events() {
    let mut bench = Bench::with_storage(every_fix(), Small::new());
    bench.event(EventCode::UNHOLSTERED);
    bench.walk(200);
    bench.event(EventCode::HOLSTERED);
    let first = bench.connect(false);
    let published = bench.settle(first);
    let events = published.iter().filter(|frame| frame.class() == Class::SENSOR_EVENT).count();
    assert_eq!(events, 2);
}

#[test]
fn a_flood_of_positions_leaves_alarms_alone() {
    let mut bench = Bench::with_storage(every_fix(), Small::new());
    bench.walk(1);
    bench.device.on_button(bench.now_ms, false);
    bench.walk(500);
    let first = bench.connect(false);
    let published = bench.settle(first);
    assert_eq!(published[0].class(), Class::ALARM);
}

#[test]
fn a_loss_record_on_the_air_is_not_rewritten() {
    let mut bench = Bench::with_storage(every_fix(), Small::new());
    bench.walk(100);
    let mut sent = bench.connect(false);
    // The gateway takes everything but the loss record, whose answer never comes.
    let mut published = Vec::new();
    while !sent.is_empty() {
        for frame in &sent {
            if frame.class() != Class::LOSS {
                bench.acknowledge(frame);
            }
        }
        published.append(&mut sent);
        sent = bench.drain();
    }
    let flown: Vec<_> = published.iter().filter(|frame| frame.class() == Class::LOSS).cloned().collect();
    assert_eq!(flown.len(), 1);
    bench.disconnect();
    bench.walk(100);
    let first = bench.connect(true);
    let published = bench.settle(first);
    assert!(published.iter().any(|frame| frame.frame == flown[0].frame), "as it was");
    assert_eq!(published.iter().filter(|frame| frame.class() == Class::LOSS).count(), 2, "and a second one");
    assert_eq!(bench.device.ledger().owed, 0);
}

#[test]
fn what_is_on_the_air_does_not_give_way() {
    let mut bench = Bench::with_storage(every_fix(), Small::new());
    let first = bench.connect(false);
    bench.settle(first);
    let mut flying = Vec::new();
    for _ in 0..4 {
        bench.walk(1);
        flying.extend(bench.drain());
    }
    assert_eq!(flying.len(), 4);
    bench.walk(100);
    let published = bench.settle(flying);
    let named = named_lost(&published);
    assert!(!named.is_empty());
    assert!(named.iter().all(|key| !bench.stored.contains_key(key)));
}

/// The first loss record in a storage.
fn first_loss(storage: &mut Failing) -> Option<Entry> {
    let (mut after, mut entry) = (None, Entry::new());
    while let Some(key) = storage.next(Partition::Routine, after, &mut entry).unwrap() {
        after = Some(key);
        if Envelope::decode(&entry).unwrap().head.class == Class::LOSS {
            return Some(entry);
        }
    }
    None
}

#[test]
fn of_two_copies_of_a_loss_record_only_the_complete_one_is_sent() {
    // What a power cut leaves between writing the longer copy and removing the shorter one.
    let mut bench = Bench::with_storage(every_fix(), Failing::default());
    bench.walk(100);
    let mut storage = bench.device.into_storage();
    let shorter = first_loss(&mut storage).unwrap();
    let envelope = Envelope::decode(&shorter).unwrap();
    let Ok(Body::Loss(mut loss)) = Body::decode(&envelope.head, envelope.body) else { panic!("no loss") };
    loss.ranges[0].more += 1;
    let (mut body, mut buffer) = ([0; 64], [0; 72]);
    let body = loss.encode(&mut body).unwrap();
    let longer = Envelope { body, ..envelope }.encode(&mut buffer).unwrap();
    storage.push(Partition::Routine, &Entry::from_slice(longer).unwrap()).unwrap();
    for fail_removes in [true, false] {
        let copy = Failing { inner: storage.inner.clone(), fail_pushes: 0, fail_removes };
        let mut bench = Bench::with_storage(every_fix(), copy);
        let first = bench.connect(false);
        let published = bench.settle(first);
        let losses = published.iter().filter(|frame| frame.head().boot == envelope.head.boot);
        let losses: Vec<_> = losses.filter(|frame| frame.class() == Class::LOSS).collect();
        assert_eq!(losses.len(), 1);
        assert_eq!(losses[0].frame, longer);
    }
}

/// Something that happens to a device.
#[derive(Debug, Clone)]
enum Step {
    Fix(u8),
    Event,
    Button,
    Cancel,
    Status,
    Connect,
    /// Answer so many of the unanswered frames, from the oldest.
    Answer(u8),
    /// The answer of one frame is lost: the gateway has it, the device does not know.
    StoreSilently,
    Disconnect,
    PowerCut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u8..40).prop_map(Step::Fix),
        2 => Just(Step::Event),
        1 => Just(Step::Button),
        1 => Just(Step::Cancel),
        1 => Just(Step::Status),
        3 => Just(Step::Connect),
        4 => (1u8..12).prop_map(Step::Answer),
        1 => Just(Step::StoreSilently),
        2 => Just(Step::Disconnect),
        1 => Just(Step::PowerCut),
    ];
    prop::collection::vec(step, 1..60)
}

/// What the gateway and the world know.
#[derive(Default)]
struct Model {
    /// Sequences issued, by boot.
    issued: BTreeMap<u32, u32>,
    published: Vec<Published>,
    unanswered: Vec<Published>,
    online: bool,
}

fn take(model: &mut Model, published: Vec<Published>) {
    model.published.extend(published.iter().cloned());
    model.unanswered.extend(published);
}

fn run(mut bench: Bench<Small>, model: &mut Model, steps: Vec<Step>) -> Bench<Small> {
    for step in steps {
        match step {
            Step::Fix(seconds) => bench.walk(u32::from(seconds)),
            Step::Event => bench.event(EventCode::DOORS),
            Step::Button => {
                bench.now_ms += 31_000;
                bench.device.on_button(bench.now_ms, false);
            }
            Step::Cancel => bench.device.on_cancel(bench.now_ms),
            Step::Status => bench.now_ms += 900_000,
            Step::Connect if !model.online => {
                let published = bench.connect(false);
                model.online = true;
                take(model, published);
            }
            Step::Connect => {}
            Step::Answer(count) => {
                let count = usize::from(count).min(model.unanswered.len());
                for frame in model.unanswered.drain(..count) {
                    bench.acknowledge(&frame);
                }
            }
            Step::StoreSilently => {
                for frame in model.unanswered.iter().take(1) {
                    for (seq, ..) in frame.records() {
                        bench.stored.insert((frame.head().boot.0, seq), frame.class());
                    }
                }
            }
            Step::Disconnect => {
                model.online = false;
                model.unanswered.clear();
                bench.disconnect();
            }
            Step::PowerCut => {
                let ledger = bench.device.ledger();
                model.issued.insert(ledger.boot.0, ledger.issued);
                model.online = false;
                model.unanswered.clear();
                let now_ms = bench.now_ms;
                bench = bench.restart(every_fix());
                // The world's time goes on; a restarted device would begin at 0, which makes no difference here.
                bench.now_ms = now_ms;
            }
        }
        let published = bench.drain();
        // A silent hang-up (no answer for five minutes) ends the connection as well.
        if bench.others.iter().any(|output| matches!(output, fieldpost_firmware::Output::HangUp(_))) {
            bench.others.clear();
            model.online = false;
            model.unanswered.clear();
        }
        take(model, published);
    }
    bench
}

proptest! {
    #[test]
    fn whatever_happens_every_sequence_is_stored_or_named(steps in steps()) {
        let mut model = Model::default();
        let mut bench = run(Bench::with_storage(every_fix(), Small::new()), &mut model, steps);
        bench.disconnect();
        let first = bench.connect(false);
        let rest = bench.settle(first);
        model.published.extend(rest);
        let ledger = bench.device.ledger();
        prop_assert_eq!(ledger.owed, 0);
        model.issued.insert(ledger.boot.0, ledger.issued);

        let named = named_lost(&model.published);
        for (boot, issued) in &model.issued {
            for seq in 0..*issued {
                let key = (*boot, seq);
                assert!(bench.stored.contains_key(&key) || named.contains(&key), "{key:?} is nowhere");
            }
        }
        for key in bench.stored.keys().chain(&named) {
            assert!(key.1 < model.issued[&key.0], "{key:?} was never issued");
        }
        // One sequence, one content: a loss record apart, which may only be resent as it was.
        let mut contents = BTreeMap::new();
        for frame in &model.published {
            for (seq, time_ms, position) in frame.records() {
                let content = (time_ms, position.map(|position| (position.latitude_udeg, position.longitude_udeg)));
                let before = contents.insert((frame.head().boot.0, seq), content);
                assert!(before.is_none_or(|before| before == content), "sequence {seq} was used twice");
            }
        }
    }
}

/// Storage whose writes fail when told to.
#[derive(Default)]
struct Failing {
    inner: RamStorage<64>,
    fail_pushes: u32,
    /// Every removal fails.
    fail_removes: bool,
}

impl Storage for Failing {
    fn next_boot(&mut self) -> Result<BootId, StorageError> {
        self.inner.next_boot()
    }

    fn push(&mut self, partition: Partition, entry: &Entry) -> Result<Key, StorageError> {
        if self.fail_pushes > 0 {
            self.fail_pushes -= 1;
            return Err(StorageError::Failed);
        }
        self.inner.push(partition, entry)
    }

    fn next(
        &mut self,
        partition: Partition,
        after: Option<Key>,
        entry: &mut Entry,
    ) -> Result<Option<Key>, StorageError> {
        self.inner.next(partition, after, entry)
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        if self.fail_removes {
            return Err(StorageError::Failed);
        }
        self.inner.remove(key)
    }

    fn count(&self, partition: Partition) -> usize {
        self.inner.count(partition)
    }

    fn capacity(&self) -> usize {
        self.inner.capacity()
    }
}

#[test]
fn an_alarm_is_tried_until_the_storage_takes_it() {
    // The status at start fails, then the alarm, twice.
    let mut bench = Bench::with_storage(every_fix(), Failing { fail_pushes: 3, ..Failing::default() });
    bench.drain();
    bench.device.on_button(bench.now_ms, false);
    let mut published = bench.connect(false);
    published.extend(bench.wait(5000));
    let alarm = published.iter().find(|frame| frame.class() == Class::ALARM).unwrap();
    let envelope = Envelope::decode(&alarm.frame).unwrap();
    let Ok(Body::Alarm(alarm)) = Body::decode(&envelope.head, envelope.body) else { panic!("no alarm") };
    assert_eq!(alarm.cause, AlarmCause::BUTTON);
}

#[test]
fn a_sequence_that_a_failing_storage_swallowed_is_named_as_damaged() {
    let mut bench = Bench::with_storage(every_fix(), Failing { fail_pushes: 2, ..Failing::default() });
    bench.walk(2);
    bench.walk(3);
    let first = bench.connect(false);
    let published = bench.settle(first);
    let named = named_lost(&published);
    let boot = bench.device.ledger().boot.0;
    assert_eq!(named, BTreeSet::from([(boot, 0), (boot, 1)]));
    assert_eq!(bench.device.ledger().lost, 2);
}

#[test]
fn a_stored_receipt_frame_removes_like_an_answer() {
    use fieldpost_protocol::{Downlink, Receipt, Receipts, Seq, SeqRange};
    let mut bench = Bench::new(every_fix());
    bench.walk(5);
    let boot = bench.device.ledger().boot;
    let ranges = [SeqRange { first: Seq(1), more: 2 }].into_iter().collect();
    let receipts = Downlink::Receipts(Receipts { receipt: Receipt::Stored, boot, ranges });
    let mut buffer = [0; 256];
    let frame = receipts.encode(&mut buffer).unwrap();
    let before = bench.device.ledger();
    bench.device.handle(bench.now_ms, Input::Downlink(frame));
    let after = bench.device.ledger();
    assert_eq!((before.owed - after.owed, after.stored - before.stored), (3, 3));
    assert!(after.balances());
}
