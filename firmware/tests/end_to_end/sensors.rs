//! Sensors that fail, a clock of its own, and what a device remembers.

use fieldpost_firmware::{Fault, Inputs, Judgement, Notice, RamStorage, Sensor, Settings, TimeSource};
use fieldpost_protocol::{
    Action, AlarmCause, Body, ClockQuality, Downlink, Duty, Envelope, EventCode, Mode, Power,
    limits::DOWNLINK_BYTES_MAX,
};

use crate::bench::{Bench, NOON_MS, Published, Ram, fix};

fn worn(duty: Duty) -> Bench<Ram> {
    let mut bench = Bench::new(Settings { duty, ..Settings::body_worn(Mode::Test) });
    let first = bench.connect(false);
    bench.settle(first);
    bench.notices.clear();
    bench
}

fn bodies<T>(published: &[Published], pick: impl Fn(Body<'_>) -> Option<T>) -> Vec<T> {
    let body = |frame: &Published| {
        let envelope = Envelope::decode(&frame.frame).unwrap();
        pick(Body::decode(&envelope.head, envelope.body).unwrap())
    };
    published.iter().filter_map(body).collect()
}

fn events(published: &[Published]) -> Vec<(EventCode, u8, i32)> {
    bodies(published, |body| match body {
        Body::SensorEvent(event) => Some((event.code, event.index, event.value)),
        _ => None,
    })
}

fn alarms(published: &[Published]) -> Vec<(AlarmCause, bool)> {
    bodies(published, |body| match body {
        Body::Alarm(alarm) => Some((alarm.cause, alarm.silent)),
        _ => None,
    })
}

impl Bench<Ram> {
    fn press(&mut self, levels: u8, ms: u64) -> Vec<Published> {
        let mut published = Vec::new();
        for _ in 0..ms / 10 {
            self.now_ms += 10;
            self.device.on_inputs(self.now_ms, Inputs(levels));
            published.extend(self.drain());
        }
        published
    }

    fn fails(&mut self, sensor: Sensor, fault: Fault) -> Vec<Published> {
        for _ in 0..10 {
            self.device.on_sensor(self.now_ms, sensor, Err(fault));
        }
        self.drain()
    }
}

const REST: u8 = Inputs::HOLSTER | Inputs::DUTY;

#[test]
fn a_sensor_that_keeps_failing_is_an_event_and_its_value_is_not_known() {
    let mut bench = worn(Duty::ON_DUTY);
    bench.device.on_temperature(31);
    bench.device.on_battery(bench.now_ms, 80, Power::BATTERY);
    let published = bench.fails(Sensor::Temperature, Fault::NoAnswer);
    assert_eq!(events(&published), [(EventCode::SENSOR_FAILED, 0, 1)]);
    let published = bench.fails(Sensor::Battery, Fault::Implausible);
    assert_eq!(events(&published), [(EventCode::SENSOR_FAILED, 4, 4)]);
    assert_eq!(alarms(&published), []);
    let sensor = Sensor::Temperature;
    assert!(bench.notices.contains(&Notice::SensorFailing { sensor, fault: Fault::NoAnswer }));
    bench.device.on_duty(bench.now_ms, Duty::EN_ROUTE);
    let statuses = bodies(&bench.drain(), |body| match body {
        Body::Status(status) => Some((status.temperature_degc, status.battery_pct)),
        _ => None,
    });
    assert_eq!(statuses, [(-128, 255)], "no stale value is passed off as a new one");
    bench.device.on_sensor(bench.now_ms, sensor, Ok(()));
    assert_eq!(events(&bench.drain()), [(EventCode::SENSOR_BACK, 0, 0)]);
    assert!(bench.notices.contains(&Notice::SensorBack { sensor }));
}

#[test]
fn a_device_whose_button_is_dead_says_so_as_a_silent_alarm() {
    let mut bench = worn(Duty::ON_DUTY);
    let published = bench.fails(Sensor::Inputs, Fault::Bus);
    assert_eq!(alarms(&published), [(AlarmCause::TAMPER, true)]);
    for _ in 0..5 {
        bench.now_ms += 60_000;
        bench.device.on_sensor(bench.now_ms, Sensor::Inputs, Ok(()));
        bench.fails(Sensor::Inputs, Fault::Bus);
    }
    assert_eq!(alarms(&bench.published), [(AlarmCause::TAMPER, true)], "a loose contact is one alarm");
}

#[test]
fn an_opened_case_is_an_alarm_in_the_field_and_an_event_in_the_workshop() {
    let open = REST | Inputs::CASE_OPEN;
    let mut bench = worn(Duty::ON_DUTY);
    bench.press(REST, 100);
    let published = bench.press(open, 100);
    assert_eq!(alarms(&published), [(AlarmCause::TAMPER, true)]);
    assert_eq!(events(&published), [(EventCode::CASE_OPEN, 0, 0)]);
    let mut bench = worn(Duty::ON_DUTY);
    bench.press(REST | Inputs::DOCK, 100);
    let published = bench.press(open | Inputs::DOCK, 100);
    assert_eq!((alarms(&published).len(), events(&published).len()), (0, 1));
}

#[test]
fn tampering_is_no_emergency() {
    let gate = fieldpost_firmware::GatePolicy::EmergencyOpens;
    let settings = Settings { duty: Duty::REFRESHMENTS, gate, ..Settings::body_worn(Mode::Test) };
    let mut bench = Bench::new(settings);
    bench.connect(false);
    bench.event(EventCode::CASE_OPEN);
    assert_eq!(alarms(&bench.drain()), [(AlarmCause::TAMPER, true)]);
    assert!(!bench.device.gate_is_open(), "whoever opens the case must not open the duty gate");
}

#[test]
fn buttons_call_cancel_and_take_back() {
    let mut bench = worn(Duty::ON_DUTY);
    bench.press(REST, 100);
    let published = bench.press(REST | Inputs::PANIC, 1100);
    assert_eq!(alarms(&published), [(AlarmCause::BUTTON, false)]);
    bench.press(REST, 100);
    bench.press(REST | Inputs::CANCEL, 300);
    bench.press(REST, 100);
    let cancels = |bench: &Bench<Ram>| {
        bench.notices.iter().filter(|notice| matches!(notice, Notice::AlarmCancelled { .. })).count()
    };
    assert_eq!(cancels(&bench), 0, "not by a bump");
    bench.press(REST | Inputs::CANCEL, 2100);
    assert_eq!(cancels(&bench), 1);
    bench.press(REST, 100);
    let published = bench.press(REST | Inputs::CANCEL | Inputs::PANIC, 1100);
    assert_eq!(alarms(&published), [(AlarmCause::BUTTON, true)]);
}

#[test]
fn a_real_time_clock_is_worth_holdover_until_somebody_better_speaks() {
    let mut bench = worn(Duty::ON_DUTY);
    bench.device.on_rtc(bench.now_ms, NOON_MS + 1500);
    let stamp = bench.device.stamp(bench.now_ms);
    assert_eq!((stamp.time_ms, stamp.quality), (NOON_MS + 1500, ClockQuality::Holdover));
    assert_eq!(bench.device.told_unix_ms(bench.now_ms), None, "no certificate is refused for it");
    bench.now_ms += 1000;
    bench.device.on_fix(bench.now_ms, &fix(bench.now_ms, 0));
    assert_eq!(bench.device.stamp(bench.now_ms).quality, ClockQuality::Gnss);
    assert_eq!(bench.device.told_unix_ms(bench.now_ms), Some(NOON_MS + bench.now_ms));
    bench.device.on_rtc(bench.now_ms, NOON_MS + 900_000);
    assert_eq!(bench.device.stamp(bench.now_ms).time_ms, NOON_MS + bench.now_ms, "not heard any more");
    bench.drain();
    let judged: Vec<_> = bench
        .notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Time { source, judgement } => Some((*source, *judgement)),
            _ => None,
        })
        .collect();
    assert_eq!(
        judged,
        [
            (TimeSource::Rtc, Judgement::Taken),
            (TimeSource::Gnss, Judgement::Taken),
            (TimeSource::Rtc, Judgement::NotNeeded)
        ]
    );
}

