//! How grave an alarm is, and who is to see it.

use serde::{Deserialize, Serialize};

/// Priority of an alarm. `P1` is the gravest and the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Grade {
    /// A life may be in danger now.
    P1,
    /// Somebody may need help.
    P2,
    /// Somebody should look.
    P3,
    /// For the record; it neither sounds nor escalates.
    P4,
}

impl Grade {
    /// Every grade, the gravest first.
    pub const ALL: [Self; 4] = [Self::P1, Self::P2, Self::P3, Self::P4];

    /// The next graver one; `P1` stays.
    #[must_use]
    pub fn raised(self) -> Self {
        match self {
            Self::P1 | Self::P2 => Self::P1,
            Self::P3 => Self::P2,
            Self::P4 => Self::P3,
        }
    }

    /// `P1` to `P4`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
        }
    }
}

/// Whose queue an alarm is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Queue {
    /// Who sends help.
    #[default]
    Operations,
    /// Who looks after devices and keys.
    Security,
}
