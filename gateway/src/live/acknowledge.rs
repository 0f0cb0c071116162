//! An operator takes an alarm, shelves, lowers or closes it: a record first, an answer after.
//!
//! **The spool decides who was first.** What an operator does is appended, committed, read back and folded like any record;
//! then the queue says whose the alarm is, and whether the action was taken. A device's confirmation goes the same way. Of
//! two acknowledgements the first in the spool is known without the records before them, so that one waits for the alarm lane
//! alone.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::timeout;

use super::{Hub, Live};
use crate::alarms::{
    Acknowledgement, Action, Alarm, AlarmId, AlarmRow, Confirmed, Event, Grade, Owed, Performance, Refusal,
    Said,
};
use crate::audit::{Field, Holds, Subjects, Unseen};
use crate::login::Operator;
use crate::people::Forces;
use crate::record::Record;
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

/// Why something was not done to an alarm.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// No such alarm in the queue.
    #[error("there is no such alarm: read the queue again")]
    NotFound,
    /// It cannot be done to the alarm as it is.
    #[error("{0}")]
    Refused(Refusal, Box<Unseen<AlarmRow>>),
    /// Somebody else changed the alarm in between, so that it could not be done any more.
    #[error("the alarm has changed in between: look at it again")]
    Overtaken(Box<Unseen<AlarmRow>>),
    /// The action cannot be committed.
    #[error("what you did cannot be stored: {0}")]
    Spool(#[from] SpoolError),
    /// It was not committed in time. It may be yet; the queue will show it.
    #[error("what you did is not stored yet: the alarm shows it as soon as it is")]
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
        let alarm = self.hub.alarm(id).ok_or(AcknowledgeError::NotFound)?;
        if alarm.owner.is_some() {
            return owned(&alarm, operator);
        }
        let record = self.acknowledgement(&alarm, operator);
        let deadline = Duration::from_millis(self.hub.settings.acknowledge_ms_max);
        match timeout(deadline, self.hub.commit_and_show(&record)).await {
            Ok(committed) => committed?,
            Err(_) => return Err(AcknowledgeError::Late),
        }
        let alarm = self.hub.alarm(id).ok_or(AcknowledgeError::NotFound)?;
        owned(&alarm, operator)
    }

    fn acknowledgement(&self, alarm: &Alarm, operator: &Operator) -> Record {
        let at_ms = self.hub.now_ms();
        let said = Acknowledgement {
            alarm: alarm.id.to_string(),
            operator: operator.as_str().to_owned(),
            at_ms,
            seen_as: Some(alarm.standing.grade),
        };
        said.record(&alarm.id)
    }

    /// Shelves, lowers, closes an alarm or notes something down, durably. Cancelled, it may or may not be done; the queue
    /// shows it.
    ///
    /// # Errors
    /// [`ActError`].
    pub async fn act(
        &self,
        id: &AlarmId,
        operator: &Operator,
        action: Action,
    ) -> Result<Unseen<AlarmRow>, ActError> {
        let alarm = self.find(id)?;
        if let Some(refusal) = action.refused_by(&alarm) {
            return Err(ActError::Refused(refusal, Box::new(unseen(&alarm))));
        }
        let (operator, at_ms) = (operator.as_str().to_owned(), self.hub.now_ms());
        let said = Said { alarm: id.clone(), operator, at_ms, seen_as: Some(alarm.standing.grade), action };
        let deadline = Duration::from_millis(self.hub.settings.acknowledge_ms_max);
        match timeout(deadline, self.hub.commit_and_fold(&said.record())).await {
            Ok(committed) => committed?,
            Err(_) => return Err(ActError::Late),
        }
        let alarm = self.find(id)?;
        let row = unseen(&alarm);
        if said.is_taken_in(&alarm) { Ok(row) } else { Err(ActError::Overtaken(Box::new(row))) }
    }

    fn find(&self, id: &AlarmId) -> Result<Alarm, ActError> {
        self.hub.state().shown().find(id).map(Cow::into_owned).ok_or(ActError::NotFound)
    }

    /// What happened to an alarm, oldest first; `None` if it is neither in the queue nor closed not long ago.
    #[must_use]
    pub fn story(&self, id: &AlarmId) -> Option<Unseen<Vec<Event>>> {
        let state = self.hub.state();
        let lines = state.shown().find(id)?.standing.story.lines().to_vec();
        Some(Unseen::new(lines, Holds::no_position(Subjects::unit(&id.unit), &[Field::Alarm])))
    }

    /// The grades of those of `alarms` that are in the queue or were closed not long ago. They tell nothing of a unit that
    /// whoever has the alarms does not know.
    #[must_use]
    pub fn grades_of<'a>(&self, alarms: impl Iterator<Item = &'a AlarmId>) -> HashMap<&'a AlarmId, Grade> {
        let state = self.hub.state();
        let known = alarms.filter_map(|id| Some((id, state.shown().find(id)?.standing.grade)));
        known.collect()
    }

    /// How the alarms of `forces` received from `from_ms` until before `until_ms` perform. It names operators, and no unit.
    pub fn performance(&self, forces: &Forces, from_ms: u64, until_ms: u64) -> Unseen<Performance> {
        let performance = self.hub.state().alarms.performance(forces, from_ms, until_ms);
        Unseen::new(performance, Holds::no_position(Subjects::nobody(), &[Field::Alarm]))
    }

    /// How many alarms nobody has acknowledged, and whether new ones can be shown.
    #[must_use]
    pub fn unacknowledged_count(&self) -> usize {
        self.hub.state().shown().unacknowledged_count()
    }

    /// Whether the alarm snapshot could be written the last time.
    #[must_use]
    pub fn snapshot_works(&self) -> bool {
        !self.hub.snapshot_fails.load(Ordering::Relaxed)
    }
}

