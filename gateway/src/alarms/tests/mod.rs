mod engine;
mod figures;
mod machine;
mod verdicts;

use super::*;
use crate::spool::{Lsn, RealDisk};
use fieldpost_protocol::{Mode, Receipt};

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
        standing: Standing::default(),
    }
}

fn confirmed(seq: u32, receipt: Receipt) -> Confirmed {
    Confirmed { alarm: id(seq), receipt, told_ms: 9_100, at_ms: 9_200 }
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
    book.confirm(&confirmed(1, Receipt::Seen));
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
    book.confirm(&confirmed(1, Receipt::Delivered));
    assert_eq!(book.receipts_owed().collect::<Vec<_>>(), [(id(1), Receipt::Seen)]);
    book.confirm(&confirmed(1, Receipt::Seen));
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
    book.confirm(&confirmed(7, Receipt::Seen));
    assert_eq!(of_it(&book), owed[..1]);
    assert_ne!(book.revision(), revision, "so that a snapshot follows");
}

fn said(seq: u32, operator: &str, action: Action) -> Said {
    Said { alarm: id(seq), operator: operator.to_owned(), at_ms: 10_000, seen_as: None, action }
}

pub(super) fn shelve(minutes: u16) -> Action {
    Action::Shelve { minutes, reason: "radio check".to_owned() }
}

fn close() -> Action {
    Action::Close { outcome: Outcome::False, note: "sat on the button".to_owned() }
}

fn graded(seq: u32, grade: Grade) -> Alarm {
    Alarm { standing: Standing { grade, ..Standing::default() }, ..alarm(seq) }
}

#[test]
fn a_p1_is_never_shelved_and_another_only_with_a_reason_and_for_an_hour_at_most() {
    let refused = |grade, action: Action| action.refused_by(&graded(1, grade));
    assert_eq!(refused(Grade::P1, shelve(5)), Some(Refusal::ShelveP1));
    assert_eq!(refused(Grade::P2, shelve(61)), Some(Refusal::Minutes));
    assert_eq!(refused(Grade::P2, shelve(0)), Some(Refusal::Minutes));
    let nothing = Action::Shelve { minutes: 5, reason: " ".to_owned() };
    assert_eq!(refused(Grade::P2, nothing), Some(Refusal::Text));
    assert_eq!(refused(Grade::P2, shelve(60)), None);
}

#[test]
fn only_an_acknowledged_alarm_is_closed_and_it_leaves_the_queue_with_what_its_wearer_is_owed() {
    let mut book = Book::default();
    book.raise(alarm(1));
    book.act(&said(1, "anna", close()));
    assert!(book.get(&id(1)).is_some(), "nobody has seen it");
    book.acknowledge(&id(1), owner("anna"));
    book.act(&said(1, "anna", close()));
    assert!(book.get(&id(1)).is_none());
    let closed = book.find(&id(1)).unwrap();
    assert_eq!(closed.state(), AlarmState::Closed);
    assert_eq!(book.receipts_owed().collect::<Vec<_>>(), [(id(1), Receipt::Seen)]);
    book.raise(alarm(1));
    assert!(book.get(&id(1)).is_none(), "the same record again does not bring it back");
    book.confirm(&confirmed(1, Receipt::Seen));
    let closed = book.find(&id(1)).unwrap();
    assert_eq!((closed.standing.told_ms, closed.standing.confirmed_ms), (Some(9_100), Some(9_200)));
}

#[test]
fn only_a_person_lowers_and_never_up() {
    let mut book = Book::default();
    book.raise(graded(1, Grade::P2));
    let lower = |grade| Action::Lower { grade, reason: "seen on camera".to_owned() };
    assert_eq!(lower(Grade::P1).refused_by(book.get(&id(1)).unwrap()), Some(Refusal::NotLower));
    book.act(&said(1, "anna", lower(Grade::P3)));
    let alarm = book.get(&id(1)).unwrap();
    assert_eq!(alarm.standing.grade, Grade::P3);
    let line = alarm.standing.story.lines().last().unwrap();
    assert_eq!((line.what, line.who.as_deref()), (EventKind::Lowered, Some("anna")));
}

#[test]
fn of_two_who_shelve_one_alarm_at_once_the_first_did() {
    let mut book = Book::default();
    book.raise(graded(1, Grade::P2));
    let (anna, ben) = (said(1, "anna", shelve(10)), said(1, "ben", shelve(20)));
    book.act(&anna);
    book.act(&ben);
    let alarm = book.get(&id(1)).unwrap();
    assert_eq!(alarm.state(), AlarmState::Shelved);
    assert_eq!((anna.is_taken_in(alarm), ben.is_taken_in(alarm)), (true, false));
}

#[test]
fn a_story_is_bounded_and_keeps_its_beginning() {
    let mut book = Book::default();
    book.raise(alarm(1));
    for number in 0..2 * EVENTS_MAX {
        book.act(&said(1, "anna", Action::Note { text: number.to_string() }));
    }
    let lines = book.get(&id(1)).unwrap().standing.story.lines();
    assert_eq!((lines.len(), lines[0].what), (EVENTS_MAX, EventKind::Raised));
}

#[test]
fn a_snapshot_of_an_older_version_is_read_and_one_of_this_version_reads_as_one_of_an_older() {
    let dir = tempfile::tempdir().unwrap();
    let old = concat!(
        r#"{"version":1,"lsn":9,"alarms":[{"id":"sim/pc-0001/3/1","unit":"sim/pc-0001","callsign":"PC 0001","#,
        r#""cause":"button","mode":"test","raised_at_ms":1001,"received_at_ms":2001,"#,
        r#""position":{"lon":-1.234567,"lat":51.234567},"state":"unacknowledged","cancelled_at_ms":null,"#,
        r#""acknowledged_by":null,"acknowledged_at_ms":null,"receipt":"none","delivered":"none"}]}"#
    );
    let text = format!("{old}\n{:08x}\n", crc32c::crc32c(old.as_bytes()));
    snapshot::write(&RealDisk, dir.path(), text.as_bytes()).unwrap();
    let mut book = snapshot::read(&RealDisk, dir.path()).unwrap().unwrap();
    assert_eq!(book.get(&id(1)).unwrap().standing.grade, Grade::P1, "as grave as can be");
    book.raise(graded(2, Grade::P2));
    book.act(&said(2, "anna", shelve(10)));
    let text = String::from_utf8(snapshot::render(&book)).unwrap();
    let new: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(new["alarms"][1]["state"], "unacknowledged", "the states that the older version knows");
    assert_eq!(new["version"], 1);
}
