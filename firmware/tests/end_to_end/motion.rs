//! What acceleration means, from samples to alarms.

use fieldpost_firmware::{
    Inputs, Motion, Notice, Posture, Sample, Settings,
    sensor::motion::{Impact, Severity},
};
use fieldpost_protocol::{AlarmCause, Body, Class, Duty, Envelope, EventCode, Mode, Power};
use proptest::prelude::{Strategy, any, prop, proptest};

use crate::bench::{Bench, Published, Ram, events};

const PERIOD_MS: u16 = 20;

fn on_duty(settings: Settings) -> Bench<Ram> {
    let mut bench = Bench::new(Settings { duty: Duty::ON_DUTY, ..settings });
    let first = bench.connect(false);
    bench.settle(first);
    bench.notices.clear();
    bench
}

fn worn() -> Bench<Ram> {
    on_duty(Settings::body_worn(Mode::Test))
}

fn driven() -> Bench<Ram> {
    on_duty(Settings::vehicle(Mode::Test))
}

fn sample(x_mg: i16, y_mg: i16, z_mg: i16) -> Sample {
    Sample { x_mg, y_mg, z_mg }
}

const UPRIGHT: Sample = Sample { x_mg: 0, y_mg: 1000, z_mg: 0 };
const LYING: Sample = Sample { x_mg: 0, y_mg: 60, z_mg: 995 };
const WHEELS: Sample = Sample { x_mg: 0, y_mg: 0, z_mg: 1000 };

impl Bench<Ram> {
    /// Samples of 50 a second, a quarter of a second at a time, and what was published meanwhile.
    fn feel(&mut self, ms: u64, sample: impl Fn(u64) -> Sample) -> Vec<Published> {
        let mut published = Vec::new();
        for n in 0..ms / u64::from(PERIOD_MS) {
            self.now_ms += u64::from(PERIOD_MS);
            self.device.on_acceleration(self.now_ms, PERIOD_MS, &[sample(n)]);
            published.extend(self.drain());
        }
        published
    }
}

fn alarms(published: &[Published]) -> Vec<AlarmCause> {
    published
        .iter()
        .filter_map(|frame| {
            let envelope = Envelope::decode(&frame.frame).unwrap();
            match Body::decode(&envelope.head, envelope.body) {
                Ok(Body::Alarm(alarm)) => Some(alarm.cause),
                _ => None,
            }
        })
        .collect()
}

/// A slow walk: 0.15 g at two steps a second.
fn walking(n: u64) -> Sample {
    let sway = [0, 110, 180, 110, 0, -110, -180, -110][n as usize / 3 % 8];
    sample(sway / 2, 1000 + sway, sway)
}

/// Breathing, and noise of the part.
fn breathing(n: u64) -> Sample {
    let noise = (n * 7919 % 25) as i16 - 12;
    sample(noise, 60 - noise, 995 + noise)
}

#[test]
fn whoever_lies_still_is_down_and_help_comes_after_both_waits() {
    let mut bench = worn();
    assert_eq!(alarms(&bench.feel(10_000, walking)), []);
    // Up to 4 s until the swing of the fall has left the average, 2 s still, 20 s down, 15 s of pre-alarm.
    assert_eq!(alarms(&bench.feel(37_000, breathing)), []);
    assert!(matches!(bench.notices[..], [Notice::PreAlarm { cause: AlarmCause::OFFICER_DOWN, .. }]));
    assert_eq!(alarms(&bench.feel(4_000, breathing)), [AlarmCause::OFFICER_DOWN]);
}

#[test]
fn whoever_moves_or_sits_is_not_down() {
    let crawling = |n: u64| {
        let Sample { x_mg, y_mg, z_mg } = walking(n);
        sample(x_mg, z_mg, y_mg)
    };
    let sitting = |_| sample(0, 700, 714);
    let movements: [&dyn Fn(u64) -> Sample; 3] = [&walking, &crawling, &sitting];
    for movement in movements {
        let mut bench = worn();
        bench.feel(5000, walking);
        assert_eq!(alarms(&bench.feel(120_000, movement)), []);
        assert!(!bench.notices.iter().any(|notice| matches!(notice, Notice::PreAlarm { .. })));
    }
}

#[test]
fn a_knock_does_not_make_somebody_get_up() {
    let mut bench = worn();
    bench.feel(5000, walking);
    let knocked = |n: u64| if n % 250 == 249 { sample(0, 900, 1300) } else { breathing(n) };
    assert_eq!(alarms(&bench.feel(45_000, knocked)), [AlarmCause::OFFICER_DOWN]);
}

#[test]
fn getting_up_ends_the_pre_alarm() {
    let mut bench = worn();
    bench.feel(5000, walking);
    bench.feel(30_000, breathing);
    assert!(matches!(bench.notices[..], [Notice::PreAlarm { .. }]));
    assert_eq!(alarms(&bench.feel(60_000, walking)), []);
    assert!(bench.notices.contains(&Notice::PreAlarmEnded));
}

