//! A row of the history as columns, and back. **What comes back is what was written**, or [`Fault`].

use std::pin::pin;
use std::time::SystemTime;

use fieldpost_protocol::{ClockQuality, DeviceId, Duty, FixSource, ForceId, Mode, Position, ReportReason};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

use super::super::row::{Row, RowClass, Said};
use crate::live::unit::UnitId;
use crate::postgres::{Fault, ms_of, time_of};

/// The table of a class.
pub(super) fn table_of(class: RowClass) -> &'static str {
    match class {
        RowClass::Movement => "movement",
        RowClass::Alarms => "alarms",
    }
}

/// What rows are copied into; gone with the session and empty after each transaction.
pub(super) const STAGED: &str = "CREATE TEMPORARY TABLE staged (
    force text COLLATE \"C\", device text COLLATE \"C\", at timestamptz, boot bigint, seq bigint, print bigint, kind smallint,
    received_at timestamptz, mode smallint, clock smallint, is_backlog boolean, latitude_udeg int, longitude_udeg int,
    speed_cmps int, course_turn256 smallint, accuracy_m smallint, source smallint, reason smallint, duty smallint,
    battery_pct smallint, alarm text, what text, said text
) ON COMMIT DELETE ROWS";

/// Copies into it.
pub(super) const COPY: &str = "COPY pg_temp.staged FROM STDIN BINARY";

const TYPES: [Type; 23] = [
    Type::TEXT,
    Type::TEXT,
    Type::TIMESTAMPTZ,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT2,
    Type::TIMESTAMPTZ,
    Type::INT2,
    Type::INT2,
    Type::BOOL,
    Type::INT4,
    Type::INT4,
    Type::INT4,
    Type::INT2,
    Type::INT2,
    Type::INT2,
    Type::INT2,
    Type::INT2,
    Type::INT2,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
];

/// Columns that both tables have, and each its own.
const KEY: &str = "force, device, at, boot, seq, print, kind, received_at, mode, clock, is_backlog";
const MOVEMENT: &str = "latitude_udeg, longitude_udeg, speed_cmps, course_turn256, accuracy_m, source, reason, duty, battery_pct";

/// The columns of a question, as [`movement_of`] reads them.
pub(super) fn movement_columns() -> String {
    format!("{KEY}, {MOVEMENT}")
}

/// The columns of a question, as [`alarm_of`] reads them.
pub(super) fn alarm_columns() -> String {
    format!("{KEY}, said")
}

/// From the staged rows into the table of `class`; what is there already changes nothing.
pub(super) fn insert_into(class: RowClass) -> String {
    let (own, kinds) = match class {
        RowClass::Movement => (MOVEMENT, "s.kind < 2"),
        RowClass::Alarms => ("alarm, what, said", "s.kind = 2"),
    };
    let table = table_of(class);
    format!(
        "INSERT INTO {table} ({KEY}, {own}) SELECT {KEY}, {own} FROM pg_temp.staged s WHERE {kinds} ON CONFLICT DO NOTHING"
    )
}

/// Copies `rows`.
pub(super) async fn copy(
    client: &Client,
    statement: &Statement,
    rows: &[(UnitId, Row)],
) -> Result<(), Fault> {
    let sink = client.copy_in(statement).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &TYPES));
    for (unit, row) in rows {
        let position = match &row.said {
            Said::Position(position) => Some(position),
            _ => None,
        };
        let status = match &row.said {
            Said::Status { duty, battery_pct } => Some((i16::from(duty.0), i16::from(*battery_pct))),
            _ => None,
        };
        let said = match &row.said {
            Said::Alarm(said) => Some(&**said),
            _ => None,
        };
        let event = row.alarm_event();
        let alarm = said.map(|_| event.as_ref().map_or("", |event| event.alarm.as_str()));
        let what = said.map(|_| event.as_ref().map_or("", |event| event.what.as_str()));
        writer
            .as_mut()
            .write(&[
                &unit.force.as_str(),
                &unit.device.as_str(),
                &time_of(row.at_ms),
                &i64::from(row.boot),
                &i64::from(row.seq),
                &i64::from(row.print),
                &i16::from(row.said.kind()),
                &time_of(row.received_at_ms),
                &i16::from(row.mode as u8),
                &i16::from(row.clock as u8),
                &row.is_backlog,
                &position.map(|position| position.latitude_udeg),
                &position.map(|position| position.longitude_udeg),
                &position.and_then(|position| position.speed_cmps).map(i32::from),
                &position.and_then(|position| position.course_turn256).map(i16::from),
                &position.map(|position| i16::from(position.accuracy_m)),
                &position.map(|position| i16::from(position.source.0)),
                &position.map(|position| i16::from(position.reason.0)),
                &status.map(|status| status.0),
                &status.map(|status| status.1),
                &alarm,
                &what,
                &said,
            ])
            .await?;
    }
    writer.finish().await?;
    Ok(())
}

