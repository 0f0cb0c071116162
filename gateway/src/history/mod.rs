//! The history: where every unit was at any time, and what became of every alarm.
//!
//! **Derived, never in the way.** Every row comes from a committed record, by a reader and a durable cursor of its own, like a
//! forwarder's; ingest, live page and sinks never wait for it. What is read twice is kept once; a store that was lost is
//! rebuilt from the records that the spool still has. A store that is full or broken is said on the page, and lets the
//! spool go before custody would suffer.
//!
//! ```text
//! spool == own reader ==> rows of records --> HistoryStore: memory --60 s--> segments (fsync) --> cursor
//!                                                  |                            '- merged, dropped by day, held back by holds
//!                                                  '-- track, at, everyone, window, alarms --> http/history.rs
//! ```
//!
//! [`HistoryStore`] is the seam: [`FileStore`] needs no database and is the default; [`PostgresStore`] keeps the same rows in a force's PostgreSQL.
//!
//! Bounds: [`Settings::rows_max`] rows in memory, with their keys and copies about 400 bytes each; [`Settings::bytes_max`] on disk; answers by the limits
//! of each question.

pub mod ask;
mod code;
mod files;
mod merge;
pub mod metrics;
mod none;
mod postgres;
mod read;
pub mod row;
mod segment;
mod shelf;
pub mod standing;
mod table;
pub mod task;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use fieldpost_protocol::ForceId;

pub use files::{FileStore, OpenError, Settings};
pub use postgres::{PostgresStore, Settings as PostgresSettings};
use row::{AlarmEvent, Row, RowClass, RowKey};
use standing::Standing;

use crate::live::unit::UnitId;

/// An answer that may take reads of a disk or a network.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, HistoryError>> + Send>>;

/// Where rows are kept and found again. Every method may be called from several tasks at once.
pub trait HistoryStore: Send + Sync + 'static {
    /// Takes rows: found at once, durable after [`HistoryStore::settle`]. A row whose unit and [`RowKey`] are known already
    /// changes nothing.
    ///
    /// # Errors
    /// [`HistoryError::Full`]: nothing was taken; settle, then try again.
    fn take(&self, rows: Vec<(UnitId, Row)>) -> Answer<()>;

    /// Makes everything taken so far durable, applies retention and the bound of the disk.
    ///
    /// # Errors
    /// [`HistoryError::Storage`]: nothing was lost, but nothing more is durable either.
    fn settle(&self, now_ms: u64) -> Answer<()>;

    /// Gives up what is not durable yet; returns how many rows. For a store that cannot settle while the spool is full.
    fn let_go(&self) -> Answer<u64>;

    /// Rows of one unit in order of time.
    ///
    /// # Errors
    /// [`HistoryError::Storage`].
    fn track(&self, question: Track) -> Answer<Found<Row>>;

    /// Where one unit stood at a time: one standing, or none if nothing is known of it in [`LOOK_BACK_MS`] before. Of those hours
    /// only the damage of those that might say more is told.
    ///
    /// # Errors
    /// [`HistoryError::Storage`].
    fn at(&self, unit: UnitId, at_ms: u64) -> Answer<Found<Standing>>;

    /// Where every unit stood at a time, by unit; those that were heard of in [`LOOK_BACK_MS`] before.
    ///
    /// # Errors
    /// [`HistoryError::Storage`].
    fn everyone(&self, at_ms: u64, sees: Sees) -> Answer<Found<Standing>>;

    /// Movements of every unit in `[from_ms, until_ms)`, by time; at most `rows_max` of them.
    ///
    /// # Errors
    /// [`HistoryError::TooMuch`] if there are more; [`HistoryError::Storage`].
    fn window(
        &self,
        from_ms: u64,
        until_ms: u64,
        sees: Sees,
        rows_max: usize,
    ) -> Answer<Found<(UnitId, Row)>>;

    /// Alarms raised in a time, each with what became of it.
    ///
    /// # Errors
    /// [`HistoryError::Storage`].
    fn alarms(&self, question: Alarms) -> Answer<Found<AlarmStory>>;

    /// How the store is. Cheap.
    fn condition(&self) -> Condition;
}

/// How far back a unit's last report is looked for: as long as the live page keeps a silent unit.
pub const LOOK_BACK_MS: u64 = 24 * 3_600_000;

/// How far back an alarm is looked for that still stood: the longest that one may wait for its closing before a replay misses it.
pub const STANDING_MS: u64 = 7 * 24 * 3_600_000;

