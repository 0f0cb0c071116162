//! Dialling, giving up, coming back.

use fieldpost_firmware::{HangUp, Input, Output};
use fieldpost_protocol::{Downlink, limits::DOWNLINK_BYTES_MAX};

use crate::bench::{Bench, Ram, every_fix};

fn attempts(bench: &mut Bench<Ram>, count: usize) -> Vec<u64> {
    let mut waits = Vec::new();
    for _ in 0..count {
        bench.disconnect();
        let from_ms = bench.now_ms;
        bench.others.clear();
        bench.drain();
        while bench.others != [Output::Connect] {
            bench.now_ms = bench.device.poll_at().unwrap();
            bench.drain();
        }
        waits.push(bench.now_ms - from_ms);
    }
    waits
}

#[test]
fn the_first_attempt_is_at_once() {
    let mut bench = Bench::new(every_fix());
    bench.drain();
    assert_eq!(bench.others, [Output::Connect]);
    assert_eq!(bench.drain(), [], "and only one");
}

#[test]
fn waits_grow_to_the_cap_and_are_never_longer() {
    let mut longest = [0; 10];
    for seed in 1..40 {
        let mut bench = Bench::new(every_fix());
        bench.random = seed * 7_919;
        bench.drain();
        for (longest, wait) in longest.iter_mut().zip(attempts(&mut bench, 10)) {
            *longest = wait.max(*longest);
        }
    }
    for (attempt, longest) in longest.into_iter().enumerate() {
        let ceiling = (1000u64 << attempt).min(60_000);
        assert!(longest <= ceiling && longest > ceiling / 2, "attempt {attempt}: {longest} of {ceiling}");
    }
}

#[test]
fn only_a_connection_that_held_resets_the_backoff() {
    for (held_ms, resets) in [(59_999, false), (60_000, true)] {
        let mut longest = 0;
        for seed in 1..40 {
            let mut bench = Bench::new(every_fix());
            bench.random = seed * 104_729;
            bench.drain();
            attempts(&mut bench, 8);
            bench.device.handle(bench.now_ms, Input::Connected { session_present: true });
            bench.drain();
            bench.now_ms += held_ms;
            longest = attempts(&mut bench, 1)[0].max(longest);
        }
        assert_eq!(longest <= 1000, resets, "held {held_ms} ms, then waited {longest} ms");
    }
}

#[test]
fn an_attempt_has_a_deadline() {
    let mut bench = Bench::new(every_fix());
    bench.drain();
    bench.wait(19_999);
    assert_eq!(bench.others, [Output::Connect]);
    bench.wait(2);
    assert_eq!(bench.others[1], Output::HangUp(HangUp::ConnectDeadline));
    bench.wait(0);
    bench.device.handle(bench.now_ms, Input::Connected { session_present: false });
    assert_eq!(bench.drain(), [], "too late: nothing is published on a connection that was given up");
}

#[test]
fn a_gateway_that_answers_nothing_is_left_after_five_minutes() {
    let mut bench = Bench::new(every_fix());
    let published = bench.connect(false);
    assert_eq!(published.len(), 1);
    bench.others.clear();
    bench.wait(299_000);
    assert_eq!(bench.others, []);
    bench.wait(2000);
    assert_eq!(bench.others[0], Output::HangUp(HangUp::AnswerDeadline));
    let again = bench.connect(true);
    assert_eq!(again[0].frame, published[0].frame);
}

#[test]
fn a_lost_session_subscribes_again_and_a_proven_one_does_not() {
    let mut bench = Bench::new(every_fix());
    // The first connection ended before its SUBSCRIBE arrived, or was another start's: the session may be deaf.
    for session_present in [true, true, false] {
        bench.connect(session_present);
        assert!(bench.others.contains(&Output::Subscribe));
        bench.disconnect();
    }
    bench.connect(false);
    // The gateway answers a subscription with its time.
    let mut buffer = [0; DOWNLINK_BYTES_MAX];
    let time = Downlink::Time { unix_ms: 1_790_000_000_000 }.encode(&mut buffer).unwrap();
    bench.device.handle(bench.now_ms, Input::Downlink(time));
    bench.disconnect();
    bench.connect(true);
    assert!(!bench.others.contains(&Output::Subscribe));
    bench.disconnect();
    bench.connect(false);
    assert!(bench.others.contains(&Output::Subscribe), "a new session knows nothing");
}
