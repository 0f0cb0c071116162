//! What is promised of refused events that a person sends again or drops.

use std::collections::BTreeSet;

use super::super::again::{Asked, RefusedFiles, Wish};
use super::super::event::{Event, Renderer};
use super::super::refusals::{Line, Refusals, Subject};
use super::super::release::{Field, Fields};
use super::*;
use crate::retention::{ERASED_FILE, Holds, Note, Periods, RetentionMetrics, Rules};

/// After everything that a test refuses.
const LATER_MS: u64 = 4_000_000_000_000;

fn asked(wish: Wish, ids: &[&str]) -> Asked {
    let ids: BTreeSet<_> = ids.iter().map(|id| (*id).to_owned()).collect();
    Asked { at_ms: LATER_MS, by: "sgt-jones".into(), why: "the CAD is mended".into(), wish, ids }
}

/// Refuses everything until it is mended.
fn mended_later() -> (MemorySink, Arc<Mutex<bool>>) {
    let is_mended = Arc::new(Mutex::new(false));
    let mended = Arc::clone(&is_mended);
    let sink = MemorySink::new(move |_| {
        if *mended.lock().unwrap() {
            return Ok(());
        }
        Err(SinkError::Refuse { reason: RefuseReason::Content, detail: "HTTP 400".into() })
    });
    (sink, is_mended)
}

impl Running {
    fn files(&self) -> RefusedFiles {
        RefusedFiles::new(self.dir.path().join("refused.ndjson"))
    }

    fn refused(&self) -> Vec<String> {
        self.files().list().unwrap().into_iter().map(|refused| refused.id).collect()
    }

    /// Waits until nothing that was asked for is left: virtual time runs on as long as nothing else can.
    async fn until_done(&self) {
        let done = async {
            while self.files().has_work().unwrap() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_hours(1), done).await.expect("what was asked must be done");
    }
}

