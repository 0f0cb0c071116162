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

use fieldpost_protocol::{AlarmCause, Mode, Receipt};
use serde::{Deserialize, Serialize};

use super::event::{Event, EventKind, Story};
use super::grade::{Grade, Queue};
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

/// What rules and people have made of an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// How grave it is now. Rules raise it; only a person lowers it.
    pub grade: Grade,
    /// Why it has that grade.
    pub rule: RuleRef,
    /// Who raised it.
    pub origin: Origin,
    /// Reported by a person or a switch; else it is inferred.
    pub is_fact: bool,
    /// Whose queue it is in.
    pub queue: Queue,
    /// What fired, at most [`FACTS_MAX`].
    pub facts: Vec<Fact>,
    /// The incident it is part of: the id of that incident's first alarm.
    pub incident: Option<AlarmId>,
    /// When its cause ended, Unix ms: the weapon is back in its holster.
    pub cleared_at_ms: Option<u64>,
    /// Set while it is put aside.
    pub shelf: Option<Shelf>,
    /// Set while nobody has acknowledged it and it is to go up.
    pub escalation: Option<Escalation>,
    /// The steps still to go, soonest first.
    #[serde(default)]
    pub ladder: Vec<Rung>,
    /// How it ended.
    pub closed: Option<Closing>,
    /// When SEEN was first sent to its wearer's device, Unix ms.
    pub told_ms: Option<u64>,
    /// When that device confirmed it, Unix ms.
    pub confirmed_ms: Option<u64>,
    /// It was raised because its unit fell silent: that happens once.
    pub silence_counted: bool,
    /// How many verdicts there are on it.
    #[serde(default)]
    pub verdicts_count: u32,
    /// What happened to it.
    pub story: Story,
    /// Counts its changes, so that a page can tell which of two pictures of it is the newer.
    #[serde(default)]
    pub revision: u64,
    /// How much the screen has laid over it that is not in `revision` yet; of an alarm in the book always 0.
    #[serde(skip)]
    pub laid_over_count: u64,
}

impl Standing {
    /// Which of two pictures of the alarm is the newer. Every change in the book outweighs all that was laid over it, some of
    /// which that very change may have made void.
    pub(super) fn picture(&self) -> u64 {
        const LAID_OVER_BITS: u32 = 8;
        (self.revision << LAID_OVER_BITS) | self.laid_over_count.min((1 << LAID_OVER_BITS) - 1)
    }
}

impl Default for Standing {
    /// Of an alarm that an older version has left on the disk: as grave as can be.
    fn default() -> Self {
        Self {
            grade: Grade::P1,
            rule: RuleRef::default(),
            origin: Origin::Device,
            is_fact: true,
            queue: Queue::Operations,
            facts: Vec::new(),
            incident: None,
            cleared_at_ms: None,
            shelf: None,
            escalation: None,
            ladder: Vec::new(),
            closed: None,
            told_ms: None,
            confirmed_ms: None,
            silence_counted: false,
            verdicts_count: 0,
            story: Story::default(),
            revision: 0,
            laid_over_count: 0,
        }
    }
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
