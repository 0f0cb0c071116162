//! One core, three bodies: the same stimuli and seed give the same frame bytes. The board runs this script too; its hash
//! must be the one below, which changes only with the logic or the wire and is then changed by hand.

use fieldpost_firmware::{Device, FrameBuffer, Input, Output, Posture, RamStorage, Settings, Storage};
use fieldpost_protocol::{Duty, EventCode, Mode, Power, SensorEvent, limits::FRAME_BYTES_MAX};

use crate::bench::fix;

/// FNV-1a, 64 bits.
struct Hash(u64);

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }
}

/// Ten minutes of a shift: a walk, a drawn CED, a radio hole, an officer down, a break.
fn play(mut seed: u32) -> (u64, usize) {
    let mut device = Device::start(Settings::body_worn(Mode::Test), RamStorage::<128>::new()).unwrap();
    let mut hash = Hash(0xCBF2_9CE4_8422_2325);
    let mut frames = 0;
    for second in 0..600u64 {
        let now_ms = second * 1000;
        stimulate(&mut device, now_ms, second);
        let mut buffer: FrameBuffer = [0; FRAME_BYTES_MAX];
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed
        };
        while let Some(output) = device.poll(now_ms, &mut random, &mut buffer) {
            match output {
                Output::Connect if (200..260).contains(&second) => device.handle(now_ms, Input::Disconnected),
                Output::Connect => device.handle(now_ms, Input::Connected { session_present: second > 0 }),
                Output::Publish { handle, lane, frame } => {
                    hash.add(&now_ms.to_le_bytes());
                    hash.add(&[lane as u8]);
                    hash.add(frame);
                    frames += 1;
                    device.handle(now_ms, Input::Acknowledged(handle));
                }
                _ => {}
            }
        }
    }
    assert!(device.ledger().balances());
    (hash.0, frames)
}

fn stimulate<S: Storage>(device: &mut Device<S>, now_ms: u64, second: u64) {
    let event = |code| SensorEvent { code, index: 0, value: 0 };
    match second {
        5 => device.on_duty(now_ms, Duty::AVAILABLE),
        50 => device.on_battery(now_ms, 80, Power::BATTERY),
        100 => device.on_event(now_ms, event(EventCode::UNHOLSTERED)),
        150 => device.on_event(now_ms, event(EventCode::HOLSTERED)),
        200 => device.handle(now_ms, Input::Disconnected),
        300 => device.on_posture(now_ms, Posture::Down),
        400 => device.on_cancel(now_ms),
        401 => device.on_posture(now_ms, Posture::Up),
        500 => device.on_duty(now_ms, Duty::REFRESHMENTS),
        _ => {}
    }
    device.on_fix(now_ms, &fix(now_ms, i32::try_from(second).unwrap() * 13));
}

#[test]
fn the_same_stimuli_give_the_same_bytes_in_every_body() {
    assert_eq!(play(7), play(7));
    assert_eq!(play(7), (0x09B9_A38E_FB79_73F2, 61), "hash and frames");
}
