//! The spool as a forwarder's source: one reader, one durable cursor.

use super::event::{Gap, GapReason};
use super::source::{Source, SourceError, Taken};
use crate::spool::{self, BatchLimits, Cursor, Lsn, ReadError, Reader, Spool, SpoolError};

/// Reads the spool behind the cursor of one forwarder.
pub struct SpoolSource {
    spool: Spool,
    reader: Reader,
    cursor: Cursor,
    limits: BatchLimits,
}

impl SpoolSource {
    /// Opens the cursor `name` and reads on after it. Blocking: small files.
    ///
    /// # Errors
    /// What [`Spool::cursor`] says: a bad name, a cursor that is open already, storage.
    pub fn open(spool: &Spool, name: &str, limits: BatchLimits) -> Result<Self, SpoolError> {
        let cursor = spool.cursor(name)?;
        let reader = spool.reader(cursor.position().next());
        Ok(Self { spool: spool.clone(), reader, cursor, limits })
    }
}

impl Source for SpoolSource {
    async fn take(&mut self) -> Result<Taken, SourceError> {
        let batch = self.reader.next_batch(self.limits).await.map_err(|error| match error {
            ReadError::Failed | ReadError::Closed => SourceError::Ended(error.to_string()),
            ReadError::Io(_) => SourceError::Again(error.to_string()),
        })?;
        Ok(Taken {
            gaps: batch.gap.iter().map(of_spool).collect(),
            entries: batch.entries.into_iter().map(|entry| (entry.lsn, entry.payload)).collect(),
            through: batch.end,
        })
    }

    async fn advance(&mut self, through: Lsn) -> Result<(), SourceError> {
        self.cursor.advance(through).await.map_err(|error| SourceError::Again(error.to_string()))
    }

    fn lag_records_count(&self) -> u64 {
        self.spool.committed().0.saturating_sub(self.cursor.position().0)
    }
}

fn of_spool(gap: &spool::Gap) -> Gap {
    let reason = match gap.reason {
        spool::GapReason::Retention => GapReason::Retention,
        spool::GapReason::Damaged => GapReason::Damaged,
    };
    Gap { first: gap.from, last: gap.to, reason }
}
