use super::*;
use crate::spool::RealDisk;

fn id(seq: u32) -> AlarmId {
    format!("sim/pc-0001/3/{seq}").parse().unwrap()
}

fn alarm(seq: u32) -> Alarm {
    Alarm {
        id: id(seq),
        callsign: "PC 0001".to_owned(),
        cause: Cause::Button,
        mode: Mode::Test,
        raised_at_ms: 1_000 + u64::from(seq),
        received_at_ms: 2_000 + u64::from(seq),
        position_udeg: Some((-1_234_567, 51_234_567)),
        cancelled_at_ms: None,
        owner: None,
        receipt: ReceiptState::None,
        accepted: None,
        delivered: ReceiptState::None,
    }
}

fn owner(operator: &str) -> Owner {
    Owner { operator: operator.to_owned(), at_ms: 9_000 }
}

#[test]
fn an_alarm_is_in_the_queue_until_a_person_acknowledges() {
    let mut book = Book::default();
    book.raise(alarm(1));
    book.cancel(&id(1), 5_000);
    assert_eq!(book.unacknowledged_count(), 1, "a wearer's cancel marks, it does not remove");
    assert_eq!(book.get(&id(1)).unwrap().cancelled_at_ms, Some(5_000));
    book.acknowledge(&id(1), owner("anna"));
    assert_eq!(book.unacknowledged_count(), 0);
    assert_eq!(book.get(&id(1)).unwrap().receipt, ReceiptState::Queued);
}

#[test]
fn the_first_acknowledgement_owns_the_alarm() {
    let mut book = Book::default();
    book.raise(alarm(1));
    book.acknowledge(&id(1), owner("anna"));
    book.acknowledge(&id(1), owner("ben"));
    assert_eq!(book.get(&id(1)).unwrap().owner, Some(owner("anna")));
}

#[test]
fn the_same_alarm_again_does_not_reopen_it() {
    let mut book = Book::default();
    book.raise(alarm(1));
    book.acknowledge(&id(1), owner("anna"));
    book.receipt_confirmed(&(id(1), Receipt::Seen));
    book.raise(alarm(1));
    let kept = book.get(&id(1)).unwrap();
    assert_eq!((kept.owner.clone(), kept.receipt), (Some(owner("anna")), ReceiptState::Delivered));
}

/// [`ALARMS_MAX`] unacknowledged alarms, the first of them `id(7)`; the others are of `sim/v-...`, 64 of each.
fn full() -> Book {
    let mut book = Book::default();
    book.raise(alarm(7));
    for number in 1..ALARMS_MAX {
        book.raise(Alarm { id: of_vehicle(number), ..alarm(0) });
    }
    assert_eq!((book.unacknowledged_count(), book.not_shown_count()), (ALARMS_MAX, 0));
    book
}

fn of_vehicle(number: usize) -> AlarmId {
    format!("sim/v-{:04}/3/{number}", number / UNIT_OPEN_MAX).parse().unwrap()
}

#[test]
fn an_alarm_that_found_no_room_is_shown_as_soon_as_there_is() {
    let mut book = full();
    book.raise(alarm(100_001));
    book.raise(alarm(100_000));
    book.cancel(&id(100_000), 5_000);
    assert!(book.get(&id(100_000)).is_none());
    assert_eq!((book.not_shown_count(), book.unacknowledged_count()), (2, ALARMS_MAX));
    book.take_changed();
    book.acknowledge(&id(7), owner("anna"));
    assert_eq!(book.get(&id(100_000)).unwrap().cancelled_at_ms, Some(5_000), "the one received first");
    assert!(book.take_changed().contains(&id(100_000)), "pages hear of it");
    assert_eq!((book.not_shown_count(), book.unacknowledged_count()), (1, ALARMS_MAX));
    assert!(book.get(&id(7)).is_some(), "its operator sees that it is taken");
    book.acknowledge(&of_vehicle(1), owner("anna"));
    assert!(book.get(&id(100_001)).is_some());
    assert_eq!(book.not_shown_count(), 0);
}

