//! The rules in force: what raises an alarm, how grave it is, who hears of it when nobody answers.
//!
//! **Rules are data**: one readable file, checked as a whole ([`crate::config::rules`]), named by its version in every alarm that it
//! graded. A new file takes effect by a record in the spool, so a replay judges each record by the rules of its time.

use std::sync::{Arc, LazyLock};

use fieldpost_protocol::{AlarmCause, Duty, Power};
use serde::{Deserialize, Serialize};

use super::alarm::Cause;
use super::grade::{Grade, Queue};

/// The rules that a new gateway has, as text: `fieldpost init` writes them, `fieldpost rules show` prints them.
pub const BUILT_IN: &str = include_str!("default_rules.toml");

/// Longest rule file: it travels in one record, and the built-in one has a tenth of that.
pub const RULES_BYTES_MAX: usize = 64 * 1024;

/// What can raise an alarm, or make one graver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The emergency button.
    Button,
    /// Tilt and no motion, after the device's pre-alarm.
    OfficerDown,
    /// A weapon left its holster.
    WeaponDrawn,
    /// A conducted energy device was fired.
    CedFired,
    /// A fall soon after a weapon was drawn.
    WeaponAndFall,
    /// A vehicle crash or rollover.
    Crash,
    /// No motion and an unusual heart rate.
    StillAndHeart,
    /// A check-in was missed.
    CheckIn,
    /// A unit with an alarm fell silent.
    SignalLost,
    /// The device was tampered with.
    Tamper,
    /// A position too far away to be true.
    Teleport,
    /// A device uses record numbers twice: wiped, or its key is copied.
    IdentityRepeated,
    /// Several devices near each other lost their satellites at once.
    Jamming,
    /// The device says alarm, and this version does not know why.
    UnknownAlarm,
}

impl Trigger {
    /// Every trigger with its name in the file.
    pub const ALL: [(&'static str, Self); 14] = [
        ("button", Self::Button),
        ("officer-down", Self::OfficerDown),
        ("weapon-drawn", Self::WeaponDrawn),
        ("ced-fired", Self::CedFired),
        ("weapon-and-fall", Self::WeaponAndFall),
        ("crash", Self::Crash),
        ("still-and-heart", Self::StillAndHeart),
        ("check-in", Self::CheckIn),
        ("signal-lost", Self::SignalLost),
        ("tamper", Self::Tamper),
        ("teleport", Self::Teleport),
        ("identity-repeated", Self::IdentityRepeated),
        ("jamming", Self::Jamming),
        ("unknown-alarm", Self::UnknownAlarm),
    ];

    /// Those that a device reports as alarms: **each needs a rule**, or an alarm would have no grade.
    pub const OF_DEVICES: [Self; 8] = [
        Self::Button,
        Self::OfficerDown,
        Self::CedFired,
        Self::WeaponAndFall,
        Self::Crash,
        Self::CheckIn,
        Self::Tamper,
        Self::UnknownAlarm,
    ];

    /// What a device's cause is.
    #[must_use]
    pub fn of(cause: AlarmCause) -> Self {
        match cause {
            AlarmCause::BUTTON => Self::Button,
            AlarmCause::OFFICER_DOWN => Self::OfficerDown,
            AlarmCause::CED => Self::CedFired,
            AlarmCause::WEAPON_AND_FALL => Self::WeaponAndFall,
            AlarmCause::CRASH => Self::Crash,
            AlarmCause::CHECK_IN => Self::CheckIn,
            AlarmCause::TAMPER => Self::Tamper,
            _ => Self::UnknownAlarm,
        }
    }

    /// Its name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, trigger)| *trigger == self).map_or("", |(name, _)| name)
    }

    /// As a fact in an operator's words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Button => "Emergency button pressed",
            Self::OfficerDown => "Lying and not moving; the wearer did not answer the pre-alarm",
            Self::WeaponDrawn => "Weapon drawn",
            Self::CedFired => "CED fired",
            Self::WeaponAndFall => "Fell within a minute of drawing a weapon",
            Self::Crash => "Vehicle crash",
            Self::StillAndHeart => "Not moving, and an unusual heart rate",
            Self::CheckIn => "Check-in missed",
            Self::SignalLost => "No signal",
            Self::Tamper => "The device was tampered with",
            Self::Teleport => "A position too far away to be true",
            Self::IdentityRepeated => "Record numbers used twice: wiped, or its key is copied",
            Self::Jamming => "Several devices near it lost their satellites at once",
            Self::UnknownAlarm => "The device says alarm; why is not known here",
        }
    }

    /// What the page calls the cause of an alarm that a rule raised.
    #[must_use]
    pub fn cause(self) -> Cause {
        match self {
            Self::WeaponDrawn => Cause::Weapon,
            Self::StillAndHeart => Cause::Health,
            Self::Teleport | Self::IdentityRepeated | Self::Jamming => Cause::Security,
            _ => Cause::Unknown,
        }
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `R1` and so on.
    pub id: String,
    /// For people.
    pub title: String,
    /// What makes it fire.
    pub when: Vec<Trigger>,
    /// Off until somebody turns it on.
    pub is_enabled: bool,
    /// How grave.
    pub grade: Grade,
    /// Reported by a person or a switch; else inferred.
    pub is_fact: bool,
    /// The independent signals it rests on.
    pub signals: Vec<String>,
    /// Whose queue.
    pub queue: Queue,
    /// Who hears when nobody acknowledges.
    pub ladder: Vec<Step>,
    /// What makes it graver.
    pub raise: Option<Raise>,
    /// It is graver if nobody is near.
    pub alone: Option<Alone>,
    /// Of [`Trigger::SignalLost`].
    pub silence: Option<Silence>,
    /// Of [`Trigger::StillAndHeart`].
    pub heart: Option<Heart>,
    /// Of [`Trigger::Jamming`].
    pub jamming: Option<Jamming>,
}