#[test]
fn a_real_time_clock_from_another_age_is_refused_or_corrected() {
    for unix_ms in [0, 946_684_800_000, 1_000_000_000_000, 4_000_000_000_000] {
        let mut bench = worn(Duty::ON_DUTY);
        bench.device.on_rtc(bench.now_ms, unix_ms);
        assert_eq!(bench.device.stamp(bench.now_ms).quality, ClockQuality::Unset, "{unix_ms}");
    }
    // Years ahead, and possible: the gateway corrects it at once, satellites within five fixes.
    let ahead_ms = NOON_MS + 3 * 31_536_000_000;
    let mut bench = worn(Duty::ON_DUTY);
    bench.device.on_rtc(bench.now_ms, ahead_ms);
    let mut frame = [0; DOWNLINK_BYTES_MAX];
    let frame = Downlink::Time { unix_ms: NOON_MS }.encode(&mut frame).unwrap();
    bench.device.handle(bench.now_ms, fieldpost_firmware::Input::Downlink(frame));
    assert_eq!(bench.device.stamp(bench.now_ms).time_ms, NOON_MS);
    let mut bench = worn(Duty::ON_DUTY);
    bench.device.on_rtc(bench.now_ms, ahead_ms);
    bench.walk(5);
    let stamp = bench.device.stamp(bench.now_ms);
    assert_eq!((stamp.time_ms, stamp.quality), (NOON_MS + bench.now_ms, ClockQuality::Gnss));
}

