//! TLS with a system of the force where both ends show a certificate.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig, SignatureScheme};

use super::tls::{self, TlsError};
use crate::config::material::{Authority, RevocationList, ServerIdentity};

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

/// A server that shows `identity` and lets in who has a certificate of `authority` that is good today and that `revoked` does not
/// name. TLS 1.2 and 1.3. No session is taken up again: every time the certificate is looked at.
///
/// # Errors
/// [`TlsError`]: rustls refused the settings.
pub fn mutual_server(
    identity: &ServerIdentity,
    authority: &Authority,
    revoked: Option<&RevocationList>,
) -> Result<Arc<ServerConfig>, TlsError> {
    mutual_server_with(identity, tls::client_verifier(authority, revoked)?)
}

/// The same with a verifier that the caller keeps, to ask it again: [`tls::client_verifier`].
///
/// # Errors
/// [`TlsError`]: rustls refused the settings.
pub fn mutual_server_with(
    identity: &ServerIdentity,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&identity.certified))));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
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
