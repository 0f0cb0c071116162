//! The fields that an output can be released, one by one.

use std::fmt;

/// A part of what records say. Closed: the disclosure log can be searched by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// Where: latitude, longitude, accuracy, source.
    Position,
    /// Speed and course.
    Movement,
    /// The duty state.
    Duty,
    /// Battery, signal, storage, firmware: the device, not its wearer.
    Device,
    /// What a sensor saw: weapon, camera, lights, doors, crash.
    Sensor,
    /// What an alarm says: cause, silent; which one was taken back and why.
    Alarm,
    /// The unit's callsign, from roster and assignments, for sinks that show names.
    Callsign,
}

impl Field {
    /// Every field.
    pub const ALL: [Self; 7] =
        [Self::Position, Self::Movement, Self::Duty, Self::Device, Self::Sensor, Self::Alarm, Self::Callsign];

    /// Its name in configuration and disclosure log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Position => "position",
            Self::Movement => "movement",
            Self::Duty => "duty",
            Self::Device => "device",
            Self::Sensor => "sensor",
            Self::Alarm => "alarm",
            Self::Callsign => "callsign",
        }
    }
}

/// Some of [`Field::ALL`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fields(u8);

impl Fields {
    /// Every field.
    pub const ALL: Self = Self(0b0111_1111);
    /// None.
    pub const NONE: Self = Self(0);

    /// These.
    #[must_use]
    pub fn of(fields: &[Field]) -> Self {
        Self(fields.iter().fold(0, |bits, field| bits | 1 << *field as u8))
    }

    /// Reads what [`fmt::Display`] wrote; `None` if a name is unknown.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let named = |name| Field::ALL.into_iter().find(|field| field.as_str() == name);
        Some(Self::of(&text.split_whitespace().map(named).collect::<Option<Vec<_>>>()?))
    }

    /// Whether `field` is among them.
    #[must_use]
    pub fn has(self, field: Field) -> bool {
        self.0 & 1 << field as u8 != 0
    }

    /// Those in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every field of `other` is among them.
    #[must_use]
    pub fn cover(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |field| self.has(*field))
    }
}

/// Their names, a space between them.
impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, field) in self.iter().enumerate() {
            let space = if place > 0 { " " } else { "" };
            write!(f, "{space}{}", field.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
