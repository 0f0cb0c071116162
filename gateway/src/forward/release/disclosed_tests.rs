//! What the disclosure log promises.

use std::sync::{Arc, Mutex};

use super::super::event::{ClockBounds, Event, EventState, Renderer};
use super::super::testing::{MemoryJournal, position_record};
use super::*;
use crate::audit::disclosed::{Question, disclosed};
use crate::audit::{AccessFiles, Series, What, answer::Span, verify::verify};

fn events(lsns: std::ops::RangeInclusive<u64>) -> Vec<Event> {
    let mut renderer = Renderer::new(ClockBounds::default(), Release::everything());
    lsns.map(|lsn| renderer.event(&position_record(lsn)).unwrap()).collect()
}

fn keys(lsns: std::ops::RangeInclusive<u64>) -> Vec<String> {
    lsns.map(|lsn| format!("sim.pc-0001.3.{lsn}")).collect()
}

#[tokio::test]
async fn every_owed_record_is_named_once_and_a_repetition_is_told_apart() {
    let journal = MemoryJournal::default();
    let recipient = journal.recipient();
    let mut batch = events(1..=20);
    recipient.disclose(1, &batch).await.unwrap();
    // The whole batch again: by the number of its line.
    recipient.disclose(2, &batch).await.unwrap();
    batch[3].state = EventState::Accepted;
    recipient.disclose(3, &batch).await.unwrap();
    recipient.disclose(4, &events(15..=25)).await.unwrap();
    assert_eq!(journal.keys(What::RecordsDisclosed), keys(1..=25));
    let notes = journal.notes.lock().unwrap().clone();
    let again: Vec<_> = notes.iter().filter(|note| note.what == What::RecordsDisclosedAgain).collect();
    let said: Vec<_> = again.iter().map(|note| note.disclosure.clone().unwrap()).collect();
    assert_eq!((said[0].of, said[0].count, said[0].keys.len()), (Some(1), 20, 0));
    assert_eq!((said[1].of, said[1].count), (None, 19));
    assert_eq!(said[1].keys, ["sim.pc-0001.3.1..3", "sim.pc-0001.3.5..20"]);
    assert_eq!(said[2].keys, ["sim.pc-0001.3.15..20"]);
    assert_eq!((said[0].to.as_str(), said[0].marking.as_str()), ("cad", "official-sensitive"));
}

#[tokio::test]
async fn what_cannot_be_logged_may_not_be_sent_and_is_new_the_next_time() {
    let journal = MemoryJournal { failures_left: Arc::new(Mutex::new(1)), ..MemoryJournal::default() };
    let recipient = journal.recipient();
    assert_eq!(recipient.disclose(1, &events(1..=2)).await, Err(NotLogged));
    recipient.disclose(2, &events(1..=2)).await.unwrap();
    assert_eq!(journal.keys(What::RecordsDisclosed), keys(1..=2));
}

#[tokio::test]
async fn after_a_restart_the_log_itself_says_what_was_disclosed() {
    let dir = tempfile::tempdir().unwrap();
    let whom = || Whom { name: "cad".into(), kind: "webhook", address: "https://cad/x".into() };
    let log = dir.path().join("disclosures");
    for (life, range) in [1..=600, 400..=700].into_iter().enumerate() {
        let recent = RecentOf::read(&log).unwrap();
        let failures = prometheus_client::metrics::counter::Counter::default();
        let disclosures =
            Disclosures::start(AccessFiles::of(Series::Disclosures, dir.path()), recent, failures);
        let recipient = disclosures.recipient(whom(), &Release::everything());
        recipient.disclose(life as u64 + 1, &events(range)).await.unwrap();
    }
    let unit = Some("sim/pc-0001".parse().unwrap());
    let span = Span { from_ms: 0, until_ms: 9 };
    let question = Question { to: Some("cad".into()), unit, key: None, span };
    let answer = disclosed(&log, &question).unwrap();
    assert_eq!(answer.verification.broken, None);
    assert_eq!(answer.records["cad"], 700, "by record, not by line");
    let lines: Vec<_> = answer.disclosures.iter().map(|one| (one.is_again, one.what.count)).collect();
    assert_eq!(lines, [(false, 600), (false, 100), (true, 201)]);
    let one = Question { unit: None, key: Some("sim.pc-0001.3.450".into()), ..question.clone() };
    let sent = disclosed(&log, &one).unwrap();
    assert_eq!(
        sent.disclosures.iter().map(|one| (one.at_ms, one.is_again)).collect::<Vec<_>>(),
        [(1, false), (2, true)]
    );
    let other = Question { unit: Some("sim/pc-000".parse().unwrap()), ..question };
    assert!(disclosed(&log, &other).unwrap().disclosures.is_empty(), "a prefix is not the unit");
}

#[tokio::test]
async fn a_batch_of_the_largest_keys_becomes_lines_that_can_be_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let disclosures = Disclosures::inline(AccessFiles::of(Series::Disclosures, dir.path()));
    let whom = Whom { name: "cad".into(), kind: "webhook", address: "x".into() };
    let recipient = disclosures.recipient(whom, &Release::everything());
    let long = "%2E".repeat(64);
    let keys: Vec<_> = (0..10_000).map(|n| format!("{long}.{long}{n}.4294967295.{n}")).collect();
    recipient.disclose_keys(1, &keys.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
    let mut count = 0;
    let verdict = verify(&dir.path().join("disclosures"), &[], &mut |line| {
        count += line.disclosure.as_ref().map_or(0, |said| said.count);
        Ok(())
    });
    assert_eq!((verdict.unwrap().broken, count), (None, 10_000));
}

#[tokio::test]
async fn a_key_that_is_twice_in_a_batch_is_one_disclosure_and_stands_for_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let disclosures = Disclosures::inline(AccessFiles::of(Series::Disclosures, dir.path()));
    let whom = Whom { name: "cad".into(), kind: "webhook", address: "x".into() };
    let recipient = disclosures.recipient(whom, &Release::everything());
    let (one, other) = ("sim.pc-0001.3.1~00ff00ff", "sim.pc-0001.3.2~00ff00ff");
    for (at_ms, keys) in [[one, one, other].as_slice(), &[one, one]].into_iter().enumerate() {
        recipient.disclose_keys(at_ms as u64, keys).await.unwrap();
    }
    let mut lines = Vec::new();
    let verdict = verify(&dir.path().join("disclosures"), &[], &mut |line| {
        lines.extend(line.disclosure.as_ref().map(|said| (said.of, said.count, said.keys.clone())));
        Ok(())
    });
    assert_eq!(verdict.unwrap().broken, None);
    let keys = |keys: &[&str]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        lines,
        [(None, 2, keys(&[one, other])), (None, 1, keys(&[one]))],
        "not the whole first line again"
    );
}
