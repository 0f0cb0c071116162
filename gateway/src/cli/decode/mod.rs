//! `fieldpost decode HEX`: names every byte of a frame, also of one that is broken, up to the byte that breaks it.

mod annotate;
mod meaning;

use std::fmt::Write as _;

use fieldpost_protocol::downlink::{Command, Proven, Receipts};
use fieldpost_protocol::{
    Alarm, AlarmCancel, AuthAlgorithm, Body, Class, ClockQuality, Downlink, Envelope, Health, Heard, Loss,
    Mode, Position, SensorEvent, Status, limits,
};
use serde::Deserialize;

pub(crate) use self::annotate::Part;
use self::annotate::{Annotator, Stop};

/// A frame taken apart.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Decoded {
    /// `uplink` or `downlink`.
    pub(crate) direction: &'static str,
    /// Every byte, in order.
    pub(crate) parts: Vec<Part>,
    /// Why the gateway (or a device) would refuse the frame; `None` if it would not.
    pub(crate) error: Option<String>,
}

/// Reads hexadecimal: spaces, line breaks, colons and a leading `0x` are ignored.
pub(crate) fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let text = text.trim();
    let text = text.strip_prefix("0x").unwrap_or(text);
    let digits: Vec<char> =
        text.chars().filter(|character| !character.is_ascii_whitespace() && *character != ':').collect();
    if let Some(wrong) = digits.iter().find(|digit| !digit.is_ascii_hexdigit()) {
        return Err(format!("{wrong:?} is not a hexadecimal digit"));
    }
    if digits.is_empty() || digits.len() % 2 == 1 {
        return Err(format!("{} hexadecimal digits do not make whole bytes", digits.len()));
    }
    let value =
        |digit: char| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()).unwrap_or_default();
    Ok(digits.chunks_exact(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect())
}

/// Takes a device's frame apart.
pub(crate) fn uplink(frame: &[u8]) -> Decoded {
    let mut annotator = Annotator::new(frame);
    let stopped = envelope(&mut annotator).err().map(|stop| stop.to_string());
    // The verdict is the protocol crate's own, so that this tool can never be kinder than the gateway.
    let verdict = match Envelope::decode(frame) {
        Err(error) => Some(error.to_string()),
        Ok(envelope) => match Body::decode(&envelope.head, envelope.body) {
            Err(error) => Some(format!("body: {error}")),
            Ok(Body::PositionBatch(mut items)) => {
                items.find_map(Result::err).map(|error| format!("body: {error}"))
            }
            Ok(_) => None,
        },
    };
    finish("uplink", annotator, verdict, stopped)
}

/// Takes a frame to a device apart.
pub(crate) fn downlink(frame: &[u8]) -> Decoded {
    let mut annotator = Annotator::new(frame);
    let stopped = downlink_frame(&mut annotator).err().map(|stop| stop.to_string());
    let verdict = Downlink::decode(frame).err().map(|error| error.to_string());
    finish("downlink", annotator, verdict, stopped)
}

fn finish(
    direction: &'static str,
    mut annotator: Annotator<'_>,
    verdict: Option<String>,
    stopped: Option<String>,
) -> Decoded {
    let rest = annotator.rest().len();
    if rest > 0 {
        annotator.note(rest, "rest", "not read");
    }
    let error = match (verdict, stopped) {
        (Some(verdict), Some(stopped)) => Some(format!("{verdict} ({stopped})")),
        (verdict, stopped) => verdict.or(stopped),
    };
    Decoded { direction, parts: annotator.parts, error }
}

fn envelope(annotator: &mut Annotator<'_>) -> Result<(), Stop> {
    annotator.u8("version", |version| version.to_string())?;
    let class = Class(annotator.u8("class", |class| class_name(Class(class)))?);
    let flags = annotator.u8("flags", flags_text)?;
    annotator.varint("boot", |boot| boot.to_string())?;
    annotator.varint("seq", |seq| seq.to_string())?;
    let clock = ClockQuality::from_bits(flags >> 2);
    annotator.varint("time_ms", |ms| match clock {
        ClockQuality::Unset => format!("{ms} ms since the device started"),
        _ => meaning::time(i128::from(ms)),
    })?;
    let body_bytes = annotator.varint("body_len", |length| format!("{length} bytes"))?;
    annotator.within(clamp(body_bytes), |annotator| {
        let read = annotator.under("body", |annotator| body(annotator, class));
        let rest = annotator.rest().len();
        if rest > 0 {
            let why = if read.is_ok() { "padding, or fields of a newer version" } else { "not read" };
            annotator.note(rest, "body.more", why);
        }
        read
    })?;
    if flags & 0x10 != 0 {
        annotator.u8("algorithm", |code| code_text(AuthAlgorithm(code).name(), code))?;
        let tag = annotator.rest().len();
        annotator.note(tag, "tag", format!("{tag} bytes, not checked here"));
    }
    Ok(())
}

fn body(annotator: &mut Annotator<'_>, class: Class) -> Result<(), Stop> {
    match class {
        Class::POSITION => read::<Position>(annotator),
        Class::POSITION_BATCH => batch(annotator),
        Class::STATUS => read::<Status>(annotator),
        Class::SENSOR_EVENT => read::<SensorEvent>(annotator),
        Class::ALARM => read::<Alarm>(annotator),
        Class::ALARM_CANCEL => read::<AlarmCancel>(annotator),
        Class::LOSS => read::<Loss>(annotator),
        Class::HEALTH => read::<Health>(annotator),
        Class::HEARD => read::<Heard>(annotator),
        _ => {
            let bytes = annotator.rest().len();
            if bytes > 0 {
                annotator.note(bytes, "unknown", "a class this version does not know; kept as it is");
            }
            Ok(())
        }
    }
}

