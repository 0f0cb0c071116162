//! One line to one sentence: checksum first, then talker, then fields.

use super::{Reject, field};

/// Fields of the longest RMC (version 4.1: 14) and GGA (15), address included. More are refused.
const FIELDS_MAX: usize = 20;

const TALKERS: [&[u8]; 6] = [b"GP", b"GN", b"GL", b"GA", b"BD", b"GB"];

/// Recommended minimum data of a fix that the receiver calls valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rmc {
    /// Midnight before the fix, ms of Unix time.
    pub(super) date_ms: u64,
    /// The fix, ms of that day.
    pub(super) time_of_day_ms: u64,
    pub(super) latitude_udeg: i32,
    pub(super) longitude_udeg: i32,
    /// `None` if the field is empty.
    pub(super) speed_cmps: Option<u64>,
    pub(super) course_turn256: Option<u8>,
    /// The mode indicator of version 2.3 and later; 0 if absent.
    pub(super) mode: u8,
}

/// How good the fix of a time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gga {
    pub(super) time_of_day_ms: u64,
    /// 0 no fix, 1 GPS, 2 differential, 4 RTK, 5 float RTK, 6 estimated, 7 manual, 8 simulator.
    pub(super) quality: u64,
    pub(super) satellites: Option<u8>,
    /// Horizontal dilution of precision in hundredths.
    pub(super) hdop_x100: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sentence {
    Rmc(Rmc),
    Gga(Gga),
}

/// Reads a line from `$` to the checksum.
pub(super) fn parse(line: &[u8]) -> Result<Sentence, Reject> {
    let body = checked(line)?;
    let mut fields = heapless::Vec::<&[u8], FIELDS_MAX>::new();
    for field in body.split(|byte| *byte == b',') {
        // A sentence with more fields than any we use cannot be one of ours.
        fields.push(field).map_err(|_| Reject::Unused)?;
    }
    let (talker, kind) = fields[0].split_at_checked(2).ok_or(Reject::Unused)?;
    if kind != b"RMC" && kind != b"GGA" {
        return Err(Reject::Unused);
    }
    if !TALKERS.contains(&talker) {
        return Err(Reject::ForeignTalker);
    }
    match kind {
        b"RMC" => parse_rmc(&fields).map(Sentence::Rmc),
        _ => parse_gga(&fields).map(Sentence::Gga),
    }
}

/// The bytes between `$` and `*`, if the two hexadecimal digits after it are their exclusive or.
fn checked(line: &[u8]) -> Result<&[u8], Reject> {
    let text = line.strip_prefix(b"$").ok_or(Reject::Broken)?;
    let star = text.iter().rposition(|byte| *byte == b'*').ok_or(Reject::ChecksumMissing)?;
    // Some receivers put blanks before the line end.
    let [high, low] = text[star + 1..].trim_ascii_end() else { return Err(Reject::ChecksumMissing) };
    let said = hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low).ok_or(Reject::ChecksumMissing)?;
    let body = &text[..star];
    let computed = body.iter().fold(0, |sum, byte| sum ^ byte);
    if said == computed { Ok(body) } else { Err(Reject::ChecksumBad) }
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn parse_rmc(fields: &[&[u8]]) -> Result<Rmc, Reject> {
    let [_, time, status, latitude, north, longitude, east, speed, course, date, rest @ ..] = fields else {
        return Err(Reject::Malformed);
    };
    let mode = rest.get(2).and_then(|mode| mode.first()).copied().unwrap_or(0);
    match *status {
        // N: not valid, S: simulator. A receiver that says `A` and `N` contradicts itself.
        b"A" if mode != b'N' && mode != b'S' => {}
        b"A" | b"V" => return Err(Reject::NoFix),
        _ => return Err(Reject::Malformed),
    }
    let rmc = || {
        Some(Rmc {
            date_ms: field::date_ms(date)?,
            time_of_day_ms: field::time_of_day_ms(time)?,
            latitude_udeg: field::coordinate_udeg(latitude, north, *b"NS", 90)?,
            longitude_udeg: field::coordinate_udeg(longitude, east, *b"EW", 180)?,
            speed_cmps: optional(speed, field::knots_to_cmps)?,
            course_turn256: optional(course, field::degrees_to_turn256)?,
            mode,
        })
    };
    rmc().ok_or(Reject::Malformed)
}

fn parse_gga(fields: &[&[u8]]) -> Result<Gga, Reject> {
    let [_, time, _, _, _, _, quality, satellites, hdop, ..] = fields else { return Err(Reject::Malformed) };
    if time.is_empty() {
        return Err(Reject::NoFix);
    }
    let gga = || {
        Some(Gga {
            time_of_day_ms: field::time_of_day_ms(time)?,
            quality: field::whole(quality)?,
            satellites: optional(satellites, |text| u8::try_from(field::whole(text)?).ok())?,
            hdop_x100: optional(hdop, field::hundredths)?,
        })
    };
    gga().ok_or(Reject::Malformed)
}

/// An empty field is `Some(None)`; a field that cannot be read is `None`.
#[expect(
    clippy::option_option,
    reason = "absent and malformed are different answers, and `?` tells them apart"
)]
fn optional<T>(text: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { parse(text).map(Some) }
}
