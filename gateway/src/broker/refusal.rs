//! Why a message that came through a broker is nobody's: one closed enum for metric, log line and PUBACK.

use fieldpost_protocol::AuthError;

/// Why a message is dropped. None of them is ever answered with STORED.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Not `fp1/{device}/{lane}`.
    Topic,
    /// Sent at quality 0: no device does.
    Quality,
    /// No certificate of this device among those of `devices`.
    DeviceUnknown,
    /// Its force is not served here.
    ForceUnknown,
    /// Its certificate is revoked, past its date, or not the authority's.
    Certificate,
    /// Not an envelope, so nothing in it can be proven.
    Malformed,
    /// No tag.
    TagMissing,
    /// A kind of tag that is not known here.
    Algorithm,
    /// The tag was not made for this frame, lane and device: forged, changed on its way, or another device's.
    Tag,
    /// The device made the tag, with an envelope key that has ended: it is to be told the new one.
    KeyEnded,
    /// Larger than anything the spool takes.
    TooLarge,
    /// No room in the spool: the device has it and sends it again.
    NoRoom,
}

impl Refusal {
    /// Every reason, so that each is a time series from the first scrape.
    pub const ALL: [Self; 12] = [
        Self::Topic,
        Self::Quality,
        Self::DeviceUnknown,
        Self::ForceUnknown,
        Self::Certificate,
        Self::Malformed,
        Self::TagMissing,
        Self::Algorithm,
        Self::Tag,
        Self::KeyEnded,
        Self::TooLarge,
        Self::NoRoom,
    ];

    /// As a metric label and in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Quality => "quality",
            Self::DeviceUnknown => "device-unknown",
            Self::ForceUnknown => "force-unknown",
            Self::Certificate => "certificate",
            Self::Malformed => "malformed",
            Self::TagMissing => "tag-missing",
            Self::Algorithm => "algorithm",
            Self::Tag => "tag",
            Self::KeyEnded => "key-ended",
            Self::TooLarge => "too-large",
            Self::NoRoom => "no-room",
        }
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Malformed(_) => Self::Malformed,
            AuthError::Missing => Self::TagMissing,
            AuthError::Algorithm(_) => Self::Algorithm,
            AuthError::Mismatch => Self::Tag,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_time_series() {
        assert_eq!(Refusal::ALL.len(), Refusal::NoRoom as usize + 1, "ALL ends with the last variant");
        assert_eq!(HashSet::from(Refusal::ALL.map(Refusal::as_str)).len(), Refusal::ALL.len());
    }
}
