//! The identity in a device certificate: one URI in the subject alternative name,
//! `urn:fieldpost:device:{FORCE}:{DEVICE}:{MODE}`. Common name and organisation are for people and are not looked at.

use std::fmt;

use fieldpost_protocol::{DeviceId, ForceId, Mode};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::config::material::canonical_serial;

/// What every identity URI starts with.
const URN: &str = "urn:fieldpost:device:";

/// Who a device is, from its certificate alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The force it is enrolled with.
    pub force: ForceId,
    /// The device; equal to its MQTT client id.
    pub device: DeviceId,
    /// The most real mode it may speak in, decided at its enrolment.
    pub ceiling: Mode,
    /// Serial number of the certificate, big-endian without leading zeros: tells a session of a revoked certificate.
    pub serial: Vec<u8>,
    /// Unix seconds after which the certificate is not valid: an open connection ends then too.
    pub not_after_s: i64,
}

/// Why a certificate holds no device identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a certificate.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// No identity URI: a server's certificate, or one issued for something else.
    #[error("the certificate holds no device identity; issue one with `fieldpost pki issue`")]
    Missing,
    /// More than one identity URI.
    #[error("the certificate holds more than one device identity; issue one with `fieldpost pki issue`")]
    Several,
    /// An identity URI whose parts are not a force, a device and a mode.
    #[error("the device identity in the certificate is not urn:fieldpost:device:FORCE:DEVICE:MODE")]
    Malformed,
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.force, self.device)
    }
}

/// The URI that carries an identity.
#[must_use]
pub fn identity_uri(force: &ForceId, device: &DeviceId, ceiling: Mode) -> String {
    format!("{URN}{force}:{device}:{ceiling}")
}

/// Reads the identity of a certificate. The caller has verified it: nothing here checks signatures or dates.
///
/// # Errors
/// [`IdentityError`]; the peer is to blame.
pub fn device_identity(certificate: &CertificateDer<'_>) -> Result<Identity, IdentityError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| IdentityError::Unreadable)?;
    let names = parsed.subject_alternative_name().map_err(|_| IdentityError::Unreadable)?;
    let names = names.map(|extension| &extension.value.general_names[..]).unwrap_or_default();
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(URN),
        _ => None,
    });
    let uri = uris.next().ok_or(IdentityError::Missing)?;
    if uris.next().is_some() {
        return Err(IdentityError::Several);
    }
    let (force, device, ceiling) = parse(uri).ok_or(IdentityError::Malformed)?;
    let serial = canonical_serial(parsed.raw_serial());
    Ok(Identity { force, device, ceiling, serial, not_after_s: parsed.validity().not_after.timestamp() })
}

/// What a certificate of a person or program says: for TAK, which knows its users by common names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The one common name.
    pub common_name: String,
    /// Unix seconds after which the certificate is not valid.
    pub not_after_s: i64,
}

/// Reads who holds a certificate; `None` if it has no common name or several. The caller has verified it.
#[must_use]
pub fn certificate_holder(certificate: &CertificateDer<'_>) -> Option<Holder> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut names = parsed.subject().iter_common_name();
    let common_name = names.next()?.as_str().ok()?.to_owned();
    let is_one = names.next().is_none() && !common_name.is_empty();
    is_one.then(|| Holder { common_name, not_after_s: parsed.validity().not_after.timestamp() })
}

fn parse(parts: &str) -> Option<(ForceId, DeviceId, Mode)> {
    let mut parts = parts.split(':');
    let force = ForceId::try_new(parts.next()?).ok()?;
    let device = DeviceId::try_new(parts.next()?).ok()?;
    let ceiling = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some((force, device, ceiling))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(uris: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params
            .subject_alt_names
            .push(SanType::DnsName("urn:fieldpost:device:a:b:actual".try_into().unwrap()));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn identity_comes_from_the_one_uri() {
        let found = device_identity(&certificate(&[
            "https://else.example",
            "urn:fieldpost:device:met:bwc-1.a_b:exercise",
        ]))
        .unwrap();
        assert_eq!(
            (found.force.as_str(), found.device.as_str(), found.ceiling),
            ("met", "bwc-1.a_b", Mode::Exercise)
        );
        assert!(!found.serial.is_empty() && found.serial[0] != 0);
    }

    #[test]
    fn anything_but_exactly_one_well_formed_uri_is_refused() {
        let refused = |uris: &[&str]| device_identity(&certificate(uris)).unwrap_err();
        assert_eq!(refused(&[]), IdentityError::Missing);
        assert_eq!(refused(&["https://else.example"]), IdentityError::Missing);
        let good = "urn:fieldpost:device:f:d:test";
        assert_eq!(refused(&[good, good]), IdentityError::Several);
        for bad in
            ["f:d", "f:d:real", "f:d:test:x", ":d:test", "f::test", "f:d/e:test", "f:d:Test", "f:d:", ""]
        {
            assert_eq!(refused(&[&format!("{URN}{bad}")]), IdentityError::Malformed, "{bad}");
        }
        let long = format!("{URN}f:{}:test", "d".repeat(65));
        assert_eq!(refused(&[&long]), IdentityError::Malformed);
        assert_eq!(device_identity(&CertificateDer::from(vec![1, 2, 3])), Err(IdentityError::Unreadable));
    }
}
