//! An event as protobuf: `TakMessage` of the TAK protocol, version 1.
//!
//! Written and read by hand: one message of twenty fields is less than a code generator in the build. Field numbers are
//! those of `takmessage.proto`, `cotevent.proto`, `detail.proto` and the files that these import (ATAK-CIV,
//! `commoncommo/core/impl/protobuf`). An element that protobuf has fields for is *not* also in `xmlDetail`.

use super::message::{Cot, UNKNOWN_M, prefix};
use super::parse::{FIELD_BYTES_MAX, Heard, Refused};
use super::split::MAGIC;
use super::xml;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// Appends an event with the header of a stream.
pub(crate) fn write_frame(out: &mut Vec<u8>, cot: &Cot) {
    let mut message = Vec::with_capacity(512);
    nested(&mut message, 2, |event| write_event(event, cot));
    out.push(MAGIC);
    varint(out, message.len() as u64);
    out.extend_from_slice(&message);
}

fn write_event(out: &mut Vec<u8>, cot: &Cot) {
    text(out, 1, cot.kind.as_str());
    text(out, 5, &xml::plain(&cot.uid));
    number(out, 6, cot.at_ms);
    number(out, 7, cot.at_ms);
    number(out, 8, cot.stale_ms);
    text(out, 9, cot.how.as_str());
    let place = cot.point;
    let degrees = |udeg: i32| f64::from(udeg) / 1e6;
    double(out, 10, place.map_or(0.0, |point| degrees(point.latitude_udeg)));
    double(out, 11, place.map_or(0.0, |point| degrees(point.longitude_udeg)));
    let unknown = f64::from(UNKNOWN_M);
    double(out, 12, unknown);
    double(out, 13, place.and_then(|point| point.accuracy_m).map_or(unknown, f64::from));
    double(out, 14, unknown);
    nested(out, 15, |detail| write_detail(detail, cot));
}

fn write_detail(out: &mut Vec<u8>, cot: &Cot) {
    let mut rest = String::new();
    xml::write_detail(&mut rest, cot);
    text(out, 1, &rest);
    nested(out, 2, |contact| text(contact, 2, &(prefix(cot.mode).to_owned() + &xml::plain(&cot.callsign))));
    if cot.point.is_some() {
        nested(out, 4, |location| {
            text(location, 1, cot.how.source());
            text(location, 2, "???");
        });
    }
    if let Some(battery_pct) = cot.battery_pct {
        nested(out, 5, |status| number(status, 1, battery_pct.into()));
    }
    if let Some((speed_cmps, course)) = cot.track {
        nested(out, 7, |track| {
            double(track, 1, f64::from(speed_cmps) / 100.0);
            double(track, 2, f64::from(course) * 360.0 / 256.0);
        });
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits: checked above"));
}

fn key(out: &mut Vec<u8>, field: u32, wire: u32) {
    varint(out, u64::from(field << 3 | wire));
}

fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    key(out, field, BYTES);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// proto3 leaves out what is empty.
fn text(out: &mut Vec<u8>, field: u32, value: &str) {
    if !value.is_empty() {
        bytes(out, field, value.as_bytes());
    }
}

fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        key(out, field, VARINT);
        varint(out, value);
    }
}

fn double(out: &mut Vec<u8>, field: u32, value: f64) {
    if value != 0.0 {
        key(out, field, FIXED64);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn nested(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    bytes(out, field, &inner);
}

/// Reads a `TakMessage`. One without an event (a keep-alive, a list of versions) is `None`.
///
/// # Errors
/// [`Refused`]: not protobuf, not UTF-8, or XML in it that is refused.
pub(crate) fn message(payload: &[u8]) -> Result<Option<Heard>, Refused> {
    let mut event = None;
    fields(payload, |field, value| {
        if let (2, Value::Bytes(bytes)) = (field, value) {
            event = Some(bytes.to_owned());
        }
        Ok(())
    })?;
    event.as_deref().map(read_event).transpose()
}

fn read_event(payload: &[u8]) -> Result<Heard, Refused> {
    let (mut kind, mut uid, mut xml_detail) = (String::new(), String::new(), String::new());
    fields(payload, |field, value| {
        match (field, value) {
            (1, Value::Bytes(bytes)) => kind = string(bytes)?,
            (5, Value::Bytes(bytes)) => uid = string(bytes)?,
            (15, Value::Bytes(bytes)) => fields(bytes, |field, value| {
                if let (1, Value::Bytes(bytes)) = (field, value) {
                    xml_detail = std::str::from_utf8(bytes).map_err(|_| Refused::Characters)?.to_owned();
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    if kind.is_empty() || uid.is_empty() {
        return Err(Refused::Malformed);
    }
    let wrapped = format!("<event type=\"t\" uid=\"u\"><detail>{xml_detail}</detail></event>");
    Ok(Heard { kind, uid, ..super::parse::event(wrapped.as_bytes())? })
}

fn string(bytes: &[u8]) -> Result<String, Refused> {
    let text = std::str::from_utf8(bytes).map_err(|_| Refused::Characters)?;
    if text.len() > FIELD_BYTES_MAX { Err(Refused::TooMuch) } else { Ok(text.to_owned()) }
}

enum Value<'p> {
    Bytes(&'p [u8]),
    Other,
}

/// Calls `take` for every field; groups, which proto3 does not have, are refused.
fn fields<'p>(
    mut payload: &'p [u8],
    mut take: impl FnMut(u64, Value<'p>) -> Result<(), Refused>,
) -> Result<(), Refused> {
    while !payload.is_empty() {
        let key = read_varint(&mut payload)?;
        let value = match u32::try_from(key & 7).expect("three bits") {
            VARINT => {
                read_varint(&mut payload)?;
                Value::Other
            }
            FIXED64 => skip(&mut payload, 8)?,
            FIXED32 => skip(&mut payload, 4)?,
            BYTES => {
                let length = usize::try_from(read_varint(&mut payload)?).map_err(|_| Refused::Malformed)?;
                let (bytes, rest) = payload.split_at_checked(length).ok_or(Refused::Malformed)?;
                payload = rest;
                Value::Bytes(bytes)
            }
            _ => return Err(Refused::Malformed),
        };
        take(key >> 3, value)?;
    }
    Ok(())
}

fn skip<'p>(payload: &mut &'p [u8], count: usize) -> Result<Value<'p>, Refused> {
    *payload = payload.get(count..).ok_or(Refused::Malformed)?;
    Ok(Value::Other)
}

fn read_varint(payload: &mut &[u8]) -> Result<u64, Refused> {
    let mut value = 0_u64;
    // Ten bytes of seven bits hold 64.
    for place in 0..10 {
        let (&byte, rest) = payload.split_first().ok_or(Refused::Malformed)?;
        *payload = rest;
        value |= u64::from(byte & 0x7f).checked_shl(7 * place).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Refused::Malformed)
}

/// A `TakMessage` that lists the versions we read and holds no event: a sign of life.
pub(crate) fn versions_frame() -> Vec<u8> {
    let mut message = Vec::new();
    nested(&mut message, 1, |control| {
        number(control, 1, 1);
        number(control, 2, 1);
    });
    let mut frame = vec![MAGIC];
    varint(&mut frame, message.len() as u64);
    frame.extend_from_slice(&message);
    frame
}