#[test]
fn an_unacknowledged_alarm_takes_the_place_of_the_oldest_acknowledged_one() {
    let mut book = full();
    book.acknowledge(&id(7), Owner { at_ms: 8_000, ..owner("anna") });
    (1..=TAKEN_MIN).for_each(|number| book.acknowledge(&of_vehicle(number), owner("anna")));
    for seq in 0..u32::try_from(TAKEN_MIN).unwrap() {
        book.raise(alarm(100_000 + seq));
    }
    assert!(book.get(&id(7)).is_some());
    let other: AlarmId = "sim/pc-0002/1/1".parse().unwrap();
    book.raise(Alarm { id: other.clone(), ..alarm(0) });
    assert!(book.get(&id(7)).is_none() && book.get(&other).is_some());
    assert!(book.get(&of_vehicle(1)).is_some());
    assert_eq!((book.not_shown_count(), book.unacknowledged_count()), (0, ALARMS_MAX));
}

#[test]
fn alarms_that_wait_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = full();
    book.raise(alarm(100_000));
    snapshot::write(&RealDisk, dir.path(), &snapshot::render(&book)).unwrap();
    let mut book = snapshot::read(&RealDisk, dir.path()).unwrap().unwrap();
    assert_eq!((book.not_shown_count(), book.unacknowledged_count()), (1, ALARMS_MAX));
    book.acknowledge(&of_vehicle(1), owner("anna"));
    assert!(book.get(&id(100_000)).is_some());
}

#[test]
fn an_alarm_acknowledged_in_another_run_is_not_shown_as_open() {
    let mut book = full();
    book.raise(alarm(100_000));
    book.acknowledge(&id(100_000), owner("anna"));
    assert_eq!(book.get(&id(100_000)).unwrap().owner, Some(owner("anna")));
    assert_eq!((book.not_shown_count(), book.unacknowledged_count()), (0, ALARMS_MAX));
}

#[test]
fn a_device_gone_wild_cannot_hide_somebody_elses_alarm() {
    let mut book = Book::default();
    for seq in 0..u32::try_from(ALARMS_MAX).unwrap() {
        book.raise(alarm(seq));
    }
    assert_eq!((book.unacknowledged_count(), book.waiting().count()), (UNIT_OPEN_MAX, UNIT_OPEN_MAX));
    let not_shown = (ALARMS_MAX - UNIT_OPEN_MAX) as u64;
    assert_eq!(book.not_shown_count(), not_shown, "counted, not dropped in silence");
    let other: AlarmId = "sim/pc-0002/1/1".parse().unwrap();
    book.raise(Alarm { id: other.clone(), ..alarm(0) });
    assert!(book.get(&other).is_some());
    book.acknowledge(&id(0), owner("anna"));
    assert!(book.get(&id(64)).is_some(), "its next one takes the room");
    assert_eq!(book.not_shown_count(), not_shown - 1);
}

#[test]
fn a_units_marker_shows_its_newest_unacknowledged_alarm() {
    let mut book = Book::default();
    let unit = id(1).unit;
    assert_eq!(book.of_unit(&unit), None);
    book.raise(alarm(1));
    book.raise(alarm(2));
    assert_eq!(book.of_unit(&unit), Some(&id(2)));
    book.acknowledge(&id(2), owner("anna"));
    assert_eq!(book.of_unit(&unit), Some(&id(1)));
    book.acknowledge(&id(1), owner("anna"));
    assert_eq!(book.of_unit(&unit), Some(&id(2)));
}