#[test]
fn duty_survives_a_restart_whatever_the_settings_say() {
    let settings = Settings { duty: Duty::ON_DUTY, ..Settings::body_worn(Mode::Test) };
    let mut bench = worn(Duty::ON_DUTY);
    bench.device.on_duty(bench.now_ms, Duty::REFRESHMENTS);
    let mut bench = bench.restart(settings);
    assert_eq!(bench.device.duty(), Duty::REFRESHMENTS);
    assert!(!bench.device.gate_is_open(), "a break does not end because a device restarts");
    bench.press(REST, 100);
    assert_eq!(bench.device.duty(), Duty::REFRESHMENTS, "nor by a switch that was on all the time");
    // Its position is known now: a command that ends duty is not undone by it either.
    bench.device.on_duty(bench.now_ms, Duty::OFF_DUTY);
    let mut bench = bench.restart(settings);
    bench.press(REST, 100);
    assert_eq!(bench.device.duty(), Duty::OFF_DUTY);
    bench.press(Inputs::HOLSTER, 100);
    assert_eq!(bench.device.duty(), Duty::OFF_DUTY);
    let mut bench = bench.restart(settings);
    assert_eq!(bench.device.duty(), Duty::OFF_DUTY);
    bench.press(REST, 100);
    assert_eq!(bench.device.duty(), Duty::ON_DUTY, "moved while the device was off");
}

#[test]
fn a_command_is_carried_out_once_whatever_happens_to_power() {
    let settings = Settings { duty: Duty::ON_DUTY, ..Settings::body_worn(Mode::Test) };
    let show = || Action::Show("call".try_into().unwrap());
    let mut bench = worn(Duty::ON_DUTY);
    for id in 0..20 {
        crate::downlink::command(&mut bench, id, 60_000, show());
    }
    let mut bench = bench.restart(settings);
    bench.now_ms = 1;
    for id in 4..20 {
        crate::downlink::command(&mut bench, id, 60_000, show());
    }
    assert_eq!(bench.device.counters().commands_repeated, 16, "the last sixteen are remembered");
}

#[test]
fn at_the_station_nobody_is_asked_and_afterwards_the_time_begins_anew() {
    let mut bench = worn(Duty::ON_DUTY);
    bench.walk(1);
    crate::downlink::command(&mut bench, 1, 60_000, Action::CheckIn { seconds: 600 });
    bench.device.on_duty(bench.now_ms, Duty::AT_STATION);
    bench.stay(1_000_000);
    bench.device.on_duty(bench.now_ms, Duty::ON_DUTY);
    let warned =
        |bench: &Bench<Ram>| bench.notices.iter().any(|notice| matches!(notice, Notice::PreAlarm { .. }));
    bench.stay(599_000);
    assert!(!warned(&bench));
    bench.stay(2000);
    assert!(warned(&bench));
}

