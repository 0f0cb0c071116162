//! TLS towards a system of the force where both ends show a certificate.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;

use super::tls::TlsError;
use crate::config::material::{Authority, ServerIdentity};

/// A client that trusts only `authority` and shows `identity`. TLS 1.2 and 1.3.
///
/// # Errors
/// [`TlsError`]: rustls refused the settings.
pub fn mutual_client(
    authority: &Authority,
    identity: &ServerIdentity,
) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(Arc::clone(&authority.roots))
        .with_client_cert_resolver(Arc::new(One(Arc::clone(&identity.certified))));
    Ok(Arc::new(config))
}

/// Shows one certificate to whoever asks.
#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesClientCert for One {
    fn resolve(&self, _root_hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
