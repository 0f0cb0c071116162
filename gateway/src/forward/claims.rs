//! What a forwarder promises, under virtual time.

mod lanes;
mod refused;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::event::{EventState, Gap, GapReason};
use super::release::Release;
use super::testing::{self, MemorySink, MemorySource, alarm_record, position_record, taken};
use super::{
    BackoffSettings, ClockBounds, ForwardMetrics, Forwarder, ForwarderSettings, Random, RefuseReason,
    RetryReason, Sink, SinkError,
};
use crate::audit::What;
use crate::spool::{Clock, Lsn};

fn settings(dir: &Path) -> ForwarderSettings {
    ForwarderSettings {
        name: "force-system".into(),
        backoff: BackoffSettings { delay_ms_min: 100, delay_ms_max: 10_000 },
        attempt_ms_max: 5_000,
        stop_ms_max: 1_000,
        clock: ClockBounds::default(),
        release: Release::everything(),
        recipient: testing::recipient(),
        refusals: dir.join("refused.ndjson"),
        wall: Clock::system(),
        random: Random::system(),
    }
}

struct Running {
    cursor: Arc<Mutex<Vec<u64>>>,
    metrics: ForwardMetrics,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    dir: tempfile::TempDir,
}

impl Running {
    fn start<S: Sink + 'static>(source: MemorySource, sink: S) -> Self {
        Self::start_logging(source, sink, &testing::MemoryJournal::default())
    }

    fn start_logging<S: Sink + 'static>(
        source: MemorySource,
        sink: S,
        journal: &testing::MemoryJournal,
    ) -> Self {
        let recipient = journal.recipient();
        Self::start_in(tempfile::tempdir().unwrap(), source, sink, |settings| settings.recipient = recipient)
    }

    /// With what is in the folder already.
    fn start_in<S: Sink + 'static>(
        dir: tempfile::TempDir,
        source: MemorySource,
        sink: S,
        adapt: impl FnOnce(&mut ForwarderSettings),
    ) -> Self {
        let stop = CancellationToken::new();
        let metrics = ForwardMetrics::default();
        let cursor = Arc::clone(&source.cursor);
        let mut settings = settings(dir.path());
        adapt(&mut settings);
        let handles = metrics.forwarder(&settings.name);
        let forwarder = Forwarder::with_handles(settings, source, sink, handles, stop.clone());
        Self { cursor, metrics, stop, task: tokio::spawn(forwarder.run()), dir }
    }

    /// Waits until the cursor has reached `lsn`: virtual time runs on as long as nothing else can.
    async fn until(&self, lsn: u64) {
        let reached = async {
            while self.cursor.lock().unwrap().last() != Some(&lsn) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_hours(1), reached).await.expect("the cursor must get there");
    }

    async fn stop(self) -> (Vec<u64>, ForwardMetrics) {
        self.stop.cancel();
        self.task.await.unwrap();
        let cursor = self.cursor.lock().unwrap().clone();
        (cursor, self.metrics)
    }
}

fn keys(lsns: impl IntoIterator<Item = u64>) -> Vec<String> {
    lsns.into_iter().map(|lsn| format!("sim.pc-0001.3.{lsn}")).collect()
}

#[tokio::test(start_paused = true)]
async fn the_cursor_moves_only_after_the_sink_accepted() {
    let mut failures = 3;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let source = MemorySource::positions(&[1..=3]);
    let (cursor, log) = (Arc::clone(&source.cursor), Arc::clone(&seen));
    let sink = MemorySink::new(move |_| {
        log.lock().unwrap().push(cursor.lock().unwrap().len());
        if failures > 0 {
            failures -= 1;
            return Err(SinkError::retry(RetryReason::Failing, "no"));
        }
        Ok(())
    });
    let accepted = Arc::clone(&sink.accepted);
    let running = Running::start(source, sink);
    running.until(3).await;
    assert_eq!(*seen.lock().unwrap(), [0, 0, 0, 0], "no attempt may see a moved cursor");
    assert_eq!(*accepted.lock().unwrap(), keys(1..=3));
    let (cursor, metrics) = running.stop().await;
    assert_eq!(cursor, [3]);
    assert_eq!(metrics.snapshot()[0].delivered_count, 3);
}