#[tokio::test(start_paused = true)]
async fn an_alarm_does_not_wait_for_what_a_person_sends_again_in_vain() {
    let source = MemorySource::positions(&[1..=100]);
    let alarms = Arc::clone(&source.alarms);
    let sink = takes_the_alarm_alone();
    let accepted = Arc::clone(&sink.accepted);
    let running = Running::start(source, sink);
    running.until(100).await;
    running.files().ask(&asked(Wish::Retry, &[])).unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let waited = raise(&alarms, &accepted).await;
    assert!(waited <= Duration::from_secs(1), "not {waited:?}");
    assert!(running.files().has_work().unwrap(), "most of them still wait");
    running.until_done().await;
    assert_eq!(running.refused().len(), 100, "and none is lost");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_read_delays_no_lane_and_is_done_once_it_can() {
    let source = MemorySource::positions(&[1..=3]);
    let alarms = Arc::clone(&source.alarms);
    let sink = takes_the_alarm_alone();
    let accepted = Arc::clone(&sink.accepted);
    let running = Running::start(source, sink);
    running.until(3).await;
    // A directory has the name of a request.
    let request = running.dir.path().join("refused.asked/1");
    std::fs::create_dir_all(&request).unwrap();
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert!(!running.metrics.snapshot()[0].is_failing, "no lane has failed");
    let waited = raise(&alarms, &accepted).await;
    assert!(waited <= Duration::from_secs(1), "not {waited:?}");
    std::fs::remove_dir(&request).unwrap();
    running.files().ask(&asked(Wish::Drop, &[])).unwrap();
    running.until_done().await;
    assert_eq!(running.refused(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_released_any_more_stays_among_the_refusals() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("refused.ndjson");
    keep(&path, Release::everything(), &[1]).await;
    let files = RefusedFiles::new(path.clone());
    files.ask(&asked(Wish::Retry, &[])).unwrap();
    let release = Release { fields: Fields::of(&[Field::Sensor]), ..Release::everything() };
    let sink = MemorySink::new(|_| Ok(()));
    let accepted = Arc::clone(&sink.accepted);
    let running =
        Running::start_in(dir, MemorySource::default(), sink, |settings| settings.release = release);
    running.until_done().await;
    assert_eq!(*accepted.lock().unwrap(), [""; 0]);
    let left = files.list().unwrap();
    assert_eq!((left[0].id.as_str(), left[0].reason.as_str()), ("sim.pc-0001.3.1", "withheld"));
    assert_eq!(left[0].detail, "not released any more: fields");
    assert!(left.len() == 1 && left[0].can_be_sent, "once it is released again");
}

#[tokio::test(start_paused = true)]
async fn a_refused_event_goes_with_its_period_unless_somebody_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("refused.ndjson");
    keep(&path, Release::everything(), &[1, 2]).await;
    let files = RefusedFiles::new(path.clone());
    let left = || files.list().unwrap().len();
    let rules = |positions_ms| {
        let periods = Periods { own_ms: [None, positions_ms, None, None], spool_ms: 0 };
        Rules::new(dir.path(), periods, RetentionMetrics::default())
    };
    let (record, period_ms) = (position_record(2), 60_000);
    let over_ms = record.received_at_ms + period_ms;
    files.let_expired_go(&rules(None), over_ms).unwrap();
    files.let_expired_go(&rules(Some(period_ms)), record.received_at_ms).unwrap();
    assert_eq!(left(), 2, "nothing is promised, or not yet over");

    let holds = Holds::new(dir.path());
    let note = || Note { by: "A. Reed".into(), why: "case 4711".into(), at_ms: 1 };
    let hold = holds.add((&record.force, None), (0, u64::MAX), note()).unwrap();
    files.let_expired_go(&rules(Some(period_ms)), over_ms).unwrap();
    assert_eq!(left(), 2, "held");
    holds.release(hold.id, note()).unwrap();
    let settings = ForwarderSettings {
        refusals: path.clone(),
        wall: Clock::new(move || over_ms),
        ..settings(dir.path())
    };
    let (sink, stop) = (MemorySink::new(|_| Ok(())), CancellationToken::new());
    let handles = ForwardMetrics::default().forwarder(&settings.name);
    let forwarder = Forwarder::with_handles(settings, MemorySource::default(), sink, handles, stop.clone());
    let running = tokio::spawn(forwarder.under(Arc::new(rules(Some(period_ms)))).run());
    let gone = async {
        while left() > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_hours(2), gone).await.expect("its forwarder lets them go");
    stop.cancel();
    running.await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!((text.lines().count(), text.contains("\"record\"")), (2, false), "{text}");
    assert!(text.lines().all(|line| line.contains("its period is over") && !line.contains("position\":")));
    let erased = std::fs::read_to_string(dir.path().join(ERASED_FILE)).unwrap();
    assert!(erased.contains("\"refused/refused.ndjson\"") && erased.contains("\"positions\":2"), "{erased}");
}

fn decisions(journal: &testing::MemoryJournal, what: What) -> Vec<String> {
    let notes = journal.notes.lock().unwrap();
    notes.iter().filter(|note| note.what == what).filter_map(|note| note.reason.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_person_sends_again_reaches_the_sink_under_its_key_and_its_wearer_is_told() {
    let records = [position_record(1), alarm_record(2), position_record(3)];
    let source = MemorySource::of(Vec::new(), &records, 3);
    let confirmed = Arc::clone(&source.confirmed);
    let (sink, is_mended) = mended_later();
    let accepted = Arc::clone(&sink.accepted);
    let journal = testing::MemoryJournal::default();
    let running = Running::start_logging(source, sink, &journal);
    running.until(3).await;
    assert_eq!(running.refused(), keys(1..=3));
    *is_mended.lock().unwrap() = true;
    running.files().ask(&asked(Wish::Retry, &["sim.pc-0001.3.1", "sim.pc-0001.3.2"])).unwrap();
    running.until_done().await;
    assert_eq!(*accepted.lock().unwrap(), keys([1, 2]));
    assert_eq!(*confirmed.lock().unwrap(), ["sim/pc-0001/3/2"]);
    assert_eq!(running.refused(), keys([3]), "nobody asked for this one");
    let said = decisions(&journal, What::RefusedRetried);
    assert_eq!(said, ["2 events that cad refused, by sgt-jones: the CAD is mended"]);
    assert!(journal.keys(What::RecordsDisclosedAgain).ends_with(&keys([1, 2])), "on the log once more");
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_sent_again_too_and_what_is_refused_once_more_is_kept_once_more() {
    let gap = Gap { first: Lsn(1), last: Lsn(40), reason: GapReason::Retention };
    let source = MemorySource::of(vec![gap], &[position_record(41)], 41);
    let mut is_first = true;
    let sink = MemorySink::new(move |events| {
        // Of each once: the gap the first time, the position every time.
        let is_bad = |event: &Event| event.record.is_some() || std::mem::take(&mut is_first);
        if events.iter().filter(|event| event.state == EventState::Owed).any(is_bad) {
            return Err(SinkError::Refuse { reason: RefuseReason::Content, detail: "no".into() });
        }
        Ok(())
    });
    let accepted = Arc::clone(&sink.accepted);
    let running = Running::start(source, sink);
    running.until(41).await;
    running.files().ask(&Asked { at_ms: u64::MAX, ..asked(Wish::Retry, &[]) }).unwrap();
    running.until_done().await;
    assert_eq!(*accepted.lock().unwrap(), ["gateway.force-system.1-40"]);
    assert_eq!(running.refused(), keys([41]));
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_gone_but_that_it_was_dropped_is_not() {
    let (sink, is_mended) = mended_later();
    let accepted = Arc::clone(&sink.accepted);
    let journal = testing::MemoryJournal::default();
    let running = Running::start_logging(MemorySource::positions(&[1..=3]), sink, &journal);
    running.until(3).await;
    *is_mended.lock().unwrap() = true;
    running.files().ask(&asked(Wish::Drop, &["sim.pc-0001.3.2"])).unwrap();
    running.until_done().await;
    assert_eq!(running.refused(), keys([1, 3]));
    let text = std::fs::read_to_string(running.dir.path().join("refused.ndjson")).unwrap();
    let left: serde_json::Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    assert_eq!(left["dropped"], "by sgt-jones: the CAD is mended");
    assert_eq!(
        left["event"],
        serde_json::json!({"id": "sim.pc-0001.3.2", "type": "uk.fieldpost.position.v1"})
    );
    assert!(left["record"].is_null());
    assert_eq!(decisions(&journal, What::RefusedDropped).len(), 1);
    running.files().ask(&asked(Wish::Retry, &[])).unwrap();
    running.until_done().await;
    assert_eq!(*accepted.lock().unwrap(), keys([1, 3]), "what was dropped does not come back");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_dropped_before_the_log_says_who_dropped_it() {
    let (sink, _) = mended_later();
    let journal = testing::MemoryJournal::default();
    let running = Running::start_logging(MemorySource::positions(&[1..=2]), sink, &journal);
    running.until(2).await;
    *journal.failures_left.lock().unwrap() = u32::MAX;
    running.files().ask(&asked(Wish::Drop, &[])).unwrap();
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(running.refused(), keys([1, 2]));
    *journal.failures_left.lock().unwrap() = 0;
    running.until_done().await;
    assert_eq!(running.refused(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_request_repeated_by_a_crash_touches_nothing_that_nobody_has_seen() {
    let (sink, _) = mended_later();
    let running = Running::start(MemorySource::positions(&[1..=2]), sink);
    running.until(2).await;
    running.files().ask(&Asked { at_ms: 1, ..asked(Wish::Drop, &[]) }).unwrap();
    running.until_done().await;
    assert_eq!(running.refused(), keys([1, 2]), "both were refused after it was asked for");
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_to_be_sent_again_is_sent_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("refused.ndjson");
    keep(&path, Release::everything(), &[1, 2]).await;
    let files = RefusedFiles::new(path.clone());
    files.ask(&asked(Wish::Retry, &[])).unwrap();
    let (request, wanted, count) = files.next_asked().unwrap().unwrap();
    assert_eq!(count, 2);
    // The power fails once before the request is gone, and once after.
    let text = std::fs::read(&path).unwrap();
    files.carry_out(&request, &wanted).unwrap();
    std::fs::write(&path, text).unwrap();
    files.ask(&wanted).unwrap();
    let sink = MemorySink::new(|_| Ok(()));
    let accepted = Arc::clone(&sink.accepted);
    let running = Running::start_in(dir, MemorySource::default(), sink, |_| {});
    running.until_done().await;
    assert_eq!(*accepted.lock().unwrap(), keys([1, 2, 1, 2]), "at least once, under the same keys");
    assert!(files.list().unwrap().is_empty());
}

async fn keep(path: &Path, release: Release, lsns: &[u64]) {
    let refusals = Refusals::new(path.to_owned(), release.fields);
    let mut renderer = Renderer::new(ClockBounds::default(), release);
    for lsn in lsns {
        let event = renderer.event(&position_record(*lsn)).unwrap();
        refusals.keep(&event, RefuseReason::Content, "no", 1_000).await.unwrap();
    }
}

#[tokio::test]
async fn it_is_released_what_is_released_now_and_no_more_than_was_then() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("refused.ndjson");
    let released = |fields: &[Field]| Release { fields: Fields::of(fields), ..Release::everything() };
    keep(&path, released(&[Field::Position]), &[7]).await;
    let line = Line::parse(&std::fs::read(&path).unwrap()).unwrap();
    let Some(Subject::Record(kept)) = line.subject() else { panic!("a record") };
    let rendered = |release| Renderer::new(ClockBounds::default(), release).again(&kept);
    let wider = rendered(Release::everything()).unwrap();
    let event: serde_json::Value = serde_json::from_slice(&wider.json).unwrap();
    assert_eq!(event["id"], "sim.pc-0001.3.7");
    assert_eq!(event["data"]["latitude_deg"], 51.5074);
    assert!(event["data"]["speed_mps"].is_null(), "it was not released then");
    assert_eq!(wider.fields, Fields::of(&[Field::Position]));
    assert!(rendered(released(&[Field::Sensor])).is_err(), "it is not released now");
}

#[tokio::test]
async fn a_torn_line_and_one_of_an_older_version_stop_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("refused.ndjson");
    let old = r#"{"refused_at":"2026-09-21T14:13:20.005Z","reason":"content","detail":"no","lsn":3,"event":{"id":"a","type":"uk.fieldpost.position.v1","data":{"latitude_deg":1.5}}}"#;
    std::fs::write(&path, format!("{old}\n")).unwrap();
    keep(&path, Release::everything(), &[1]).await;
    let mut text = std::fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"refused_at\":\"2026");
    std::fs::write(&path, text).unwrap();
    let files = RefusedFiles::new(path);
    let listed: Vec<_> = files.list().unwrap().into_iter().map(|one| (one.id, one.can_be_sent)).collect();
    assert_eq!(listed, [("a".to_owned(), false), ("sim.pc-0001.3.1".to_owned(), true)]);
    files.ask(&asked(Wish::Retry, &[])).unwrap();
    let (request, wanted, count) = files.next_asked().unwrap().unwrap();
    files.carry_out(&request, &wanted).unwrap();
    assert_eq!((count, files.list().unwrap().len()), (1, 1), "the old one stays to be dropped");
    assert_eq!(files.chunk(0).unwrap().unwrap().lines.len(), 1);
}
