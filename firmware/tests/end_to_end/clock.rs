//! What the clock believes.

use fieldpost_firmware::{Clock, ClockPolicy, Judgement};
use fieldpost_protocol::ClockQuality;
use proptest::prelude::{any, prop, proptest};

/// 2026-06-01 12:00.
const NOON_MS: u64 = 1_780_315_200_000;
const YEAR_MS: u64 = 31_556_952_000;

fn set_clock() -> Clock {
    let mut clock = Clock::new(ClockPolicy::DEVICE);
    assert_eq!(clock.offer_gnss(1000, NOON_MS), Judgement::Taken);
    clock
}

#[test]
fn an_unset_clock_says_time_since_start() {
    let stamp = Clock::new(ClockPolicy::DEVICE).stamp(1234);
    assert_eq!((stamp.time_ms, stamp.quality), (1234, ClockQuality::Unset));
}

#[test]
fn one_insane_time_never_moves_the_clock() {
    for insane in [NOON_MS - 20 * YEAR_MS, NOON_MS - 1024 * 604_800_000, NOON_MS + 3 * YEAR_MS, 0, u64::MAX] {
        let mut clock = set_clock();
        assert_ne!(clock.offer_gnss(2000, insane), Judgement::Taken, "{insane}");
        assert_eq!(clock.stamp(2000).time_ms, NOON_MS + 1000);
    }
}

#[test]
fn a_rolled_over_week_is_refused_however_often_it_is_said() {
    let mut clock = Clock::new(ClockPolicy::DEVICE);
    for second in 0..1000u64 {
        let judgement = clock.offer_gnss(second * 1000, NOON_MS - 1024 * 604_800_000 + second * 1000);
        assert_eq!(judgement, Judgement::Refused);
    }
    assert_eq!(clock.refusals(), 1000);
}

#[test]
fn a_step_is_taken_once_it_agreed_with_itself() {
    let mut clock = set_clock();
    for (count, second) in (2..6u64).enumerate() {
        let judgement = clock.offer_gnss(second * 1000, NOON_MS + 60_000 + second * 1000);
        assert_eq!(judgement, Judgement::Suspect, "{count}");
    }
    assert_eq!(clock.offer_gnss(6000, NOON_MS + 66_000), Judgement::Taken);
    assert_eq!((clock.stamp(6000).time_ms, clock.steps()), (NOON_MS + 66_000, 1));
}

#[test]
fn a_first_insane_time_is_corrected_by_the_sane_ones_after_it() {
    let mut clock = Clock::new(ClockPolicy::DEVICE);
    assert_eq!(clock.offer_gnss(0, NOON_MS + 10 * YEAR_MS), Judgement::Taken, "nothing speaks against it");
    for second in 1..6u64 {
        clock.offer_gnss(second * 1000, NOON_MS + second * 1000);
    }
    assert_eq!(clock.stamp(5000).time_ms, NOON_MS + 5000);
}

#[test]
fn a_repeated_time_confirms_nothing() {
    let mut clock = set_clock();
    for second in 2..60u64 {
        assert_eq!(clock.offer_gnss(second * 1000, NOON_MS + YEAR_MS), Judgement::Suspect);
    }
}

#[test]
fn the_gateways_time_serves_while_no_satellite_time_is_fresh() {
    let mut clock = Clock::new(ClockPolicy::DEVICE);
    assert_eq!(clock.offer_network(0, NOON_MS), Judgement::Taken);
    assert_eq!(clock.stamp(0).quality, ClockQuality::Network);
    assert_eq!(clock.offer_gnss(1000, NOON_MS + 1500), Judgement::Taken);
    assert_eq!(clock.offer_network(2000, NOON_MS), Judgement::NotNeeded);
    let hours_2 = 7_200_000;
    assert_eq!(clock.stamp(hours_2).quality, ClockQuality::Holdover);
    assert_eq!(clock.offer_network(hours_2, NOON_MS + hours_2), Judgement::Taken);
    assert_eq!(clock.stamp(hours_2).quality, ClockQuality::Network);
}

#[test]
fn a_recording_is_followed_wherever_it_jumps() {
    let mut clock = Clock::new(ClockPolicy::REPLAY);
    for unix_ms in [1_260_372_305_000, 1_260_369_186_500, NOON_MS] {
        assert_eq!(clock.offer_gnss(0, unix_ms), Judgement::Taken);
        assert_eq!(clock.stamp(0).time_ms, unix_ms);
    }
}

proptest! {
    #[test]
    fn scattered_nonsense_never_moves_a_set_clock(times in prop::collection::vec(any::<u64>(), 0..40)) {
        let mut clock = set_clock();
        for (count, unix_ms) in times.into_iter().enumerate() {
            let now_ms = 2000 + count as u64 * 1000;
            clock.offer_gnss(now_ms, unix_ms);
            assert!(clock.stamp(now_ms).time_ms.abs_diff(NOON_MS - 1000 + now_ms) <= 2000);
        }
    }
}

#[test]
fn a_clock_that_ran_free_for_days_needs_no_confirmation() {
    let mut clock = set_clock();
    let days_3 = 259_200_000;
    assert_eq!(clock.offer_gnss(1000 + days_3, NOON_MS + days_3 + 20_000), Judgement::Taken);
}
