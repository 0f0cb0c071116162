//! Who speaks, and which record it is: (device, boot id, sequence).

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::ID_CHARS_MAX;

/// An identity has a character outside `[A-Za-z0-9._-]`, is empty, or is longer than 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct IdError;

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an identity is 1 to 64 characters of A-Z a-z 0-9 . _ -")
    }
}

impl core::error::Error for IdError {}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        pub struct $name(heapless::String<ID_CHARS_MAX>);

        impl $name {
            /// Checks length and characters.
            ///
            /// # Errors
            /// [`IdError`] if the text is not an identity.
            pub fn try_new(text: &str) -> Result<Self, IdError> {
                let fits = !text.is_empty()
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
                if !fits {
                    return Err(IdError);
                }
                heapless::String::try_from(text).map(Self).map_err(|_| IdError)
            }

            /// The identity as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl core::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_new(text)
            }
        }
    };
}

id! {
    /// A device's authenticated identity, taken from its certificate alone; equal to its MQTT client id.
    DeviceId
}
id! {
    /// The police force a device is enrolled with.
    ForceId
}

/// Counts a device's starts. Kept on the device through power cuts and never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(transparent)]
pub struct BootId(pub u32);

/// Numbers a device's records within one boot, from 0, without holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(transparent)]
pub struct Seq(pub u32);

/// Whether a record speaks of real duty. There is no default: a frame of zeros has no mode and is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Mode {
    /// Real duty. Only a device enrolled as `actual` may say so.
    Actual = 1,
    /// An exercise: real people, no real incident.
    Exercise = 2,
    /// A test or a simulated device.
    Test = 3,
}

impl Mode {
    /// From the two mode bits of an envelope.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            1 => Some(Self::Actual),
            2 => Some(Self::Exercise),
            3 => Some(Self::Test),
            _ => None,
        }
    }

    /// Whether a device enrolled with ceiling `self` may send `frame`: never more real than its enrolment.
    #[must_use]
    pub fn permits(self, frame: Self) -> bool {
        frame as u8 >= self as u8
    }

    /// `actual`, `exercise` or `test`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Actual => "actual",
            Self::Exercise => "exercise",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::str::FromStr for Mode {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        match text {
            "actual" => Ok(Self::Actual),
            "exercise" => Ok(Self::Exercise),
            "test" => Ok(Self::Test),
            _ => Err(IdError),
        }
    }
}

/// How far a device's clock can be believed, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum ClockQuality {
    /// Never set: the time is milliseconds since start, not Unix time.
    Unset = 0,
    /// Set once, running free since.
    Holdover = 1,
    /// Set by the gateway's time message or the mobile network.
    Network = 2,
    /// Set by a satellite fix.
    Gnss = 3,
}

impl ClockQuality {
    /// From the two clock bits of an envelope.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Unset,
            1 => Self::Holdover,
            2 => Self::Network,
            _ => Self::Gnss,
        }
    }

    /// `unset`, `holdover`, `network` or `gnss`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Holdover => "holdover",
            Self::Network => "network",
            Self::Gnss => "gnss",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_short_plain_ascii() {
        assert!(DeviceId::try_new("pc-0001.A_b").is_ok());
        for bad in ["", "a/b", "a b", "+", "#", "é", &"x".repeat(65)] {
            assert!(DeviceId::try_new(bad).is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn a_device_never_speaks_above_its_enrolment() {
        assert!(Mode::Actual.permits(Mode::Test));
        assert!(Mode::Exercise.permits(Mode::Test));
        assert!(!Mode::Exercise.permits(Mode::Actual));
        assert!(!Mode::Test.permits(Mode::Exercise));
    }
}