#[test]
fn an_emergency_and_its_silence_outlive_a_restart() {
    let settings = Settings { duty: Duty::ON_DUTY, ..Settings::body_worn(Mode::Test) };
    let mut bench = worn(Duty::ON_DUTY);
    bench.device.on_button(bench.now_ms, true);
    bench.drain();
    let mut bench = bench.restart(settings);
    let first = bench.connect(false);
    bench.settle(first);
    let before = bench.device.ledger().issued;
    bench.walk(20);
    assert!(bench.device.ledger().issued - before >= 10, "a position every two seconds");
    let first = bench.drain();
    bench.settle(first);
    bench.event(EventCode::CED_ARC);
    assert_eq!(alarms(&bench.drain()), [(AlarmCause::CED, true)]);
    bench.device.on_button(bench.now_ms, false);
    assert_eq!(alarms(&bench.drain()), [(AlarmCause::BUTTON, true)], "a new press is a new call");
    // The wearer takes back what an earlier start raised, too.
    bench.device.on_cancel(bench.now_ms);
    let cancelled = bodies(&bench.drain(), |body| match body {
        Body::AlarmCancel(cancel) => Some(cancel.boot.0),
        _ => None,
    });
    assert_eq!(cancelled, [2, 2, 1]);
    let mut bench = bench.restart(settings);
    bench.device.on_cancel(bench.now_ms);
    assert_eq!(bench.device.ledger().issued, 0, "nothing is left");
}

#[test]
fn the_next_wearer_does_not_inherit_a_silent_call() {
    let mut bench = worn(Duty::ON_DUTY);
    bench.press(REST, 100);
    bench.device.on_button(bench.now_ms, true);
    bench.press(REST | Inputs::DOCK, 100);
    bench.press(REST, 100);
    bench.event(EventCode::CED_ARC);
    assert_eq!(alarms(&bench.drain()), [(AlarmCause::CED, false)]);
    bench.device.on_cancel(bench.now_ms);
    let cancels = bodies(&bench.drain(), |body| matches!(body, Body::AlarmCancel(_)).then_some(()));
    assert_eq!(cancels.len(), 1, "of the new alarm; the old one stays with the control room");
}

#[test]
fn a_storage_without_a_note_starts_with_its_settings() {
    let settings = Settings { duty: Duty::AVAILABLE, ..Settings::body_worn(Mode::Test) };
    let bench = Bench::with_storage(settings, RamStorage::<64>::new());
    assert_eq!(bench.device.duty(), Duty::AVAILABLE);
}

#[test]
fn a_check_in_that_does_not_come_is_an_alarm_after_a_minutes_warning() {
    let mut bench = worn(Duty::ON_DUTY);
    bench.walk(1);
    crate::downlink::command(&mut bench, 1, 60_000, Action::CheckIn { seconds: 600 });
    bench.notices.clear();
    bench.stay(599_000);
    bench.device.on_well(bench.now_ms);
    assert_eq!(alarms(&bench.stay(599_000)), [], "checked in");
    bench.stay(2_000);
    let warned = |notice: &Notice| matches!(notice, Notice::PreAlarm { cause: AlarmCause::CHECK_IN, .. });
    assert!(bench.notices.iter().any(warned));
    assert_eq!(alarms(&bench.stay(60_000)), [(AlarmCause::CHECK_IN, false)]);
    // The interval survives a restart, and going off duty ends it.
    let settings = Settings { duty: Duty::ON_DUTY, ..Settings::body_worn(Mode::Test) };
    let mut bench = bench.restart(settings);
    let first = bench.connect(false);
    bench.settle(first);
    bench.stay(601_000);
    assert!(bench.notices.iter().any(warned));
    bench.device.on_duty(bench.now_ms, Duty::OFF_DUTY);
    assert_eq!(alarms(&bench.stay(7_200_000)), []);
}
