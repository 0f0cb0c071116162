//! Writing: chunks of rows, each a transaction, then days that are over.
//!
//! **Only the rows decide whether it succeeded.** Somebody who reads a day that is over for hours holds up its dropping, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::try_join_all;
use tokio_postgres::Statement;

use super::super::row::{Row, RowClass};
use super::super::table::Table;
use super::{Inner, row};
use crate::live::unit::UnitId;
use crate::postgres::Fault;
use crate::postgres::days::{self, Day, Kept};
use crate::postgres::link::Link;

/// Rows of a transaction: what is written stays so when a later chunk fails, so that a slow database gets on.
const CHUNK_ROWS: usize = 8_192;

/// How long a chore that failed is left alone: each time costs its connection.
const CHORE_AGAIN_MS: u64 = 5 * 60_000;

const CLASSES: [RowClass; 2] = [RowClass::Movement, RowClass::Alarms];

/// The connection that writes, with what is prepared on it.
pub(super) struct Session {
    link: Link,
    copy: Statement,
    insert: [Statement; 2],
    units: Statement,
    days: BTreeSet<(RowClass, Day)>,
}

impl Session {
    async fn new(link: Link) -> Result<Self, Fault> {
        let client = link.client();
        client.batch_execute(row::STAGED).await?;
        let units = "INSERT INTO units (force, device) SELECT DISTINCT force, device FROM pg_temp.staged ON CONFLICT DO NOTHING";
        let (movement, alarms) = (row::insert_into(RowClass::Movement), row::insert_into(RowClass::Alarms));
        let insert = [client.prepare(&movement).await?, client.prepare(&alarms).await?];
        let (copy, units) = (client.prepare(row::COPY).await?, client.prepare(units).await?);
        Ok(Self { link, copy, insert, units, days: BTreeSet::new() })
    }

    async fn write(&mut self, schema: &str, rows: &[(UnitId, Row)]) -> Result<(), Fault> {
        let client = self.link.client();
        client.batch_execute(&lock_of(schema)).await?;
        for (_, row) in rows {
            let (class, day) = (row.said.class(), Day::of(row.at_ms));
            if !self.days.contains(&(class, day)) {
                days::ensure(client, row::table_of(class), day).await?;
                self.days.insert((class, day));
            }
        }
        row::copy(client, &self.copy, rows).await?;
        let statements = self.insert.iter().chain([&self.units]);
        try_join_all(statements.map(|statement| client.execute(statement, &[]))).await?;
        client.batch_execute("COMMIT").await?;
        Ok(())
    }
}

/// What is done after the rows, and may fail without them.
#[derive(Debug, Clone, Copy)]
enum Chore {
    Measure,
    Retire,
}

/// When each chore failed, in the gateway's time; `None` if it went well last time.
#[derive(Debug, Default)]
pub(super) struct Failed([Option<u64>; 2]);

impl Failed {
    fn is_due(&self, chore: Chore, now_ms: u64) -> bool {
        // A clock that was set back puts it off no longer than that.
        self.0[chore as usize].is_none_or(|at_ms| at_ms.abs_diff(now_ms) >= CHORE_AGAIN_MS)
    }

    /// True the first time.
    fn note(&mut self, chore: Chore, failed_at_ms: Option<u64>) -> bool {
        let was_well = std::mem::replace(&mut self.0[chore as usize], failed_at_ms).is_none();
        was_well && failed_at_ms.is_some()
    }
}

/// Writers of the schema take turns, so that no day goes while somebody writes into it.
fn lock_of(schema: &str) -> String {
    let key = format!("fieldpost history {schema}").replace('\'', "''");
    format!("BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('{key}', 0))")
}

impl Inner {
    pub(super) async fn settle(&self, now_ms: u64) -> Result<(), Fault> {
        let mut settling = self.settling.lock().await;
        // Taken out: after any failure the connection goes, and the server rolls back.
        let mut session = match settling.take() {
            Some(session) if !session.link.is_closed() => session,
            _ => {
                let (link, _) = self.connect().await?;
                let session = Session::new(link);
                session.await?
            }
        };
        self.write_fresh(&mut session).await?;
        if self.look_after(&mut session, now_ms).await {
            *settling = Some(session);
        }
        Ok(())
    }

