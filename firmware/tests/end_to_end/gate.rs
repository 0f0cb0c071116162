//! The duty gate: off duty or on a break no coordinate leaves.

use fieldpost_firmware::{
    ClockPolicy, Fault, GatePolicy, Inputs, Motion, Output, Posture, Profile, Sensor, Settings, Storage,
    sensor::motion::{Impact, Severity},
    storage::{Entry, Partition},
};
use fieldpost_protocol::{
    Action, Class, Duty, Envelope, EventCode, Health, Mode, Power, limits::FRAME_BYTES_MAX,
};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use crate::bench::{Bench, Published, Ram, every_fix, fix};

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
fn a_position_that_cannot_be_read_waits_too() {
    let mut bench = Bench::new(every_fix());
    bench.connect(false);
    bench.walk(1);
    let published = bench.drain();
    let position = published.iter().find(|frame| frame.class() == Class::POSITION).unwrap();
    let envelope = Envelope::decode(&position.frame).unwrap();
    let mut buffer = [0; FRAME_BYTES_MAX];
    let damaged = Envelope { body: &envelope.body[..envelope.body.len() - 1], ..envelope };
    let damaged = damaged.encode(&mut buffer).unwrap();

    let mut storage = Ram::new();
    storage.push(Partition::Routine, &Entry::from_slice(damaged).unwrap()).unwrap();
    let mut bench = Bench::with_storage(off_duty(), storage);
    let mut published = bench.connect(false);
    assert!(!published.is_empty(), "a status");
    published.extend(bench.stay(10_000));
    assert!(published.iter().all(|frame| frame.class() != Class::POSITION));
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
    Command(u32, Action),
    /// Levels of buttons and switches, for so many reads of 10 ms.
    Inputs(u8, u8),
    Motion(Motion),
    /// A fix this far away, with this time.
    WildFix(i32, i32, u64),
    Nmea(Vec<u8>),
    Power(Power),
    Sensor(bool),
    Health,
    /// A power cut: only the storage is left.
    Restart,
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
        2 => (any::<u32>(), commands()).prop_map(|(id, action)| Step::Command(id, action)),
        3 => (any::<u8>(), 1u8..250).prop_map(|(levels, reads)| Step::Inputs(levels, reads)),
        2 => motions().prop_map(Step::Motion),
        1 => (any::<i32>(), any::<i32>(), any::<u64>()).prop_map(|(lat, lon, at)| Step::WildFix(lat, lon, at)),
        1 => nmea().prop_map(Step::Nmea),
        1 => (0u8..4).prop_map(|power| Step::Power(Power(power))),
        1 => any::<bool>().prop_map(Step::Sensor),
        1 => Just(Step::Health),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
}

fn commands() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::ReportNow),
        (0u16..60).prop_map(|seconds| Action::Interval { seconds }),
        (0u16..60).prop_map(|seconds| Action::CheckIn { seconds }),
        (0u8..12).prop_map(|duty| Action::Duty(Duty(duty))),
    ]
}

fn motions() -> impl Strategy<Value = Motion> {
    let severity = prop_oneof![Just(Severity::Minor), Just(Severity::Major), Just(Severity::Severe)];
    prop_oneof![
        Just(Motion::Posture(Posture::Down)),
        Just(Motion::Fall),
        Just(Motion::Rollover { roll_deg: 90 }),
        severity.prop_map(|severity| Motion::Impact(Impact { severity, peak_mg: 3000, delta_v_cmps: 300 })),
    ]
}

/// Good sentences, cut anywhere.
fn nmea() -> impl Strategy<Value = Vec<u8>> {
    let good = b"$GPRMC,120000.00,A,5300.0,N,00130.0,W,2.0,90.0,010626,,,A*73\r\n".repeat(2);
    (0..good.len(), 0..good.len()).prop_map(move |(a, b)| good[a.min(b)..a.max(b)].to_vec())
}

/// A bench that goes through steps, and the frames that have no answer yet.
struct Shift {
    bench: Bench<Ram>,
    settings: Settings,
    online: bool,
    unanswered: Vec<Published>,
}

impl Shift {
    fn new(settings: Settings) -> Self {
        Self { bench: Bench::new(settings), settings, online: false, unanswered: Vec::new() }
    }