/// One step of a ladder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// So long after the alarm.
    pub after_ms: u64,
    /// Who.
    pub target: String,
}

/// Two things together are graver than one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raise {
    /// Any of these.
    pub with: Vec<Trigger>,
    /// Within so long of it, before or after.
    pub within_ms: u64,
    /// Makes it this.
    pub to: Grade,
}

/// Nobody is near.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alone {
    /// No other unit within so many metres.
    pub distance_m: u32,
    /// Makes it this.
    pub grade: Grade,
}

/// A unit with an alarm says nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// For so long.
    pub after_ms: u64,
    /// Alarms of these rules.
    pub of: Vec<String>,
}

/// Bounds of a heart rate and of patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heart {
    /// No motion for so long.
    pub still_ms: u64,
    /// Beats per minute below which it is unusual.
    pub low_bpm: u8,
    /// And above which.
    pub high_bpm: u8,
    /// It stays so for so long.
    pub hold_ms: u64,
}

/// How many devices, how near, how soon after each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jamming {
    /// So many, the last one included.
    pub units_count: u32,
    /// Within so many metres of it.
    pub distance_m: u32,
    /// And so much time.
    pub within_ms: u64,
}

/// R15: alarms near each other are one incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grouping {
    /// Metres.
    pub distance_m: u32,
    /// And time.
    pub within_ms: u64,
}

/// Nobody is watching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watching {
    /// For so long.
    pub after_ms: u64,
    /// Who hears.
    pub targets: Vec<String>,
}

/// Where and when the gateway's own rules say nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// How the device is powered.
    pub power: Vec<Power>,
    /// What its wearer is doing.
    pub duty: Vec<Duty>,
    /// After a CED was said to be in training use.
    pub training_ms: u64,
    /// After a CED's function test.
    pub test_ms: u64,
    /// Places.
    pub zones: Vec<Zone>,
}

/// A place where some rules do not apply: an armoury, a training ground.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// For people.
    pub name: String,
    /// (longitude, latitude) in micro-degrees.
    pub centre_udeg: (i32, i32),
    /// Metres.
    pub radius_m: u32,
    /// Ids of rules.
    pub rules: Vec<String>,
}

/// A whole rule file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Its version: raised with each change by whoever changes it.
    pub version: u32,
    /// For people.
    pub name: String,
    /// The rules, in the order of the file.
    pub rules: Vec<Rule>,
    /// R15; `None`: alarms are never grouped.
    pub grouping: Option<Grouping>,
    /// Nobody is watching.
    pub watching: Watching,
    /// Suppression.
    pub rest: Rest,
    /// The file as it was written.
    pub text: String,
}

impl Rules {
    /// [`BUILT_IN`].
    #[must_use]
    pub fn built_in() -> Arc<Self> {
        static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| {
            let rules = crate::config::rules::from_text(std::path::Path::new("built-in"), BUILT_IN);
            Arc::new(rules.expect("the built-in rules have no mistakes: a test checks them"))
        });
        Arc::clone(&RULES)
    }

    /// Whether it is [`BUILT_IN`].
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        self.text == BUILT_IN
    }

    /// The rule that a trigger fires, if one does.
    #[must_use]
    pub fn of(&self, trigger: Trigger) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.is_enabled && rule.when.contains(&trigger))
    }

    /// The zone that keeps `rule` quiet at a place.
    #[must_use]
    pub fn zone(&self, rule: &str, place_udeg: (i32, i32)) -> Option<&Zone> {
        let covers = |zone: &&Zone| {
            zone.rules.iter().any(|id| id == rule)
                && super::distance_m(zone.centre_udeg, place_udeg) <= f64::from(zone.radius_m)
        };
        self.rest.zones.iter().find(covers)
    }
}
