//! An operator takes an alarm: a record first, an answer after.
//!
//! **The spool decides who was first.** The acknowledgement is appended, committed, read back and folded like any record;
//! then the queue says whose it is.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fieldpost_protocol::Lane;
use tokio::time::timeout;

use super::Live;
use crate::alarms::{Acknowledgement, Alarm, AlarmId, AlarmRow};
use crate::audit::{Holds, Subjects, Unseen};
use crate::login::Operator;
use crate::record::{Record, RecordKind};
use crate::spool::{EntryClass, Lsn, SpoolError};

/// Why an alarm is not the operator's.
#[derive(Debug, thiserror::Error)]
pub enum AcknowledgeError {
    /// No such alarm in the queue.
    #[error("there is no such alarm: read the queue again")]
    NotFound,
    /// Somebody else was first; the alarm names its owner.
    #[error("another operator was first")]
    Taken(Box<Unseen<AlarmRow>>),
    /// The acknowledgement cannot be committed.
    #[error("the acknowledgement cannot be stored: {0}")]
    Spool(#[from] SpoolError),
    /// It was not committed in time. It may be yet; the queue will show it.
    #[error("the acknowledgement is not stored yet: the alarm shows its owner as soon as it is")]
    Late,
}

impl Live {
    /// Makes `operator` the owner of the alarm, durably, unless somebody else was first. Acknowledging again what is
    /// one's own changes nothing. Cancelled, the acknowledgement may or may not be made; the queue shows it.
    ///
    /// # Errors
    /// [`AcknowledgeError`].
    pub async fn acknowledge(
        &self,
        id: &AlarmId,
        operator: &Operator,
    ) -> Result<Unseen<AlarmRow>, AcknowledgeError> {
        let alarm = self.hub.state().alarms.get(id).cloned().ok_or(AcknowledgeError::NotFound)?;
        if alarm.owner.is_some() {
            return owned(&alarm, operator);
        }
        let record = self.acknowledgement(&alarm, operator);
        let deadline = Duration::from_millis(self.hub.settings.acknowledge_ms_max);
        match timeout(deadline, self.append_and_fold(&record)).await {
            Ok(committed) => committed?,
            Err(_) => return Err(AcknowledgeError::Late),
        }
        let alarm = self.hub.state().alarms.get(id).cloned().ok_or(AcknowledgeError::NotFound)?;
        owned(&alarm, operator)
    }

    async fn append_and_fold(&self, record: &Record) -> Result<(), SpoolError> {
        let mut bytes = BytesMut::new();
        record.encode(&mut bytes);
        // Internal entries may use the reserve: an alarm can be taken while the disk is full.
        let lsn = self.hub.spool.append(EntryClass::Internal, &bytes).await?;
        self.hub.spool.wait_committed(lsn).await?;
        self.wait_folded(lsn).await;
        Ok(())
    }

    fn acknowledgement(&self, alarm: &Alarm, operator: &Operator) -> Record {
        let at_ms = self.hub.now_ms();
        let said =
            Acknowledgement { alarm: alarm.id.to_string(), operator: operator.as_str().to_owned(), at_ms };
        let payload = serde_json::to_vec(&said).expect("strings and numbers are JSON");
        Record {
            lsn: Lsn(0),
            received_at_ms: at_ms,
            force: alarm.id.unit.force.clone(),
            device: alarm.id.unit.device.clone(),
            ceiling: alarm.mode,
            lane: Lane::Alarm,
            kind: RecordKind::Acknowledged,
            payload: Bytes::from(payload),
        }
    }

    /// How many alarms nobody has acknowledged, and whether new ones can be shown.
    #[must_use]
    pub fn unacknowledged_count(&self) -> usize {
        self.hub.state().alarms.unacknowledged_count()
    }

    /// Whether the alarm snapshot could be written the last time.
    #[must_use]
    pub fn snapshot_works(&self) -> bool {
        !self.hub.snapshot_fails.load(Ordering::Relaxed)
    }
}

fn owned(alarm: &Alarm, operator: &Operator) -> Result<Unseen<AlarmRow>, AcknowledgeError> {
    let row = Unseen::new(AlarmRow::from(alarm), Holds::live(Subjects::unit(&alarm.id.unit)));
    match &alarm.owner {
        Some(owner) if owner.operator == operator.as_str() => Ok(row),
        Some(_) => Err(AcknowledgeError::Taken(Box::new(row))),
        // Folded, yet not ours and nobody's: the alarm left the queue and came anew. The operator looks again.
        None => Err(AcknowledgeError::NotFound),
    }
}