#[tokio::test(start_paused = true)]
async fn a_sink_down_for_a_minute_is_neither_hammered_nor_forgotten() {
    let start = Instant::now();
    let sink = MemorySink::new(move |_| {
        if start.elapsed() < Duration::from_mins(1) {
            return Err(SinkError::retry(RetryReason::Unreachable, "connection refused"));
        }
        Ok(())
    });
    let (accepted, calls_count) = (Arc::clone(&sink.accepted), Arc::clone(&sink.calls_count));
    let running = Running::start(MemorySource::positions(&[1..=100, 101..=200]), sink);
    running.until(200).await;
    assert_eq!(*accepted.lock().unwrap(), keys(1..=200), "everything, once, in order");
    assert!(start.elapsed() <= Duration::from_secs(71), "one longest delay after it came back at the latest");
    let calls_count = *calls_count.lock().unwrap();
    assert!((10..=25).contains(&calls_count), "{calls_count} calls in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_pause_the_sink_asks_for_is_kept() {
    let start = Instant::now();
    let mut calls_ms = Vec::new();
    let sink = MemorySink::new(move |_| {
        calls_ms.push(start.elapsed().as_millis());
        if calls_ms.len() == 1 {
            return Err(SinkError::Retry {
                reason: RetryReason::Overloaded,
                detail: "HTTP 429".into(),
                after_ms: Some(7_000),
            });
        }
        assert!(calls_ms[1] >= 7_000, "{calls_ms:?}");
        Ok(())
    });
    Running::start(MemorySource::positions(&[1..=1]), sink).until(1).await;
}

struct HangingSink {
    hangs_left: usize,
}

impl Sink for HangingSink {
    fn kind(&self) -> &'static str {
        "hanging"
    }

    async fn deliver(&mut self, _events: &mut [super::Event]) -> Result<(), SinkError> {
        if self.hangs_left > 0 {
            self.hangs_left -= 1;
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_hangs_is_given_up_at_the_deadline_and_tried_again() {
    let start = Instant::now();
    let running = Running::start(MemorySource::positions(&[1..=5]), HangingSink { hangs_left: 2 });
    running.until(5).await;
    assert!(start.elapsed() >= Duration::from_secs(10), "two deadlines of 5 s");
    assert!(start.elapsed() <= Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn stopping_cuts_a_hanging_attempt_after_its_grace_and_owes_the_rest() {
    let running = Running::start(MemorySource::positions(&[1..=5]), HangingSink { hangs_left: 1 });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let start = Instant::now();
    let (cursor, _) = running.stop().await;
    assert_eq!(cursor, [0_u64; 0]);
    assert!(start.elapsed() <= Duration::from_millis(1_001), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_before_a_failure_is_not_sent_again() {
    let mut is_first = true;
    let sink = MemorySink::new(move |events| {
        if is_first {
            is_first = false;
            for event in events.iter_mut().take(2) {
                event.state = EventState::Accepted;
            }
            return Err(SinkError::retry(RetryReason::Interrupted, "connection lost"));
        }
        let owed = events.iter().filter(|event| event.state == EventState::Owed).count();
        assert_eq!(owed, 3);
        Ok(())
    });
    let accepted = Arc::clone(&sink.accepted);
    Running::start(MemorySource::positions(&[1..=5]), sink).until(5).await;
    assert_eq!(*accepted.lock().unwrap(), keys(1..=5));
}

#[tokio::test(start_paused = true)]
async fn stopping_in_the_middle_keeps_what_the_sink_took_without_a_hole() {
    let sink = MemorySink::new(move |events| {
        for place in [0, 1, 3] {
            events[place].state = EventState::Accepted;
        }
        Err(SinkError::retry(RetryReason::Interrupted, "connection lost"))
    });
    let running = Running::start(MemorySource::positions(&[1..=5]), sink);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(running.stop().await.0, [2], "4 was taken too, but 3 is still owed");
}

fn refuses(poison: &'static [&'static str]) -> MemorySink {
    MemorySink::new(move |events| {
        let is_poisoned = events
            .iter()
            .any(|event| event.state == EventState::Owed && poison.contains(&event.key.as_str()));
        if is_poisoned {
            return Err(SinkError::Refuse { reason: RefuseReason::Content, detail: "HTTP 400".into() });
        }
        Ok(())
    })
}

#[tokio::test(start_paused = true)]
async fn poison_events_are_isolated_and_kept_and_the_rest_goes_through_in_order() {
    let sink = refuses(&["sim.pc-0001.3.1", "sim.pc-0001.3.77", "sim.pc-0001.3.100"]);
    let (accepted, calls_count) = (Arc::clone(&sink.accepted), Arc::clone(&sink.calls_count));
    let running = Running::start(MemorySource::positions(&[1..=100]), sink);
    running.until(100).await;
    let good = (1..=100).filter(|lsn| ![1, 77, 100].contains(lsn));
    assert_eq!(*accepted.lock().unwrap(), keys(good));
    assert!(*calls_count.lock().unwrap() <= 45, "halving, not one by one");
    let kept = std::fs::read_to_string(running.dir.path().join("refused.ndjson")).unwrap();
    let kept: Vec<serde_json::Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<_> = kept.iter().map(|line| line["event"]["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, keys([1, 77, 100]));
    assert_eq!(kept[0]["reason"], "content");
    assert_eq!(running.stop().await.1.snapshot()[0].refused_count, 3);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_refuses_everything_is_slowed_but_never_blocks_for_ever() {
    let start = Instant::now();
    let sink = MemorySink::new(|_| {
        Err(SinkError::Refuse { reason: RefuseReason::Content, detail: "HTTP 422".into() })
    });
    let running = Running::start(MemorySource::positions(&[1..=20]), sink);
    running.until(20).await;
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_mins(1), "13 delays of 5 s or more, not {elapsed:?}");
    let (_, metrics) = running.stop().await;
    assert_eq!(metrics.snapshot()[0].refused_count, 20);
}

/// Takes alarm 200 and refuses all else.
fn takes_the_alarm_alone() -> MemorySink {
    MemorySink::new(|events| {
        let mut owed = events.iter().filter(|event| event.state == EventState::Owed);
        if owed.any(|event| event.key != "sim.pc-0001.3.200") {
            return Err(SinkError::Refuse { reason: RefuseReason::Content, detail: "HTTP 422".into() });
        }
        Ok(())
    })
}

/// Raises alarm 200 and returns how long it took until the sink had it.
async fn raise(alarms: &Mutex<VecDeque<super::source::Taken>>, accepted: &Mutex<Vec<String>>) -> Duration {
    let start = Instant::now();
    alarms.lock().unwrap().push_back(taken(&[alarm_record(200)], 200));
    let told = async {
        while *accepted.lock().unwrap() != keys([200]) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_hours(1), told).await.expect("the sink takes it");
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn an_alarm_goes_before_the_rest_of_a_batch_that_the_sink_refuses() {
    let source = MemorySource::positions(&[1..=100]);
    let (alarms, cursor) = (Arc::clone(&source.alarms), Arc::clone(&source.cursor));
    let sink = takes_the_alarm_alone();
    let accepted = Arc::clone(&sink.accepted);
    let running = Running::start(source, sink);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(cursor.lock().unwrap().last().is_some_and(|at| *at >= 8), "what is set aside is done");
    let waited = raise(&alarms, &accepted).await;
    assert!(waited <= Duration::from_secs(11), "one longest delay, not {waited:?}");
    running.until(100).await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_goes_before_refused_events_that_cannot_be_kept() {
    let source = MemorySource::positions(&[1..=3]);
    let (alarms, cursor) = (Arc::clone(&source.alarms), Arc::clone(&source.cursor));
    let sink = takes_the_alarm_alone();
    let accepted = Arc::clone(&sink.accepted);
    let running = Running::start(source, sink);
    let path = running.dir.path().join("refused.ndjson");
    std::fs::create_dir(&path).unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let waited = raise(&alarms, &accepted).await;
    assert!(waited <= Duration::from_secs(11), "one longest delay, not {waited:?}");
    assert!(cursor.lock().unwrap().iter().all(|at| *at == 200), "what is not kept is not done");
    std::fs::remove_dir(&path).unwrap();
    running.until(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_delivered_in_its_place_and_counted() {
    let gap = Gap { first: Lsn(1), last: Lsn(40), reason: GapReason::Retention };
    let records = [position_record(41), alarm_record(42)];
    let sink = MemorySink::new(|_| Ok(()));
    let accepted = Arc::clone(&sink.accepted);
    let running = Running::start(MemorySource::of(vec![gap], &records, 42), sink);
    running.until(42).await;
    let expected = ["gateway.force-system.1-40", "sim.pc-0001.3.41", "sim.pc-0001.3.42"];
    assert_eq!(*accepted.lock().unwrap(), expected);
    assert_eq!(running.stop().await.1.snapshot()[0].lost_count, 40);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_no_record_becomes_a_loss_and_blocks_nothing() {
    let mut source = MemorySource::of(Vec::new(), &[position_record(1), position_record(3)], 3);
    source.batches[0].entries.insert(1, (Lsn(2), bytes::Bytes::from_static(&[250; 9])));
    source.batches[0].overtaken.push(false);
    let sink = MemorySink::new(|_| Ok(()));
    let accepted = Arc::clone(&sink.accepted);
    Running::start(source, sink).until(3).await;
    let expected = ["sim.pc-0001.3.1", "gateway.force-system.2-2", "sim.pc-0001.3.3"];
    assert_eq!(*accepted.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_the_sink_has_is_confirmed_before_the_cursor_passes_it_and_a_refused_one_never() {
    let records = [position_record(1), alarm_record(2), alarm_record(3)];
    let source = MemorySource::of(Vec::new(), &records, 3);
    let (confirmed, cursor) = (Arc::clone(&source.confirmed), Arc::clone(&source.cursor));
    let sink = MemorySink::new(|events| {
        let refused = events.iter().any(|event| event.lsn == Lsn(3) && event.state == EventState::Owed);
        if refused {
            Err(SinkError::Refuse { reason: RefuseReason::Content, detail: "no".into() })
        } else {
            Ok(())
        }
    });
    let running = Running::start(source, sink);
    running.until(3).await;
    assert_eq!(*confirmed.lock().unwrap(), ["sim/pc-0001/3/2"]);
    assert_eq!(*cursor.lock().unwrap(), [3]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_without_room_holds_up_nothing() {
    let mut source = MemorySource::of(Vec::new(), &[alarm_record(1)], 1);
    source.is_full = true;
    let (confirmed, cursor) = (Arc::clone(&source.confirmed), Arc::clone(&source.cursor));
    let running = Running::start(source, MemorySink::new(|_| Ok(())));
    running.until(1).await;
    assert!(confirmed.lock().unwrap().is_empty() && *cursor.lock().unwrap() == [1]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_reaches_the_sink_before_it_is_on_the_disclosure_log() {
    let journal = testing::MemoryJournal::default();
    *journal.failures_left.lock().unwrap() = 3;
    let logged = journal.clone();
    let sink = MemorySink::new(move |events| {
        let named = logged.keys(What::RecordsDisclosed);
        assert!(events.iter().all(|event| named.contains(&event.key)), "{named:?}");
        Ok(())
    });
    let accepted = Arc::clone(&sink.accepted);
    let running = Running::start_logging(MemorySource::positions(&[1..=5, 6..=9]), sink, &journal);
    running.until(9).await;
    assert_eq!(*accepted.lock().unwrap(), keys(1..=9));
    assert_eq!(journal.keys(What::RecordsDisclosed), keys(1..=9));
    assert_eq!(running.metrics.snapshot()[0].delivered_count, 9);
}
