//! What an access record says: who did what, whose positions they were, which fields, how exact, from where, and why.

use std::net::IpAddr;

use fieldpost_protocol::ForceId;
use serde::{Deserialize, Serialize};

use crate::live::unit::UnitId;

/// Most subjects that one record names one by one; beyond it names their forces.
pub const SUBJECTS_MAX: usize = 256;
/// Longest reason kept, in characters.
pub const REASON_CHARS_MAX: usize = 200;

/// What was done. A variant says in its comment what is served under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An operator logged in.
    SessionOpened,
    /// Somebody was not let in: a wrong name or password, or too many tries.
    LoginRefused,
    /// An operator logged out.
    SessionClosed,
    /// An operator chose a new password.
    PasswordChanged,
    /// A console was locked.
    ConsoleLocked,
    /// It was unlocked.
    ConsoleUnlocked,
    /// The list of accounts was read.
    PeopleRead,
    /// An account was made, disabled or given a new password.
    PeopleChanged,
    /// Who wears which device was read.
    AssignmentsRead,
    /// Somebody said who wears a device.
    DeviceAssigned,
    /// The list of units was read.
    UnitsRead,
    /// The alarm queue was read.
    AlarmsRead,
    /// The loss ledger was read: no position, but when which device was heard.
    LedgerRead,
    /// A live page was opened: every picture from here to its closing is shown.
    StreamOpened,
    /// It was closed.
    StreamClosed,
    /// What a live page is sent leaves the order of the pictures here.
    StreamOrder,
    /// An alarm, with its position, was taken.
    AlarmAcknowledged,
    /// An alarm, with its position, was shelved, lowered, closed, or something was noted down.
    AlarmChanged,
    /// What happened to an alarm was read.
    AlarmStoryRead,
    /// How alarms perform was read: no unit, but which operator answered how soon.
    AlarmFiguresRead,
    /// A unit's track was read.
    TrackRead,
    /// Where a unit was at one instant was read.
    PlaceRead,
    /// Every unit, as it was at a past instant or over a past time.
    ReplayRead,
    /// Past alarms were read.
    PastAlarmsRead,
    /// The access record itself was read.
    AuditRead,
    /// The access record was exported.
    AuditExported,
    /// Records are sent to a force system: the line of each is durable before they are.
    RecordsDisclosed,
    /// Records that were disclosed to it before are sent to it once more.
    RecordsDisclosedAgain,
    /// A person had events sent again that a force system had refused.
    RefusedRetried,
    /// A person dropped events that a force system had refused.
    RefusedDropped,
    /// The gateway started: a live page without a closing record ended before this.
    GatewayStarted,
    /// A file of the access record begins.
    FileOpened,
    /// A file of the record whose time is over is removed after this.
    FileRetired,
    /// A line that a crash left half written was ended; nothing was served on its strength.
    TornTail,
    /// The access record of an earlier version was put beside this one.
    Superseded,
    /// Old pictures were removed: what was shown is known by its digest from here on.
    PicturesRetired,
}

/// Somebody, as the access record names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Who {
    /// Their name.
    pub operator: String,
    /// Which of their sessions; not the cookie.
    pub session: String,
    /// From which address.
    pub from: IpAddr,
}

/// Whose positions: `*` everybody's, `force/*` a force's, `force/device` one unit's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Subjects(Vec<String>);

/// What of a subject. Closed: a record can be searched by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// Where.
    Position,
    /// Speed and course.
    Movement,
    /// Duty, battery, connection: state without a place.
    State,
    /// Callsign, officer, vehicle.
    Name,
    /// Alarms with what is in them.
    Alarm,
    /// When a device was heard.
    Heard,
    /// Who looked: the access record.
    Access,
}

/// How exact the positions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// There are none.
    NoPosition,
    /// As the device gave them, to the micro-degree.
    Full,
    /// Rounded to a grid of so many metres.
    Metres(u32),
}

/// A time from and until, Unix ms, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// From.
    pub from_ms: u64,
    /// Until.
    pub until_ms: u64,
}

/// What is in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holds {
    /// Whose.
    pub subjects: Subjects,
    /// Which fields.
    pub fields: &'static [Field],
    /// How exact.
    pub precision: Precision,
}

/// Somebody asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// When, Unix ms.
    pub at_ms: u64,
    /// Who.
    pub who: Who,
    /// What.
    pub what: What,
    /// Why, if they said so: the force may ask for it, the law does not.
    pub reason: Option<String>,
    /// Which past time the answer is about; nothing if it shows the present.
    pub of: Option<Span>,
}

/// One access record before it has a place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Who asked for what, and when.
    pub asked: Asked,
    /// What they are given.
    pub holds: Holds,
}

/// Everything that live pages and live lists show of a unit.
pub const LIVE_FIELDS: &[Field] =
    &[Field::Position, Field::Movement, Field::State, Field::Name, Field::Alarm];

impl Span {
    /// Whether the two have an instant in common.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.from_ms <= other.until_ms && other.from_ms <= self.until_ms
    }
}

impl Subjects {
    /// Everybody.
    #[must_use]
    pub fn everyone() -> Self {
        Self(vec!["*".to_owned()])
    }

    /// Nobody: the answer is about no unit.
    #[must_use]
    pub fn nobody() -> Self {
        Self::default()
    }

    /// One unit.
    #[must_use]
    pub fn unit(unit: &UnitId) -> Self {
        Self(vec![unit.to_string()])
    }

