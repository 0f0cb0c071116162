//! The history on a force's PostgreSQL: rows in memory, then in tables of a day each.
//!
//! **What [`HistoryStore::settle`] has returned for is committed there; taking rows never waits for a database.** The spool
//! holds what is in memory, as for the embedded store. A database that is slow or gone costs the history alone: questions
//! are answered with an error within [`ASK_MS_MAX`], and the page says why.
//!
//! ```text
//! take --> fresh (memory) --settle--> writing --COPY, INSERT, COMMIT--> movement | alarms
//!            '------------ questions read all three, each row once -----------'
//! ```
//!
//! Bounds: [`Settings::rows_max`] rows in memory; [`ASKING_MAX`] questions at once, the others wait their turn. The
//! database's disk is its administrator's.

mod ask;
mod row;
mod settle;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::row::Row;
use super::standing::Standing;
use super::table::Table;
use super::{
    AlarmStory, Alarms, Answer, Condition, Found, HistoryError, HistoryStore, Holds, Retention, Sees, Track,
};
use crate::live::unit::UnitId;
use crate::postgres::link::Link;
use crate::postgres::schema::{self, Migration, Plan};
use crate::postgres::{Fault, Server};

/// How long a question may take, its connection included.
const ASK_MS_MAX: u64 = 15_000;
/// Questions at once.
const ASKING_MAX: usize = 4;

/// Tables of the history.
pub(crate) const PLAN: Plan = Plan {
    purpose: "history",
    needs_postgis: false,
    migrations: &[Migration { version: 1, sql: include_str!("schema/0001_tables.sql") }],
};

/// Places and bounds of the store.
#[derive(Clone)]
pub struct Settings {
    /// The server and the schema, which is the history's alone.
    pub server: Server,
    /// Most rows in memory.
    pub rows_max: usize,
    /// How long rows are kept.
    pub retention: Retention,
    /// What is kept longer.
    pub holds: Holds,
}

/// The store. Clones share it.
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    state: Mutex<State>,
    /// Held by the one who settles.
    settling: tokio::sync::Mutex<Option<settle::Session>>,
    asking: Semaphore,
    /// Connections that nobody asks on now.
    idle: Mutex<Vec<Link>>,
}

#[derive(Default)]
struct State {
    fresh: Table,
    /// On its way to the database.
    writing: Arc<Table>,
    condition: Condition,
    failed: settle::Failed,
    /// Why the database did not answer last time.
    fault: Option<String>,
}

impl PostgresStore {
    /// A store; connects when it settles or is asked. Says whether the schema is new if the database answers within `patience`.
    pub async fn open(settings: Settings, patience: Duration) -> (Self, bool) {
        let inner = Inner {
            settings,
            state: Mutex::default(),
            settling: tokio::sync::Mutex::default(),
            asking: Semaphore::new(ASKING_MAX),
            idle: Mutex::default(),
        };
        let store = Self { inner: Arc::new(inner) };
        let looked = timeout(patience, store.inner.look()).await;
        let is_new = match looked {
            Ok(Ok(is_new)) => is_new,
            Ok(Err(fault)) => {
                tracing::error!(%fault, "the history's database cannot be used yet");
                store.inner.note(Some(&fault));
                false
            }
            Err(_) => {
                let detail = "no answer yet from the history's database";
                tracing::error!("{detail}");
                store.inner.note(Some(&Fault::again(crate::forward::RetryReason::Unreachable, detail)));
                false
            }
        };
        (store, is_new)
    }

    fn asked<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, HistoryError>> + Send + 'static,
    {
        let work = work(Arc::clone(&self.inner));
        Box::pin(async move {
            timeout(Duration::from_millis(ASK_MS_MAX), work).await.unwrap_or_else(|_| {
                Err(HistoryError::Storage(format!("the database does not answer within {ASK_MS_MAX} ms")))
            })
        })
    }
}

impl HistoryStore for PostgresStore {
    fn take(&self, rows: Vec<(UnitId, Row)>) -> Answer<()> {
        let mut state = self.inner.state();
        let taken = if state.fresh.rows_count() + rows.len() > self.inner.settings.rows_max {
            Err(HistoryError::Full)
        } else {
            state.fresh.add(rows);
            Ok(())
        };
        drop(state);
        Box::pin(std::future::ready(taken))
    }

    fn settle(&self, now_ms: u64) -> Answer<()> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let settled = inner.settle(now_ms).await;
            inner.note(settled.as_ref().err());
            settled.map_err(HistoryError::from)
        })
    }

    fn let_go(&self) -> Answer<u64> {
        let rows_count = std::mem::take(&mut self.inner.state().fresh).rows_count() as u64;
        Box::pin(std::future::ready(Ok(rows_count)))
    }

    fn track(&self, question: Track) -> Answer<Found<Row>> {
        self.asked(|inner| async move { inner.track(&question).await })
    }

    fn at(&self, unit: UnitId, at_ms: u64) -> Answer<Found<Standing>> {
        self.asked(move |inner| async move {
            inner.standings(at_ms, &Sees::All, Some(&unit)).await.map(Found::whole)
        })
    }

    fn everyone(&self, at_ms: u64, sees: Sees) -> Answer<Found<Standing>> {
        self.asked(move |inner| async move { inner.standings(at_ms, &sees, None).await.map(Found::whole) })
    }

    fn window(
        &self,
        from_ms: u64,
        until_ms: u64,
        sees: Sees,
        rows_max: usize,
    ) -> Answer<Found<(UnitId, Row)>> {
        self.asked(move |inner| async move { inner.window(from_ms, until_ms, &sees, rows_max).await })
    }

    fn alarms(&self, question: Alarms) -> Answer<Found<AlarmStory>> {
        self.asked(|inner| async move { inner.alarms(&question).await })
    }

    fn condition(&self) -> Condition {
        let state = self.inner.state();
        let mut condition = state.condition.clone();
        condition.degraded.extend(state.fault.as_ref().map(|fault| format!("History: PostgreSQL: {fault}")));
        condition
    }
}

impl From<Fault> for HistoryError {
    fn from(fault: Fault) -> Self {
        Self::Storage(fault.to_string())
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that panics is done under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, fault: Option<&Fault>) {
        self.state().fault = fault.map(ToString::to_string);
    }

    /// A connection to the schema, which is made or brought up if need be; whether it was empty.
    async fn connect(&self) -> Result<(Link, bool), Fault> {
        let server = &self.settings.server;
        let link = Link::open(server).await?;
        let is_new =
            link.run("checking the schema", schema::ensure(link.client(), &server.schema, &PLAN)).await?;
        Ok((link, is_new))
    }

    async fn look(&self) -> Result<bool, Fault> {
        let (link, is_new) = self.connect().await?;
        self.idle().push(link);
        Ok(is_new)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Link>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
