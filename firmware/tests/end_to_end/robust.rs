//! Whatever sensors, network and caller do, in whatever order: the device goes on and its ledger balances.

use fieldpost_firmware::{
    Device, Fault, FrameBuffer, Handle, Input, Inputs, Motion, Output, Posture, RamStorage, Sample, Sensor,
    Settings,
};
use fieldpost_protocol::{Duty, EventCode, Health, Mode, Power, SensorEvent, limits::FRAME_BYTES_MAX};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use crate::bench::{every_fix, fix};

#[derive(Debug, Clone)]
enum Act {
    Nmea(Vec<u8>),
    Fix(i32, u64),
    Event(u8, u8, i32),
    Duty(u8),
    Battery(u8, u8),
    Posture(bool),
    Fall,
    Samples(u16, Vec<[i16; 3]>),
    Inputs(u8),
    Rtc(u64),
    Sensor(u8, bool),
    Well,
    Button,
    Cancel,
    Health,
    Connected(bool),
    Disconnected,
    /// A handle that may be in flight, or not, or long gone.
    Acknowledged(u8),
    Refused(u8),
    Downlink(Vec<u8>),
    Wait(u32),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..80);
    let act = prop_oneof![
        bytes().prop_map(Act::Nmea),
        (any::<i32>(), any::<u64>()).prop_map(|(north, unix_ms)| Act::Fix(north, unix_ms)),
        (any::<u8>(), any::<u8>(), any::<i32>())
            .prop_map(|(code, index, value)| Act::Event(code, index, value)),
        (0u8..13).prop_map(Act::Duty),
        (any::<u8>(), 0u8..5).prop_map(|(pct, power)| Act::Battery(pct, power)),
        any::<bool>().prop_map(Act::Posture),
        Just(Act::Fall),
        (any::<u16>(), prop::collection::vec(any::<[i16; 3]>(), 0..40))
            .prop_map(|(period_ms, samples)| Act::Samples(period_ms, samples)),
        any::<u8>().prop_map(Act::Inputs),
        any::<u64>().prop_map(Act::Rtc),
        (0u8..5, any::<bool>()).prop_map(|(sensor, works)| Act::Sensor(sensor, works)),
        Just(Act::Well),
        Just(Act::Button),
        Just(Act::Cancel),
        Just(Act::Health),
        any::<bool>().prop_map(Act::Connected),
        Just(Act::Disconnected),
        any::<u8>().prop_map(Act::Acknowledged),
        any::<u8>().prop_map(Act::Refused),
        bytes().prop_map(Act::Downlink),
        (0u32..2_000_000).prop_map(Act::Wait),
    ];
    prop::collection::vec(act, 0..80)
}

proptest! {
    #[test]
    fn nothing_from_outside_stops_a_device(acts in acts(), profile in 0usize..3) {
        let settings = [every_fix(), Settings::body_worn(Mode::Test), Settings::vehicle(Mode::Test)][profile];
        let mut device = Device::start(settings, RamStorage::<32>::new()).unwrap();
        let mut buffer: FrameBuffer = [0; FRAME_BYTES_MAX];
        let mut now_ms = 0;
        for act in acts {
            match act {
                Act::Nmea(bytes) => device.on_nmea(now_ms, &bytes),
                Act::Fix(north, unix_ms) => {
                    let mut fix = fix(now_ms, 0);
                    fix.position.latitude_udeg = north;
                    fix.unix_ms = unix_ms;
                    device.on_fix(now_ms, &fix);
                }
                Act::Event(code, index, value) => {
                    device.on_event(now_ms, SensorEvent { code: EventCode(code), index, value });
                }
                Act::Duty(duty) => device.on_duty(now_ms, Duty(duty)),
                Act::Battery(pct, power) => device.on_battery(now_ms, pct, Power(power)),
                Act::Posture(down) => {
                    device.on_posture(now_ms, if down { Posture::Down } else { Posture::Up });
                }
                Act::Fall => device.on_motion(now_ms, Motion::Fall),
                Act::Samples(period_ms, samples) => {
                    let samples: Vec<_> =
                        samples.iter().map(|[x_mg, y_mg, z_mg]| Sample { x_mg: *x_mg, y_mg: *y_mg, z_mg: *z_mg }).collect();
                    device.on_acceleration(now_ms, period_ms, &samples);
                }
                Act::Inputs(levels) => device.on_inputs(now_ms, Inputs(levels)),
                Act::Rtc(unix_ms) => device.on_rtc(now_ms, unix_ms),
                Act::Sensor(sensor, works) => {
                    let outcome = if works { Ok(()) } else { Err(Fault::Implausible) };
                    device.on_sensor(now_ms, Sensor::ALL[usize::from(sensor)], outcome);
                }
                Act::Well => device.on_well(now_ms),
                Act::Button => device.on_button(now_ms, true),
                Act::Cancel => device.on_cancel(now_ms),
                Act::Health => device.on_health(now_ms, Health { heart_rate_bpm: 90, confidence_pct: 80 }),
                Act::Connected(session_present) => device.handle(now_ms, Input::Connected { session_present }),
                Act::Disconnected => device.handle(now_ms, Input::Disconnected),
                Act::Acknowledged(handle) => device.handle(now_ms, Input::Acknowledged(Handle(handle.into()))),
                Act::Refused(handle) => device.handle(now_ms, Input::Refused(Handle(handle.into()))),
                Act::Downlink(bytes) => device.handle(now_ms, Input::Downlink(&bytes)),
                Act::Wait(ms) => now_ms += u64::from(ms),
            }
            let mut outputs = 0;
            while let Some(output) = device.poll(now_ms, &mut || 7, &mut buffer) {
                outputs += 1;
                assert!(outputs < 200, "a poll comes to an end: {output:?}");
                if let Output::Publish { frame, .. } = output {
                    let envelope = fieldpost_protocol::Envelope::decode(frame).unwrap();
                    assert!(fieldpost_protocol::Body::decode(&envelope.head, envelope.body).is_ok());
                }
            }
            assert!(device.ledger().balances(), "{:?}", device.ledger());
            assert!(device.poll_at().is_none_or(|at_ms| at_ms > now_ms), "a drained device does not spin");
        }
    }
}
