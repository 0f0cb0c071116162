//! The temporary table that a batch is copied into, and the copy's binary form.
//!
//! Places go as micro-degrees, as the wire has them; the server makes geographies of them, so its type's number, which is
//! another in every database, is never asked for.

use std::pin::pin;

use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

use super::row::Row;
use crate::postgres::Fault;
use crate::sabotage::{self, Sabotage};

/// The table, gone with the session and empty after each transaction. Nothing of it is in the server's log of changes.
pub(super) const CREATE: &str = "CREATE TEMPORARY TABLE staged (
    target text NOT NULL, kind text NOT NULL, force text NOT NULL, device text NOT NULL, boot bigint NOT NULL,
    seq bigint NOT NULL, repeat bigint NOT NULL, at timestamptz NOT NULL, at_is_device_time boolean NOT NULL,
    received_at timestamptz NOT NULL, clock text NOT NULL, mode text NOT NULL, lane text NOT NULL, marking text NOT NULL,
    longitude_udeg int, latitude_udeg int, accuracy_m smallint, speed_mps real, course_deg real,
    source smallint, reason smallint, event text
) ON COMMIT DELETE ROWS";

/// Copies into it.
pub(super) const COPY: &str = "COPY pg_temp.staged FROM STDIN BINARY";

const TYPES: [Type; 22] = [
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::TIMESTAMPTZ,
    Type::BOOL,
    Type::TIMESTAMPTZ,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::INT4,
    Type::INT4,
    Type::INT2,
    Type::FLOAT4,
    Type::FLOAT4,
    Type::INT2,
    Type::INT2,
    Type::TEXT,
];

/// Copies `rows`.
pub(super) async fn copy(client: &Client, statement: &Statement, rows: &[Row<'_>]) -> Result<(), Fault> {
    let sink = client.copy_in(statement).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &TYPES));
    for row in rows {
        let position = row.position.as_ref();
        let repeat = if sabotage::is(Sabotage::InsertWithoutKey) { any_number() } else { row.repeat };
        writer
            .as_mut()
            .write(&[
                &row.table.as_str(),
                &row.kind,
                &row.force,
                &row.device,
                &row.boot,
                &row.seq,
                &repeat,
                &row.at,
                &row.at_is_device_time,
                &row.received_at,
                &row.clock,
                &row.mode,
                &row.lane,
                &row.marking,
                &position.map(|position| position.longitude_udeg),
                &position.map(|position| position.latitude_udeg),
                // 0 is the wire's "not known".
                &position.map(|position| i16::from(position.accuracy_m)).filter(|accuracy| *accuracy != 0),
                &position.and_then(|position| position.speed_cmps).map(|speed| f32::from(speed) / 100.0),
                &position
                    .and_then(|position| position.course_turn256)
                    .map(|course| f32::from(course) * 1.406_25),
                &position.map(|position| i16::from(position.source.0)),
                &position.map(|position| i16::from(position.reason.0)),
                &row.event,
            ])
            .await?;
    }
    writer.finish().await?;
    Ok(())
}

/// For the sabotage: no two attempts have the same key.
fn any_number() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
