use bytes::Bytes;
use fieldpost_protocol::{
    BootId, Class, ClockQuality, DeviceId, ForceId, Head, Lane, LossReason, Mode, Seq, SeqRange,
};

use super::*;
use crate::record::QuarantineReason;
use crate::spool::RealDisk;

/// A spool of one device's records, as the ledger reads them.
struct Device {
    name: &'static str,
    lsn: u64,
}

impl Device {
    fn record(&mut self, kind: RecordKind, class: Class, boot: u32, seq: u32, body: &[u8]) -> Record {
        let head = Head {
            version: 1,
            class,
            mode: Mode::Test,
            clock: ClockQuality::Gnss,
            boot: BootId(boot),
            seq: Seq(seq),
            time_ms: 1_790_000_000_000,
        };
        let mut buffer = [0; 1100];
        let payload = Envelope { head, body, trailer: None }.encode(&mut buffer).unwrap();
        self.lsn += 1;
        Record {
            lsn: Lsn(self.lsn),
            received_at_ms: 1_790_000_000_000,
            force: ForceId::try_new("sim").unwrap(),
            device: DeviceId::try_new(self.name).unwrap(),
            ceiling: Mode::Test,
            lane: Lane::Live,
            kind,
            payload: Bytes::copy_from_slice(payload),
        }
    }

    fn stored(&mut self, boot: u32, seq: u32) -> Record {
        self.record(RecordKind::Envelope, Class(0x60), boot, seq, b"")
    }

    fn loss(
        &mut self,
        boot: u32,
        seq: u32,
        of_boot: u32,
        reason: LossReason,
        first: u32,
        more: u32,
    ) -> Record {
        let ranges = std::iter::once(SeqRange { first: Seq(first), more }).collect();
        let mut buffer = [0; 256];
        let body = Loss { boot: BootId(of_boot), reason, ranges }.encode(&mut buffer).unwrap().to_vec();
        self.record(RecordKind::Envelope, Class::LOSS, boot, seq, &body)
    }
}

fn pc1() -> Device {
    Device { name: "pc-0001", lsn: 0 }
}

fn unit(device: &str) -> UnitId {
    format!("sim/{device}").parse().unwrap()
}

fn bounds() -> Bounds {
    Bounds { devices_max: 3, boots_max: 2, spans_max: 8, spans_total_max: 1_000 }
}

fn counts(ledger: &Ledger, fate: Fate) -> u64 {
    ledger.account(&unit("pc-0001")).unwrap().counts()[fate]
}

#[test]
fn every_way_a_sequence_can_end_has_its_state() {
    let (mut ledger, mut device) = (Ledger::new(Bounds::default()), pc1());
    let quarantined = [QuarantineReason::Body, QuarantineReason::AboveCeiling, QuarantineReason::WrongLane];
    ledger.fold(&device.stored(1, 0));
    for (seq, reason) in (1..).zip(quarantined) {
        ledger.fold(&device.record(RecordKind::Quarantine(reason), Class(0x60), 1, seq, b""));
    }
    let reasons = [
        LossReason::EVICTED,
        LossReason::EXPIRED,
        LossReason::DAMAGED,
        LossReason::FORMATTED,
        LossReason(99),
    ];
    for (n, reason) in (0..).zip(reasons) {
        ledger.fold(&device.loss(1, 20 + n, 1, reason, 4 + n, 0));
    }
    let account = ledger.account(&unit("pc-0001")).unwrap();
    let counts = account.counts();
    for fate in
        Fate::ALL.into_iter().filter(|fate| !matches!(fate, Fate::Stored | Fate::Owed | Fate::Unaccounted))
    {
        assert_eq!(counts[fate], 1, "{fate:?}");
    }
    assert_eq!((counts[Fate::Stored], counts[Fate::Owed], counts.total()), (6, 11, 25));
}

#[test]
fn bytes_without_a_sequence_are_counted_beside_the_account() {
    let (mut ledger, mut device) = (Ledger::new(Bounds::default()), pc1());
    let mut record = device.stored(1, 0);
    record.kind = RecordKind::Quarantine(QuarantineReason::Envelope);
    record.payload = Bytes::from_static(b"rubbish");
    ledger.fold(&record);
    let account = ledger.account(&unit("pc-0001")).unwrap();
    assert_eq!((account.unnumbered_count(), account.counts().total()), (1, 0));
}

