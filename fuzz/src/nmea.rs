//! What comes out of a receiver's UART: sentences, halves of sentences, noise.

use fieldpost_firmware::sensor::nmea::{Fix, Receiver};
use fieldpost_protocol::limits;

use crate::allocation;

/// Years 1980 to 2079, which two digits can say, and a day for the last one's end.
const UNIX_MS_MIN: u64 = 315_532_800_000;
const UNIX_MS_MAX: u64 = 3_471_379_200_000;

/// A fix lies on the globe and in the receiver's century; a new receiver hears the same; nothing is allocated.
pub fn check(bytes: &[u8]) {
    allocation::at_most(0, || {
        let mut receiver = Receiver::new();
        let mut fixes_count = 0;
        for byte in bytes {
            if let Some(fix) = receiver.push(*byte) {
                plausible(&fix);
                fixes_count += 1;
            }
        }
        assert_eq!(receiver.counters().fixes(), fixes_count, "a fix that was not counted");
        assert!(fixes_count as usize <= bytes.len() / 20, "more fixes than sentences");
    });
}

fn plausible(fix: &Fix) {
    assert!((UNIX_MS_MIN..=UNIX_MS_MAX).contains(&fix.unix_ms), "{fix:?}");
    assert!(fix.position.latitude_udeg.abs() <= 90_000_000, "{fix:?}");
    assert!(fix.position.longitude_udeg.abs() <= 180_000_000, "{fix:?}");
    assert!(fix.position.speed_cmps.is_none_or(|speed| speed <= limits::SPEED_CMPS_MAX), "{fix:?}");
}
