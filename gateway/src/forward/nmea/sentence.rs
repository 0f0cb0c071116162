//! One position as text: a TAG block that says whose and when, and an RMC sentence.
//!
//! Source: NMEA 0183 version 4.10 (IEC 61162-1): RMC with mode indicator, at most 82 characters; TAG block with `s` (source, at most
//! 15 characters) and `c` (UNIX time in seconds), each part with its own checksum, the XOR of what stands between its delimiters.
//! A reader that knows no TAG blocks begins at the `$`.

use std::fmt::Write as _;

use fieldpost_protocol::{FixSource, Position};

/// Longest source of a TAG block.
pub(super) const SOURCE_CHARS_MAX: usize = 15;

/// Hundredths of a knot in 100,000 cm/s: 1 kn = 1,852 m/h.
const CENTIKNOTS_PER_CMPS: (u64, u64) = (3_600, 1_852);

/// Writes the position of `source` at `time_ms`, Unix ms; both lines' ends are CR LF.
pub(super) fn write(source: &str, position: &Position, time_ms: u64) -> String {
    let tag = format!("s:{source},c:{}", time_ms / 1000);
    let sentence = rmc(position, time_ms);
    format!("\\{tag}*{:02X}\\${sentence}*{:02X}\r\n", checksum(&tag), checksum(&sentence))
}

fn rmc(position: &Position, time_ms: u64) -> String {
    let time = i64::try_from(time_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let time = time.unwrap_or(jiff::Timestamp::MAX).to_zoned(jiff::tz::TimeZone::UTC);
    let mut sentence = String::with_capacity(82);
    let latitude = minutes(position.latitude_udeg, 2, ['N', 'S']);
    let longitude = minutes(position.longitude_udeg, 3, ['E', 'W']);
    let speed = position.speed_cmps.map(|cmps| centiknots(u64::from(cmps))).map(hundredths);
    // 360/256 of a degree: in hundredths, rounded to nearest; what rounds up to 360 is north.
    let course =
        position.course_turn256.map(|turn| hundredths((u64::from(turn) * 36_000 + 128) / 256 % 36_000));
    let (speed, course) = (speed.unwrap_or_default(), course.unwrap_or_default());
    let (clock, date) = (time.strftime("%H%M%S%.3f"), time.strftime("%d%m%y"));
    // Autonomous or differential if satellites said so; estimated is what there is for everything else.
    let mode = match position.source {
        FixSource::GNSS => 'A',
        FixSource::GNSS_AUGMENTED => 'D',
        _ => 'E',
    };
    write!(sentence, "GPRMC,{clock},A,{latitude},{longitude},{speed},{course},{date},,,{mode}")
        .expect("writing into a string cannot fail");
    sentence
}

/// `ddmm.mmmmm,N`: whole degrees of `width` digits, minutes with five decimals (2 cm), and the side.
fn minutes(udeg: i32, width: usize, sides: [char; 2]) -> String {
    let side = sides[usize::from(udeg < 0)];
    let udeg = u64::from(udeg.unsigned_abs());
    let (degrees, rest) = (udeg / 1_000_000, udeg % 1_000_000);
    // A micro-degree is 0.00006 minutes: six units of the fifth decimal.
    let minutes = rest * 6;
    format!("{degrees:0width$}{:02}.{:05},{side}", minutes / 100_000, minutes % 100_000)
}

fn centiknots(cmps: u64) -> u64 {
    let (times, over) = CENTIKNOTS_PER_CMPS;
    (cmps * times + over / 2) / over
}

fn hundredths(value: u64) -> String {
    format!("{}.{:02}", value / 100, value % 100)
}

fn checksum(text: &str) -> u8 {
    text.bytes().fold(0, |sum, byte| sum ^ byte)
}
