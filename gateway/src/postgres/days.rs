//! Tables of one day each: made when the first row of the day comes, dropped when the last may go.
//!
//! **A row that is held is never dropped with its day**: of such a day everything else is removed and the table stays.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use super::{Fault, time_of};
use crate::history::Hold;

/// The table called `$1` in the schema that is ours, not one of the same name further down the search path.
const OURS: &str = "to_regclass(quote_ident(current_schema()) || '.' || $1)";
const DAY_MS: u64 = 24 * 3_600_000;
/// How long dropping a day waits for others' sessions: new readers of the parent wait behind it, and so do the gateway's writers.
const DROP_LOCK_MS_MAX: u64 = 200;

/// A day of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Day(u64);

impl Day {
    /// The day of a time in Unix ms.
    pub(crate) fn of(at_ms: u64) -> Self {
        Self(at_ms.min(super::LATEST_MS) / DAY_MS)
    }

    /// Its first millisecond.
    pub(crate) fn starts_ms(self) -> u64 {
        self.0 * DAY_MS
    }

    /// The first millisecond after it.
    pub(crate) fn ends_ms(self) -> u64 {
        self.starts_ms() + DAY_MS
    }

    /// `20260814`.
    fn digits(self) -> String {
        let seconds = i64::try_from(self.starts_ms() / 1000).unwrap_or(i64::MAX);
        let date = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
        date.strftime("%Y%m%d").to_string()
    }

    fn table(self, parent: &str) -> String {
        format!("{parent}_d{}", self.digits())
    }

    fn of_table(table: &str, parent: &str) -> Option<Self> {
        let digits = table.strip_prefix(parent)?.strip_prefix("_d")?;
        let date = jiff::civil::Date::strptime("%Y%m%d", digits).ok()?;
        let start = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        let day = Self::of(u64::try_from(start.as_millisecond()).ok()?);
        (day.table(parent) == table).then_some(day)
    }
}

/// Makes the table of `day` unless it is there. In a transaction; others' reads and writes go on meanwhile.
pub(crate) async fn ensure(client: &Client, parent: &str, day: Day) -> Result<(), Fault> {
    let table = day.table(parent);
    if client.query_one(&format!("SELECT {OURS} IS NULL"), &[&table]).await?.get::<_, bool>(0) {
        // Attached, not made in place: that would wait for every reader of the parent.
        let (from, until) = (day.digits(), Day(day.0 + 1).digits());
        client
            .batch_execute(&format!(
                "CREATE TABLE {table} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS); \
                 ALTER TABLE {parent} ATTACH PARTITION {table} FOR VALUES FROM ('{from}') TO ('{until}')"
            ))
            .await?;
    }
    Ok(())
}

/// The days of which `parent` has a table. Tables that somebody else attached under other names are not ours to judge.
pub(crate) async fn all(client: &Client, parent: &str) -> Result<BTreeSet<Day>, Fault> {
    let sql = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = ";
    let rows = client.query(&format!("{sql}{OURS}"), &[&parent]).await?;
    Ok(rows.iter().filter_map(|row| Day::of_table(row.get(0), parent)).collect())
}

/// What is kept although its day is over.
pub(crate) struct Kept<'a> {
    /// Legal holds.
    pub(crate) holds: &'a [Hold],
    /// Rows that were received from this time on, Unix ms: their time has not begun to run out when their day had.
    pub(crate) received_from_ms: u64,
}

/// Drops the table of `day`, or of a day with rows to keep every other row. Returns whether the table is gone.
/// In a transaction, which ends with it: what it waits for a lock is cut short. Somebody who reads the day is a fault.
pub(crate) async fn retire(client: &Client, parent: &str, day: Day, kept: &Kept<'_>) -> Result<bool, Fault> {
    let table = day.table(parent);
    let near: Vec<&Hold> = kept.holds.iter().collect();
    let forces: Vec<&str> = near.iter().map(|hold| hold.force.as_str()).collect();
    let devices: Vec<Option<&str>> =
        near.iter().map(|hold| hold.unit.as_ref().map(|unit| unit.device.as_str())).collect();
    let from: Vec<_> = near.iter().map(|hold| time_of(hold.from_ms)).collect();
    let until: Vec<_> = near.iter().map(|hold| time_of(hold.until_ms)).collect();
    let received_from = time_of(kept.received_from_ms);
    let is_kept = "(r.received_at >= $5 OR EXISTS (SELECT FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[]) \
                   AS h (force, device, from_at, until_at) WHERE h.force = r.force AND (h.device IS NULL OR h.device = r.device) \
                   AND ((r.at >= h.from_at AND r.at < h.until_at) OR (r.received_at >= h.from_at AND r.received_at < h.until_at))))";
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&forces, &devices, &from, &until, &received_from];
    let any = format!("SELECT EXISTS (SELECT FROM {table} r WHERE {is_kept})");
    if client.query_one(&any, parameters).await?.get(0) {
        let count = client.execute(&format!("DELETE FROM {table} r WHERE NOT {is_kept}"), parameters).await?;
        if count > 0 {
            tracing::info!(table, count, "a day's time is over: its held rows stay, the others are removed");
        }
        return Ok(false);
    }
    client.batch_execute(&format!("SET LOCAL lock_timeout = {DROP_LOCK_MS_MAX}; DROP TABLE {table}")).await?;
    tracing::info!(table, "a day's time is over: its table is dropped");
    Ok(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_day_is_found_again_by_the_name_of_its_table(at_ms in 0..super::super::LATEST_MS) {
            let day = Day::of(at_ms);
            prop_assert!((day.starts_ms()..day.ends_ms()).contains(&at_ms));
            prop_assert_eq!(Day::of_table(&day.table("positions"), "positions"), Some(day));
            prop_assert_eq!(Day::of_table(&day.table("positions"), "alarms"), None);
        }
    }
}
