//! What an output may be sent: forces, classes, fields, how exact, and up to which marking. Everything else stays here.
//!
//! ```text
//! Record --Release::cut--> Cut { record without the rest, fields, marking } --Renderer--> Event --> Sink
//! ```
//! **A sink never holds what its output does not release**: the record is cut down before it is rendered, so the JSON and
//! the record that an [`Event`](super::Event) carries hold the same, and no sink needs a filter of its own. There is no
//! default: an output that does not say what it releases is a mistake of the configuration.
//!
//! What is sent is on record first: [`Disclosures`].
//!
//! Always there, because the loss ledger and the consumer's idempotency stand on them: force, device, boot id, sequence,
//! class, mode, lane and the times. Whoever must not know that a device was heard is not to be released its class.

mod cut;
#[cfg(test)]
mod disclosed_tests;
mod disclosures;
mod field;
mod grid;
mod marking;
mod recent;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use fieldpost_protocol::{Body, Class, ForceId};

pub(super) use self::cut::Cut;
pub use self::disclosures::{Disclosures, NotLogged, Recipient, Whom};
pub use self::field::{Field, Fields};
pub use self::marking::Marking;
pub use self::recent::{RECENT_MAX, RecentOf};

/// What one output is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Whose records.
    pub forces: Forces,
    /// Which classes of them.
    pub classes: Kinds,
    /// Which fields of those.
    pub fields: Fields,
    /// Positions are rounded to the middle of a square of so many metres; 0: as the device gave them.
    pub precision_m: u32,
    /// The output is for records up to this marking.
    pub marking: Marking,
}

/// Whose records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forces {
    /// Every force that this gateway serves.
    All,
    /// These.
    Only(BTreeSet<ForceId>),
}

/// A class of record, as outputs name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// One position.
    Position,
    /// Duty, battery, connection.
    Status,
    /// A sensor changed.
    SensorEvent,
    /// The wearer needs help.
    Alarm,
    /// The wearer takes it back.
    AlarmCancel,
    /// An alarm that this version cannot read.
    UnknownAlarm,
    /// What a device dropped.
    Loss,
}

/// Some of [`Kind::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds(u8);

impl Release {
    /// Everything that may leave the gateway at all, for rigs and tests: no configuration comes to this without saying so.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            forces: Forces::All,
            classes: Kinds::ALL,
            fields: Fields::ALL,
            precision_m: 0,
            marking: Marking::OfficialSensitive,
        }
    }

    /// Nothing of a record has to be taken away.
    fn is_whole(&self) -> bool {
        self.fields == Fields::ALL && self.precision_m == 0
    }
}

impl Forces {
    /// Whether records of `force` are among them.
    #[must_use]
    pub fn has(&self, force: &ForceId) -> bool {
        match self {
            Self::All => true,
            Self::Only(forces) => forces.contains(force),
        }
    }
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Position,
        Self::Status,
        Self::SensorEvent,
        Self::Alarm,
        Self::AlarmCancel,
        Self::UnknownAlarm,
        Self::Loss,
    ];

    /// The kind of a record; `body` is missing where an alarm's is not understood. Of what never leaves the gateway it
    /// is [`Kind::UnknownAlarm`], which carries least.
    #[must_use]
    pub fn of(class: Class, body: Option<&Body<'_>>) -> Self {
        match (body, class) {
            (Some(_), Class::POSITION) => Self::Position,
            (Some(_), Class::STATUS) => Self::Status,
            (Some(_), Class::SENSOR_EVENT) => Self::SensorEvent,
            (Some(_), Class::ALARM) => Self::Alarm,
            (Some(_), Class::ALARM_CANCEL) => Self::AlarmCancel,
            (Some(_), Class::LOSS) => Self::Loss,
            _ => Self::UnknownAlarm,
        }
    }

    /// Its name in configuration, `type` and route.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Position => "position",
            Self::Status => "status",
            Self::SensorEvent => "sensor-event",
            Self::Alarm => "alarm",
            Self::AlarmCancel => "alarm-cancel",
            Self::UnknownAlarm => "unknown-alarm",
            Self::Loss => "loss",
        }
    }

    /// What a record of this kind has to say, beside who and when.
    #[must_use]
    pub fn fields(self) -> Fields {
        Fields::of(match self {
            Self::Position => &[Field::Position, Field::Movement],
            Self::Status => &[Field::Duty, Field::Device],
            Self::SensorEvent => &[Field::Sensor],
            Self::Alarm | Self::UnknownAlarm => &[Field::Alarm, Field::Position, Field::Movement],
            Self::AlarmCancel => &[Field::Alarm],
            // Which sequences are gone says nothing else of anybody.
            Self::Loss => &[],
        })
    }

    /// Without one of these there is nothing to say; nothing needed if empty.
    #[must_use]
    pub fn needs(self) -> Fields {
        Fields::of(match self {
            Self::Position => &[Field::Position],
            Self::Status => &[Field::Duty, Field::Device],
            Self::SensorEvent => &[Field::Sensor],
            Self::Alarm | Self::UnknownAlarm | Self::AlarmCancel => &[Field::Alarm],
            Self::Loss => &[],
        })
    }
}

impl Kinds {
    /// Every kind.
    pub const ALL: Self = Self(0b0111_1111);

    /// These.
    #[must_use]
    pub fn of(kinds: &[Kind]) -> Self {
        Self(kinds.iter().fold(0, |bits, kind| bits | 1 << *kind as u8))
    }

    /// Whether `kind` is among them.
    #[must_use]
    pub fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    /// All of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}
