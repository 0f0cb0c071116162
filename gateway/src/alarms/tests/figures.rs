use fieldpost_protocol::AlarmCause;

use super::engine::Tape;
use super::*;
use crate::alarms::figures::FIGURES_MAX;
use crate::people::Forces;

const SLOT_MS: u64 = 600_000;
const START_MS: u64 = 1_795_000_000_000 - 1_795_000_000_000 % SLOT_MS;

#[test]
fn load_answers_floods_and_precision_are_counted() {
    let mut tape = Tape::default();
    let mut ids = Vec::new();
    for number in 0..12_u64 {
        let at_ms = START_MS + number * 1_000;
        let id = tape.alarm(&format!("pc-{number}"), at_ms, AlarmCause::CED, None);
        tape.acknowledge(&id, at_ms + (number + 1) * 100);
        ids.push(id);
    }
    tape.alarm("pc-99", START_MS + 3 * SLOT_MS, AlarmCause::BUTTON, None);
    tape.act(&ids[0], START_MS + 20_000, Action::Close { outcome: Outcome::Genuine, note: String::new() });
    for id in &ids[1..4] {
        tape.act(id, START_MS + 20_000, close());
    }
    let state = tape.fold();
    let figures =
        serde_json::to_value(state.alarms.performance(&Forces::All, START_MS, START_MS + 10 * SLOT_MS))
            .unwrap();
    assert_eq!(figures["slots"].as_array().unwrap().len(), 2);
    assert_eq!(figures["slots"][0]["by_operator"]["anna"], 12);
    assert_eq!(figures["slots"][1]["unanswered"], 1);
    let answers = &figures["time_to_acknowledge_ms"];
    assert_eq!(
        (&answers["count"], &answers["p50"], &answers["p90"], &answers["max"]),
        (&12.into(), &600.into(), &1_100.into(), &1_200.into())
    );
    assert_eq!(figures["by_grade"]["P2"]["count"], 12);
    assert_eq!(
        figures["floods"],
        serde_json::json!([{"from_ms": START_MS, "until_ms": START_MS + SLOT_MS, "alarms": 12}])
    );
    let rule = figures["rules"].as_array().unwrap().iter().find(|rule| rule["id"] == "R4").unwrap();
    assert_eq!(
        (&rule["raised"], &rule["genuine"], &rule["false"], &rule["precision"]),
        (&12.into(), &1.into(), &3.into(), &0.25.into())
    );
    assert_eq!(figures["verdict"]["level"], "manageable");
    let before = serde_json::to_value(state.alarms.performance(&Forces::All, 0, START_MS)).unwrap();
    assert_eq!(
        (&before["verdict"]["level"], &before["time_to_acknowledge_ms"]["p99"]),
        (&"acceptable".into(), &0.into())
    );
    let met = fieldpost_protocol::ForceId::try_new("met").unwrap();
    let other = Forces::These(std::sync::Arc::new([met].into()));
    let theirs =
        serde_json::to_value(state.alarms.performance(&other, START_MS, START_MS + SLOT_MS)).unwrap();
    assert_eq!(theirs["slots"], serde_json::json!([]), "who sees another force counts none of these");
}

#[test]
fn an_answer_about_a_time_of_which_alarms_are_forgotten_says_so() {
    let mut tape = Tape::default();
    let id = tape.alarm("pc-1", START_MS, AlarmCause::CED, None);
    tape.acknowledge(&id, START_MS + 1_000);
    tape.act(&id, START_MS + 2_000, close());
    let mut state = tape.fold();
    let mut alarm = state.alarms.closed().next().unwrap().clone();
    let is_cut = |book: &Book, from_ms: u64| {
        let figures = book.performance(&Forces::All, from_ms, START_MS + 10 * SLOT_MS);
        serde_json::to_value(figures).unwrap()["is_cut"].as_bool().unwrap()
    };
    for number in 0..FIGURES_MAX as u64 {
        alarm.received_at_ms = START_MS + number;
        state.alarms.figures.keep(&alarm);
    }
    assert!(!is_cut(&state.alarms, 0));
    state.alarms.figures.keep(&alarm);
    let restored = snapshot::parse(&snapshot::render(&state.alarms)).unwrap();
    for book in [&state.alarms, &restored] {
        assert!(is_cut(book, 0) && is_cut(book, START_MS));
        assert!(!is_cut(book, START_MS + 1), "of this time all are there");
    }
}

#[test]
fn a_closed_alarm_is_let_go_of_after_its_period_and_its_figures_stay() {
    let mut tape = Tape::default();
    let ids = [0, 1].map(|number| tape.alarm(&format!("pc-{number}"), START_MS, AlarmCause::CED, None));
    for (id, at_ms) in ids.iter().zip([START_MS + 1_000, START_MS + 5_000]) {
        tape.acknowledge(id, at_ms);
        tape.act(id, at_ms, close());
    }
    let mut book = tape.fold().alarms;
    let revision = book.revision();
    book.forget_closed(START_MS + 1_000);
    assert_eq!((book.closed().count(), book.revision()), (2, revision), "not yet");
    book.forget_closed(START_MS + 1_001);
    assert_eq!(book.closed().map(|alarm| &alarm.id).collect::<Vec<_>>(), [&ids[1]]);
    assert!(book.revision() > revision, "the snapshot is written without it");
    let figures = book.performance(&Forces::All, START_MS, START_MS + SLOT_MS);
    let figures = serde_json::to_value(figures).unwrap();
    assert_eq!(figures["slots"][0]["by_operator"]["anna"], 2);
}

#[test]
fn the_verdict_turns_at_one_alarm_per_operator_in_ten_minutes_and_at_five() {
    for (alarms_count, level, words) in [
        (1, "manageable", "the goal is below one"),
        (2, "manageable", "the goal is below one"),
        (3, "manageable", "more than two"),
        (4, "manageable", "more than two"),
        (5, "excessive", "five or more"),
    ] {
        let mut tape = Tape::default();
        for number in 0..alarms_count {
            let id = tape.alarm(&format!("pc-{number}"), START_MS + number, AlarmCause::CED, None);
            tape.acknowledge(&id, START_MS + 60_000);
        }
        let state = tape.fold();
        let of = |slots: u64| {
            let figures = state.alarms.performance(&Forces::All, START_MS, START_MS + slots * SLOT_MS);
            serde_json::to_value(figures).unwrap()["verdict"].clone()
        };
        let verdict = of(1);
        assert_eq!(verdict["level"], level, "{verdict}");
        assert!(verdict["sentence"].as_str().unwrap().contains(words), "{verdict}");
        // The same alarms over one slot more than there are of them: less than one in ten minutes.
        assert_eq!(of(alarms_count + 1)["level"], "acceptable");
    }
}
