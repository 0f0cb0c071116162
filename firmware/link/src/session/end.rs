//! Why a connection ended, sorted by whose fault it is.

use crate::{
    mqtt::{Fault, Malformed},
    tls::TlsFailure,
};

/// Why a connection ended. Never carries what was on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum End {
    /// No TCP connection.
    Dial,
    /// TLS: whose fault is inside.
    Tls(TlsFailure),
    /// The gateway closed the connection without a word of MQTT.
    Closed,
    /// What the gateway said is not MQTT of ours.
    Malformed(Malformed),
    /// What the gateway said is out of place, or a goodbye.
    Fault(Fault),
    /// The gateway took nothing for 10 s.
    Stalled,
    /// The clock is good now, and by it the gateway's certificate is not valid.
    DatesRefused,
    /// A new attempt was ordered.
    Replaced,
}

impl End {
    /// For the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dial => "no route to the gateway",
            Self::Tls(failure) => failure.as_str(),
            Self::Closed => "gateway closed the connection",
            Self::Malformed(Malformed::TooLong) => "gateway sent an MQTT packet longer than announced",
            Self::Malformed(Malformed::Packet) => "gateway sent what is not MQTT",
            Self::Fault(Fault::Refused(_)) => "gateway refused us over MQTT",
            Self::Fault(Fault::Disconnected(_)) => "gateway said goodbye",
            Self::Fault(Fault::OutOfPlace) => "gateway sent MQTT out of place",
            Self::Fault(Fault::Limits) => "gateway announces less than the protocol promises",
            Self::Fault(Fault::Silent) => "gateway is silent",
            Self::Stalled => "gateway takes nothing",
            Self::DatesRefused => "gateway certificate not valid by the clock that is good now",
            Self::Replaced => "replaced by a new attempt",
        }
    }
}

impl core::fmt::Display for End {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<TlsFailure> for End {
    fn from(failure: TlsFailure) -> Self {
        Self::Tls(failure)
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