    /// Everybody in these forces.
    #[must_use]
    pub fn forces<'a>(forces: impl IntoIterator<Item = &'a ForceId>) -> Self {
        Self(forces.into_iter().map(|force| format!("{force}/*")).collect())
    }

    /// These units; their forces if they are more than [`SUBJECTS_MAX`].
    #[must_use]
    pub fn units<'a>(units: impl IntoIterator<Item = &'a UnitId>) -> Self {
        let units: Vec<&UnitId> = units.into_iter().collect();
        if units.len() <= SUBJECTS_MAX {
            return Self(units.iter().map(ToString::to_string).collect());
        }
        let forces: std::collections::BTreeSet<&ForceId> = units.iter().map(|unit| &unit.force).collect();
        Self::forces(forces)
    }

    /// The patterns.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.0
    }

    /// Whether every subject of `other` is one of these.
    #[must_use]
    pub fn cover(&self, other: &Self) -> bool {
        other.0.iter().all(|wanted| self.0.iter().any(|pattern| covers(pattern, wanted)))
    }
}

/// Whether `pattern` means everybody whom `wanted`, a unit or another pattern, means.
#[must_use]
pub fn covers(pattern: &str, wanted: &str) -> bool {
    pattern == "*"
        || pattern == wanted
        || pattern.strip_suffix('*').is_some_and(|force| force.ends_with('/') && wanted.starts_with(force))
}

impl Holds {
    /// Live units and alarms of `subjects`, as exact as they came.
    #[must_use]
    pub fn live(subjects: Subjects) -> Self {
        Self { subjects, fields: LIVE_FIELDS, precision: Precision::Full }
    }

    /// No position: `fields` of `subjects`.
    #[must_use]
    pub fn no_position(subjects: Subjects, fields: &'static [Field]) -> Self {
        Self { subjects, fields, precision: Precision::NoPosition }
    }

    /// Nothing of anybody: an event.
    #[must_use]
    pub fn nothing() -> Self {
        Self::no_position(Subjects::nobody(), &[])
    }

    /// Whether a record of `self` accounts for `other`, too.
    #[must_use]
    pub fn cover(&self, other: &Self) -> bool {
        self.subjects.cover(&other.subjects)
            && other.fields.iter().all(|field| self.fields.contains(field))
            && self.precision.covers(other.precision)
    }
}

impl Precision {
    fn covers(self, other: Self) -> bool {
        match (self, other) {
            (_, Self::NoPosition) | (Self::Full, _) => true,
            (Self::Metres(ours), Self::Metres(theirs)) => theirs >= ours,
            _ => false,
        }
    }
}

impl Serialize for Precision {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::NoPosition => serializer.serialize_str("no_position"),
            Self::Full => serializer.serialize_str("full"),
            Self::Metres(metres) => serializer.serialize_str(&format!("{metres}m")),
        }
    }
}

impl Asked {
    /// The same, for a reason. Cut to [`REASON_CHARS_MAX`]; blank is none.
    #[must_use]
    pub fn because(mut self, reason: Option<&str>) -> Self {
        let reason = reason.map(str::trim).filter(|reason| !reason.is_empty());
        self.reason = reason.map(|reason| reason.chars().take(REASON_CHARS_MAX).collect());
        self
    }

    /// The same, about a past time.
    #[must_use]
    pub fn of_time(mut self, from_ms: u64, until_ms: u64) -> Self {
        self.of = Some(Span { from_ms, until_ms });
        self
    }

    /// The record of something that shows nothing of anybody.
    #[must_use]
    pub fn event(self) -> Look {
        self.of(Holds::nothing())
    }

    /// The record of a look at what `holds` says.
    #[must_use]
    pub fn of(self, holds: Holds) -> Look {
        Look { asked: self, holds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(text: &str) -> UnitId {
        text.parse().unwrap()
    }

    #[test]
    fn a_pattern_covers_its_force_and_nothing_beside_it() {
        assert!(covers("*", "sim/pc-1") && covers("sim/*", "sim/pc-1") && covers("sim/*", "sim/*"));
        for (pattern, wanted) in
            [("sim/*", "simx/pc-1"), ("sim/pc-1", "sim/pc-11"), ("sim/*", "*"), ("sim*", "simx/a")]
        {
            assert!(!covers(pattern, wanted), "{pattern} {wanted}");
        }
    }

    #[test]
    fn many_units_are_named_by_their_forces() {
        let few = [unit("a/1"), unit("b/2")];
        assert_eq!(Subjects::units(&few).patterns(), ["a/1", "b/2"]);
        let many: Vec<UnitId> = (0..=SUBJECTS_MAX).map(|n| unit(&format!("a/{n}"))).collect();
        assert_eq!(Subjects::units(&many).patterns(), ["a/*"]);
        assert!(Subjects::units(&many).cover(&Subjects::unit(&many[9])));
    }

    #[test]
    fn a_record_of_state_does_not_cover_a_position() {
        let one = Subjects::unit(&unit("a/1"));
        let live = Holds::live(Subjects::everyone());
        let state = Holds::no_position(one.clone(), &[Field::State]);
        let rough = Holds { precision: Precision::Metres(100), ..Holds::live(one.clone()) };
        assert!(live.cover(&state) && live.cover(&rough) && !rough.cover(&Holds::live(one)));
        assert!(!state.cover(&live) && Holds::nothing().cover(&Holds::nothing()));
    }
}
