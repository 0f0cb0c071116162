//! One batch, one transaction.

use futures_util::future::try_join_all;
use tokio_postgres::{Client, Statement};

use super::row::{self, Row};
use super::{KnownDays, Table, staged};
use crate::forward::event::{ClockBounds, Event, EventState};
use crate::postgres::Fault;
use crate::postgres::days;

/// What of a batch is still owed, as rows.
pub(super) struct Batch<'a> {
    rows: Vec<Row<'a>>,
    losses: Vec<(&'a str, &'a str)>,
}

impl<'a> Batch<'a> {
    pub(super) fn of(events: &'a [Event], clock: ClockBounds) -> Self {
        let mut batch = Self { rows: Vec::with_capacity(events.len()), losses: Vec::new() };
        for event in events.iter().filter(|event| event.state == EventState::Owed) {
            match row::of(event, clock) {
                Some(row) => batch.rows.push(row),
                None => batch
                    .losses
                    .push((event.key.as_str(), std::str::from_utf8(&event.json).unwrap_or_default())),
            }
        }
        batch
    }
}

/// Statements of one session, planned once.
pub(super) struct Prepared {
    lock: String,
    copy: Statement,
    insert: [Statement; 3],
    boots: Statement,
    loss: Statement,
    days: KnownDays,
}

/// Every writer of a schema takes turns: what one looks up is still so when it inserts, and days come and go between two batches.
pub(super) fn lock_of(schema: &str) -> String {
    let key = format!("fieldpost events {schema}").replace('\'', "''");
    format!("BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('{key}', 0))")
}

impl Prepared {
    pub(super) async fn new(client: &Client, schema: &str) -> Result<Self, Fault> {
        client.batch_execute(staged::CREATE).await?;
        let [positions, alarms, events] = Table::ALL.map(insert_into);
        Ok(Self {
            lock: lock_of(schema),
            copy: client.prepare(staged::COPY).await?,
            insert: [
                client.prepare(&positions).await?,
                client.prepare(&alarms).await?,
                client.prepare(&events).await?,
            ],
            boots: client.prepare(BOOTS).await?,
            loss: client
                .prepare("INSERT INTO gateway_losses (id, event) VALUES ($1, $2::text::jsonb) ON CONFLICT DO NOTHING")
                .await?,
            days: KnownDays::default(),
        })
    }

    /// Writes a batch; when it returns `Ok`, the batch is durable.
    pub(super) async fn write(&mut self, client: &Client, batch: &Batch<'_>) -> Result<(), Fault> {
        client.batch_execute(&self.lock).await?;
        self.ensure_days(client, &batch.rows).await?;
        if !batch.rows.is_empty() {
            staged::copy(client, &self.copy, &batch.rows).await?;
            let has = |table: &Table| batch.rows.iter().any(|row| row.table == *table);
            let inserts = Table::ALL.into_iter().filter(has).map(|table| &self.insert[table as usize]);
            // Sent one after the other without waiting for the answers between.
            try_join_all(inserts.chain([&self.boots]).map(|statement| client.execute(statement, &[])))
                .await?;
        }
        for (id, event) in &batch.losses {
            client.execute(&self.loss, &[id, event]).await?;
        }
        client.batch_execute("COMMIT").await?;
        Ok(())
    }

    /// After a transaction that was rolled back: the days it made are gone.
    pub(super) fn forget_days(&mut self) {
        self.days.clear();
    }

    async fn ensure_days(&mut self, client: &Client, rows: &[Row<'_>]) -> Result<(), Fault> {
        for row in rows {
            let known = self.days.entry(row.table).or_default();
            if !known.contains(&row.day) {
                days::ensure(client, row.table.as_str(), row.day).await?;
                // If the transaction fails after this, the session goes and its knowledge with it.
                known.insert(row.day);
            }
        }
        Ok(())
    }
}

/// In which days the rows of the batch stand from now on. Boots that are known for their days are left out first: `ON CONFLICT`
/// locks every row that it meets, also where it changes nothing, and a lock is a write.
const BOOTS: &str = "INSERT INTO boots AS b (force, device, boot, first_at, last_at)
    SELECT force, device, boot, s.first_at, s.last_at
    FROM (SELECT force, device, boot, min(date_trunc('day', at, 'UTC')) AS first_at,
            max(date_trunc('day', at, 'UTC')) + interval '1 day' AS last_at
        FROM pg_temp.staged GROUP BY force, device, boot) s
    LEFT JOIN boots o USING (force, device, boot)
    WHERE o.first_at IS NULL OR s.first_at < o.first_at OR s.last_at > o.last_at
    ON CONFLICT (force, device, boot) DO UPDATE
    SET first_at = least(b.first_at, excluded.first_at), last_at = greatest(b.last_at, excluded.last_at)";

/// The rows of `table` whose key stands in no day yet. The look-up is a scalar query on purpose: the planner then asks the
/// key's index in the days of that boot alone, whatever it believes of the tables' sizes.
fn insert_into(table: Table) -> String {
    let name = table.as_str();
    let place = "CASE WHEN s.longitude_udeg IS NOT NULL THEN \
                 ST_SetSRID(ST_MakePoint(s.longitude_udeg / 1e6, s.latitude_udeg / 1e6), 4326)::geography END";
    let (columns, values) = match table {
        Table::Positions => (
            "place, accuracy_m, speed_mps, course_deg, source, reason",
            format!("{place}, s.accuracy_m, s.speed_mps, s.course_deg, s.source, s.reason"),
        ),
        Table::Alarms => ("kind, place, event", format!("s.kind, {place}, s.event::jsonb")),
        Table::Events => ("kind, event", "s.kind, s.event::jsonb".to_owned()),
    };
    format!(
        "INSERT INTO {name} (force, device, boot, seq, repeat, at, at_is_device_time, received_at, clock, mode, lane, marking, {columns})
        SELECT DISTINCT ON (s.force, s.device, s.boot, s.seq, s.repeat)
            s.force, s.device, s.boot, s.seq, s.repeat, s.at, s.at_is_device_time, s.received_at, s.clock, s.mode, s.lane,
            s.marking, {values}
        FROM pg_temp.staged s LEFT JOIN boots b USING (force, device, boot)
        WHERE s.target = '{name}' AND (
            SELECT true FROM {name} o
            WHERE o.force = s.force AND o.device = s.device AND o.boot = s.boot AND o.seq = s.seq AND o.repeat = s.repeat
                AND o.at >= b.first_at AND o.at < b.last_at
            LIMIT 1) IS NULL
        ON CONFLICT DO NOTHING"
    )
}
