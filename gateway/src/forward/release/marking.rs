//! Government security classification: what a record is marked, and what an output may take.
//!
//! Source: Government Security Classifications Policy. Everything here is of the tier OFFICIAL; a gateway that holds more
//! than that is another system. **Where somebody is, what they do and whether they need help is OFFICIAL-SENSITIVE**; the
//! state of a device and the numbers of what it dropped are OFFICIAL.

use super::{Field, Fields, Kind};

/// A marking. A later one is higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Marking {
    /// OFFICIAL.
    Official,
    /// OFFICIAL-SENSITIVE.
    OfficialSensitive,
}

impl Marking {
    /// Every marking, with its name in configuration, events and disclosure log.
    pub const ALL: [(&'static str, Self); 2] =
        [("official", Self::Official), ("official-sensitive", Self::OfficialSensitive)];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Official => "official",
            Self::OfficialSensitive => "official-sensitive",
        }
    }

    /// The marking of a record of `kind` of which `fields` are left.
    #[must_use]
    pub fn of(kind: Kind, fields: Fields) -> Self {
        match kind {
            Kind::Loss => Self::Official,
            Kind::Status if !fields.has(Field::Duty) => Self::Official,
            _ => Self::OfficialSensitive,
        }
    }
}
