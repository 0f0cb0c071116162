//! The PostgreSQL sink: a row an event, in tables of a day each, with PostGIS places.
//!
//! **An event counts as accepted only when its transaction's COMMIT was answered, and its key stands once in all days**:
//! a batch that is sent again, by this gateway or by another that shares the schema, changes nothing. The server's session is
//! never trusted further than one batch: a cut-off attempt ends its connection, and the server rolls back.
//!
//! ```text
//! events --COPY BINARY--> staged (temporary) --INSERT .. not there yet--> positions | alarms | events --COMMIT--> accepted
//!                              '- boots: in which days rows of a device's boot stand, so that few days are asked
//! ```
//!
//! Migrations are in `schema/`; roles, the schema's picture and a runnable example in docs/sinks/postgres.md.

mod insert;
mod keep;
mod piece;
mod row;
mod staged;

#[cfg(test)]
mod claims;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::AbortHandle;

use self::insert::Batch;
pub use self::keep::RetentionSettings;
use self::piece::Piece;
use super::event::{ClockBounds, Event, EventState};
use super::{RefuseReason, Sink, SinkError};
use crate::postgres::link::Link;
use crate::postgres::schema::{self, Migration, Plan};
use crate::postgres::{Fault, Server};
use crate::sabotage::{self, Sabotage};

/// Tables of events.
pub(crate) const PLAN: Plan = Plan {
    purpose: "events",
    needs_postgis: true,
    migrations: &[
        Migration { version: 1, sql: include_str!("schema/0001_tables.sql") },
        Migration { version: 2, sql: include_str!("schema/0002_losses.sql") },
    ],
};

/// Where, and how long rows are kept there.
#[derive(Clone)]
pub struct PostgresSettings {
    /// The server and the schema.
    pub server: Server,
    /// Which device clocks are believed: as in the event's JSON.
    pub clock: ClockBounds,
    /// When rows are removed.
    pub retention: RetentionSettings,
}

/// The sink.
pub struct PostgresSink {
    settings: Arc<PostgresSettings>,
    session: Option<Session>,
    piece: Piece,
    /// By which settings the server may forget what it has answered, as far as it was said.
    forgets_by: Option<String>,
    keeper: AbortHandle,
}

/// A connection to a schema that was checked, with what is prepared on it.
struct Session {
    link: Link,
    insert: insert::Prepared,
}

impl PostgresSink {
    /// A sink that connects at its first batch; from now on a task removes what is over. Needs a tokio runtime.
    #[must_use]
    pub fn new(settings: PostgresSettings) -> Self {
        let settings = Arc::new(settings);
        let keeper = tokio::spawn(keep::run(Arc::clone(&settings))).abort_handle();
        Self { settings, session: None, piece: Piece::default(), forgets_by: None, keeper }
    }

    async fn open(&mut self) -> Result<Session, Fault> {
        let server = &self.settings.server;
        let link = Link::open(server).await?;
        let forgets_by = link.run("asking for its settings", link.forgets_by()).await?;
        if let Some(settings) = &forgets_by
            && forgets_by != self.forgets_by
        {
            tracing::warn!(
                schema = server.schema,
                settings,
                "PostgreSQL answers before it has written: what it loses with its power is lost; turn these settings on"
            );
        }
        self.forgets_by = forgets_by;
        link.run("checking the schema", schema::ensure(link.client(), &server.schema, &PLAN)).await?;
        let insert = link.run("preparing", insert::Prepared::new(link.client(), &server.schema)).await?;
        Ok(Session { link, insert })
    }

    async fn attempt(&mut self, events: &mut [Event]) -> Result<(), Fault> {
        // Taken out: if this future is dropped at its deadline, the connection goes with it.
        let mut session = match self.session.take() {
            Some(session) if !session.link.is_closed() => session,
            _ => self.open().await?,
        };
        let Session { link, insert } = &mut session;
        let done = if sabotage::is(Sabotage::AcceptBeforeCommit) {
            let sent = events.to_vec();
            events.iter_mut().for_each(accept);
            write(link, insert, &Batch::of(&sent, self.settings.clock)).await
        } else {
            write(link, insert, &Batch::of(events, self.settings.clock)).await
        };
        match done {
            Ok(()) => {
                events.iter_mut().for_each(accept);
                self.session = Some(session);
            }
            // The server has answered and its session is as good as before; of anything else nobody knows.
            Err(Fault::Content(_)) if link.client().batch_execute("ROLLBACK").await.is_ok() => {
                session.insert.forget_days();
                self.session = Some(session);
            }
            Err(_) => {}
        }
        done
    }
}

async fn write(link: &Link, insert: &mut insert::Prepared, batch: &Batch<'_>) -> Result<(), Fault> {
    link.run("a batch", insert.write(link.client(), batch)).await
}

fn accept(event: &mut Event) {
    if event.state == EventState::Owed {
        event.state = EventState::Accepted;
    }
}

impl Drop for PostgresSink {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Sink for PostgresSink {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    async fn deliver(&mut self, events: &mut [Event]) -> Result<(), SinkError> {
        let mut rest = events;
        while let Some(first) = rest.iter().position(|event| event.state == EventState::Owed) {
            rest = &mut rest[first..];
            let (piece, behind) = rest.split_at_mut(self.piece.begin(rest.len()));
            let done = self.attempt(piece).await;
            self.piece.end(done.as_ref().err());
            done.map_err(error_of)?;
            rest = behind;
        }
        Ok(())
    }
}

fn error_of(fault: Fault) -> SinkError {
    match fault {
        Fault::Again { reason, detail } => SinkError::Retry { reason, detail, after_ms: None },
        Fault::Content(detail) => SinkError::Refuse { reason: RefuseReason::Content, detail },
    }
}

/// The tables of a day each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    Positions,
    Alarms,
    Events,
}

impl Table {
    pub(crate) const ALL: [Self; 3] = [Self::Positions, Self::Alarms, Self::Events];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Positions => "positions",
            Self::Alarms => "alarms",
            Self::Events => "events",
        }
    }
}

/// Which days each table has, as far as this session knows.
type KnownDays = BTreeMap<Table, std::collections::BTreeSet<crate::postgres::days::Day>>;
