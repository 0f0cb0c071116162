//! Who goes before whom, and how much at once.

use super::*;

#[tokio::test(start_paused = true)]
async fn alarms_go_before_live_and_live_before_history() {
    let mut source = MemorySource::positions(&[1..=3, 4..=6]);
    source.history = [taken(&[position_record(7)], 7), taken(&[position_record(8)], 8)].into();
    source.alarms = Arc::new(Mutex::new([taken(&[alarm_record(10)], 10)].into()));
    let sink = MemorySink::new(|_| Ok(()));
    let accepted = Arc::clone(&sink.accepted);
    Running::start(source, sink).until(8).await;
    assert_eq!(*accepted.lock().unwrap(), keys([10, 1, 2, 3, 4, 5, 6, 7, 8]));
}

#[tokio::test(start_paused = true)]
async fn history_has_its_turn_however_much_is_live() {
    let ranges: Vec<_> = (1..=40_u64).map(|lsn| lsn..=lsn).collect();
    let mut source = MemorySource::positions(&ranges);
    source.history = (100..110).map(|lsn| taken(&[position_record(lsn)], lsn)).collect();
    let sink = MemorySink::new(|_| Ok(()));
    let accepted = Arc::clone(&sink.accepted);
    Running::start(source, sink).until(109).await;
    let accepted = accepted.lock().unwrap();
    let places: Vec<_> = keys(100..110)
        .iter()
        .map(|key| accepted.iter().position(|accepted| accepted == key).unwrap())
        .collect();
    assert_eq!(places, [4, 9, 14, 19, 24, 29, 34, 39, 44, 49], "one of five");
}

#[tokio::test(start_paused = true)]
async fn the_source_hears_how_long_the_sink_took_for_what_was_still_owed() {
    let source = MemorySource::positions(&[1..=3, 4..=5]);
    let heard = Arc::clone(&source.took);
    let mut is_first = true;
    let sink = MemorySink::new(move |events| {
        if std::mem::take(&mut is_first) {
            events[0].state = EventState::Accepted;
            return Err(SinkError::retry(RetryReason::Interrupted, "gone"));
        }
        Ok(())
    });
    Running::start(source, sink).until(5).await;
    let heard: Vec<_> = heard.lock().unwrap().iter().map(|(count, is_full, _)| (*count, *is_full)).collect();
    assert_eq!(heard, [(2, true), (2, false)], "and nothing of the call that failed");
}

#[tokio::test(start_paused = true)]
async fn an_alarm_goes_before_a_batch_that_the_sink_did_not_take() {
    let mut source = MemorySource::positions(&[1..=3]);
    source.history = [taken(&[position_record(7)], 7)].into();
    let alarms = Arc::clone(&source.alarms);
    let start = Instant::now();
    let sink = MemorySink::new(move |_| {
        if start.elapsed() < Duration::from_secs(10) {
            return Err(SinkError::retry(RetryReason::Unreachable, "connection refused"));
        }
        Ok(())
    });
    let accepted = Arc::clone(&sink.accepted);
    let running = Running::start(source, sink);
    tokio::time::sleep(Duration::from_secs(5)).await;
    alarms.lock().unwrap().push_back(taken(&[alarm_record(10)], 10));
    running.until(7).await;
    assert_eq!(*accepted.lock().unwrap(), keys([10, 1, 2, 3, 7]));
}