/// Which forces' units an answer may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sees {
    /// Every force's.
    All,
    /// Only these.
    Only(BTreeSet<ForceId>),
}

impl Sees {
    /// Whether units of `force` may be in the answer.
    #[must_use]
    pub fn force(&self, force: &ForceId) -> bool {
        match self {
            Self::All => true,
            Self::Only(forces) => forces.contains(force),
        }
    }
}

/// Asks for rows of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Whose.
    pub unit: UnitId,
    /// From this time on, Unix ms.
    pub from_ms: u64,
    /// Before this time, Unix ms.
    pub until_ms: u64,
    /// After this row: where the last answer ended.
    pub after: Option<RowKey>,
    /// At most so many.
    pub rows_max: usize,
}

/// Asks for alarms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarms {
    /// Raised from this time on, Unix ms.
    pub from_ms: u64,
    /// Raised before this time, Unix ms.
    pub until_ms: u64,
    /// After this alarm: where the last answer ended.
    pub after: Option<(u64, String)>,
    /// At most so many.
    pub alarms_max: usize,
    /// Whose.
    pub sees: Sees,
}

/// One alarm and what became of it, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmStory {
    /// Who raised it.
    pub unit: UnitId,
    /// The row that raised it.
    pub raised: Row,
    /// What that row says.
    pub event: AlarmEvent,
    /// What happened since, with its time.
    pub since: Vec<(u64, AlarmEvent)>,
}

impl AlarmStory {
    /// Whether nobody had closed it by `at_ms`.
    #[must_use]
    pub fn stands_at(&self, at_ms: u64) -> bool {
        !self.since.iter().any(|(closed_ms, event)| event.what == "closed" && *closed_ms <= at_ms)
    }

    /// The `shelved` that nothing has ended yet.
    #[must_use]
    pub fn shelf(&self) -> Option<&AlarmEvent> {
        let newest_first = self.since.iter().rev().map(|(_, event)| event);
        let is_of_shelf = |what: &str| matches!(what, "shelved" | "unshelved" | "shelf_ended" | "closed");
        newest_first.clone().find(|event| is_of_shelf(&event.what)).filter(|event| event.what == "shelved")
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// In the order of the question.
    pub items: Vec<T>,
    /// There is more after the last of them.
    pub has_more: bool,
    /// Times of which a part could not be read: (from, until) in Unix ms. Of alarms also later ones, which may say what became of them.
    pub damaged: Vec<(u64, u64)>,
}

impl<T> Found<T> {
    /// All that there is, and nothing of it damaged.
    pub(crate) fn whole(items: Vec<T>) -> Self {
        Self { items, has_more: false, damaged: Vec::new() }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// No room in memory before the next settling.
    #[error("the history has no room for more rows before it has written those it has")]
    Full,
    /// The question is too large.
    #[error("more than {rows_max} rows: ask for a shorter time")]
    TooMuch {
        /// The bound that it broke.
        rows_max: usize,
    },
    /// The store could not be read or written.
    #[error("the history cannot be read or written: {0}")]
    Storage(String),
}

/// How the store is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// Bytes on disk.
    pub bytes: u64,
    /// Rows on disk.
    pub rows_count: u64,
    /// Oldest row kept, Unix ms.
    pub oldest_ms: Option<u64>,
    /// What does not work as it should, in words for an operator.
    pub degraded: Vec<String>,
}

/// Rows that retention must keep: a legal hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hold {
    /// Of this force.
    pub force: ForceId,
    /// Of this unit only; of all the force's without.
    pub unit: Option<UnitId>,
    /// From this time on, Unix ms.
    pub from_ms: u64,
    /// Before this time, Unix ms.
    pub until_ms: u64,
}

/// The holds in force, asked before anything is dropped.
pub type Holds = Arc<dyn Fn() -> Vec<Hold> + Send + Sync>;

impl Hold {
    fn covers(&self, unit: &UnitId, row: &Row) -> bool {
        self.force == unit.force
            && self.unit.as_ref().is_none_or(|held| held == unit)
            && (self.from_ms..self.until_ms).contains(&row.at_ms)
    }
}

/// How many days rows are kept, by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Positions and statuses.
    pub movement_days: u32,
    /// Alarms and what became of them.
    pub alarms_days: u32,
}

impl Retention {
    fn days(self, class: RowClass) -> u64 {
        match class {
            RowClass::Movement => self.movement_days.into(),
            RowClass::Alarms => self.alarms_days.into(),
        }
    }
}
