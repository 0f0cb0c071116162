//! One core, three bodies: ten minutes of a shift whose frames are the same bytes wherever this logic runs.
//!
//! Every input of the device is in the script: buttons, switches, acceleration, fixes, a real-time clock, events, failing
//! sensors, commands, a radio hole. **The hash of what a body publishes is [`EXPECTED`]**, on the host, on the emulated
//! board and on any other; it changes only with the logic or the wire and is then changed by hand.
//!
//! ```text
//!   0 real-time clock         130 fall, cancelled   300 down for a minute   460 check-in asked   550 its alarm
//!   5 duty switch on          160 silent call       350 rollover            470 a wild fix       575 off duty by switch
//!  60 CED tested, 90 fired    200 radio hole        400 alarms taken back   490 temperature fails
//! 100 weapon drawn            250 vehicle hit       450 report now, twice   500 no fix for 70 s
//! ```

use fieldpost_protocol::{
    Action, Command, Downlink, EventCode, FixSource, Lane, Mode, Position, ReportReason, SensorEvent,
    limits::{DOWNLINK_BYTES_MAX, FRAME_BYTES_MAX},
};

use crate::{
    Device, Fault, Fix, FrameBuffer, Input, Inputs, Output, RamStorage, Sample, Sensor, Settings, StartError,
    Storage,
};

/// Storage that the script runs on: its size decides quotas, so it is part of the script.
pub type Store = RamStorage<64>;

/// What a body made of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Outcome {
    /// FNV-1a, 64 bits, over time, lane and bytes of every frame.
    pub hash: u64,
    /// Frames published.
    pub frame_count: u32,
}

/// Of a body-worn device and of one in a vehicle, in this order, each on an empty [`Store`].
pub const EXPECTED: [Outcome; 2] = [
    Outcome { hash: 0x3B0D_D141_1378_69C1, frame_count: 139 },
    Outcome { hash: 0x2288_14AE_3443_6186, frame_count: 322 },
];

const SECONDS: u64 = 600;
/// 2026-06-01 12:00 UTC.
const NOON_MS: u64 = 1_780_315_200_000;
const SEED: u32 = 7;
const SAMPLES_PER_SECOND: u64 = 25;
const READS_PER_SECOND: u64 = 50;

/// Plays the script as one of [`EXPECTED`]: 0 body-worn, else in a vehicle.
///
/// # Errors
/// [`StartError`] if the storage cannot serve.
pub fn play<S: Storage>(which: usize, storage: S) -> Result<Outcome, StartError> {
    play_to(which, storage, |_, _, _| {})
}

/// The same, and shows every frame with its time and lane.
///
/// # Errors
/// [`StartError`] if the storage cannot serve.
pub fn play_to<S: Storage>(
    which: usize,
    storage: S,
    mut show: impl FnMut(u64, Lane, &[u8]),
) -> Result<Outcome, StartError> {
    let settings = if which == 0 { Settings::body_worn(Mode::Test) } else { Settings::vehicle(Mode::Test) };
    let mut device = Device::start(settings, storage)?;
    let mut seed = SEED;
    let mut outcome = Outcome { hash: 0xCBF2_9CE4_8422_2325, frame_count: 0 };
    for second in 0..SECONDS {
        let now_ms = (second + 1) * 1000;
        stimulate(&mut device, which != 0, second);
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed
        };
        let mut buffer: FrameBuffer = [0; FRAME_BYTES_MAX];
        while let Some(output) = device.poll(now_ms, &mut random, &mut buffer) {
            match output {
                Output::Connect if (200..260).contains(&second) => device.handle(now_ms, Input::Disconnected),
                Output::Connect => device.handle(now_ms, Input::Connected { session_present: second > 0 }),
                Output::Publish { handle, lane, frame } => {
                    outcome.add(now_ms, lane, frame);
                    show(now_ms, lane, frame);
                    device.handle(now_ms, Input::Acknowledged(handle));
                }
                _ => {}
            }
        }
    }
    Ok(outcome)
}

impl Outcome {
    fn add(&mut self, now_ms: u64, lane: Lane, frame: &[u8]) {
        let time = now_ms.to_le_bytes();
        for byte in time.iter().chain(&[lane as u8]).chain(frame) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
        self.frame_count += 1;
    }
}