    /// Does the chores that are due; false if one failed, after which the connection is not to be used.
    async fn look_after(&self, session: &mut Session, now_ms: u64) -> bool {
        for chore in [Chore::Measure, Chore::Retire] {
            if !self.state().failed.is_due(chore, now_ms) {
                continue;
            }
            let done = match chore {
                Chore::Measure => bounded(self.measure(session)).await,
                Chore::Retire => self.retire(session, now_ms).await,
            };
            let is_new = self.state().failed.note(chore, done.is_err().then_some(now_ms));
            if let Err(fault) = done {
                if is_new {
                    let again_s = CHORE_AGAIN_MS / 1_000;
                    tracing::warn!(%fault, ?chore, again_s, "the history's rows are written, but its days are not looked after");
                }
                return false;
            }
        }
        true
    }

    async fn write_fresh(&self, session: &mut Session) -> Result<(), Fault> {
        let rows = {
            let mut state = self.state();
            // Left over if a settling was dropped on its way.
            let writing = std::mem::take(&mut state.writing);
            writing.slots().for_each(|(slot, rows)| state.fresh.put_back(slot, rows));
            state.writing = Arc::new(std::mem::take(&mut state.fresh));
            let flat = state.writing.slots().flat_map(|(_, rows)| rows);
            flat.flat_map(|(unit, rows)| rows.iter().map(|row| (unit.clone(), row.clone())))
                .collect::<Vec<_>>()
        };
        let mut outcome = Ok(());
        let mut written_count = 0;
        for chunk in rows.chunks(CHUNK_ROWS) {
            let link_schema = self.settings.server.schema.clone();
            outcome = bounded(session.write(&link_schema, chunk)).await;
            if outcome.is_err() {
                break;
            }
            written_count += chunk.len();
        }
        let mut state = self.state();
        state.writing = Arc::default();
        state.fresh.add(rows.into_iter().skip(written_count));
        outcome
    }

    /// Drops days that are older than their class is kept, but for what is held.
    async fn retire(&self, session: &mut Session, now_ms: u64) -> Result<(), Fault> {
        let today = Day::of(now_ms);
        for class in CLASSES {
            let kept_ms = self.settings.retention.days(class).saturating_mul(24 * 3_600_000);
            let table = row::table_of(class);
            for day in bounded(days::all(session.link.client(), table)).await? {
                if day.starts_ms().saturating_add(kept_ms) >= today.starts_ms() {
                    break;
                }
                let holds = (self.settings.holds)();
                let kept = Kept { holds: &holds, received_from_ms: u64::MAX };
                let link = &session.link;
                let work = async {
                    link.client().batch_execute(&lock_of(&self.settings.server.schema)).await?;
                    let is_gone = days::retire(link.client(), table, day, &kept).await?;
                    link.client().batch_execute("COMMIT").await?;
                    Ok(is_gone)
                };
                if link.run("retention", work).await? {
                    session.days.remove(&(class, day));
                }
            }
        }
        Ok(())
    }

    async fn measure(&self, session: &Session) -> Result<(), Fault> {
        let sql = "SELECT coalesce(sum(pg_total_relation_size(i.inhrelid)), 0)::bigint, \
                   coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint \
                   FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
                   WHERE i.inhparent IN ('movement'::regclass, 'alarms'::regclass) AND c.relkind = 'r'";
        let client = session.link.client();
        let oldest = days::all(client, "movement").await?.first().map(|day| day.starts_ms());
        let found = client.query_one(sql, &[]).await?;
        let number = |place| u64::try_from(found.get::<_, i64>(place)).unwrap_or(0);
        let mut state = self.state();
        state.condition.bytes = number(0);
        state.condition.rows_count = number(1);
        state.condition.oldest_ms = oldest;
        Ok(())
    }
}

/// The server bounds each statement itself; this is for one that was stopped.
async fn bounded<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let limit = std::time::Duration::from_millis(crate::postgres::STATEMENT_MS_MAX);
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Fault::again(crate::forward::RetryReason::Timeout, "the database does not answer"))
    })
}

/// For questions: rows in memory.
impl Inner {
    /// Both tables in memory, as they are now.
    pub(super) fn in_memory(&self, keep: &dyn Fn(&UnitId, &Row) -> bool) -> Vec<(UnitId, Row)> {
        let state = self.state();
        let tables: [&Table; 2] = [&state.writing, &state.fresh];
        let rows = tables.into_iter().flat_map(Table::slots).flat_map(|(_, rows)| rows);
        rows.flat_map(|(unit, rows)| rows.iter().map(move |row| (unit, row)))
            .filter(|(unit, row)| keep(unit, row))
            .map(|(unit, row)| (unit.clone(), row.clone()))
            .collect()
    }
}
