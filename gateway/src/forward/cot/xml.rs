//! An event as XML.
//!
//! **Whatever a callsign holds, what leaves is well-formed XML 1.0, on one line, and ends with the only `</event>` in
//! it**: markup is escaped, and a character that XML 1.0 does not know becomes U+FFFD. TAK servers and clients cut a
//! stream behind `</event>` and want the next declaration right behind it (`protocol.txt` of the TAK protocol,
//! "Traditional Protocol").

use std::fmt::{self, Write as _};

use super::message::{Cot, How, Kind, Point, UNKNOWN_M, prefix};
use crate::sabotage::{self, Sabotage};

/// Stands before every event ([`Style`](super::settings::Style)).
pub(crate) const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Longest text that leaves, in characters: a callsign has 64 bytes, a remark a sentence.
const TEXT_CHARS_MAX: usize = 512;

/// Appends an event, without the declaration.
pub(crate) fn write(out: &mut String, cot: &Cot) {
    put(out, format_args!("<event version=\"2.0\" uid=\"{}\"", Escaped(&cot.uid)));
    put(out, format_args!(" type=\"{}\" how=\"{}\"", cot.kind.as_str(), cot.how.as_str()));
    let (at, stale) = (Time(cot.at_ms), Time(cot.stale_ms));
    put(out, format_args!(" time=\"{at}\" start=\"{at}\" stale=\"{stale}\""));
    out.push('>');
    write_point(out, cot.point);
    out.push_str("<detail>");
    write_typed(out, cot);
    write_detail(out, cot);
    out.push_str("</detail></event>");
}

/// What of `detail` protobuf has no field for.
pub(crate) fn write_detail(out: &mut String, cot: &Cot) {
    let callsign = Escaped(&cot.callsign);
    let prefix = prefix(cot.mode);
    if let Some((uid, kind)) = &cot.about {
        put(
            out,
            format_args!("<link uid=\"{}\" type=\"{}\" relation=\"p-p\"/>", Escaped(uid), kind.as_str()),
        );
    }
    if cot.kind == Kind::Cancel {
        put(out, format_args!("<emergency cancel=\"true\">{prefix}{callsign}</emergency>"));
    } else if let Some(emergency) = cot.kind.emergency() {
        put(out, format_args!("<emergency type=\"{emergency}\">{prefix}{callsign}</emergency>"));
    }
    if !cot.remarks.is_empty() {
        put(out, format_args!("<remarks>{prefix}{}</remarks>", Escaped(&cot.remarks)));
    }
}

/// What of `detail` protobuf has fields for: exactly these attributes, or a server keeps the element as XML.
fn write_typed(out: &mut String, cot: &Cot) {
    put(out, format_args!("<contact callsign=\"{}{}\"/>", prefix(cot.mode), Escaped(&cot.callsign)));
    if cot.point.is_some() {
        let source = cot.how.source();
        put(out, format_args!("<precisionlocation geopointsrc=\"{source}\" altsrc=\"???\"/>"));
    }
    if let Some(battery_pct) = cot.battery_pct {
        put(out, format_args!("<status battery=\"{battery_pct}\"/>"));
    }
    if let Some((speed_cmps, course)) = cot.track {
        let (speed, course) = (Fixed(speed_cmps.into(), 2), Fixed(course_centideg(course), 2));
        put(out, format_args!("<track speed=\"{speed}\" course=\"{course}\"/>"));
    }
}

fn write_point(out: &mut String, point: Option<Point>) {
    let Some(point) = point else {
        let unknown = UNKNOWN_M;
        put(
            out,
            format_args!(
                "<point lat=\"0.0\" lon=\"0.0\" hae=\"{unknown}.0\" ce=\"{unknown}.0\" le=\"{unknown}.0\"/>"
            ),
        );
        return;
    };
    let (lat, lon) = (Fixed(point.latitude_udeg.into(), 6), Fixed(point.longitude_udeg.into(), 6));
    let ce = point.accuracy_m.map_or(UNKNOWN_M, u32::from);
    put(
        out,
        format_args!(
            "<point lat=\"{lat}\" lon=\"{lon}\" hae=\"{UNKNOWN_M}.0\" ce=\"{ce}.0\" le=\"{UNKNOWN_M}.0\"/>"
        ),
    );
}

/// An event of the connection itself, without the declaration: negotiation and pings. `detail` is ours and is XML already.
pub(crate) fn control(uid: &str, kind: &str, at_ms: u64, stale_ms: u64, detail: &str) -> String {
    let (at, stale) = (Time(at_ms), Time(stale_ms));
    let how = How::Gps.as_str();
    format!(
        "<event version=\"2.0\" uid=\"{}\" type=\"{kind}\" how=\"{how}\" time=\"{at}\" start=\"{at}\" \
         stale=\"{stale}\"><point lat=\"0.0\" lon=\"0.0\" hae=\"0.0\" ce=\"999999\" le=\"999999\"/>\
         <detail>{detail}</detail></event>",
        Escaped(uid)
    )
}

/// 1/256 of a turn in hundredths of a degree.
pub(crate) fn course_centideg(turn256: u8) -> i64 {
    (i64::from(turn256) * 36_000 + 128) / 256
}

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing into a growing string cannot fail");
}

/// Text as it may stand in an element or between double quotes.
struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if sabotage::is(Sabotage::SkipEscape) {
            return f.write_str(self.0);
        }
        for character in self.0.chars().take(TEXT_CHARS_MAX) {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&apos;")?,
                // One line: a reader that takes lines must not be led astray, and attributes lose them anyway.
                '\t' | '\n' | '\r' => f.write_char(' ')?,
                character if is_xml(character) => f.write_char(character)?,
                _ => f.write_char(char::REPLACEMENT_CHARACTER)?,
            }
        }
        Ok(())
    }
}

/// XML 1.0, production 2 `Char`; of the discouraged ones C1 controls stay out too.
fn is_xml(character: char) -> bool {
    matches!(character, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
        && u32::from(character) & 0xfffe != 0xfffe
}

/// Text without what XML cannot hold, for protobuf: what a server turns into XML must be as safe.
pub(crate) fn plain(text: &str) -> String {
    let clean = |character: char| match character {
        '\t' | '\n' | '\r' => ' ',
        character if is_xml(character) => character,
        _ => char::REPLACEMENT_CHARACTER,
    };
    text.chars().take(TEXT_CHARS_MAX).map(clean).collect()
}

/// Unix time in ms, RFC 3339 with three decimals; what is after the year 9999 becomes its last instant.
struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        write!(f, "{:.3}", time.unwrap_or(jiff::Timestamp::MAX))
    }
}

/// `value / 10^decimals` with exactly that many decimals.
struct Fixed(i64, u32);

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scale, magnitude) = (10_u64.pow(self.1), self.0.unsigned_abs());
        let (sign, width) = (if self.0 < 0 { "-" } else { "" }, self.1 as usize);
        write!(f, "{sign}{}.{:0width$}", magnitude / scale, magnitude % scale)
    }
}