#[test]
fn a_loss_may_be_of_an_earlier_boot() {
    let (mut ledger, mut device) = (Ledger::new(Bounds::default()), pc1());
    ledger.fold(&device.stored(1, 0));
    ledger.fold(&device.loss(2, 0, 1, LossReason::FORMATTED, 1, 9));
    let boots: Vec<_> = ledger.account(&unit("pc-0001")).unwrap().boots().iter().map(Boot::counts).collect();
    assert_eq!(boots.iter().map(|counts| counts[Fate::Formatted]).sum::<u64>(), 10);
    assert_eq!(boots.iter().map(Counts::total).sum::<u64>(), 12);
}

#[test]
fn a_record_folded_twice_counts_once() {
    let (mut ledger, mut device) = (Ledger::new(Bounds::default()), pc1());
    let record = device.stored(1, 0);
    ledger.fold(&record);
    ledger.fold(&record);
    // A redelivery that was forgotten and stored again, under another number.
    ledger.fold(&device.stored(1, 0));
    assert_eq!(counts(&ledger, Fate::Stored), 1);
}

#[test]
fn a_snapshot_gives_the_same_ledger_and_a_damaged_one_is_refused() {
    let (mut ledger, mut device) = (Ledger::new(bounds()), pc1());
    for (boot, seq) in [(1, 0), (1, 7), (2, 0), (3, 4), (3, 5)] {
        ledger.fold(&device.stored(boot, seq));
    }
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(snapshot::read(&RealDisk, dir.path(), bounds()).unwrap(), None);
    let text = snapshot::render(&ledger);
    snapshot::write(&RealDisk, dir.path(), &text).unwrap();
    assert_eq!(snapshot::read(&RealDisk, dir.path(), bounds()).unwrap(), Some(ledger));
    for at in 0..text.len() {
        let mut damaged = text.clone();
        damaged[at] ^= 0x10;
        std::fs::write(dir.path().join(snapshot::SNAPSHOT_FILE), &damaged).unwrap();
        assert!(snapshot::read(&RealDisk, dir.path(), bounds()).is_err(), "byte {at}");
    }
}

#[test]
fn boots_beyond_the_bound_are_kept_in_sum() {
    let (mut ledger, mut device) = (Ledger::new(bounds()), pc1());
    for boot in 1..=5 {
        ledger.fold(&device.stored(boot, 0));
        ledger.fold(&device.stored(boot, 3));
    }
    let account = ledger.account(&unit("pc-0001")).unwrap();
    assert_eq!((account.boots().len(), account.earlier().0), (2, 3));
    assert_eq!((counts(&ledger, Fate::Stored), counts(&ledger, Fate::Owed)), (10, 10));
    // One of them again: what it has no record of now may have been stored then.
    ledger.fold(&device.stored(1, 9));
    assert_eq!(counts(&ledger, Fate::Unaccounted), 9);
}

#[test]
fn the_device_heard_of_longest_ago_gives_way_and_is_not_called_a_debtor_when_it_comes_back() {
    let mut ledger = Ledger::new(bounds());
    for (n, name) in ["pc-0001", "pc-0002", "pc-0003", "pc-0004"].into_iter().enumerate() {
        ledger.fold(&Device { name, lsn: n as u64 }.stored(1, 0));
    }
    assert_eq!(ledger.account(&unit("pc-0001")), None);
    ledger.fold(&Device { name: "pc-0001", lsn: 10 }.stored(1, 50));
    assert_eq!((counts(&ledger, Fate::Unaccounted), counts(&ledger, Fate::Owed)), (50, 0));
}

#[test]
fn what_the_spool_lost_before_it_was_read_makes_no_debtors() {
    let mut ledger = Ledger::new(Bounds::default());
    ledger.miss(100, Lsn(100));
    ledger.fold(&Device { name: "pc-0001", lsn: 100 }.stored(7, 41));
    assert_eq!((ledger.missed_count(), counts(&ledger, Fate::Unaccounted)), (100, 41));
    ledger.miss(5, Lsn(60));
    assert_eq!(ledger.missed_count(), 100, "told twice");
}

#[test]
fn a_device_gone_wild_costs_a_bounded_account() {
    let (mut ledger, mut device) = (Ledger::new(bounds()), pc1());
    for seq in 0..10_000 {
        ledger.fold(&device.stored(seq % 5, seq * 2));
        ledger.fold(&device.loss(9, seq, 9, LossReason::EVICTED, seq * 7, 2));
    }
    let account = ledger.account(&unit("pc-0001")).unwrap();
    assert!(account.spans_count() <= 16, "{}", account.spans_count());
    assert_eq!(ledger.spans_total, account.spans_count());
}
