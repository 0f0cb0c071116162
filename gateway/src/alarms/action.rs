//! What a person does to an alarm, as a record: appended, committed, and only then folded.
//!
//! **Whether an action is taken is decided where it is folded**, from the alarm as the records before it left it; so of two
//! operators who shelve one alarm at once, every reader of the spool agrees which one did.

use bytes::Bytes;
use fieldpost_protocol::{Lane, Receipt};
use serde::{Deserialize, Serialize};

use super::alarm::{Acceptance, Alarm, Closing, Outcome, ReceiptState, Shelf};
use super::event::EventKind;
use super::grade::Grade;
use super::id::AlarmId;
use crate::record::{Record, RecordKind};
use crate::spool::Lsn;

/// Longest time on the shelf.
pub const SHELF_MINUTES_MAX: u16 = 60;
/// Longest note or reason, in bytes.
pub const TEXT_BYTES_MAX: usize = 500;

/// Payload of a [`RecordKind::Acknowledged`] record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The alarm's id as text.
    pub alarm: String,
    /// Who.
    pub operator: String,
    /// When, Unix ms.
    pub at_ms: u64,
    /// The grade that it was seen with, for whoever reads the record alone. Folding does not look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_as: Option<Grade>,
}

/// Payload of a [`RecordKind::Delivered`] record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delivered {
    /// The alarm's id as text.
    pub(crate) alarm: String,
    #[serde(flatten)]
    pub(crate) acceptance: Acceptance,
}

/// Payload of a [`RecordKind::Confirmed`] record: the wearer's device has a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// The alarm.
    pub alarm: AlarmId,
    /// Which receipt.
    pub receipt: Receipt,
    /// When it was first sent, Unix ms.
    pub told_ms: u64,
    /// When the device confirmed it, Unix ms.
    pub at_ms: u64,
}

/// Payload of a [`RecordKind::AlarmAction`] record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The alarm.
    pub alarm: AlarmId,
    /// Who.
    pub operator: String,
    /// When, Unix ms.
    pub at_ms: u64,
    /// The grade that it was seen with, for whoever reads the record alone. Folding does not look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_as: Option<Grade>,
    /// What.
    #[serde(flatten)]
    pub action: Action,
}

/// What a person does to an alarm beside acknowledging it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Put it aside for a while.
    Shelve {
        /// For how long.
        minutes: u16,
        /// Why.
        reason: String,
    },
    /// Take it back from there.
    Unshelve,
    /// It is less grave than it looks.
    Lower {
        /// What it is now.
        grade: Grade,
        /// Why.
        reason: String,
    },
    /// End it.
    Close {
        /// What it was.
        outcome: Outcome,
        /// In their words.
        note: String,
    },
    /// Write something down.
    Note {
        /// What.
        text: String,
    },
}

/// Why an action is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Not while a life may be in danger.
    #[error("a P1 alarm is never shelved: acknowledge it")]
    ShelveP1,
    /// It is there already.
    #[error("the alarm is shelved already")]
    Shelved,
    /// It is not there.
    #[error("the alarm is not shelved")]
    NotShelved,
    /// Out of bounds.
    #[error("an alarm is shelved for 1 to {SHELF_MINUTES_MAX} minutes")]
    Minutes,
    /// A rule raises; a person lowers.
    #[error("the grade is not lower than the one it has: only a rule raises a grade")]
    NotLower,
    /// Who ends an alarm must have seen it.
    #[error("nobody has acknowledged the alarm: acknowledge it first")]
    NotAcknowledged,
    /// A reason is missing, or a text too long.
    #[error("a reason or note of 1 to {TEXT_BYTES_MAX} bytes is needed")]
    Text,
}

impl Action {
    /// Why it cannot be done to `alarm` as it is now; `None` if it can.
    ///
    /// An action that is taken is an event in the alarm's story by the same operator at the same instant.
    #[must_use]
    pub fn refused_by(&self, alarm: &Alarm) -> Option<Refusal> {
        let standing = &alarm.standing;
        let bad_text = |text: &str| {
            let fits = !text.trim().is_empty() && text.len() <= TEXT_BYTES_MAX;
            (!fits).then_some(Refusal::Text)
        };
        match self {
            Self::Shelve { .. } if standing.grade == Grade::P1 => Some(Refusal::ShelveP1),
            Self::Shelve { .. } if standing.shelf.is_some() => Some(Refusal::Shelved),
            Self::Shelve { minutes, .. } if !(1..=SHELF_MINUTES_MAX).contains(minutes) => {
                Some(Refusal::Minutes)
            }
            Self::Unshelve => standing.shelf.is_none().then_some(Refusal::NotShelved),
            Self::Lower { grade, .. } if *grade <= standing.grade => Some(Refusal::NotLower),
            Self::Close { .. } if alarm.owner.is_none() => Some(Refusal::NotAcknowledged),
            Self::Close { note, .. } => (note.len() > TEXT_BYTES_MAX).then_some(Refusal::Text),
            Self::Shelve { reason, .. } | Self::Lower { reason, .. } => bad_text(reason),
            Self::Note { text } => bad_text(text),
        }
    }

