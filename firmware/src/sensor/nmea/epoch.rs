//! Sentences of one UTC time become one fix.

use fieldpost_protocol::{FixSource, Position, ReportReason, limits::SPEED_CMPS_MAX};

use super::{
    Fix, Reject, SATELLITES_UNKNOWN,
    sentence::{Gga, Rmc},
};

const MS_PER_DAY: u64 = 86_400_000;

/// An earlier GGA still describes the next fix for this long: receivers that send RMC first.
const GGA_AGE_MS_MAX: u64 = 2000;

/// What the next sentence is judged against.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Epoch {
    fix_unix_ms: Option<u64>,
    gga: Option<Gga>,
}

impl Epoch {
    pub(super) fn take_gga(&mut self, gga: Gga) {
        self.gga = Some(gga);
    }

    pub(super) fn take_rmc(&mut self, rmc: &Rmc) -> Result<Fix, Reject> {
        let unix_ms = rmc.date_ms + rmc.time_of_day_ms;
        if self.fix_unix_ms == Some(unix_ms) {
            return Err(Reject::EpochRepeated);
        }
        let gga = self.gga.filter(|gga| describes(gga, rmc));
        let position = Position {
            latitude_udeg: rmc.latitude_udeg,
            longitude_udeg: rmc.longitude_udeg,
            // Faster than the wire can say is not said at all: no speed is better than a wrong one.
            speed_cmps: rmc
                .speed_cmps
                .and_then(|speed| u16::try_from(speed).ok())
                .filter(|speed| *speed <= SPEED_CMPS_MAX),
            course_turn256: rmc.course_turn256,
            accuracy_m: gga.as_ref().map_or(0, accuracy_m),
            source: source(rmc, gga.as_ref()),
            reason: ReportReason::INTERVAL,
        };
        let position = Position::try_new(position).map_err(|_| Reject::Malformed)?;
        self.fix_unix_ms = Some(unix_ms);
        let satellites = gga.and_then(|gga| gga.satellites).unwrap_or(SATELLITES_UNKNOWN);
        Ok(Fix { unix_ms, position, satellites })
    }
}

/// Whether the GGA is of the same time or at most two seconds before it, midnight included.
fn describes(gga: &Gga, rmc: &Rmc) -> bool {
    let age_ms = (rmc.time_of_day_ms + MS_PER_DAY - gga.time_of_day_ms % MS_PER_DAY) % MS_PER_DAY;
    gga.quality != 0 && age_ms <= GGA_AGE_MS_MAX
}

fn source(rmc: &Rmc, gga: Option<&Gga>) -> FixSource {
    match (rmc.mode, gga.map(|gga| gga.quality)) {
        (b'E', _) | (_, Some(6)) => FixSource::DEAD_RECKONING,
        (b'M', _) | (_, Some(7)) => FixSource::MANUAL,
        (b'D' | b'R' | b'F', _) | (_, Some(2 | 4 | 5)) => FixSource::GNSS_AUGMENTED,
        _ => FixSource::GNSS,
    }
}

/// An estimate of the 95 % radius: two sigma of the usual range error of that kind of fix, times HDOP, at least 1 m.
/// Receivers state 99.99 for "not known".
fn accuracy_m(gga: &Gga) -> u8 {
    let range_error_cm = match gga.quality {
        4 => 5,
        5 => 50,
        2 => 300,
        _ => 500,
    };
    match gga.hdop_x100 {
        None | Some(0) => 0,
        Some(hdop) if hdop >= 9900 => 0,
        Some(hdop) => u8::try_from((hdop * range_error_cm).div_ceil(10_000)).unwrap_or(u8::MAX),
    }
}
