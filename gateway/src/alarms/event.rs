//! An alarm's story: what happened to it, line by line, for the timeline.
//!
//! Bounds: [`EVENTS_MAX`] lines; over that the oldest but the first goes (the spool keeps the record behind it).

use serde::{Deserialize, Serialize};

/// Most lines of one story: raised, told, four escalations, and room for thirty things people do.
pub const EVENTS_MAX: usize = 40;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It was raised.
    Raised,
    /// Another fact came.
    Fact,
    /// A rule made it graver.
    GradeRaised,
    /// It went up a step.
    Escalated,
    /// It joined an incident.
    Grouped,
    /// A force system has it.
    Accepted,
    /// A person has it.
    Acknowledged,
    /// SEEN was sent to the wearer's device.
    Told,
    /// The wearer's device confirmed SEEN.
    Confirmed,
    /// The wearer took it back.
    Cancelled,
    /// Its cause is over.
    Cleared,
    /// A person put it aside.
    Shelved,
    /// A person took it back.
    Unshelved,
    /// The time on the shelf was up.
    ShelfEnded,
    /// A person lowered its grade.
    Lowered,
    /// A person wrote something down.
    Noted,
    /// A person ended it.
    Closed,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// When, Unix ms.
    pub at_ms: u64,
    /// What.
    pub what: EventKind,
    /// Which operator or force system, if one did it.
    pub who: Option<String>,
    /// In words; may be empty.
    pub text: String,
}

/// The lines, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Story(Vec<Event>);

impl Story {
    /// Adds a line.
    pub(super) fn add(&mut self, event: Event) {
        if self.0.len() >= EVENTS_MAX {
            self.0.remove(1);
        }
        self.0.push(event);
    }

    /// The lines, oldest first.
    #[must_use]
    pub fn lines(&self) -> &[Event] {
        &self.0
    }
}