    /// Takes a step; returns how many coordinates were published while duty forbade it.
    fn take(mut self, step: Step) -> (Self, usize) {
        let bench = &mut self.bench;
        let now_ms = bench.now_ms;
        let mut published = Vec::new();
        match step {
            Step::Walk(seconds) => bench.walk(u32::from(seconds)),
            Step::Duty(duty) => bench.device.on_duty(now_ms, duty),
            Step::Button => bench.device.on_button(now_ms, true),
            Step::Cancel => bench.device.on_cancel(now_ms),
            Step::Event => bench.event(EventCode::UNHOLSTERED),
            Step::Connect if !self.online => {
                self.online = true;
                published = bench.connect(true);
            }
            Step::Connect => {}
            Step::Answer => {
                for frame in self.unanswered.drain(..) {
                    bench.acknowledge(&frame);
                }
            }
            Step::Disconnect => {
                self.online = false;
                self.unanswered.clear();
                bench.disconnect();
            }
            Step::Command(id, action) => crate::downlink::command(bench, id, 60_000, action),
            Step::Inputs(levels, reads) => {
                for _ in 0..reads {
                    bench.now_ms += 10;
                    bench.device.on_inputs(bench.now_ms, Inputs(levels));
                }
            }
            Step::Motion(motion) => bench.device.on_motion(now_ms, motion),
            Step::WildFix(latitude_udeg, longitude_udeg, unix_ms) => {
                let mut wild = fix(now_ms, 0);
                (wild.position.latitude_udeg, wild.position.longitude_udeg) = (latitude_udeg, longitude_udeg);
                wild.unix_ms = unix_ms;
                bench.device.on_fix(now_ms, &wild);
            }
            Step::Nmea(bytes) => bench.device.on_nmea(now_ms, &bytes),
            Step::Power(power) => bench.device.on_battery(now_ms, 50, power),
            Step::Sensor(works) => {
                bench.device.on_sensor(now_ms, Sensor::Inputs, if works { Ok(()) } else { Err(Fault::Bus) });
            }
            Step::Health => {
                bench.device.on_health(now_ms, Health { heart_rate_bpm: 90, confidence_pct: 80 });
            }
            Step::Restart => {
                self.online = false;
                self.unanswered.clear();
                let now_ms = self.bench.now_ms;
                self.bench = self.bench.restart(self.settings);
                // The bench's clock goes on: its world does not restart.
                self.bench.now_ms = now_ms;
            }
        }
        // Duty as it is when the frames leave: a switch or a command may have changed it in this step.
        let is_gated = !self.bench.device.duty().permits_position();
        published.extend(self.bench.drain());
        let leaked = if is_gated { coordinates(&published) } else { 0 };
        self.unanswered.extend(published);
        let hung_up = |output: &Output<'_>| matches!(output, Output::HangUp(_));
        self.online &= !self.bench.others.iter().any(hung_up);
        (self, leaked)
    }
}

/// Coordinates that left while duty forbade it.
fn leaked(settings: Settings, steps: Vec<Step>) -> usize {
    let mut leaked = 0;
    let mut shift = Shift::new(settings);
    for step in steps {
        let (next, more) = shift.take(step);
        (shift, leaked) = (next, leaked + more);
    }
    leaked
}

proptest! {
    /// Every frame is decoded: positions, batches, alarms.
    #[test]
    fn no_frame_holds_a_coordinate_while_the_gate_is_closed(steps in steps(), profile in 0usize..3) {
        let profile = [Profile::Vehicle, Profile::BodyWorn, Profile::Every][profile];
        let settings = Settings { profile, clock: ClockPolicy::DEVICE, ..off_duty() };
        assert_eq!(leaked(settings, steps), 0);
    }
}

/// The same claim about a device whose gate an emergency opens: if this did not leak, the claim above would prove nothing.
#[test]
fn a_gate_that_opens_is_found_out() {
    let settings = Settings { gate: GatePolicy::EmergencyOpens, ..off_duty() };
    let steps = vec![Step::Walk(3), Step::Connect, Step::Button, Step::Walk(3)];
    assert!(leaked(settings, steps) > 0);
}
