//! Why a stream came to nothing, sorted by whose fault it is.

use embedded_io_async::ErrorKind;
use rustls::Error as TlsError;

use super::verify::Refusal;

/// Why a stream came to nothing. Never carries what was on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TlsFailure {
    /// The transport failed.
    Transport,
    /// The transport ended without a goodbye: cut off, perhaps by somebody.
    CutOff,
    /// The gateway is none.
    Refused(Refusal),
    /// The gateway showed no certificate.
    NoCertificate,
    /// The gateway speaks no TLS 1.3 of ours.
    Version,
    /// The gateway ended it, by this alert of RFC 8446 section 6; for a refused device certificate, in the 40s.
    Alert(u8),
    /// A record or handshake message over [`super::RECEIVE_BYTES`], or a handshake over [`super::HANDSHAKE_BYTES_MAX`].
    TooLarge,
    /// A record that does not open: damaged, or not from the gateway.
    Damaged,
    /// Anything else against the protocol.
    Protocol,
    /// Our own: no random numbers, no memory in the buffers.
    Internal,
}

impl TlsFailure {
    /// For the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transport => "transport failed",
            Self::CutOff => "cut off",
            Self::Refused(Refusal::Shape) => "gateway certificate unreadable",
            Self::Refused(Refusal::Role) => "gateway certificate not made for a gateway",
            Self::Refused(Refusal::Dates) => "gateway certificate expired or not valid yet",
            Self::Refused(Refusal::Chain) => "gateway certificate of an unknown authority",
            Self::Refused(Refusal::Name) => "gateway certificate for another name",
            Self::Refused(Refusal::Possession) => "gateway does not hold its certificate's key",
            Self::NoCertificate => "gateway without a certificate",
            Self::Version => "gateway without TLS 1.3",
            Self::Alert(_) => "gateway refused us",
            Self::TooLarge => "gateway sent more than fits",
            Self::Damaged => "damaged record",
            Self::Protocol => "gateway broke the TLS protocol",
            Self::Internal => "TLS cannot go on",
        }
    }

    pub(super) fn of(error: &TlsError) -> Self {
        if let Some(refusal) = Refusal::behind(error) {
            return Self::Refused(refusal);
        }
        match error {
            TlsError::NoCertificatesPresented => Self::NoCertificate,
            TlsError::PeerIncompatible(_) => Self::Version,
            TlsError::AlertReceived(alert) => Self::Alert(u8::from(*alert)),
            TlsError::DecryptError => Self::Damaged,
            TlsError::PeerSentOversizedRecord => Self::TooLarge,
            TlsError::FailedToGetRandomBytes | TlsError::EncryptError => Self::Internal,
            _ => Self::Protocol,
        }
    }
}

impl core::fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for TlsFailure {}

impl embedded_io_async::Error for TlsFailure {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Transport | Self::CutOff => ErrorKind::ConnectionReset,
            Self::TooLarge | Self::Damaged | Self::Protocol => ErrorKind::InvalidData,
            Self::Internal => ErrorKind::OutOfMemory,
            _ => ErrorKind::PermissionDenied,
        }
    }
}