fn read<'de, T: Deserialize<'de>>(annotator: &mut Annotator<'de>) -> Result<(), Stop> {
    T::deserialize(annotator).map(drop)
}

/// The delta-coded batch; the table of its control bits is in the protocol's `batch` module.
fn batch(annotator: &mut Annotator<'_>) -> Result<(), Stop> {
    let count = annotator.u8("count", |count| format!("{count} positions"))?;
    if count == 0 || usize::from(count) > limits::BATCH_ITEMS_MAX {
        return Ok(());
    }
    annotator.under("[0]", read::<Position>)?;
    for index in 1..count {
        annotator.under(&format!("[{index}]"), batch_item)?;
    }
    Ok(())
}

fn batch_item(annotator: &mut Annotator<'_>) -> Result<(), Stop> {
    let control = annotator.u8("control", control_text)?;
    if control & 1 != 0 {
        annotator.varint("seq_step", |step| format!("+{step}"))?;
    }
    if control & 2 != 0 {
        annotator.signed("time_step_ms", |step| format!("{step:+} ms from now on"))?;
    }
    for axis in ["latitude_bend_udeg", "longitude_bend_udeg"] {
        annotator.signed(axis, |bend| {
            format!("step changes by {} degrees", meaning::degrees(i32::try_from(bend).unwrap_or_default()))
        })?;
    }
    if control >> 2 & 3 == 2 {
        annotator.signed("speed_change_cmps", |change| format!("{change:+} cm/s"))?;
    }
    if control >> 4 & 3 == 2 {
        annotator
            .u8("course_turn256", |course| meaning::of("Position", "course_turn256", i128::from(course)))?;
    }
    if control & 0x40 != 0 {
        for field in ["accuracy_m", "source", "reason"] {
            annotator.u8(field, |code| meaning::of("Position", field, i128::from(code)))?;
        }
    }
    Ok(())
}

fn downlink_frame(annotator: &mut Annotator<'_>) -> Result<(), Stop> {
    annotator.u8("version", |version| version.to_string())?;
    let kind = annotator.u8("kind", |kind| {
        let name = match kind {
            1 => Some("receipts"),
            2 => Some("command"),
            3 => Some("time"),
            4 => Some("sealed"),
            5 => Some("proven receipts"),
            _ => None,
        };
        code_text(name, kind)
    })?;
    annotator.varint("body_len", |length| format!("{length} bytes"))?;
    annotator.under("body", |annotator| match kind {
        1 => read::<Receipts>(annotator),
        5 => read::<Proven>(annotator),
        2 => read::<Command>(annotator),
        3 => annotator.varint("unix_ms", |ms| meaning::time(i128::from(ms))).map(drop),
        _ => Ok(()),
    })
}

fn class_name(class: Class) -> String {
    match class.name() {
        Some(name) => format!("{name} (0x{:02x})", class.0),
        None if class.is_alarm_family() => {
            format!("unknown of the alarm family (0x{:02x}): an alarm", class.0)
        }
        None => format!("unknown (0x{:02x})", class.0),
    }
}

fn flags_text(flags: u8) -> String {
    let mode = Mode::from_bits(flags & 3).map_or("none (refused)", Mode::as_str);
    let clock = ClockQuality::from_bits(flags >> 2).as_str();
    let tag = if flags & 0x10 == 0 { "no tag" } else { "a tag follows the body" };
    format!("mode {mode}, clock {clock}, {tag}")
}

fn control_text(control: u8) -> String {
    let three = |coding: u8| ["none", "as before", "follows", "invalid"][usize::from(coding & 3)];
    let seq = if control & 1 == 0 { "+1" } else { "step follows" };
    let time = if control & 2 == 0 { "same step" } else { "step follows" };
    let quality = if control & 0x40 == 0 { "as before" } else { "follows" };
    format!(
        "seq {seq}, time {time}, speed {}, course {}, quality {quality}",
        three(control >> 2),
        three(control >> 4)
    )
}

fn code_text(name: Option<&str>, code: u8) -> String {
    format!("{} ({code})", name.unwrap_or("unknown"))
}

fn clamp(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// A table for people.
pub(crate) fn table(decoded: &Decoded) -> String {
    let width = decoded.parts.iter().map(|part| part.field.len()).max().unwrap_or(0).max(5);
    let mut text = format!("{:>6}  {:<24}  {:<width$}  {}\n", "offset", "bytes", "field", "value");
    for part in &decoded.parts {
        for (row, bytes) in chunks(&part.bytes).into_iter().enumerate() {
            let (field, value) = if row == 0 { (part.field.as_str(), part.value.as_str()) } else { ("", "") };
            let line = format!("{:>6}  {bytes:<24}  {field:<width$}  {value}", part.offset + row * 8);
            writeln!(text, "{}", line.trim_end()).expect("writing into a String cannot fail");
        }
    }
    match &decoded.error {
        None => writeln!(text, "a valid {} frame", decoded.direction),
        Some(error) => writeln!(text, "NOT a valid {} frame: {error}", decoded.direction),
    }
    .expect("writing into a String cannot fail");
    text
}

/// Eight bytes a row, separated by spaces.
fn chunks(hex: &str) -> Vec<String> {
    let pairs: Vec<&str> = (0..hex.len()).step_by(2).map(|at| &hex[at..at + 2]).collect();
    if pairs.is_empty() {
        return vec![String::new()];
    }
    pairs.chunks(8).map(|row| row.join(" ")).collect()
}

#[cfg(test)]
mod tests;
