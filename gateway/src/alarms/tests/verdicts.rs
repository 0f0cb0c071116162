//! What the rules found is stored once, whatever restart comes between.

use std::collections::{BTreeMap, BTreeSet};

use fieldpost_protocol::{AlarmCause, EventCode};
use proptest::prelude::*;

use super::super::*;
use super::engine::replay::tape;
use super::engine::{START_MS, Tape};
use super::shelve;
use crate::live::fold::fold;
use crate::live::state::State;
use crate::record::{Record, RecordKind};

/// Every verdict of a state, as `alarm what grade`, oldest first.
fn unsaid(state: &State) -> Vec<String> {
    let words = |verdict: &Verdict| {
        let Verdict { alarm, what, grade, .. } = verdict;
        format!("{} {} {}", alarm.seq.0, what.as_str(), grade.as_str())
    };
    let mut verdicts: Vec<&Verdict> = state.alarms.unsaid().collect();
    verdicts.sort_by_key(|verdict| (verdict.at_ms, verdict.n));
    verdicts.into_iter().map(words).collect()
}

/// Stores what is unsaid, as the live half does.
fn say(tape: &mut Tape, state: &mut State) {
    let records: Vec<Record> = state.alarms.unsaid().map(Verdict::record).collect();
    for record in records {
        tape.own(record);
        fold(state, tape.records.last().expect("it was just put there"));
    }
}

#[test]
fn each_grade_that_an_alarm_has_is_a_verdict_and_so_is_what_a_rule_raised_and_its_end() {
    let mut tape = Tape::default();
    tape.at("pc-1", START_MS, 51_500_000);
    tape.alarm("pc-1", START_MS + 1_000, AlarmCause::OFFICER_DOWN, Some(51_500_000));
    tape.event("pc-1", START_MS + 2_000, EventCode::UNHOLSTERED, 0);
    tape.event("pc-1", START_MS + 3_000, EventCode::HOLSTERED, 0);
    let mut state = tape.fold();
    assert_eq!(unsaid(&state), ["1 graded P2", "2 raised P2", "1 graded P1", "2 cleared P2"]);
    let raised = state.alarms.unsaid().find(|verdict| verdict.what == Finding::Raised).unwrap().clone();
    assert_eq!((raised.cause, raised.rule.id.as_str(), raised.is_fact), (Cause::Weapon, "R3", true));
    assert_eq!((raised.mode.as_str(), raised.position_udeg), ("test", Some((-1_000_000, 51_500_000))));
    assert_eq!(raised.because, "No other unit within 200 m");

    say(&mut tape, &mut state);
    assert!(unsaid(&state).is_empty());
    assert!(unsaid(&tape.fold()).is_empty(), "whoever folds it all again knows that it is said");
}

#[test]
fn a_shelving_that_was_taken_is_a_verdict_and_so_is_each_way_back() {
    let mut tape = Tape::default();
    let id = tape.alarm("pc-1", START_MS, AlarmCause::OFFICER_DOWN, None);
    tape.act(&id, START_MS + 1_000, shelve(10));
    tape.act(&id, START_MS + 2_000, shelve(60)); // not taken
    tape.act(&id, START_MS + 3_000, Action::Unshelve);
    tape.act(&id, START_MS + 4_000, shelve(10));
    // What makes it graver was seen before it was shelved, and comes afterwards: it is back when that is known.
    tape.clock(START_MS + 5_000);
    tape.event("pc-1", START_MS + 3_500, EventCode::UNHOLSTERED, 0);
    let state = tape.fold();
    let of_it = unsaid(&state).into_iter().filter(|words| words.starts_with("0 ")).collect::<Vec<_>>();
    let expected = ["graded P2", "shelved P2", "unshelved P2", "graded P1", "shelved P2", "unshelved P1"];
    assert_eq!(of_it, expected.map(|words| format!("0 {words}")));
    let first = state.alarms.unsaid().find(|verdict| verdict.what == Finding::Shelved).unwrap();
    let told = (first.by.as_deref(), first.until_ms, first.because.as_str());
    assert_eq!(told, (Some("anna"), Some(START_MS + 601_000), "radio check"));

    let mut tape = Tape::default();
    let id = tape.alarm("pc-1", START_MS, AlarmCause::OFFICER_DOWN, None);
    tape.act(&id, START_MS + 1_000, shelve(10));
    tape.clock(START_MS + 601_500);
    let state = tape.fold();
    let last = state.alarms.unsaid().max_by_key(|verdict| verdict.n).unwrap();
    assert_eq!((last.what, last.by.as_deref(), last.at_ms), (Finding::ShelfEnded, None, START_MS + 601_500));
}

#[test]
fn what_waits_to_be_said_is_bounded_and_what_found_no_room_is_counted() {
    let (mut book, first) = (Book::default(), super::alarm(1).found_first());
    (0..3 + u32::try_from(UNSAID_MAX).unwrap()).for_each(|n| book.unsaid.add(Verdict { n, ..first.clone() }));
    assert_eq!((book.unsaid().count(), book.take_lost_verdicts()), (UNSAID_MAX, 3));
    assert_eq!(book.take_lost_verdicts(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// A gateway that stores verdicts now and then, and that is killed now and then and comes back with an older snapshot, says each once.
    #[test]
    fn each_verdict_is_said_once_whatever_restart_comes(
        acts in prop::collection::vec(any::<(u8, u8, u16, u8)>(), 1..80),
        turns in prop::collection::vec(0u8..8, 80),
    ) {
        let (mut spool, mut state) = (Tape::default(), Tape::default().fold());
        let mut kept = snapshot::render(&state.alarms);
        for (record, turn) in tape(&acts).records.into_iter().zip(turns) {
            spool.own(record);
            fold(&mut state, spool.records.last().expect("it was just put there"));
            match turn {
                0 => say(&mut spool, &mut state),
                1 => kept = snapshot::render(&state.alarms),
                2 => {
                    // Half of it is stored, and then nobody is there to fold it.
                    let records: Vec<Record> = state.alarms.unsaid().map(Verdict::record).collect();
                    let some = records.len().div_ceil(2);
                    records.into_iter().take(some).for_each(|record| spool.own(record));
                    state = spool.fold_over(snapshot::parse(&kept).unwrap());
                }
                _ => {}
            }
        }
        say(&mut spool, &mut state);
        let stored = spool.records.iter().filter(|record| record.kind == RecordKind::Verdict);
        let stored: Vec<Verdict> = stored.map(|record| serde_json::from_slice(&record.payload).unwrap()).collect();
        let names: BTreeSet<_> = stored.iter().map(|verdict| (verdict.alarm.clone(), verdict.n)).collect();
        prop_assert_eq!(names.len(), stored.len(), "said twice");
        let mut counts: BTreeMap<&AlarmId, u32> = BTreeMap::new();
        stored.iter().for_each(|verdict| *counts.entry(&verdict.alarm).or_default() += 1);
        for alarm in state.alarms.iter().chain(state.alarms.closed()) {
            prop_assert_eq!(counts.get(&alarm.id), Some(&alarm.standing.verdicts_count), "{}", &alarm.id);
        }
    }
}