#[test]
fn crawling_ends_the_pre_alarm_too() {
    let crawling = |n: u64| {
        let Sample { x_mg, y_mg, z_mg } = walking(n);
        sample(x_mg, z_mg, y_mg)
    };
    let mut bench = worn();
    bench.feel(5000, walking);
    bench.feel(30_000, breathing);
    assert_eq!(alarms(&bench.feel(60_000, crawling)), []);
    assert!(bench.notices.contains(&Notice::PreAlarmEnded));
}

#[test]
fn a_device_that_is_knocked_about_while_it_lies_does_not_fall() {
    let mut bench = worn();
    bench.event(EventCode::UNHOLSTERED);
    bench.feel(5000, walking);
    bench.feel(6000, |_| LYING);
    let knocked = |n: u64| if n % 50 < 2 { sample(0, 200, 2600) } else { LYING };
    assert_eq!(alarms(&bench.feel(15_000, knocked)), []);
}

#[test]
fn a_fall_with_a_drawn_weapon_needs_no_stillness() {
    let falling = |n: u64| match n {
        0..2 => sample(300, 2300, 700),
        _ => sample((n % 9) as i16 * 40, 60, 950),
    };
    let mut bench = worn();
    bench.feel(5000, walking);
    assert_eq!(alarms(&bench.feel(20_000, falling)), [], "without a weapon it may be a game of football");
    bench.feel(5000, walking);
    bench.event(EventCode::UNHOLSTERED);
    bench.feel(50_000, walking);
    let published = bench.feel(7_000, falling);
    assert_eq!(alarms(&published), [AlarmCause::WEAPON_AND_FALL]);
    let mut bench = worn();
    bench.event(EventCode::UNHOLSTERED);
    bench.feel(61_000, walking);
    assert_eq!(alarms(&bench.feel(7_000, falling)), [], "drawn more than a minute ago");
}

#[test]
fn a_jump_down_and_lying_prone_to_aim_are_no_falls() {
    let mut bench = worn();
    bench.event(EventCode::UNHOLSTERED);
    bench.feel(2000, walking);
    let jump = |n: u64| if n < 3 { sample(200, 3500, 100) } else { UPRIGHT };
    assert_eq!(alarms(&bench.feel(15_000, jump)), []);
    assert_eq!(alarms(&bench.feel(15_000, |_| LYING)), []);
}

#[test]
fn a_major_impact_waits_ten_seconds_and_a_severe_one_not_at_all() {
    // A half-sine would be nicer; what counts is the peak and the area: 4 g for 100 ms is 14 km/h, 9 g is 32.
    let hit = |peak_mg: i16| move |n: u64| if n < 5 { sample(-peak_mg, 0, 1000) } else { WHEELS };
    let mut bench = driven();
    bench.feel(5000, |_| WHEELS);
    let published = bench.feel(2000, hit(4000));
    assert_eq!(alarms(&published), []);
    let [(EventCode::CRASH, delta_v_cmps)] = events(&published)[..] else { panic!("one event") };
    assert!((380..=400).contains(&delta_v_cmps), "{delta_v_cmps} of 392 cm/s");
    assert!(matches!(bench.notices[..], [Notice::PreAlarm { cause: AlarmCause::CRASH, .. }]));
    assert_eq!(alarms(&bench.feel(9_000, |_| WHEELS)), [AlarmCause::CRASH]);

    let mut bench = driven();
    bench.feel(5000, |_| WHEELS);
    assert_eq!(alarms(&bench.feel(1000, hit(9000))), [AlarmCause::CRASH]);
}

#[test]
fn kerbs_and_hard_braking_are_events_at_most() {
    let mut bench = driven();
    bench.feel(5000, |_| WHEELS);
    // 3 g for one sample: 2 km/h.
    let kerb = |n: u64| if n % 100 == 50 { sample(0, 0, 4000) } else { WHEELS };
    let published = bench.feel(30_000, kerb);
    assert_eq!(alarms(&published), []);
    assert_eq!(events(&published).len(), 1, "said once a minute");
    let brake = |_| sample(-1000, 0, 1000);
    let published = bench.feel(4000, brake);
    assert_eq!((alarms(&published), events(&published)), (vec![], vec![]));
}

#[test]
fn a_vehicle_on_its_side_says_by_how_much() {
    let mut bench = driven();
    bench.feel(5000, |_| WHEELS);
    let published = bench.feel(8000, |_| sample(20, 990, 80));
    let [(EventCode::ROLLOVER, roll_deg)] = events(&published)[..] else { panic!("one event") };
    assert!((60..=90).contains(&roll_deg), "{roll_deg} degrees and rolling");
    assert_eq!(alarms(&bench.feel(10_000, |_| sample(20, 990, 80))), [AlarmCause::CRASH]);
    assert_eq!(alarms(&bench.feel(120_000, |_| sample(20, 990, 80))), [], "once");
}

