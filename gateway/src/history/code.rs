//! Rows as bytes: one unit's rows of one hour, each told by what differs from the one before.
//!
//! **What decodes is what was encoded; anything else is [`NotRows`]**, without a panic and without taking more memory than
//! the bytes warrant. A walking officer's position at 1 s to 10 s takes 12 to 17 bytes.
//!
//! ```text
//! block = force len u8, bytes | device len u8, bytes | rows varint | row ...
//! row   = flags u8: kind 2 bits, backlog, repeated, clock 2 bits, mode 2 bits
//!         at - at before | received - at | boot - before | seq - before      zigzag varints
//!         fingerprint u32 LE, if repeated
//!   position: latitude, longitude less those before, zigzag varints | shape u8 | what the shape says
//!   status:   duty u8 | battery u8
//!   alarm:    length varint, JSON
//! ```

use fieldpost_protocol::{ClockQuality, DeviceId, Duty, FixSource, ForceId, Mode, Position, ReportReason};

use super::row::{Row, Said};
use crate::live::unit::UnitId;

const BACKLOG: u8 = 1 << 2;
const REPEATED: u8 = 1 << 3;

const HAS_SPEED: u8 = 1;
const HAS_COURSE: u8 = 1 << 1;
/// Source and reason follow; without it they are those of the position before.
const HAS_ORIGIN: u8 = 1 << 2;

/// The bytes are not a block of rows: damaged, or from a newer version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a block of rows")]
pub(super) struct NotRows;

/// What the next row is told against.
#[derive(Clone, Copy)]
struct Before {
    at_ms: u64,
    boot: u32,
    seq: u32,
    place: (i32, i32),
    origin: (u8, u8),
}

const START: Before = Before { at_ms: 0, boot: 0, seq: 0, place: (0, 0), origin: (0, 129) };

/// Appends the block of `unit`'s rows to `out`.
pub(super) fn encode(out: &mut Vec<u8>, unit: &UnitId, rows: &[Row]) {
    for id in [unit.force.as_str(), unit.device.as_str()] {
        out.push(u8::try_from(id.len()).expect("an identity has at most 64 characters"));
        out.extend_from_slice(id.as_bytes());
    }
    put(out, rows.len() as u64);
    let mut before = START;
    for row in rows {
        before = encode_row(out, row, before);
    }
}

fn encode_row(out: &mut Vec<u8>, row: &Row, before: Before) -> Before {
    let backlog = if row.is_backlog { BACKLOG } else { 0 };
    let repeated = if row.print == 0 { 0 } else { REPEATED };
    out.push(row.said.kind() | backlog | repeated | (row.clock as u8) << 4 | (row.mode as u8) << 6);
    put_step(out, before.at_ms, row.at_ms);
    put_step(out, row.at_ms, row.received_at_ms);
    put_step(out, before.boot.into(), row.boot.into());
    put_step(out, before.seq.into(), row.seq.into());
    if row.print != 0 {
        out.extend_from_slice(&row.print.to_le_bytes());
    }
    let after = Before { at_ms: row.at_ms, boot: row.boot, seq: row.seq, ..before };
    match &row.said {
        Said::Position(position) => encode_position(out, position, after),
        Said::Status { duty, battery_pct } => {
            out.extend_from_slice(&[duty.0, *battery_pct]);
            after
        }
        Said::Alarm(text) => {
            put(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
            after
        }
    }
}

fn encode_position(out: &mut Vec<u8>, position: &Position, before: Before) -> Before {
    let place = (position.latitude_udeg, position.longitude_udeg);
    put_signed(out, i64::from(place.0) - i64::from(before.place.0));
    put_signed(out, i64::from(place.1) - i64::from(before.place.1));
    let origin = (position.source.0, position.reason.0);
    let shape = [
        (position.speed_cmps.is_some(), HAS_SPEED),
        (position.course_turn256.is_some(), HAS_COURSE),
        (origin != before.origin, HAS_ORIGIN),
    ];
    out.push(shape.iter().filter(|(is_so, _)| *is_so).map(|(_, bit)| bit).sum());
    if let Some(speed) = position.speed_cmps {
        put(out, speed.into());
    }
    out.extend(position.course_turn256);
    if origin != before.origin {
        out.extend_from_slice(&[origin.0, origin.1]);
    }
    out.push(position.accuracy_m);
    Before { place, origin, ..before }
}

/// Reads a block back.
pub(super) fn decode(bytes: &[u8]) -> Result<(UnitId, Vec<Row>), NotRows> {
    let mut bytes = Bytes(bytes);
    let unit = bytes.unit()?;
    let count = usize::try_from(bytes.number()?).map_err(|_| NotRows)?;
    // No row has fewer than seven bytes.
    if count > bytes.0.len() / 7 {
        return Err(NotRows);
    }
    let mut rows = Vec::with_capacity(count);
    let mut before = START;
    for _ in 0..count {
        let (row, after) = bytes.row(before)?;
        rows.push(row);
        before = after;
    }
    if bytes.0.is_empty() { Ok((unit, rows)) } else { Err(NotRows) }
}

/// The unit of a block alone.
pub(super) fn unit_of(bytes: &[u8]) -> Result<UnitId, NotRows> {
    Bytes(bytes).unit()
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], NotRows> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(NotRows)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, NotRows> {
        self.take(1).map(|taken| taken[0])
    }

    fn text(&mut self, count: usize) -> Result<&'a str, NotRows> {
        std::str::from_utf8(self.take(count)?).map_err(|_| NotRows)
    }

    fn unit(&mut self) -> Result<UnitId, NotRows> {
        let count = self.byte()?;
        let force = ForceId::try_new(self.text(count.into())?).map_err(|_| NotRows)?;
        let count = self.byte()?;
        let device = DeviceId::try_new(self.text(count.into())?).map_err(|_| NotRows)?;
        Ok(UnitId { force, device })
    }

    /// LEB128, at most 64 bits.
    fn number(&mut self) -> Result<u64, NotRows> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7F);
            if shift == 63 && part > 1 {
                return Err(NotRows);
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(NotRows)
    }

    fn signed(&mut self) -> Result<i64, NotRows> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn step(&mut self, from: u64) -> Result<u64, NotRows> {
        Ok(from.wrapping_add_signed(self.signed()?))
    }

    fn step32(&mut self, from: u32) -> Result<u32, NotRows> {
        u32::try_from(self.step(from.into())?).map_err(|_| NotRows)
    }

    fn row(&mut self, before: Before) -> Result<(Row, Before), NotRows> {
        let flags = self.byte()?;
        let at_ms = self.step(before.at_ms)?;
        let received_at_ms = self.step(at_ms)?;
        let boot = self.step32(before.boot)?;
        let seq = self.step32(before.seq)?;
        let print = match flags & REPEATED {
            0 => 0,
            _ => u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| NotRows)?),
        };
        let mut after = Before { at_ms, boot, seq, ..before };
        let said = match flags & 3 {
            0 => Said::Position(self.position(&mut after)?),
            1 => Said::Status { duty: Duty(self.byte()?), battery_pct: self.byte()? },
            2 => {
                let count = usize::try_from(self.number()?).map_err(|_| NotRows)?;
                Said::Alarm(self.text(count)?.into())
            }
            _ => return Err(NotRows),
        };
        let row = Row {
            at_ms,
            received_at_ms,
            boot,
            seq,
            print,
            mode: Mode::from_bits(flags >> 6).ok_or(NotRows)?,
            clock: ClockQuality::from_bits(flags >> 4),
            is_backlog: flags & BACKLOG != 0,
            said,
        };
        Ok((row, after))
    }

    fn position(&mut self, before: &mut Before) -> Result<Position, NotRows> {
        let mut place = [before.place.0, before.place.1];
        for degrees in &mut place {
            let moved = i64::from(*degrees).checked_add(self.signed()?).ok_or(NotRows)?;
            *degrees = i32::try_from(moved).map_err(|_| NotRows)?;
        }
        let shape = self.byte()?;
        let speed_cmps = match shape & HAS_SPEED {
            0 => None,
            _ => Some(u16::try_from(self.number()?).map_err(|_| NotRows)?),
        };
        let course_turn256 = if shape & HAS_COURSE == 0 { None } else { Some(self.byte()?) };
        if shape & HAS_ORIGIN != 0 {
            before.origin = (self.byte()?, self.byte()?);
        }
        before.place = (place[0], place[1]);
        let position = Position {
            latitude_udeg: place[0],
            longitude_udeg: place[1],
            speed_cmps,
            course_turn256,
            accuracy_m: self.byte()?,
            source: FixSource(before.origin.0),
            reason: ReportReason(before.origin.1),
        };
        Position::try_new(position).map_err(|_| NotRows)
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7F).expect("seven bits") | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).expect("under 0x80"));
}

fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

fn put_step(out: &mut Vec<u8>, from: u64, to: u64) {
    put_signed(out, to.wrapping_sub(from).cast_signed());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_said() -> impl Strategy<Value = Said> {
        let position = (
            -90_000_000i32..=90_000_000,
            -180_000_000i32..=180_000_000,
            prop::option::of(0u16..1000),
            prop::option::of(any::<u8>()),
            any::<[u8; 3]>(),
        );
        prop_oneof![
            position.prop_map(|(latitude_udeg, longitude_udeg, speed_cmps, course_turn256, [a, s, r])| {
                Said::Position(Position {
                    latitude_udeg,
                    longitude_udeg,
                    speed_cmps,
                    course_turn256,
                    accuracy_m: a,
                    source: FixSource(s),
                    reason: ReportReason(r),
                })
            }),
            any::<[u8; 2]>().prop_map(|[d, b]| Said::Status { duty: Duty(d), battery_pct: b }),
            ".{0,40}".prop_map(|text| Said::Alarm(text.into())),
        ]
    }

    pub(crate) fn any_row() -> impl Strategy<Value = Row> {
        let numbers = (any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>(), any::<u32>());
        (numbers, 1u8..4, 0u8..4, any::<bool>(), any_said()).prop_map(
            |((at_ms, received_at_ms, boot, seq, print), mode, clock, is_backlog, said)| Row {
                at_ms,
                received_at_ms,
                boot,
                seq,
                print,
                mode: Mode::from_bits(mode).expect("1 to 3"),
                clock: ClockQuality::from_bits(clock),
                is_backlog,
                said,
            },
        )
    }

    proptest! {
        #[test]
        fn rows_read_back_as_they_were_written(rows in prop::collection::vec(any_row(), 0..20)) {
            let unit: UnitId = "sim/pc-0001".parse().unwrap();
            let mut bytes = Vec::new();
            encode(&mut bytes, &unit, &rows);
            prop_assert_eq!(decode(&bytes), Ok((unit.clone(), rows)));
            prop_assert_eq!(unit_of(&bytes), Ok(unit));
        }

        #[test]
        fn rubbish_and_cut_blocks_are_refused_without_a_panic(
            rows in prop::collection::vec(any_row(), 1..6), cut in any::<prop::sample::Index>(),
            rubbish in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            _ = decode(&rubbish);
            let mut bytes = Vec::new();
            encode(&mut bytes, &"sim/pc-0001".parse().unwrap(), &rows);
            bytes.truncate(cut.index(bytes.len()));
            prop_assert_eq!(decode(&bytes), Err(NotRows));
        }
    }
}