#[test]
fn only_the_canonical_form_is_an_alarm_id() {
    assert_eq!(id(17).to_string(), "sim/pc-0001/3/17");
    for bad in [
        "",
        "sim/pc/3",
        "sim/pc/3/17/4",
        "sim/pc/+3/17",
        "sim/pc/03/17",
        "s im/pc/3/17",
        "sim/pc/3/4294967296",
    ] {
        assert!(bad.parse::<AlarmId>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_snapshot_reads_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    assert!(snapshot::read(&RealDisk, dir.path()).unwrap().is_none());
    let mut book = Book::default();
    book.raise(alarm(1));
    book.raise(alarm(2));
    book.cancel(&id(2), 5_000);
    book.acknowledge(&id(2), owner("anna"));
    assert!(book.takes(Lsn(77)));
    snapshot::write(&RealDisk, dir.path(), &snapshot::render(&book)).unwrap();
    let back = snapshot::read(&RealDisk, dir.path()).unwrap().unwrap();
    assert_eq!(back.folded(), Lsn(77));
    assert_eq!(back.iter().cloned().collect::<Vec<_>>(), book.iter().cloned().collect::<Vec<_>>());
}

#[test]
fn any_damaged_byte_of_a_snapshot_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::default();
    book.raise(alarm(1));
    let good = snapshot::render(&book);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x01;
        snapshot::write(&RealDisk, dir.path(), &bad).unwrap();
        assert!(snapshot::read(&RealDisk, dir.path()).is_err(), "byte {at}");
        snapshot::write(&RealDisk, dir.path(), &good[..at]).unwrap();
        assert!(snapshot::read(&RealDisk, dir.path()).is_err(), "cut at {at}");
    }
}

fn acceptance() -> Acceptance {
    Acceptance { by: "cad".to_owned(), at_ms: 3_000 }
}

#[test]
fn a_wearer_is_told_of_the_first_force_system_that_has_the_alarm() {
    let mut book = Book::default();
    book.raise(alarm(1));
    assert_eq!(book.receipts_owed().count(), 0);
    book.accept(&id(1), acceptance());
    book.accept(&id(1), Acceptance { by: "archive".to_owned(), at_ms: 2_000 });
    assert_eq!(book.get(&id(1)).unwrap().accepted, Some(acceptance()));
    assert_eq!(book.receipts_owed().collect::<Vec<_>>(), [(id(1), Receipt::Delivered)]);
    book.acknowledge(&id(1), owner("anna"));
    book.receipt_confirmed(&(id(1), Receipt::Delivered));
    assert_eq!(book.receipts_owed().collect::<Vec<_>>(), [(id(1), Receipt::Seen)]);
    book.receipt_confirmed(&(id(1), Receipt::Seen));
    assert_eq!(book.receipts_owed().count(), 0);
    assert_eq!(book.unacknowledged_count(), 0);
}

#[test]
fn an_alarm_that_leaves_the_queue_leaves_its_receipts_owed_also_after_a_restart() {
    let mut book = full();
    book.accept(&id(7), acceptance());
    book.acknowledge(&id(7), Owner { operator: "anna".to_owned(), at_ms: 1 });
    (1..=TAKEN_MIN).for_each(|number| book.acknowledge(&of_vehicle(number), owner("anna")));
    for seq in 0..=u32::try_from(TAKEN_MIN).unwrap() {
        book.raise(Alarm { id: format!("sim/other-{seq}/1/0").parse().unwrap(), ..alarm(0) });
    }
    assert!(book.get(&id(7)).is_none(), "it was displaced");
    let owed = [(id(7), Receipt::Delivered), (id(7), Receipt::Seen)];
    let of_it = |book: &Book| book.receipts_owed().filter(|(owed, _)| *owed == id(7)).collect::<Vec<_>>();
    assert_eq!(of_it(&book), owed);

    let dir = tempfile::tempdir().unwrap();
    snapshot::write(&RealDisk, dir.path(), &snapshot::render(&book)).unwrap();
    let mut book = snapshot::read(&RealDisk, dir.path()).unwrap().unwrap();
    assert_eq!(of_it(&book), owed);
    let revision = book.revision();
    book.receipt_confirmed(&owed[1]);
    assert_eq!(of_it(&book), owed[..1]);
    assert_ne!(book.revision(), revision, "so that a snapshot follows");
}
