//! Alarms: raised at once or after a warning, taken back by the wearer, never by time.

use fieldpost_firmware::{Notice, Posture, RamStorage};
use fieldpost_protocol::{
    AlarmCause, Body, Class, Envelope, EventCode, Lane, Power, ReportReason, SensorEvent,
};

use crate::bench::{Bench, Published, Ram, every_fix};

fn online() -> Bench<Ram> {
    let mut bench = Bench::with_storage(every_fix(), RamStorage::new());
    let first = bench.connect(false);
    bench.settle(first);
    bench.walk(1);
    let first = bench.drain();
    bench.settle(first);
    bench.notices.clear();
    bench
}

fn alarms(published: &[Published]) -> Vec<fieldpost_protocol::Alarm> {
    published
        .iter()
        .filter_map(|frame| {
            let envelope = Envelope::decode(&frame.frame).unwrap();
            match Body::decode(&envelope.head, envelope.body) {
                Ok(Body::Alarm(alarm)) => Some(alarm),
                _ => None,
            }
        })
        .collect()
}

#[test]
fn the_button_raises_at_once_with_the_last_position() {
    let mut bench = online();
    bench.walk(3);
    bench.drain();
    bench.now_ms += 7000;
    bench.device.on_button(bench.now_ms, true);
    let published = bench.drain();
    assert_eq!(published[0].lane, Lane::Alarm);
    let alarm = alarms(&published)[0];
    assert_eq!((alarm.cause, alarm.silent), (AlarmCause::BUTTON, true));
    let position = alarm.position.unwrap();
    assert_eq!((position.latitude_udeg, position.reason), (53_000_000 + 4 * 13, ReportReason::EMERGENCY));
    assert_eq!(alarm.position_age_s, 7);
    assert!(matches!(bench.notices[0], Notice::AlarmRaised { silent: true, .. }));
}

#[test]
fn pressing_again_within_half_a_minute_is_the_same_call() {
    let mut bench = online();
    for _ in 0..10 {
        bench.device.on_button(bench.now_ms, false);
        bench.now_ms += 2000;
    }
    assert_eq!(alarms(&bench.drain()).len(), 1);
    bench.now_ms += 30_000;
    bench.device.on_button(bench.now_ms, false);
    assert_eq!(alarms(&bench.drain()).len(), 1, "later it is another one");
}

#[test]
fn an_officer_down_is_warned_first_then_an_alarm() {
    let mut bench = online();
    bench.device.on_posture(bench.now_ms, Posture::Down);
    assert_eq!(alarms(&bench.wait(19_999)).len(), 0);
    assert_eq!(bench.notices, []);
    assert_eq!(alarms(&bench.wait(1)).len(), 0);
    assert_eq!(bench.wait(1).len(), 0);
    assert!(matches!(bench.notices[..], [Notice::PreAlarm { .. }]));
    let published = bench.wait(15_000);
    assert_eq!(alarms(&published)[0].cause, AlarmCause::OFFICER_DOWN);
    assert_eq!(alarms(&bench.wait(600_000)).len(), 0, "once");
}

#[test]
fn the_wearer_ends_a_pre_alarm_without_a_trace() {
    for get_up in [true, false] {
        let mut bench = online();
        bench.device.on_posture(bench.now_ms, Posture::Down);
        bench.wait(25_000);
        if get_up {
            bench.device.on_posture(bench.now_ms, Posture::Up);
        } else {
            bench.device.on_cancel(bench.now_ms);
        }
        let published = bench.wait(60_000);
        assert_eq!(published, [], "nothing was sent, nothing is taken back");
        assert_eq!(bench.notices.last(), Some(&Notice::PreAlarmEnded));
    }
}

#[test]
fn in_the_dock_nobody_is_down() {
    let mut bench = online();
    bench.device.on_battery(bench.now_ms, 50, Power::DOCKED);
    bench.device.on_posture(bench.now_ms, Posture::Down);
    assert_eq!(alarms(&bench.wait(600_000)).len(), 0);
    let mut bench = online();
    bench.device.on_posture(bench.now_ms, Posture::Down);
    bench.wait(25_000);
    bench.device.on_battery(bench.now_ms, 50, Power::CHARGING);
    assert_eq!(alarms(&bench.wait(600_000)).len(), 0, "put on its charger during the pre-alarm");
}

#[test]
fn a_cancellation_marks_every_active_alarm() {
    let mut bench = online();
    bench.device.on_button(bench.now_ms, false);
    bench.now_ms += 60_000;
    bench.device.on_button(bench.now_ms, false);
    let raised = bench.drain();
    bench.device.on_cancel(bench.now_ms);
    let published = bench.drain();
    let mut cancelled: Vec<_> = published
        .iter()
        .filter_map(|frame| {
            let envelope = Envelope::decode(&frame.frame).unwrap();
            match Body::decode(&envelope.head, envelope.body) {
                Ok(Body::AlarmCancel(cancel)) => Some((cancel.boot, cancel.seq)),
                _ => None,
            }
        })
        .collect();
    cancelled.sort_unstable();
    let ids: Vec<_> = raised
        .iter()
        .filter(|frame| frame.class() == Class::ALARM)
        .map(|frame| (frame.head().boot, frame.head().seq))
        .collect();
    assert_eq!(cancelled, ids);
    assert!(published.iter().all(|frame| frame.lane == Lane::Alarm));
    bench.device.on_cancel(bench.now_ms);
    assert_eq!(bench.drain(), [], "nothing is left to take back");
}

#[test]
fn ced_test_and_training_never_alarm() {
    let mut bench = online();
    for code in [EventCode::CED_TEST, EventCode::CED_TRAINING, EventCode::CED_ARC, EventCode::CED_TRIGGER] {
        bench.device.on_event(bench.now_ms, SensorEvent { code, index: 0, value: 0 });
    }
    let published = bench.wait(600_000);
    assert!(published.iter().all(|frame| !frame.class().is_alarm_family()));
    let events = published.iter().filter(|frame| frame.class() == Class::SENSOR_EVENT).count();
    assert_eq!(events, 4, "reported all the same");
}

#[test]
fn an_alarm_dials_at_once_however_long_the_backoff() {
    let mut bench = online();
    bench.random = 0x0123_4567_89AB_CDEF;
    for _ in 0..12 {
        bench.disconnect();
        bench.now_ms += 70_000;
        bench.drain();
    }
    bench.disconnect();
    bench.drain();
    bench.others.clear();
    bench.device.on_button(bench.now_ms, false);
    bench.drain();
    assert_eq!(bench.others, [fieldpost_firmware::Output::Connect]);
}
