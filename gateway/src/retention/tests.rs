//! Claims of the file of holds. What the rules do to records is held by `spool/tests/keep.rs`.

use std::os::unix::fs::PermissionsExt as _;

use fieldpost_protocol::{DeviceId, ForceId};

use super::{ERASED_FILE, HOLDS_FILE, Holds, HoldsError, Note, for_history};

fn note(why: &str) -> Note {
    Note { by: "A. Reed".to_owned(), why: why.to_owned(), at_ms: 1 }
}

fn force() -> ForceId {
    ForceId::try_new("sim").unwrap()
}

#[test]
fn a_released_hold_stays_in_the_file_and_its_number_is_never_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let holds = Holds::new(dir.path());
    let device = DeviceId::try_new("pc-1").unwrap();
    assert_eq!(holds.add((&force(), Some(&device)), (5, 9), note("case 1")).unwrap().id, 1);
    holds.release(1, note("closed")).unwrap();
    assert!(matches!(holds.release(1, note("again")), Err(HoldsError::Refused(_))));
    assert_eq!(holds.add((&force(), None), (5, 9), note("case 2")).unwrap().id, 2);
    let all = Holds::new(dir.path()).all().unwrap();
    assert_eq!(all[0].released, Some(note("closed")));
    assert!(!all[0].is_active() && all[1].is_active());
    let mode = std::fs::metadata(dir.path().join(HOLDS_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_hold_without_a_reason_or_with_a_time_that_ends_before_it_begins_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let holds = Holds::new(dir.path());
    for (span, why) in [((5, 9), " "), ((5, 9), "two\nlines"), ((9, 9), "case 1")] {
        let added = holds.add((&force(), None), span, note(why));
        assert!(matches!(added, Err(HoldsError::Refused(_))), "{why:?}: {added:?}");
    }
}

#[test]
fn a_file_that_is_missing_after_an_erasure_is_damage_and_the_history_then_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let holds = Holds::new(dir.path());
    let of_history = for_history(dir.path(), vec![force()]);
    holds.make().unwrap();
    assert!(of_history().is_empty());
    std::fs::write(dir.path().join(ERASED_FILE), "{}\n").unwrap();
    std::fs::remove_file(dir.path().join(HOLDS_FILE)).unwrap();
    assert!(matches!(holds.all(), Err(HoldsError::Damaged { .. })));
    assert!(matches!(holds.make(), Err(HoldsError::Damaged { .. })));
    let held = of_history();
    assert!(held.len() == 1 && held[0].unit.is_none() && held[0].until_ms == u64::MAX);
}

#[test]
fn nobody_places_a_hold_while_a_look_lasts_and_no_look_begins_while_one_is_placed() {
    let dir = tempfile::tempdir().unwrap();
    let holds = Holds::new(dir.path());
    let look = holds.pin().unwrap();
    assert!(holds.pin().is_ok(), "looks do not exclude each other");
    let placing = std::thread::spawn({
        let holds = holds.clone();
        move || holds.add((&force(), None), (5, 9), note("case 1")).unwrap()
    });
    assert_eq!(holds.all().unwrap(), []);
    drop(look);
    let hold = placing.join().unwrap();
    assert_eq!(holds.all().unwrap(), [hold]);
}
