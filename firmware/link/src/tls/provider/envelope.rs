//! A device's envelope key, from its certificate's key and the gateways' envelope key (docs/PROTOCOL.md section 11).

use fieldpost_protocol::{DeviceId, EnvelopeKey, ForceId};
use p256::{PublicKey, SecretKey, ecdh::diffie_hellman, pkcs8::DecodePrivateKey as _};

use crate::tls::ConfigError;

/// Agrees on the envelope key of one device of one force: `key_pkcs8` is the key of its certificate, `gateways_key` the gateways'
/// public one, an uncompressed point. One multiplication on the curve; once a start.
///
/// # Errors
/// [`ConfigError::Key`], [`ConfigError::EnvelopeKey`].
pub fn agree_on_envelope_key(
    key_pkcs8: &[u8],
    gateways_key: &[u8],
    force: &ForceId,
    device: &DeviceId,
) -> Result<EnvelopeKey, ConfigError> {
    let own = SecretKey::from_pkcs8_der(key_pkcs8).map_err(|_| ConfigError::Key)?;
    // Checks that the point is on the curve and not the identity.
    let gateways = PublicKey::from_sec1_bytes(gateways_key).map_err(|_| ConfigError::EnvelopeKey)?;
    let shared = diffie_hellman(own.to_nonzero_scalar(), gateways.as_affine());
    Ok(EnvelopeKey::derive(shared.raw_secret_bytes(), force, device))
}

#[cfg(test)]
mod tests {
    use std::{borrow::ToOwned as _, vec::Vec};

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// NIST CAVS 14.1, ECC CDH primitive, P-256, count 0: a private key, a point, and x of what they agree on.
    const OWN: &str = "7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534";
    const THEIRS: &str = "04700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287\
                          db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac";
    const AGREED: &str = "46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b";
    /// PKCS#8 with an RFC 5915 key in it, up to the key.
    const BEFORE_KEY: &str = "3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420";

    fn agree(theirs: &str, own: &str) -> Result<EnvelopeKey, ConfigError> {
        let (force, device) = (ForceId::try_new("demo").unwrap(), DeviceId::try_new("pc-0001").unwrap());
        agree_on_envelope_key(&hex(own), &hex(theirs), &force, &device)
    }

    #[test]
    fn the_key_is_derived_from_what_nist_says_both_agree_on() {
        let (force, device) = (ForceId::try_new("demo").unwrap(), DeviceId::try_new("pc-0001").unwrap());
        let expected = EnvelopeKey::derive(&hex(AGREED), &force, &device);
        assert_eq!(agree(THEIRS, &(BEFORE_KEY.to_owned() + OWN)), Ok(expected));
    }

    #[test]
    fn what_is_no_point_and_what_is_no_key_is_refused_by_name() {
        let own = BEFORE_KEY.to_owned() + OWN;
        assert_eq!(agree(&"04".repeat(65), &own), Err(ConfigError::EnvelopeKey));
        assert_eq!(agree("", &own), Err(ConfigError::EnvelopeKey));
        assert_eq!(agree(THEIRS, OWN), Err(ConfigError::Key));
    }
}
