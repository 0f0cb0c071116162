//! Alarms: raised at once or after a warning, taken back by the wearer, never by time.

use std::cell::Cell;

use fieldpost_firmware::{
    Motion, Notice, Posture, RamStorage, Storage, StorageError,
    sensor::motion::{Impact, Severity},
    storage::{Entry, Key, Partition},
};
use fieldpost_protocol::{
    AlarmCause, Body, BootId, Class, Duty, Envelope, EventCode, Lane, Power, ReportReason, SensorEvent,
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

fn causes(published: &[Published]) -> Vec<AlarmCause> {
    alarms(published).iter().map(|alarm| alarm.cause).collect()
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
fn a_fired_ced_is_an_alarm_at_once_and_its_cycles_are_one() {
    for code in [EventCode::CED_TRIGGER, EventCode::CED_ARC] {
        let mut bench = online();
        for _ in 0..5 {
            bench.event(code);
            bench.now_ms += 5000;
        }
        assert_eq!(causes(&bench.drain()), [AlarmCause::CED]);
        assert!(!bench.notices.iter().any(|notice| matches!(notice, Notice::PreAlarm { .. })));
    }
}

#[test]
fn a_test_covers_its_own_weapon_for_ten_seconds_and_no_other() {
    let mut bench = online();
    let event = |code, index| SensorEvent { code, index, value: 0 };
    bench.device.on_event(bench.now_ms, event(EventCode::CED_TEST, 0));
    bench.now_ms += 9_999;
    bench.device.on_event(bench.now_ms, event(EventCode::CED_ARC, 0));
    assert_eq!(causes(&bench.drain()), []);
    bench.device.on_event(bench.now_ms, event(EventCode::CED_ARC, 1));
    assert_eq!(causes(&bench.drain()), [AlarmCause::CED], "the other weapon");
    bench.now_ms += 60_001;
    bench.device.on_event(bench.now_ms, event(EventCode::CED_ARC, 0));
    assert_eq!(causes(&bench.drain()), [AlarmCause::CED], "later it is fired");
}

#[test]
fn training_ends_with_the_holster() {
    let mut bench = online();
    bench.event(EventCode::CED_TRAINING);
    bench.stay(600_000);
    bench.event(EventCode::CED_TRIGGER);
    bench.event(EventCode::HOLSTERED);
    bench.event(EventCode::UNHOLSTERED);
    assert_eq!(causes(&bench.stay(1000)), []);
    bench.event(EventCode::CED_TRIGGER);
    assert_eq!(causes(&bench.stay(1000)), [AlarmCause::CED]);
}

#[test]
fn a_drawn_weapon_is_an_event_and_no_alarm() {
    let mut bench = online();
    bench.event(EventCode::UNHOLSTERED);
    let published = bench.stay(300_000);
    assert_eq!(causes(&published), []);
    assert_eq!(published.iter().filter(|frame| frame.class() == Class::SENSOR_EVENT).count(), 1);
}

#[test]
fn at_rest_nothing_is_inferred_and_the_button_still_calls() {
    let severe = Motion::Impact(Impact { severity: Severity::Severe, peak_mg: 9000, delta_v_cmps: 900 });
    let power = |bench: &mut Bench<Ram>, power| bench.device.on_battery(bench.now_ms, 50, power);
    let duty = |bench: &mut Bench<Ram>, duty| bench.device.on_duty(bench.now_ms, duty);
    for rest in 0..4 {
        let mut bench = online();
        match rest {
            0 => power(&mut bench, Power::DOCKED),
            1 => power(&mut bench, Power::CHARGING),
            2 => duty(&mut bench, Duty::AT_STATION),
            _ => duty(&mut bench, Duty::OFF_DUTY),
        }
        for code in [EventCode::UNHOLSTERED, EventCode::CED_ARC, EventCode::CASE_OPEN] {
            bench.event(code);
        }
        for motion in
            [Motion::Posture(Posture::Down), Motion::Fall, severe, Motion::Rollover { roll_deg: 90 }]
        {
            bench.device.on_motion(bench.now_ms, motion);
        }
        assert_eq!(causes(&bench.stay(300_000)), []);
        bench.device.on_button(bench.now_ms, false);
        assert_eq!(causes(&bench.drain()), [AlarmCause::BUTTON]);
    }
}

#[test]
fn every_pre_alarm_ends_by_one_press_and_none_comes_back_by_itself() {
    let major = Motion::Impact(Impact { severity: Severity::Major, peak_mg: 3000, delta_v_cmps: 300 });
    let mut bench = online();
    bench.event(EventCode::UNHOLSTERED);
    bench.device.on_posture(bench.now_ms, Posture::Down);
    bench.stay(20_001);
    for motion in [Motion::Fall, major, Motion::Rollover { roll_deg: 80 }] {
        bench.device.on_motion(bench.now_ms, motion);
    }
    bench.drain();
    let warned: Vec<_> = bench
        .notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::PreAlarm { cause, alarm_at_ms, silent: false } => {
                Some((*cause, alarm_at_ms - bench.now_ms))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        warned,
        [
            (AlarmCause::OFFICER_DOWN, 14_999),
            (AlarmCause::WEAPON_AND_FALL, 5_000),
            (AlarmCause::CRASH, 10_000)
        ]
    );
    bench.device.on_well(bench.now_ms);
    assert_eq!(causes(&bench.stay(600_000)), []);
    assert_eq!(bench.notices.iter().filter(|notice| **notice == Notice::PreAlarmEnded).count(), 1);
}

#[test]
fn pre_alarms_that_nobody_ends_become_alarms_each_in_its_time() {
    let mut bench = online();
    bench.event(EventCode::UNHOLSTERED);
    bench.device.on_posture(bench.now_ms, Posture::Down);
    bench.device.on_motion(bench.now_ms, Motion::Fall);
    assert_eq!(causes(&bench.stay(4_999)), []);
    assert_eq!(causes(&bench.stay(1)), [AlarmCause::WEAPON_AND_FALL]);
    assert_eq!(causes(&bench.stay(30_000)), [AlarmCause::OFFICER_DOWN]);
}

#[test]
fn the_button_answers_every_running_pre_alarm() {
    let mut bench = online();
    bench.event(EventCode::UNHOLSTERED);
    bench.device.on_motion(bench.now_ms, Motion::Fall);
    bench.device.on_motion(bench.now_ms, Motion::Rollover { roll_deg: 90 });
    bench.device.on_button(bench.now_ms, true);
    assert_eq!(causes(&bench.stay(300_000)), [AlarmCause::BUTTON]);
}

#[test]
fn after_a_silent_call_nothing_sounds_until_it_is_taken_back() {
    let mut bench = online();
    bench.device.on_button(bench.now_ms, true);
    bench.event(EventCode::CED_ARC);
    bench.device.on_motion(bench.now_ms, Motion::Rollover { roll_deg: 90 });
    bench.stay(20_000);
    let is_loud = |notice: &Notice| {
        matches!(notice, Notice::PreAlarm { silent: false, .. } | Notice::AlarmRaised { silent: false, .. })
    };
    assert!(!bench.notices.iter().any(is_loud), "{:?}", bench.notices);
    bench.device.on_cancel(bench.now_ms);
    bench.event(EventCode::CED_ARC);
    bench.drain();
    assert!(bench.notices.iter().any(is_loud));
}

#[test]
fn tampering_does_not_end_the_silence_of_a_call() {
    let mut bench = online();
    bench.device.on_button(bench.now_ms, true);
    for _ in 0..5 {
        bench.event(EventCode::CASE_OPEN);
        bench.drain();
        bench.now_ms += 900_001;
    }
    bench.event(EventCode::CED_ARC);
    bench.drain();
    let mut raised = bench.notices.iter().filter_map(|notice| match notice {
        Notice::AlarmRaised { cause, silent, .. } => Some((*cause, *silent)),
        _ => None,
    });
    assert_eq!(raised.rfind(|(cause, _)| *cause != AlarmCause::TAMPER), Some((AlarmCause::CED, true)));
}

#[test]
fn a_sign_of_life_takes_no_raised_alarm_back() {
    let mut bench = online();
    bench.device.on_button(bench.now_ms, false);
    bench.device.on_well(bench.now_ms);
    let published = bench.drain();
    assert!(published.iter().all(|frame| frame.class() != Class::ALARM_CANCEL));
}

/// Storage that takes nothing while it is told so.
struct Stubborn<'a> {
    storage: RamStorage<64>,
    is_full: &'a Cell<bool>,
}

impl Storage for Stubborn<'_> {
    fn next_boot(&mut self) -> Result<BootId, StorageError> {
        self.storage.next_boot()
    }

    fn push(&mut self, partition: Partition, entry: &Entry) -> Result<Key, StorageError> {
        if self.is_full.get() { Err(StorageError::Full) } else { self.storage.push(partition, entry) }
    }

    fn next(
        &mut self,
        partition: Partition,
        after: Option<Key>,
        entry: &mut Entry,
    ) -> Result<Option<Key>, StorageError> {
        self.storage.next(partition, after, entry)
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        self.storage.remove(key)
    }

    fn count(&self, partition: Partition) -> usize {
        self.storage.count(partition)
    }

    fn capacity(&self) -> usize {
        self.storage.capacity()
    }
}

