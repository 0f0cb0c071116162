//! One alarm: who, what, how grave, why, and who has it.
//!
//! **Its state is not a field but follows from what was done to it** (ISA-18.2, "alarm state diagram"), so no two fields can
//! contradict each other:
//!
//! | if | it is |
//! |---|---|
//! | a person closed it | closed: it leaves the queue |
//! | a person shelved it and the time is not up | shelved |
//! | nobody has acknowledged it | unacknowledged, whatever its wearer has taken back |
//! | acknowledged, and its wearer took it back or its cause ended | cleared |
//! | else | acknowledged |

mod standing;

use fieldpost_protocol::{AlarmCause, Mode, Receipt};
use serde::{Deserialize, Serialize};

pub use self::standing::Standing;
use super::event::{Event, EventKind};
use super::id::AlarmId;
use crate::spool::Lsn;

/// Most facts an alarm lists: what fired it, and what came to it since.
pub const FACTS_MAX: usize = 12;

/// What raised an alarm, as the page names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Tilt and no motion, or a fall after a weapon was drawn.
    OfficerDown,
    /// Emergency button.
    Button,
    /// Vehicle crash or rollover.
    Crash,
    /// Conducted energy device fired.
    Ced,
    /// A check-in was missed.
    CheckIn,
    /// The device was tampered with.
    Tamper,
    /// A weapon left its holster.
    Weapon,
    /// No motion and an unusual heart rate.
    Health,
    /// The device is not where or who it says.
    Security,
    /// Not stated, or stated in a way this version does not know. Still an alarm.
    #[serde(other)]
    Unknown,
}

/// Who raised it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The wearer's device. It waits for SEEN.
    #[default]
    Device,
    /// A rule of the gateway. The wearer knows nothing of it, and is told nothing.
    Rule,
}

/// The rule behind an alarm's grade.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuleRef {
    /// `R1` and so on.
    pub id: String,
    /// Version of the rule file that was in force.
    pub version: u32,
}

/// One thing that fired an alarm, or made it graver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// In words for an operator.
    pub text: String,
    /// When it was so, Unix ms.
    pub at_ms: u64,
    /// The record that says so; `None` for something that did not happen (no other unit near, no signal).
    pub record: Option<Lsn>,
}

/// How far a receipt has come on its way to the wearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptState {
    /// There is nothing to tell: nobody has acknowledged the alarm, or no force system has it.
    #[default]
    None,
    /// Owed to the device; sent again at every connection until confirmed.
    Queued,
    /// The device confirmed it.
    Delivered,
}

/// Who took an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The operator.
    pub operator: String,
    /// When they said so, Unix ms by the gateway's clock.
    pub at_ms: u64,
}

/// A force system accepted an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// The forwarder, as it is configured.
    pub by: String,
    /// When, Unix ms by the gateway's clock.
    pub at_ms: u64,
}

/// Put aside by a person for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shelf {
    /// The operator.
    pub by: String,
    /// Until when, Unix ms. Then it is back.
    pub until_ms: u64,
    /// Why.
    pub reason: String,
}

/// What an alarm turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Somebody needed help.
    Genuine,
    /// Nobody did.
    False,
    /// A test.
    Test,
    /// An exercise.
    Exercise,
}

/// The end of an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// The operator.
    pub by: String,
    /// When, Unix ms.
    pub at_ms: u64,
    /// What it was.
    pub outcome: Outcome,
    /// In their words.
    pub note: String,
}

/// How far an alarm that nobody has acknowledged has gone up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Escalation {
    /// Steps taken.
    pub step: u32,
    /// Since when, Unix ms.
    pub since_ms: u64,
    /// When the next step is taken; `None` after the last.
    pub next_ms: Option<u64>,
    /// Who is to look, in the rule file's words.
    pub targets: Vec<String>,
    /// It went up because nobody was watching.
    #[serde(default)]
    pub unwatched: bool,
}

/// A step that an alarm has still to go up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// When, Unix ms.
    pub at_ms: u64,
    /// Who hears of it then.
    pub target: String,
}

/// State of an alarm, see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlarmState {
    /// Nobody has it.
    Unacknowledged,
    /// Somebody has it.
    Acknowledged,
    /// Put aside for a while.
    Shelved,
    /// Somebody has it, and its cause is over.
    Cleared,
    /// A person has ended it.
    Closed,
}

