//! Where a forwarder reads: committed entries in three lanes, each behind a durable cursor.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use super::event::Gap;
use crate::alarms::{Acceptance, AlarmId};
use crate::spool::Lsn;

/// Who goes before whom on the way to a sink. Every entry of the spool is in one lane, in order of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Alarms and what belongs to them.
    Alarm,
    /// The newest of each device.
    Live,
    /// History: what devices kept through an outage, and live entries that newer ones have overtaken here.
    Backlog,
}

impl Lane {
    /// All of them, the first before the others.
    pub const ALL: [Self; 3] = [Self::Alarm, Self::Live, Self::Backlog];
}

/// Committed entries in order of each lane, and the cursors behind which they are kept.
pub trait Source: Send {
    /// Returns when a lane may have something: at once if one has much, else after the first entry and the time for others
    /// to join it, which no alarm waits for. Keeps the cursors up to date meanwhile. Cancel-safe.
    ///
    /// # Errors
    /// [`SourceError::Ended`] when all there is was taken.
    fn wait(&mut self) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// The next entries of a lane, if there are any now. Cancel-safe: a cancelled call takes nothing.
    ///
    /// # Errors
    /// [`SourceError`]; the caller may try again later.
    fn take(&mut self, lane: Lane) -> impl Future<Output = Result<Option<Taken>, SourceError>> + Send;

    /// If so much waits in the live lane that its newest entries are not the next: goes on with those. Everything live after
    /// its cursor, taken or not, goes to the backlog. Returns whether it was so.
    fn overtake(&mut self) -> bool;

    /// Moves a lane's cursor durably: everything of the lane up to and including `through` is done with.
    ///
    /// # Errors
    /// [`SourceError`]; the position on disk is the old or the new one, never another.
    fn advance(&mut self, lane: Lane, through: Lsn) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// The same where nothing had to be delivered: it may be written later.
    fn pass(&mut self, lane: Lane, through: Lsn);

    /// Notes durably that the sink of this forwarder has these alarms, so that their wearers can be told. **Never waits for
    /// room**: what waits for room may be waiting for this forwarder's cursor. Returns what could not be noted now.
    fn confirm(
        &mut self,
        acceptance: &Acceptance,
        alarms: Vec<AlarmId>,
    ) -> impl Future<Output = Vec<AlarmId>> + Send;

    /// The sink took `count` events of one read in that time; `is_full`: the lane goes on behind it. The next reads are as large
    /// as fits.
    fn took(&mut self, count: usize, is_full: bool, took: Duration);

    /// Committed entries behind the hindmost cursor.
    fn lag_records_count(&self) -> u64;
}

/// What one read brought.
#[derive(Debug)]
pub struct Taken {
    /// Entries that can never be read, in order; they may lie before, between or after `entries`.
    pub gaps: Vec<Gap>,
    /// The entries, in order.
    pub entries: Vec<(Lsn, Bytes)>,
    /// Which of them newer ones have overtaken here: live when they came, history now.
    pub overtaken: Vec<bool>,
    /// The last place this read covers, gaps included.
    pub through: Lsn,
    /// Whether the lane goes on right behind it.
    pub has_more: bool,
}

/// The spool could not be read, or the cursor not be written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    /// Trying again later is safe.
    #[error("{0}")]
    Again(String),
    /// All there is was read, and no more will come before a restart.
    #[error("{0}")]
    Ended(String),
}