/// Reads columns one after the other.
struct Columns<'a> {
    row: &'a tokio_postgres::Row,
    next: usize,
}

impl Columns<'_> {
    fn take<'r, T: tokio_postgres::types::FromSql<'r>>(&'r mut self) -> Result<T, Fault> {
        let value = self.row.try_get(self.next).map_err(|_| not_ours())?;
        self.next += 1;
        Ok(value)
    }

    fn small<T: TryFrom<i16>>(&mut self) -> Result<T, Fault> {
        T::try_from(self.take::<i16>()?).map_err(|_| not_ours())
    }

    fn maybe_small<T: TryFrom<i16>>(&mut self) -> Result<Option<T>, Fault> {
        self.take::<Option<i16>>()?.map(|value| T::try_from(value).map_err(|_| not_ours())).transpose()
    }

    fn number(&mut self) -> Result<u32, Fault> {
        u32::try_from(self.take::<i64>()?).map_err(|_| not_ours())
    }

    /// The unit, the row without what it says, and the kind.
    fn key(&mut self) -> Result<(UnitId, Row, u8), Fault> {
        let force = ForceId::try_new(self.take::<&str>()?).map_err(|_| not_ours())?;
        let device = DeviceId::try_new(self.take::<&str>()?).map_err(|_| not_ours())?;
        let at_ms = ms_of(self.take::<SystemTime>()?);
        let (boot, seq, print, kind) = (self.number()?, self.number()?, self.number()?, self.small::<u8>()?);
        let row = Row {
            at_ms,
            boot,
            seq,
            print,
            received_at_ms: ms_of(self.take::<SystemTime>()?),
            mode: Mode::from_bits(self.small::<u8>()?).ok_or_else(not_ours)?,
            clock: ClockQuality::from_bits(self.small::<u8>()?),
            is_backlog: self.take()?,
            said: Said::Alarm("".into()),
        };
        Ok((UnitId { force, device }, row, kind))
    }
}

fn not_ours() -> Fault {
    Fault::misconfigured("a row of the history is not as it was written: somebody changed it in the database")
}

/// Reads [`movement_columns`].
pub(super) fn movement_of(row: &tokio_postgres::Row) -> Result<(UnitId, Row), Fault> {
    let mut columns = Columns { row, next: 0 };
    let (unit, row, kind) = columns.key()?;
    let (latitude_udeg, longitude_udeg) = (columns.take::<Option<i32>>()?, columns.take::<Option<i32>>()?);
    let speed = columns.take::<Option<i32>>()?;
    let course_turn256 = columns.maybe_small()?;
    let (accuracy, source, reason) = (columns.maybe_small()?, columns.maybe_small()?, columns.maybe_small()?);
    let (duty, battery) = (columns.maybe_small()?, columns.maybe_small()?);
    let said = if kind == 0 {
        let position = Position {
            latitude_udeg: latitude_udeg.ok_or_else(not_ours)?,
            longitude_udeg: longitude_udeg.ok_or_else(not_ours)?,
            speed_cmps: speed.map(u16::try_from).transpose().map_err(|_| not_ours())?,
            course_turn256,
            accuracy_m: accuracy.ok_or_else(not_ours)?,
            source: FixSource(source.ok_or_else(not_ours)?),
            reason: ReportReason(reason.ok_or_else(not_ours)?),
        };
        Said::Position(Position::try_new(position).map_err(|_| not_ours())?)
    } else {
        let battery_pct = battery.ok_or_else(not_ours)?;
        Said::Status { duty: Duty(duty.ok_or_else(not_ours)?), battery_pct }
    };
    Ok((unit, Row { said, ..row }))
}

/// Reads [`alarm_columns`].
pub(super) fn alarm_of(row: &tokio_postgres::Row) -> Result<(UnitId, Row), Fault> {
    let mut columns = Columns { row, next: 0 };
    let (unit, row, _) = columns.key()?;
    let said = Said::Alarm(columns.take::<&str>()?.into());
    Ok((unit, Row { said, ..row }))
}