/// One second, and what happens in it.
fn stimulate<S: Storage>(device: &mut Device<S>, is_vehicle: bool, second: u64) {
    let begin_ms = second * 1000;
    let now_ms = begin_ms + 1000;
    for read in 0..READS_PER_SECOND {
        device.on_inputs(begin_ms + read * 1000 / READS_PER_SECOND, levels(second, read));
    }
    let samples: [Sample; SAMPLES_PER_SECOND as usize] =
        core::array::from_fn(|n| if is_vehicle { drive(second, n) } else { wear(second, n) });
    device.on_acceleration(now_ms, 1000 / SAMPLES_PER_SECOND as u16, &samples);
    let ced = |code| SensorEvent { code, index: 0, value: 2 };
    match second {
        0 => device.on_rtc(now_ms, NOON_MS + 700),
        60 => device.on_event(now_ms, ced(EventCode::CED_TEST)),
        61 => device.on_event(now_ms, ced(EventCode::CED_ARC)),
        90 => device.on_event(now_ms, ced(EventCode::CED_TRIGGER)),
        200 => device.handle(now_ms, Input::Disconnected),
        450 => command(device, now_ms, 1, Action::ReportNow),
        451 => command(device, now_ms, 1, Action::ReportNow),
        460 => command(device, now_ms, 2, Action::CheckIn { seconds: 30 }),
        490..495 => device.on_sensor(now_ms, Sensor::Temperature, Err(Fault::NoAnswer)),
        495 => device.on_sensor(now_ms, Sensor::Temperature, Ok(())),
        _ => {}
    }
    if !(500..570).contains(&second) {
        device.on_fix(now_ms, &fix(now_ms, second));
    }
}

fn levels(second: u64, read: u64) -> Inputs {
    let mut levels = Inputs::HOLSTER;
    if (5..575).contains(&second) {
        levels |= Inputs::DUTY;
    }
    if (100..150).contains(&second) {
        levels &= !Inputs::HOLSTER;
    }
    match second {
        // A press, and one held for three seconds.
        133 if (10..20).contains(&read) => levels |= Inputs::CANCEL,
        400..403 => levels |= Inputs::CANCEL,
        // Twice, the second with the cancel button held: silent.
        160 if (10..15).contains(&read) => levels |= Inputs::PANIC,
        160 if (20..30).contains(&read) => levels |= Inputs::PANIC | Inputs::CANCEL,
        585.. => levels |= Inputs::DOCK,
        _ => {}
    }
    Inputs(levels)
}

/// On a chest: walking, a fall at 130, lying at 300.
fn wear(second: u64, n: usize) -> Sample {
    let sway = n as i16 % 5 * 100 - 200;
    match (second, n) {
        (130, 3) => Sample { x_mg: 1800, y_mg: 1800, z_mg: -400 },
        (130, 4..) | (131, _) => Sample { x_mg: 980, y_mg: 90, z_mg: 60 },
        (300..360, _) => Sample { x_mg: 20, y_mg: 100, z_mg: 990 },
        _ => Sample { x_mg: sway, y_mg: 1000 + sway, z_mg: 50 },
    }
}

/// In a vehicle: engine, a hit at 250, on its side from 350 to 370.
fn drive(second: u64, n: usize) -> Sample {
    let hum = n as i16 % 3 * 20 - 20;
    match (second, n) {
        (250, 3..6) => Sample { x_mg: -4000, y_mg: 300, z_mg: 1100 },
        (350..370, _) => Sample { x_mg: 50, y_mg: -990, z_mg: hum },
        _ => Sample { x_mg: hum, y_mg: 0, z_mg: 1000 },
    }
}

/// North at 1.4 m/s, and once far out at sea.
fn fix(now_ms: u64, second: u64) -> Fix {
    let north_udeg = second as i32 * 13;
    let position = Position {
        latitude_udeg: 53_000_000 + if second == 470 { 2_000_000 } else { north_udeg },
        longitude_udeg: -1_500_000,
        speed_cmps: Some(140),
        course_turn256: Some(0),
        accuracy_m: 5,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    };
    Fix { unix_ms: NOON_MS + now_ms, position, satellites: 9 }
}

fn command<S: Storage>(device: &mut Device<S>, now_ms: u64, id: u32, action: Action) {
    let command = Command { id, expires_at_ms: NOON_MS + now_ms + 60_000, action };
    let mut frame = [0; DOWNLINK_BYTES_MAX];
    if let Ok(frame) = Downlink::Command(command).encode(&mut frame) {
        device.handle(now_ms, Input::Downlink(frame));
    }
}
