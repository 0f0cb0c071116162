//! Where a forwarder reads: committed entries behind a durable cursor.

use std::future::Future;

use bytes::Bytes;

use super::event::Gap;
use crate::alarms::{Acceptance, AlarmId};
use crate::spool::Lsn;

/// Committed entries in order, and the cursor behind which they are kept.
pub trait Source: Send {
    /// The next entries after the last ones taken. Waits for the first. Cancel-safe: a cancelled call takes nothing.
    ///
    /// # Errors
    /// [`SourceError`]; the caller may try again later.
    fn take(&mut self) -> impl Future<Output = Result<Taken, SourceError>> + Send;

    /// Alarms that wait further back than the next batches, in order, each at most once. Returns at once, with nothing
    /// if [`Source::take`] is near the end anyway. They come again from `take` in their place.
    ///
    /// # Errors
    /// [`SourceError`]; `take` will say the same.
    fn take_urgent(&mut self) -> impl Future<Output = Result<Vec<(Lsn, Bytes)>, SourceError>> + Send;

    /// Moves the cursor durably: everything up to and including `through` is done with.
    ///
    /// # Errors
    /// [`SourceError`]; the position on disk is the old or the new one, never another.
    fn advance(&mut self, through: Lsn) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Notes durably that the sink of this forwarder has these alarms, so that their wearers can be told. **Never waits for
    /// room**: what waits for room may be waiting for this forwarder's cursor. Returns what could not be noted now.
    fn confirm(
        &mut self,
        acceptance: &Acceptance,
        alarms: Vec<AlarmId>,
    ) -> impl Future<Output = Vec<AlarmId>> + Send;

    /// Committed entries behind the cursor.
    fn lag_records_count(&self) -> u64;
}

/// What one read brought.
#[derive(Debug)]
pub struct Taken {
    /// Entries that can never be read, in order; they may lie before, between or after `entries`.
    pub gaps: Vec<Gap>,
    /// The entries, in order.
    pub entries: Vec<(Lsn, Bytes)>,
    /// The last place this read covers, gaps included.
    pub through: Lsn,
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
