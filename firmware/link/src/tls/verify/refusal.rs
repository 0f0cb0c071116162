//! The checks and what each refuses.

use rustls::{CertificateError, Error};

/// Why a gateway is none, as far as the verifier decides. rustls carries it as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Refusal {
    /// Not a readable certificate, or too many.
    Shape,
    /// A device's certificate, or one not made for servers.
    Role,
    /// Expired, not valid yet, or never valid since this image was built.
    Dates,
    /// No way to a known authority.
    Chain,
    /// Another name.
    Name,
    /// The handshake is not signed by the certificate's key.
    Possession,
}

/// What is checked. In a device everything is; only rigs that prove a check's worth can leave one out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    omitted: Option<Refusal>,
}

impl Checks {
    /// Everything.
    pub const ALL: Self = Self { omitted: None };

    /// Everything but one. **For rigs**: a device image is built without this feature.
    #[cfg(feature = "broken-checks")]
    #[must_use]
    pub const fn all_but(omitted: Refusal) -> Self {
        Self { omitted: Some(omitted) }
    }

    pub(super) fn wants(self, check: Refusal) -> bool {
        self.omitted != Some(check)
    }
}

/// The alerts of RFC 8446 section 6.2 follow from these.
impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::InvalidCertificate(match refusal {
            Refusal::Shape => CertificateError::BadEncoding,
            Refusal::Role => CertificateError::InvalidPurpose,
            Refusal::Dates => CertificateError::Expired,
            Refusal::Chain => CertificateError::UnknownIssuer,
            Refusal::Name => CertificateError::NotValidForName,
            Refusal::Possession => CertificateError::BadSignature,
        })
    }
}

impl Refusal {
    /// The refusal behind an error of rustls, if it is one.
    pub(in crate::tls) fn behind(error: &Error) -> Option<Self> {
        let Error::InvalidCertificate(error) = error else { return None };
        Some(match error {
            CertificateError::BadEncoding => Self::Shape,
            CertificateError::InvalidPurpose => Self::Role,
            CertificateError::Expired => Self::Dates,
            CertificateError::UnknownIssuer => Self::Chain,
            CertificateError::NotValidForName => Self::Name,
            CertificateError::BadSignature => Self::Possession,
            _ => return None,
        })
    }
}