#[test]
fn alarms_of_several_causes_wait_for_room_together() {
    let is_full = Cell::new(true);
    let storage = Stubborn { storage: RamStorage::new(), is_full: &is_full };
    let mut bench = Bench::with_storage(every_fix(), storage);
    bench.connect(false);
    bench.device.on_button(bench.now_ms, true);
    bench.event(EventCode::CED_ARC);
    bench.event(EventCode::CASE_OPEN);
    bench.device.on_button(bench.now_ms, false);
    bench.device.on_motion(bench.now_ms, Motion::Rollover { roll_deg: 90 });
    assert_eq!(bench.wait(60_000), []);
    is_full.set(false);
    let raised: Vec<_> = alarms(&bench.stay(2_000)).iter().map(|alarm| (alarm.cause, alarm.silent)).collect();
    assert_eq!(
        raised,
        [
            (AlarmCause::BUTTON, true),
            (AlarmCause::CED, true),
            (AlarmCause::TAMPER, true),
            (AlarmCause::CRASH, true)
        ],
        "each once, and after a silent call everything is silent"
    );
}

#[test]
fn a_silent_call_that_waits_for_room_is_silent_already() {
    let is_full = Cell::new(true);
    let storage = Stubborn { storage: RamStorage::new(), is_full: &is_full };
    let mut bench = Bench::with_storage(every_fix(), storage);
    bench.device.on_button(bench.now_ms, true);
    bench.device.on_motion(bench.now_ms, Motion::Rollover { roll_deg: 90 });
    bench.wait(5_000);
    let is_quiet = |notice: &Notice| matches!(notice, Notice::PreAlarm { silent: true, .. });
    assert!(bench.notices.iter().any(is_quiet), "{:?}", bench.notices);
    is_full.set(false);
    let raised = alarms(&bench.stay(20_000));
    assert!(raised.iter().all(|alarm| alarm.silent), "{raised:?}");
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
