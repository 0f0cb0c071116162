//! What names an alarm.

use std::fmt;
use std::str::FromStr;

use fieldpost_protocol::{BootId, DeviceId, ForceId, Seq};
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::live::unit::UnitId;

/// An alarm's identity: its record's. Written `force/device/boot/seq`, and `~fingerprint` behind it if that is repeated.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AlarmId {
    /// Who raised it.
    pub unit: UnitId,
    /// Boot id of its record.
    pub boot: BootId,
    /// Sequence of its record.
    pub seq: Seq,
    /// What tells it from another alarm, if its device had already used boot and sequence for something else.
    pub repeat: Option<Fingerprint>,
}

/// The text is not `force/device/boot/seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an alarm id is force/device/boot/sequence")]
pub struct AlarmIdError;

impl fmt::Display for AlarmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.unit, self.boot.0, self.seq.0)?;
        self.repeat.map_or(Ok(()), |repeat| write!(f, "~{repeat}"))
    }
}

impl FromStr for AlarmId {
    type Err = AlarmIdError;

    fn from_str(text: &str) -> Result<Self, AlarmIdError> {
        let mut parts = text.split('/');
        let mut part = || parts.next().ok_or(AlarmIdError);
        let force = ForceId::try_new(part()?).map_err(|_| AlarmIdError)?;
        let device = DeviceId::try_new(part()?).map_err(|_| AlarmIdError)?;
        let boot = part()?.parse().map_err(|_| AlarmIdError)?;
        let last = part()?;
        let (seq, repeat) = last.split_once('~').map_or((last, None), |(seq, repeat)| (seq, Some(repeat)));
        let seq = seq.parse().map_err(|_| AlarmIdError)?;
        let repeat = repeat.map(|repeat| u32::from_str_radix(repeat, 16).map(Fingerprint)).transpose();
        let repeat = repeat.map_err(|_| AlarmIdError)?;
        let id = Self { unit: UnitId { force, device }, boot: BootId(boot), seq: Seq(seq), repeat };
        // Only the canonical form: "+1" and "01" would name the same alarm twice.
        if id.to_string() == text { Ok(id) } else { Err(AlarmIdError) }
    }
}

impl TryFrom<String> for AlarmId {
    type Error = AlarmIdError;

    fn try_from(text: String) -> Result<Self, AlarmIdError> {
        text.parse()
    }
}

impl From<AlarmId> for String {
    fn from(id: AlarmId) -> Self {
        id.to_string()
    }
}