/// One alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    /// Its identity.
    pub id: AlarmId,
    /// How people know the unit, as it was when the alarm was raised.
    pub callsign: String,
    /// What raised it.
    pub cause: Cause,
    /// Real duty, exercise or test.
    pub mode: Mode,
    /// Unix ms at the device if its clock is believed, else of receipt.
    pub raised_at_ms: u64,
    /// Unix ms of receipt.
    pub received_at_ms: u64,
    /// Where, if the alarm says: (longitude, latitude) in micro-degrees.
    pub position_udeg: Option<(i32, i32)>,
    /// When the wearer took it back, Unix ms. A mark: the alarm stays.
    pub cancelled_at_ms: Option<u64>,
    /// Who took it; `None` while unacknowledged.
    pub owner: Option<Owner>,
    /// The wearer's SEEN receipt.
    pub receipt: ReceiptState,
    /// Which force system has it; `None` while none has.
    pub accepted: Option<Acceptance>,
    /// The wearer's DELIVERED receipt.
    pub delivered: ReceiptState,
    /// What is known beside what was reported.
    pub standing: Standing,
}

/// A receipt that a wearer's device has not confirmed.
pub type Owed = (AlarmId, Receipt);

impl Alarm {
    /// See the module.
    #[must_use]
    pub fn state(&self) -> AlarmState {
        let standing = &self.standing;
        match &self.owner {
            _ if standing.closed.is_some() => AlarmState::Closed,
            _ if standing.shelf.is_some() => AlarmState::Shelved,
            None => AlarmState::Unacknowledged,
            Some(_) if self.cancelled_at_ms.is_some() || standing.cleared_at_ms.is_some() => {
                AlarmState::Cleared
            }
            Some(_) => AlarmState::Acknowledged,
        }
    }

    /// Gives it its first owner; whether it had none.
    pub(super) fn take(&mut self, owner: Owner) -> bool {
        if self.owner.is_some() {
            return false;
        }
        self.tell(owner.at_ms, EventKind::Acknowledged, Some(&owner.operator), "");
        self.owner = Some(owner);
        self.standing.escalation = None;
        self.standing.ladder = Vec::new();
        // A wearer who knows nothing of an alarm is not told that somebody has it.
        if self.standing.origin == Origin::Device {
            self.receipt = ReceiptState::Queued;
        }
        true
    }

    /// Marks it as taken back by its wearer; whether it was not before.
    pub(super) fn take_back(&mut self, at_ms: u64) -> bool {
        let is_news = self.cancelled_at_ms.is_none();
        if is_news {
            self.cancelled_at_ms = Some(at_ms);
            self.tell(at_ms, EventKind::Cancelled, None, "");
        }
        is_news
    }

    /// Notes the first force system that has it; whether it is the first.
    pub(super) fn accept(&mut self, acceptance: Acceptance) -> bool {
        let is_news = self.accepted.is_none();
        if is_news {
            self.tell(acceptance.at_ms, EventKind::Accepted, Some(&acceptance.by), "");
            self.accepted = Some(acceptance);
            self.delivered = ReceiptState::Queued;
        }
        is_news
    }

    /// SEEN was sent to its wearer's device; whether for the first time.
    pub(super) fn tell_wearer(&mut self, at_ms: u64) -> bool {
        let is_news = self.standing.told_ms.is_none();
        if is_news {
            self.standing.told_ms = Some(at_ms);
            self.tell(at_ms, EventKind::Told, None, "");
        }
        is_news
    }

    /// Adds a line to its story.
    pub(super) fn tell(&mut self, at_ms: u64, what: EventKind, who: Option<&str>, text: impl Into<String>) {
        let event = Event { at_ms, what, who: who.map(str::to_owned), text: text.into() };
        self.standing.story.add(event);
    }

    /// Adds a fact, if there is room and it is not there yet; whether it did.
    pub(super) fn learn(&mut self, fact: Fact) -> bool {
        let facts = &mut self.standing.facts;
        let is_news = facts.len() < FACTS_MAX && !facts.contains(&fact);
        if is_news {
            facts.push(fact);
        }
        is_news
    }

    pub(super) fn receipts_owed(&self) -> impl Iterator<Item = Owed> + use<> {
        let states = [(Receipt::Delivered, self.delivered), (Receipt::Seen, self.receipt)];
        let id = self.id.clone();
        let queued = states.into_iter().filter(|(_, state)| *state == ReceiptState::Queued);
        queued.map(move |(receipt, _)| (id.clone(), receipt))
    }
}

impl From<AlarmCause> for Cause {
    fn from(cause: AlarmCause) -> Self {
        match cause {
            AlarmCause::OFFICER_DOWN | AlarmCause::WEAPON_AND_FALL => Self::OfficerDown,
            AlarmCause::BUTTON => Self::Button,
            AlarmCause::CRASH => Self::Crash,
            AlarmCause::CED => Self::Ced,
            AlarmCause::CHECK_IN => Self::CheckIn,
            AlarmCause::TAMPER => Self::Tamper,
            _ => Self::Unknown,
        }
    }
}
