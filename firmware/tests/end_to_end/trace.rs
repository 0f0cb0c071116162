//! One core, three bodies: the same stimuli and seed give the same frame bytes. The board plays this script too.

use fieldpost_firmware::trace::{EXPECTED, Store, play, play_to};
use fieldpost_protocol::{AlarmCause, Body, Envelope, EventCode};

#[test]
fn the_script_gives_the_committed_bytes_on_the_host() {
    let played = [0, 1].map(|which| play(which, Store::new()).unwrap());
    assert_eq!(played, EXPECTED);
}

/// With the second each came in.
#[derive(Default)]
struct Told {
    alarms: Vec<(u64, AlarmCause, bool)>,
    events: Vec<(u64, EventCode)>,
}

fn told(which: usize) -> Told {
    let mut told = Told::default();
    let outcome = play_to(which, Store::new(), |now_ms, _, frame| {
        let envelope = Envelope::decode(frame).unwrap();
        match Body::decode(&envelope.head, envelope.body).unwrap() {
            Body::Alarm(alarm) => told.alarms.push((now_ms / 1000, alarm.cause, alarm.silent)),
            Body::SensorEvent(event) => told.events.push((now_ms / 1000, event.code)),
            _ => {}
        }
    });
    assert!(outcome.is_ok());
    told
}

/// A hash alone would also agree on a script in which nothing happens.
#[test]
fn the_script_raises_what_its_table_says() {
    let Told { alarms, events } = told(0);
    let common = [(91, AlarmCause::CED, false), (161, AlarmCause::BUTTON, true)];
    let check_in = (551, AlarmCause::CHECK_IN, false);
    // The call at 160 was silent, so is what follows until the wearer takes it back at 400. The fall at 130 is not among them: the wearer ended its pre-alarm.
    assert_eq!(alarms, [common[0], common[1], (341, AlarmCause::OFFICER_DOWN, true), check_in]);
    assert_eq!(
        events,
        [
            (61, EventCode::CED_TEST),
            (62, EventCode::CED_ARC),
            (91, EventCode::CED_TRIGGER),
            (101, EventCode::UNHOLSTERED),
            (151, EventCode::HOLSTERED),
            (471, EventCode::GNSS_JUMP),
            (493, EventCode::SENSOR_FAILED),
            (496, EventCode::SENSOR_BACK),
            (560, EventCode::GNSS_SILENT),
            (571, EventCode::GNSS_BACK),
        ]
    );
    let Told { alarms, events } = told(1);
    let crashes = [(261, AlarmCause::CRASH, true), (363, AlarmCause::CRASH, true)];
    // In a vehicle nobody is down, but the vehicle is hit, and lies on its side.
    assert_eq!(alarms, [common[0], common[1], crashes[0], crashes[1], check_in]);
    assert!(events.contains(&(261, EventCode::CRASH)) && events.contains(&(353, EventCode::ROLLOVER)));
}
