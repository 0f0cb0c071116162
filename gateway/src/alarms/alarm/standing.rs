//! What is known of an alarm beside what was reported.

use serde::{Deserialize, Serialize};

use super::super::event::Story;
use super::super::grade::{Grade, Queue};
use super::super::id::AlarmId;
use super::{Closing, Escalation, Fact, Origin, RuleRef, Rung, Shelf};

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
    pub(in super::super) fn picture(&self) -> u64 {
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
