//! The duty gate: off duty or on a break no coordinate leaves.

use fieldpost_firmware::{ClockPolicy, GatePolicy, Profile, Settings};
use fieldpost_protocol::{Class, Duty, EventCode, Mode};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use crate::bench::{Bench, Published, every_fix};

fn off_duty() -> Settings {
    Settings { duty: Duty::OFF_DUTY, ..every_fix() }
}

fn coordinates(published: &[Published]) -> usize {
    published.iter().flat_map(Published::records).filter(|record| record.2.is_some()).count()
}

#[test]
fn a_device_that_was_told_nothing_is_off_duty() {
    for settings in [Settings::body_worn(Mode::Test), Settings::vehicle(Mode::Test)] {
        let mut bench = Bench::new(settings);
        let mut published = bench.connect(false);
        bench.walk(600);
        published.extend(bench.drain());
        assert_eq!(coordinates(&published), 0);
    }
}

#[test]
fn an_alarm_off_duty_goes_out_without_its_position() {
    for duty in [Duty::OFF_DUTY, Duty::REFRESHMENTS] {
        let mut bench = Bench::new(every_fix());
        bench.connect(false);
        bench.walk(10);
        bench.drain();
        bench.device.on_duty(bench.now_ms, duty);
        bench.device.on_button(bench.now_ms, false);
        let published = bench.drain();
        assert!(published.iter().any(|frame| frame.class() == Class::ALARM));
        assert_eq!(coordinates(&published), 0);
    }
}

#[test]
fn an_alarm_raised_on_duty_loses_its_position_if_duty_ends_before_it_is_sent() {
    let mut bench = Bench::new(every_fix());
    bench.walk(10);
    bench.device.on_button(bench.now_ms, false);
    bench.device.on_duty(bench.now_ms, Duty::OFF_DUTY);
    let first = bench.connect(false);
    let published = bench.settle(first);
    assert!(published.iter().any(|frame| frame.class() == Class::ALARM));
    assert_eq!(coordinates(&published), 0);
}

#[test]
fn what_was_recorded_on_duty_waits_until_duty_begins_again() {
    let mut bench = Bench::new(every_fix());
    bench.walk(40);
    bench.device.on_duty(bench.now_ms, Duty::OFF_DUTY);
    let first = bench.connect(false);
    let published = bench.settle(first);
    assert_eq!(coordinates(&published), 0);
    assert_eq!(bench.device.ledger().owed, 40, "owed, not lost");
    bench.device.on_duty(bench.now_ms, Duty::AVAILABLE);
    let published = bench.settle(Vec::new());
    assert_eq!(coordinates(&published), 40);
    assert!(
        published
            .iter()
            .filter(|frame| coordinates(&[(*frame).clone()]) > 0)
            .all(|frame| { frame.lane == fieldpost_protocol::Lane::Backlog }),
        "hours-old positions are history, not live"
    );
}

#[test]
fn only_the_forces_policy_lets_an_emergency_open_the_gate() {
    let settings = Settings { gate: GatePolicy::EmergencyOpens, ..off_duty() };
    let mut bench = Bench::new(settings);
    bench.connect(false);
    bench.walk(5);
    assert_eq!(coordinates(&bench.drain()), 0);
    bench.device.on_button(bench.now_ms, false);
    bench.walk(5);
    let first = bench.drain();
    assert!(coordinates(&bench.settle(first)) > 0);
    bench.device.on_cancel(bench.now_ms);
    bench.walk(5);
    let after = bench.drain();
    assert_eq!(coordinates(&bench.settle(after)), 0, "closed again");
}

#[test]
fn a_position_from_off_duty_is_not_remembered_for_later() {
    let mut bench = Bench::new(off_duty());
    bench.connect(false);
    bench.walk(10);
    bench.device.on_duty(bench.now_ms, Duty::ON_DUTY);
    bench.device.on_button(bench.now_ms, false);
    let published = bench.drain();
    assert!(published.iter().any(|frame| frame.class() == Class::ALARM));
    assert_eq!(coordinates(&published), 0, "no fix since duty began");
}

#[test]
fn a_break_makes_the_device_forget_where_it_was() {
    let mut bench = Bench::new(every_fix());
    let first = bench.connect(false);
    bench.settle(first);
    bench.walk(10);
    let first = bench.drain();
    bench.settle(first);
    bench.device.on_duty(bench.now_ms, Duty::REFRESHMENTS);
    bench.device.on_duty(bench.now_ms, Duty::AVAILABLE);
    bench.device.on_button(bench.now_ms, false);
    let published = bench.drain();
    assert!(published.iter().any(|frame| frame.class() == Class::ALARM));
    assert_eq!(coordinates(&published), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Walk(u8),
    Duty(Duty),
    Button,
    Cancel,
    Event,
    Connect,
    Answer,
    Disconnect,
    ReportNow(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let duty = prop_oneof![
        Just(Duty::OFF_DUTY),
        Just(Duty::REFRESHMENTS),
        Just(Duty::AVAILABLE),
        Just(Duty::EMERGENCY)
    ];
    let step = prop_oneof![
        4 => (1u8..50).prop_map(Step::Walk),
        3 => duty.prop_map(Step::Duty),
        1 => Just(Step::Button),
        1 => Just(Step::Cancel),
        1 => Just(Step::Event),
        2 => Just(Step::Connect),
        3 => Just(Step::Answer),
        1 => Just(Step::Disconnect),
        1 => any::<u32>().prop_map(Step::ReportNow),
    ];
    prop::collection::vec(step, 1..50)
}

proptest! {
    #[test]
    fn no_frame_holds_a_coordinate_while_the_gate_is_closed(steps in steps()) {
        let settings = Settings { profile: Profile::Vehicle, clock: ClockPolicy::DEVICE, ..off_duty() };
        let mut bench = Bench::new(settings);
        let mut online = false;
        let mut unanswered = Vec::new();
        for step in steps {
            match step {
                Step::Walk(seconds) => bench.walk(u32::from(seconds)),
                Step::Duty(duty) => bench.device.on_duty(bench.now_ms, duty),
                Step::Button => bench.device.on_button(bench.now_ms, true),
                Step::Cancel => bench.device.on_cancel(bench.now_ms),
                Step::Event => bench.event(EventCode::UNHOLSTERED),
                Step::Connect if !online => {
                    online = true;
                    let gated = !bench.device.duty().permits_position();
                    let published = bench.connect(true);
                    assert!(!gated || coordinates(&published) == 0);
                    unanswered.extend(published);
                }
                Step::Connect => {}
                Step::Answer => {
                    for frame in unanswered.drain(..) {
                        bench.acknowledge(&frame);
                    }
                }
                Step::Disconnect => {
                    online = false;
                    unanswered.clear();
                    bench.disconnect();
                }
                Step::ReportNow(id) => crate::downlink::command(
                    &mut bench, id, 60_000, fieldpost_protocol::Action::ReportNow,
                ),
            }
            let gated = !bench.device.duty().permits_position();
            let published = bench.drain();
            assert!(!gated || coordinates(&published) == 0, "{:?}", bench.device.duty());
            unanswered.extend(published);
            if !bench.others.is_empty() {
                online = online && !bench.others.iter().any(|output| matches!(output, fieldpost_firmware::Output::HangUp(_)));
            }
        }
    }
}
