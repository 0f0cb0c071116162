//! TLS of a device: version 1.3 only, one cipher suite and one group as in the image
//! ([decision 17](../../../docs/decisions/0017-tls-of-a-device.md)), the server's certificate and name fully verified, its own
//! certificate shown.
//!
//! What a thousand devices have in common is built once: provider, roots, verifier.

use std::sync::Arc;

use fieldpost_gateway::pki::Issued;
use rustls::{
    ClientConfig, RootCertStore,
    client::{Resumption, WebPkiServerVerifier},
    crypto::{
        CryptoProvider,
        aws_lc_rs::{self, cipher_suite::TLS13_AES_128_GCM_SHA256, kx_group::SECP256R1},
    },
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// The shared parts.
#[derive(Debug, Clone)]
pub struct DeviceTls {
    provider: Arc<CryptoProvider>,
    verifier: Arc<WebPkiServerVerifier>,
}

/// A certificate or key does not fit.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS for a device: {0}; issue its certificate again")]
pub struct TlsError(String);

impl DeviceTls {
    /// Trusts servers of this authority (PEM) and no other.
    ///
    /// # Errors
    /// [`TlsError`] if the PEM holds no usable certificate.
    pub fn new(authority_pem: &str) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
            roots.add(certificate.map_err(said)?).map_err(said)?;
        }
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        Ok(Self { provider, verifier: builder.build().map_err(said)? })
    }

    /// The configuration of one device.
    ///
    /// # Errors
    /// [`TlsError`] if certificate and key are not a pair.
    pub fn config(&self, device: &Issued) -> Result<Arc<ClientConfig>, TlsError> {
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(device.certificate_pem.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(device.key_pem.as_bytes()).map_err(said)?;
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(said)?
            .with_webpki_verifier(Arc::clone(&self.verifier))
            .with_client_auth_cert(chain.map_err(said)?, key)
            .map_err(said)?;
        // As the device logic does; a cache for 256 sessions per device would be most of its memory.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// What an image offers, and nothing else: TLS13_AES_128_GCM_SHA256 and secp256r1.
#[must_use]
pub fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![SECP256R1],
        ..aws_lc_rs::default_provider()
    }
}

fn said(error: impl std::fmt::Display) -> TlsError {
    TlsError(error.to_string())
}
