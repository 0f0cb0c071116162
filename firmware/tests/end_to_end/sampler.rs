//! Which fixes are reported.

use fieldpost_firmware::{Profile, sampler::Sampler};
use fieldpost_protocol::{EventCode, FixSource, Position, ReportReason, SensorEvent};

fn at(latitude_udeg: i32, speed_cmps: u16) -> Position {
    Position {
        latitude_udeg,
        longitude_udeg: -1_500_000,
        speed_cmps: Some(speed_cmps),
        course_turn256: None,
        accuracy_m: 0,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    }
}

fn event(code: EventCode, value: i32) -> SensorEvent {
    SensorEvent { code, index: 0, value }
}

/// One fix per second, standing still; the seconds that were reported.
fn reported(sampler: &mut Sampler, seconds: core::ops::Range<u64>, speed_cmps: u16) -> Vec<u64> {
    seconds.filter(|second| sampler.on_fix(second * 1000, &at(53_000_000, speed_cmps)).is_some()).collect()
}

#[test]
fn on_foot_every_thirty_seconds_or_fifty_metres() {
    let mut sampler = Sampler::new(Profile::BodyWorn);
    assert_eq!(reported(&mut sampler, 0..91, 0), [0, 30, 60, 90]);
    // 449 micro-degrees of latitude are 49.9 m, 450 are 50.04 m.
    assert_eq!(sampler.on_fix(91_000, &at(53_000_449, 0)), None);
    assert_eq!(sampler.on_fix(92_000, &at(53_000_450, 0)), Some(ReportReason::DISTANCE));
}

#[test]
fn a_vehicle_every_five_seconds_and_every_two_while_it_moves() {
    let mut sampler = Sampler::new(Profile::Vehicle);
    assert_eq!(reported(&mut sampler, 0..11, 0), [0, 5, 10]);
    assert_eq!(reported(&mut sampler, 11..17, 1000), [12, 14, 16]);
    sampler.on_event(&event(EventCode::BLUE_LIGHTS, 1));
    assert_eq!(reported(&mut sampler, 17..21, 0), [18, 20]);
}

#[test]
fn a_drawn_weapon_or_a_recording_camera_speeds_up() {
    let mut sampler = Sampler::new(Profile::BodyWorn);
    reported(&mut sampler, 0..1, 0);
    sampler.on_event(&event(EventCode::UNHOLSTERED, 0));
    assert_eq!(reported(&mut sampler, 1..12, 0), [5, 10]);
    sampler.on_event(&event(EventCode::HOLSTERED, 0));
    sampler.on_event(&event(EventCode::CAMERA_RECORDING, 0));
    assert_eq!(reported(&mut sampler, 12..21, 0), [15, 20]);
    sampler.on_event(&event(EventCode::CAMERA_OFF, 0));
    assert_eq!(reported(&mut sampler, 21..51, 0), [50]);
}

#[test]
fn an_emergency_is_fast_for_two_minutes_then_every_five_seconds() {
    let mut sampler = Sampler::new(Profile::BodyWorn);
    sampler.begin_emergency(0);
    assert_eq!(reported(&mut sampler, 0..7, 0), [0, 2, 4, 6]);
    assert_eq!(reported(&mut sampler, 118..131, 0), [118, 123, 128]);
    assert_eq!(sampler.on_fix(140_000, &at(53_000_000, 0)), Some(ReportReason::EMERGENCY));
}

#[test]
fn a_commands_interval_never_slows_an_emergency() {
    let mut sampler = Sampler::new(Profile::BodyWorn);
    sampler.set_interval(Some(300_000));
    assert_eq!(reported(&mut sampler, 0..301, 0), [0, 300]);
    sampler.begin_emergency(301_000);
    assert_eq!(reported(&mut sampler, 301..306, 0), [302, 304]);
    sampler.end_emergency();
    sampler.set_interval(Some(1000));
    assert_eq!(reported(&mut sampler, 306..309, 0), [306, 307, 308]);
}

#[test]
fn a_fix_that_comes_a_little_early_still_counts() {
    let mut sampler = Sampler::new(Profile::Vehicle);
    sampler.on_fix(0, &at(0, 0));
    assert_eq!(sampler.on_fix(4800, &at(0, 0)), Some(ReportReason::INTERVAL));
}

#[test]
fn a_request_and_a_regained_fix_say_why() {
    let mut sampler = Sampler::new(Profile::BodyWorn);
    assert_eq!(sampler.on_fix(0, &at(0, 0)), Some(ReportReason::ENTERED_SERVICE));
    sampler.request_report();
    assert_eq!(sampler.on_fix(1000, &at(0, 0)), Some(ReportReason::REQUESTED));
    assert_eq!(sampler.on_fix(2000, &at(0, 0)), None, "a request is answered once");
    assert_eq!(sampler.on_fix(15_000, &at(0, 0)), Some(ReportReason::REGAINED_FIX));
}

#[test]
fn the_date_line_is_not_half_a_world_wide() {
    let mut sampler = Sampler::new(Profile::BodyWorn);
    let east = Position { longitude_udeg: 179_999_990, ..at(0, 0) };
    let west = Position { longitude_udeg: -179_999_990, ..at(0, 0) };
    sampler.on_fix(0, &east);
    assert_eq!(sampler.on_fix(1000, &west), None, "two metres");
}

#[test]
fn a_recording_reports_every_fix() {
    let mut sampler = Sampler::new(Profile::Every);
    assert_eq!(reported(&mut sampler, 0..5, 0), [0, 1, 2, 3, 4]);
}

#[test]
fn a_vehicle_in_an_emergency_every_second_then_every_five() {
    let mut sampler = Sampler::new(Profile::Vehicle);
    sampler.begin_emergency(0);
    assert_eq!(reported(&mut sampler, 0..4, 1000), [0, 1, 2, 3]);
    // Two minutes later its own two seconds while it moves are the faster ones.
    assert_eq!(reported(&mut sampler, 119..127, 1000), [119, 121, 123, 125]);
    assert_eq!(reported(&mut sampler, 127..138, 0), [130, 135]);
}
