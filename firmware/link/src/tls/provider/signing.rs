//! The device's own key: ECDSA P-256 with SHA-256, deterministic nonces (RFC 6979), so a weak source of random numbers
//! cannot give the key away.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::fmt;

use p256::{
    ecdsa::{DerSignature, SigningKey as Key, signature::Signer as _},
    pkcs8::DecodePrivateKey as _,
};
use rustls::{
    Error, SignatureAlgorithm, SignatureScheme,
    pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer, alg_id},
    sign::{Signer, SigningKey, public_key_to_spki},
};

/// A key that signs for the device.
#[derive(Clone)]
pub(super) struct DeviceKey(Arc<Key>);

impl DeviceKey {
    /// Reads PKCS#8, the only form that the provisioning slot holds.
    pub(super) fn try_new(der: &PrivateKeyDer<'_>) -> Result<Self, Error> {
        let PrivateKeyDer::Pkcs8(pkcs8) = der else {
            return Err(Error::General("the private key is not in PKCS#8".into()));
        };
        let key = Key::from_pkcs8_der(pkcs8.secret_pkcs8_der())
            .map_err(|_| Error::General("the private key is not a P-256 key".into()))?;
        Ok(Self(Arc::new(key)))
    }
}

impl SigningKey for DeviceKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256).then(|| Box::new(self.clone()) as _)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        let point = self.0.verifying_key().to_encoded_point(false);
        Some(public_key_to_spki(&alg_id::ECDSA_P256, point.as_bytes()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for DeviceKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature: DerSignature =
            self.0.try_sign(message).map_err(|_| Error::General("signing failed".into()))?;
        Ok(signature.as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

/// The key never reaches a log.
impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceKey")
    }
}