    /// What it is called in an alarm's story.
    #[must_use]
    pub fn event(&self) -> EventKind {
        match self {
            Self::Shelve { .. } => EventKind::Shelved,
            Self::Unshelve => EventKind::Unshelved,
            Self::Lower { .. } => EventKind::Lowered,
            Self::Close { .. } => EventKind::Closed,
            Self::Note { .. } => EventKind::Noted,
        }
    }
}

impl Said {
    /// Does it, if it can be done; whether it was.
    pub(super) fn apply(&self, alarm: &mut Alarm) -> bool {
        if self.action.refused_by(alarm).is_some() {
            return false;
        }
        let (by, at_ms) = (self.operator.clone(), self.at_ms);
        let standing = &mut alarm.standing;
        let words = match &self.action {
            Action::Shelve { minutes, reason } => {
                let until_ms = at_ms + u64::from(*minutes) * 60_000;
                standing.shelf = Some(Shelf { by, until_ms, reason: reason.clone() });
                format!("for {minutes} minutes: {reason}")
            }
            Action::Unshelve => {
                standing.shelf = None;
                String::new()
            }
            Action::Lower { grade, reason } => {
                let before = std::mem::replace(&mut standing.grade, *grade);
                if *grade == Grade::P4 {
                    (standing.escalation, standing.ladder) = (None, Vec::new());
                }
                format!("from {} to {}: {reason}", before.as_str(), grade.as_str())
            }
            Action::Close { outcome, note } => {
                standing.shelf = None;
                standing.closed = Some(Closing { by, at_ms, outcome: *outcome, note: note.clone() });
                note.clone()
            }
            Action::Note { text } => text.clone(),
        };
        alarm.tell(at_ms, self.action.event(), Some(&self.operator), words);
        true
    }

    /// Whether the alarm's story says that it was taken.
    #[must_use]
    pub fn is_taken_in(&self, alarm: &Alarm) -> bool {
        alarm.standing.story.lines().iter().any(|line| {
            line.at_ms == self.at_ms
                && line.what == self.action.event()
                && line.who.as_deref() == Some(&self.operator)
        })
    }

    /// The record that makes it last.
    #[must_use]
    pub fn record(&self) -> Record {
        own(&self.alarm, self.at_ms, RecordKind::AlarmAction, self)
    }
}

impl Acknowledgement {
    /// The record that makes it last.
    #[must_use]
    pub fn record(&self, alarm: &AlarmId) -> Record {
        own(alarm, self.at_ms, RecordKind::Acknowledged, self)
    }
}

impl Confirmed {
    /// Notes it in the alarm; whether the receipt was owed.
    pub(super) fn apply(&self, alarm: &mut Alarm) -> bool {
        let state = match self.receipt {
            Receipt::Seen => &mut alarm.receipt,
            Receipt::Delivered => &mut alarm.delivered,
            Receipt::Stored => return false,
        };
        if *state != ReceiptState::Queued {
            return false;
        }
        *state = ReceiptState::Delivered;
        if self.receipt == Receipt::Seen {
            alarm.tell_wearer(self.told_ms);
            alarm.standing.confirmed_ms = Some(self.at_ms);
            alarm.tell(self.at_ms, EventKind::Confirmed, None, "");
        }
        true
    }

    /// The record that makes it last.
    #[must_use]
    pub fn record(&self) -> Record {
        own(&self.alarm, self.at_ms, RecordKind::Confirmed, self)
    }
}

impl Acceptance {
    /// The record that makes it last.
    #[must_use]
    pub(crate) fn record(self, alarm: &AlarmId) -> Record {
        let received_at_ms = self.at_ms;
        let said = Delivered { alarm: alarm.to_string(), acceptance: self };
        own(alarm, received_at_ms, RecordKind::Delivered, &said)
    }
}

pub(super) fn own(alarm: &AlarmId, at_ms: u64, kind: RecordKind, said: &impl Serialize) -> Record {
    let payload = serde_json::to_vec(said).expect("strings and numbers are JSON");
    Record {
        lsn: Lsn(0),
        received_at_ms: at_ms,
        force: alarm.unit.force.clone(),
        device: alarm.unit.device.clone(),
        ceiling: fieldpost_protocol::Mode::Test,
        lane: Lane::Alarm,
        kind,
        payload: Bytes::from(payload),
    }
}
