//! What machines promise.

use std::collections::BTreeSet;

use fieldpost_protocol::ForceId;

use super::*;
use crate::forward::release::{Field, Fields, Forces, Kinds, Marking};

const DAY_MS: u64 = 24 * 3_600_000;

fn by(at_ms: u64) -> Change {
    Change { by: "cli:0".into(), at_ms }
}

fn positions_of_met() -> Release {
    Release {
        forces: Forces::Only(BTreeSet::from([ForceId::try_new("met").unwrap()])),
        classes: Kinds::of(&[Kind::Position]),
        fields: Fields::of(&[Field::Position]),
        precision_m: 100,
        marking: Marking::OfficialSensitive,
    }
}

fn cad() -> NewMachine {
    NewMachine { name: "cad".into(), release: positions_of_met(), days: 1 }
}

#[test]
fn a_token_lets_its_machine_in_until_its_day_and_is_nowhere_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let machines = Machines::new(dir.path());
    let token = machines.add(cad(), by(1_000)).unwrap();
    let other = Machines::new(dir.path());
    let found = other.of_token(token.reveal(), 1_001).unwrap().unwrap();
    assert_eq!((found.name.as_str(), &found.release), ("cad", &positions_of_met()));
    assert_eq!(other.of_token(token.reveal(), 1_000 + DAY_MS).unwrap(), None, "its day is over");
    for wrong in
        ["", "fieldpost_", &token.reveal()[..token.reveal().len() - 1], &format!("{} ", token.reveal())]
    {
        assert_eq!(other.of_token(wrong, 1_001).unwrap(), None, "{wrong}");
    }
    let text = std::fs::read_to_string(dir.path().join(MACHINES_FILE)).unwrap();
    assert!(!text.contains(token.reveal().trim_start_matches("fieldpost_")), "{text}");
}

#[test]
fn a_new_token_ends_the_old_one_and_a_revoked_machine_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let machines = Machines::new(dir.path());
    let old = machines.add(cad(), by(1)).unwrap();
    let new = machines.renew("cad", 2, by(2)).unwrap();
    assert_eq!(machines.of_token(old.reveal(), 3).unwrap(), None);
    assert!(machines.of_token(new.reveal(), 3).unwrap().is_some());
    machines.revoke("cad", by(4)).unwrap();
    assert_eq!(machines.of_token(new.reveal(), 5).unwrap(), None);
    assert!(matches!(machines.renew("cad", 1, by(6)), Err(MachinesError::Unknown(_))));
    assert!(
        matches!(machines.add(cad(), by(7)), Err(MachinesError::Exists(_))),
        "names are never used twice"
    );
}

#[test]
fn a_release_that_releases_nothing_of_a_class_and_words_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let machines = Machines::new(dir.path());
    let without = Release { fields: Fields::of(&[Field::Movement]), ..positions_of_met() };
    let error = machines.add(NewMachine { release: without, ..cad() }, by(1)).unwrap_err();
    assert_eq!(error.to_string(), "nothing of position could ever go: release one of its fields: position");
    let above = Release { marking: Marking::Official, ..positions_of_met() };
    assert!(machines.add(NewMachine { release: above, ..cad() }, by(1)).is_err());
    assert!(machines.add(NewMachine { name: "a.b".into(), ..cad() }, by(1)).is_err());
    let words = |classes: &str, marking: &str| {
        Release::from_words(&["met".into()], &[classes.into()], &["*".into()], 0, marking)
    };
    assert!(words("*", "official").is_ok());
    let known = "class \"positions\" is not known: position, status, sensor-event, alarm, alarm-cancel, unknown-alarm, loss";
    assert_eq!(words("positions", "official").unwrap_err().to_string(), known);
    assert!(words("*", "secret").is_err() && words("*", "*").is_err());
}

#[test]
fn a_damaged_file_lets_nobody_in_and_is_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let machines = Machines::new(dir.path());
    let token = machines.add(cad(), by(1)).unwrap();
    let path = dir.path().join(MACHINES_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    for harm in [
        ("\"position\"", "\"place\""),
        ("\"version\": 1", "\"version\": 9"),
        ("\"token_sha256\": \"", "\"token_sha256\": \"0"),
    ] {
        let harmed = text.replace(harm.0, harm.1);
        assert_ne!(harmed, text);
        std::fs::write(&path, &harmed).unwrap();
        let machines = Machines::new(dir.path());
        assert!(machines.of_token(token.reveal(), 2).is_err(), "{harm:?}");
        assert!(machines.revoke("cad", by(3)).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), harmed);
    }
}
