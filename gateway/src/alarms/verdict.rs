//! What the queue made of an alarm, as a record, for whoever reads the spool and has no queue: the history.
//!
//! **Nothing is judged by a verdict.** The queue judges every record itself; what it comes to it has said once, and a book that
//! reads a verdict only knows that this one is said. Until then it is among those unsaid, in the snapshot too: so a crash
//! between an alarm and its verdict loses none.
//!
//! ```text
//! record --> Book: raised, graver, over, shelved, back --> unsaid --> Verdict record --> Book: said
//!                                                                          '--> history: a row
//! ```
//! Of an alarm that a device raised, the first verdict is its grade; of one that a rule raised, that it was. Whether a person's
//! shelving is taken follows from the alarm as it is ([`super::action`]), and when a shelf's time is up from time by the records: so
//! both are verdicts. **One `shelved` has one end**: `unshelved`, `shelf_ended`, or the alarm's closing.
//!
//! Bounds: [`UNSAID_MAX`] of 400 bytes wait, 500 more with a reason for the shelf; what comes on top is counted, and in no history.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::action::{Action, Said, own};
use super::alarm::{Alarm, Cause, Origin, RuleRef};
use super::book::Book;
use super::grade::Grade;
use super::id::AlarmId;
use crate::record::{Record, RecordKind};

/// Most verdicts that wait to be stored: one of each alarm that the queue shows.
pub const UNSAID_MAX: usize = super::ALARMS_MAX;

/// Payload of a [`RecordKind::Verdict`] record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The alarm.
    pub alarm: AlarmId,
    /// Counts the verdicts on this alarm, from 1: of two in one millisecond it says which came later.
    pub n: u32,
    /// When, Unix ms: when it was raised, or by the gateway's clock.
    pub at_ms: u64,
    /// When the record was received that made it so, Unix ms.
    pub received_at_ms: u64,
    /// What.
    pub what: Finding,
    /// How grave it is from then on.
    pub grade: Grade,
    /// Why it has that grade.
    pub rule: RuleRef,
    /// A person or a switch reported it; else it is inferred.
    pub is_fact: bool,
    /// What raised it.
    pub cause: Cause,
    /// `actual`, `exercise` or `test`.
    pub mode: String,
    /// Where it was raised, if that is known: longitude and latitude in micro-degrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_udeg: Option<(i32, i32)>,
    /// Why, in words; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub because: String,
    /// Who shelved it, or took it back from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Of `shelved`: until when, Unix ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// What a verdict says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// A rule raised an alarm: no device did.
    Raised,
    /// An alarm has this grade, for the first time or because it became graver.
    Graded,
    /// What made a rule raise it is over.
    Cleared,
    /// A person put it aside.
    Shelved,
    /// A person took it back, or it has become a P1.
    Unshelved,
    /// Its time on the shelf is up.
    ShelfEnded,
}

impl Finding {
    /// As the history names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Graded => "graded",
            Self::Cleared => "cleared",
            Self::Shelved => "shelved",
            Self::Unshelved => "unshelved",
            Self::ShelfEnded => "shelf_ended",
        }
    }
}

impl Verdict {
    /// The record that makes it last.
    #[must_use]
    pub fn record(&self) -> Record {
        own(&self.alarm, self.received_at_ms, RecordKind::Verdict, self)
    }
}

impl Alarm {
    /// What has just become of it, at `at_ms`.
    pub(super) fn found(&mut self, what: Finding, at_ms: u64, because: &str) -> Verdict {
        self.standing.verdicts_count += 1;
        Verdict {
            alarm: self.id.clone(),
            n: self.standing.verdicts_count,
            at_ms,
            received_at_ms: at_ms.max(self.received_at_ms),
            what,
            grade: self.standing.grade,
            rule: self.standing.rule.clone(),
            is_fact: self.standing.is_fact,
            cause: self.cause,
            mode: self.mode.to_string(),
            position_udeg: self.position_udeg,
            because: because.to_owned(),
            by: None,
            until_ms: None,
        }
    }

    /// What a person has just done with its shelf, if they have.
    pub(super) fn found_of_shelf(&mut self, said: &Said) -> Option<Verdict> {
        let (what, because, until_ms) = match (&said.action, &self.standing.shelf) {
            (Action::Shelve { reason, .. }, Some(shelf)) => {
                (Finding::Shelved, &**reason, Some(shelf.until_ms))
            }
            (Action::Unshelve, None) => (Finding::Unshelved, "", None),
            _ => return None,
        };
        let found = self.found(what, said.at_ms, because);
        Some(Verdict { by: Some(said.operator.clone()), until_ms, ..found })
    }

    /// The first verdict on it.
    pub(super) fn found_first(&mut self) -> Verdict {
        let because = self.standing.facts.last().map(|fact| fact.text.clone()).unwrap_or_default();
        match self.standing.origin {
            Origin::Rule => self.found(Finding::Raised, self.raised_at_ms, &because),
            Origin::Device => self.found(Finding::Graded, self.received_at_ms, &because),
        }
    }
}

/// Verdicts that no record says yet, by alarm and number.
#[derive(Debug, Default)]
pub(super) struct Unsaid {
    verdicts: BTreeMap<(AlarmId, u32), Verdict>,
    lost_count: u64,
}

impl Unsaid {
    pub(super) fn add(&mut self, verdict: Verdict) {
        if self.verdicts.len() >= UNSAID_MAX {
            self.lost_count += 1;
            return;
        }
        self.verdicts.insert((verdict.alarm.clone(), verdict.n), verdict);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.values()
    }
}

impl FromIterator<Verdict> for Unsaid {
    fn from_iter<T: IntoIterator<Item = Verdict>>(verdicts: T) -> Self {
        let mut unsaid = Self::default();
        verdicts.into_iter().for_each(|verdict| unsaid.add(verdict));
        unsaid
    }
}

impl Book {
    /// Verdicts that are to be stored, in no order of time.
    pub fn unsaid(&self) -> impl Iterator<Item = &Verdict> {
        self.unsaid.iter()
    }

    /// A record says this one.
    pub fn said(&mut self, verdict: &Verdict) {
        self.unsaid.verdicts.remove(&(verdict.alarm.clone(), verdict.n));
    }

    /// How many verdicts found no room since the last call.
    pub fn take_lost_verdicts(&mut self) -> u64 {
        std::mem::take(&mut self.unsaid.lost_count)
    }
}