#[test]
fn two_halves_of_a_blow_with_a_gap_between_them_are_two_kerbs() {
    let half = |n: u64| if n < 2 { sample(-4000, 0, 1000) } else { WHEELS };
    let mut bench = driven();
    bench.feel(5000, |_| WHEELS);
    bench.feel(40, half);
    bench.now_ms += 10_000;
    assert_eq!(alarms(&bench.feel(15_000, half)), [], "1.6 m/s each");
    let whole = |n: u64| if n < 4 { sample(-4000, 0, 1000) } else { WHEELS };
    assert_eq!(alarms(&bench.feel(15_000, whole)), [AlarmCause::CRASH]);
}

#[test]
fn samples_that_stop_say_nothing() {
    let mut bench = worn();
    bench.feel(5000, walking);
    bench.feel(1900, |_| LYING);
    let published = bench.wait(300_000);
    assert_eq!(alarms(&published), []);
    bench.feel(1500, |_| LYING);
    assert_eq!(bench.notices.iter().filter(|notice| matches!(notice, Notice::PreAlarm { .. })).count(), 0);
}

fn any_sample() -> impl Strategy<Value = Sample> {
    (any::<i16>(), any::<i16>(), any::<i16>()).prop_map(|(x, y, z)| sample(x, y, z))
}

/// A second of anything a charger, a drawer or a bag can do to a device: rest in any position, shaken or not.
fn any_second() -> impl Strategy<Value = (Sample, i16)> {
    (any_sample(), 0i16..3000)
}

proptest! {
    /// A wall charger's vibration is the classic false alarm of this trade.
    #[test]
    fn on_a_charger_or_in_the_dock_nobody_is_ever_down(
        seconds in prop::collection::vec(any_second(), 1..60),
        by_dock in any::<bool>(),
    ) {
        let mut bench = worn();
        bench.event(EventCode::UNHOLSTERED);
        if by_dock {
            for _ in 0..10 {
                bench.now_ms += 10;
                bench.device.on_inputs(bench.now_ms, Inputs(Inputs::DOCK | Inputs::DUTY));
            }
        } else {
            bench.device.on_battery(bench.now_ms, 50, Power::CHARGING);
        }
        for (rest, shake) in seconds {
            let published = bench.feel(1000, |n| {
                let shaken = |axis: i16| axis.saturating_add(if n % 2 == 0 { shake } else { -shake });
                sample(shaken(rest.x_mg / 20), shaken(rest.y_mg / 20), shaken(rest.z_mg / 20))
            });
            assert_eq!(alarms(&published), []);
        }
        assert!(!bench.notices.iter().any(|notice| matches!(notice, Notice::PreAlarm { .. })));
    }

    #[test]
    fn no_samples_stop_a_device(
        samples in prop::collection::vec(any_sample(), 0..200),
        period_ms in any::<u16>(),
        up_mg in any::<[i16; 3]>(),
        is_in_vehicle in any::<bool>(),
    ) {
        let mut settings = Settings::body_worn(Mode::Test);
        settings.motion = fieldpost_firmware::MotionSettings { up_mg, is_in_vehicle };
        let mut bench = on_duty(settings);
        for chunk in samples.chunks(32) {
            bench.now_ms += 640;
            bench.device.on_acceleration(bench.now_ms, period_ms, chunk);
            bench.drain();
        }
    }

    /// The size of a blow decides, not where it comes from.
    #[test]
    fn an_impact_is_judged_alike_from_every_side(axis in 0usize..2, negative in any::<bool>(), peak in 1600i16..8000) {
        let mut bench = driven();
        bench.feel(5000, |_| WHEELS);
        let blow = if negative { -peak } else { peak };
        let hit = |n: u64| match (n < 5, axis) {
            (true, 0) => sample(blow, 0, 1000),
            (true, _) => sample(0, blow, 1000),
            _ => WHEELS,
        };
        let published = bench.feel(12_000, hit);
        // 100 ms at this acceleration, in cm/s.
        let delta_v_cmps = u32::from(peak.unsigned_abs()) * 981 / 10_000;
        let is_alarm = peak >= 2500 && delta_v_cmps >= 194;
        assert_eq!(alarms(&published).len(), usize::from(is_alarm), "{peak} mg, {delta_v_cmps} cm/s");
        assert_eq!(events(&published).len(), 1);
    }
}

#[test]
fn a_vehicles_own_crash_sensor_speaks_the_same_language() {
    let mut bench = driven();
    let impact = Impact { severity: Severity::Severe, peak_mg: 12_000, delta_v_cmps: 900 };
    bench.device.on_motion(bench.now_ms, Motion::Impact(impact));
    let published = bench.drain();
    assert_eq!(alarms(&published), [AlarmCause::CRASH]);
    assert_eq!(published.iter().filter(|frame| frame.class() == Class::SENSOR_EVENT).count(), 1);
    bench.device.on_motion(bench.now_ms, Motion::Posture(Posture::Down));
    assert_eq!(
        alarms(&bench.wait(60_000)),
        [AlarmCause::OFFICER_DOWN],
        "a driver's own device may tell the vehicle's"
    );
}