impl Hub {
    /// One alarm of the queue.
    fn alarm(&self, id: &AlarmId) -> Option<Alarm> {
        self.state().shown().get(id).map(Cow::into_owned)
    }

    /// Appends a record of the gateway's own and waits for its commit.
    pub(super) async fn commit(&self, record: &Record) -> Result<Lsn, SpoolError> {
        let mut bytes = BytesMut::new();
        record.encode(&mut bytes);
        // Internal entries may use the reserve: an alarm can be taken while the disk is full.
        let lsn = self.spool.append(EntryClass::Internal, &bytes).await?;
        self.spool.wait_committed(lsn).await?;
        Ok(lsn)
    }

    /// The same, and waits until it is folded, or read ahead of that. Cancelled, it may be appended all the same.
    async fn commit_and_show(&self, record: &Record) -> Result<(), SpoolError> {
        let lsn = self.commit(record).await?;
        self.wait_shown(lsn).await;
        Ok(())
    }

    /// The same, and waits until it is folded in its place.
    pub(super) async fn commit_and_fold(&self, record: &Record) -> Result<(), SpoolError> {
        let lsn = self.commit(record).await?;
        self.wait_folded(lsn).await;
        Ok(())
    }

    /// The wearer's device has confirmed a receipt that was first sent at `told_ms`: makes that last. Whether it could.
    pub(super) async fn confirmed(&self, owed: &Owed, told_ms: u64) -> bool {
        let at_ms = self.now_ms();
        let (alarm, receipt) = owed.clone();
        let said = Confirmed { alarm, receipt, told_ms, at_ms };
        self.commit_and_fold(&said.record()).await.is_ok()
    }
}

fn unseen(alarm: &Alarm) -> Unseen<AlarmRow> {
    Unseen::new(AlarmRow::from(alarm), Holds::live(Subjects::unit(&alarm.id.unit)))
}

fn owned(alarm: &Alarm, operator: &Operator) -> Result<Unseen<AlarmRow>, AcknowledgeError> {
    let row = unseen(alarm);
    match &alarm.owner {
        Some(owner) if owner.operator == operator.as_str() => Ok(row),
        Some(_) => Err(AcknowledgeError::Taken(Box::new(row))),
        // Folded, yet not ours and nobody's: the alarm left the queue and came anew. The operator looks again.
        None => Err(AcknowledgeError::NotFound),
    }
}
