//! The spool as a forwarder's source: one reader, one durable cursor, and a scout for alarms.
//!
//! **An alarm does not wait behind a backlog.** While the reader is far behind, the scout runs ahead of it and brings
//! the alarms alone. It looks at no more than [`SCOUT_ENTRIES_MAX`] entries between two batches, so that neither holds
//! the other up; a million entries are looked through in the time of 20 batches.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use super::event::{Gap, GapReason};
use super::source::{Source, SourceError, Taken};
use crate::alarms::{Acceptance, AlarmId};
use crate::spool::{self, BatchLimits, Cursor, EntryClass, Lsn, ReadError, Reader, Spool, SpoolError};

/// Entries the scout looks at between two batches.
const SCOUT_ENTRIES_MAX: u64 = 50_000;
/// Alarms handed over at once.
const SCOUT_ALARMS_MAX: usize = 500;
/// How long a forwarder waits until it is durable that its sink has an alarm.
const CONFIRM_MAX: Duration = Duration::from_secs(2);
/// What the scout reads at a time.
const SCOUT_LIMITS: BatchLimits = BatchLimits { count_max: 10_000, bytes_max: 1 << 20, age_ms_max: 0 };

/// Reads the spool behind the cursor of one forwarder.
pub struct SpoolSource {
    spool: Spool,
    reader: Reader,
    scout: Option<Reader>,
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
        Ok(Self { spool: spool.clone(), reader, scout: None, cursor, limits })
    }
}

impl Source for SpoolSource {
    async fn take(&mut self) -> Result<Taken, SourceError> {
        let batch = self.reader.next_batch(self.limits).await.map_err(|error| of_read(&error))?;
        Ok(Taken {
            gaps: batch.gap.iter().map(of_spool).collect(),
            entries: batch.entries.into_iter().map(|entry| (entry.lsn, entry.payload)).collect(),
            through: batch.end,
        })
    }

    async fn take_urgent(&mut self) -> Result<Vec<(Lsn, Bytes)>, SourceError> {
        let committed = self.spool.committed();
        let next = self.reader.position();
        // Two batches are a round trip or two: no detour is faster.
        if committed.0.saturating_sub(next.0) < 2 * self.limits.count_max as u64 {
            self.scout = None;
            return Ok(Vec::new());
        }
        let scout = self.scout.take().filter(|scout| scout.position() > next);
        let scout = self.scout.insert(scout.unwrap_or_else(|| self.spool.reader(next)));
        let end = committed.0.min(scout.position().0.saturating_add(SCOUT_ENTRIES_MAX));
        let mut alarms = Vec::new();
        while scout.position().0 <= end && alarms.len() < SCOUT_ALARMS_MAX {
            let batch = scout.next_batch(SCOUT_LIMITS).await.map_err(|error| of_read(&error))?;
            let found = batch.entries.iter().filter(|entry| entry.class == EntryClass::Alarm);
            // Copied: an entry keeps the whole window alive that it was read with.
            alarms.extend(found.map(|entry| (entry.lsn, Bytes::copy_from_slice(&entry.payload))));
        }
        Ok(alarms)
    }

    async fn advance(&mut self, through: Lsn) -> Result<(), SourceError> {
        self.cursor.advance(through).await.map_err(|error| SourceError::Again(error.to_string()))
    }

    async fn confirm(&mut self, acceptance: &Acceptance, mut alarms: Vec<AlarmId>) -> Vec<AlarmId> {
        let mut noted = Lsn(0);
        let mut bytes = BytesMut::new();
        while let Some(alarm) = alarms.pop() {
            bytes.clear();
            acceptance.clone().record(&alarm).encode(&mut bytes);
            match self.spool.try_append(EntryClass::Internal, &bytes) {
                Ok(lsn) => noted = lsn,
                Err(_) => {
                    alarms.push(alarm);
                    break;
                }
            }
        }
        // Committed before the cursor passes the alarm, unless the disk has stopped taking anything.
        _ = timeout(CONFIRM_MAX, self.spool.wait_committed(noted)).await;
        alarms
    }

    fn lag_records_count(&self) -> u64 {
        self.spool.committed().0.saturating_sub(self.cursor.position().0)
    }
}

fn of_read(error: &ReadError) -> SourceError {
    match error {
        ReadError::Failed | ReadError::Closed => SourceError::Ended(error.to_string()),
        ReadError::Io(_) => SourceError::Again(error.to_string()),
    }
}

fn of_spool(gap: &spool::Gap) -> Gap {
    let reason = match gap.reason {
        spool::GapReason::Retention => GapReason::Retention,
        spool::GapReason::Damaged => GapReason::Damaged,
    };
    Gap { first: gap.from, last: gap.to, reason }
}
