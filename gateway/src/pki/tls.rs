//! The rustls configurations, built once and renewed in place: the listener keeps one `Arc<ServerConfig>` for its whole
//! life while the certificate, the authority and the revocation list behind it change on reload.
//!
//! **No device gets in unasked.** A resumed TLS 1.3 session skips the verification of the client's certificate. So whoever
//! accepts at the front door puts a resumed session's certificate through [`FrontDoorTls::recheck`] before it reads a byte
//! of MQTT: today's date, the current authority, the current revocation list, as if it were shown anew
//! (docs/decisions/0031).
//!
//! The front door sends records of at most 2 KiB, which fits the receive buffer of small devices, and names no
//! authorities in its CertificateRequest: a long list there has exhausted device memory before authentication, and
//! would tell strangers which forces are served.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};

use super::sessions::Sessions;
use crate::config::FrontDoor;
use crate::config::material::{Authority, RevocationList, ServerIdentity};

/// Devices keep a 2 KiB receive buffer; our downlink records are far smaller, only the certificate flight is split.
const FRAGMENT_BYTES_MAX: usize = 2048;

/// TLS 1.3 with client certificates, for devices.
#[derive(Debug, Clone)]
pub struct FrontDoorTls {
    server_config: Arc<ServerConfig>,
    identity: Arc<Renewable<CertifiedKey>>,
    verifier: Arc<DeviceVerifier>,
}

/// TLS 1.3 without client certificates, for the page.
#[derive(Debug, Clone)]
pub struct PageTls {
    server_config: Arc<ServerConfig>,
    identity: Arc<Renewable<CertifiedKey>>,
}

/// Why no TLS configuration could be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authority or the revocation list cannot be used.
    #[error("the device authority or revocation list cannot be used: {0}")]
    Verifier(#[from] VerifierBuilderError),
    /// rustls refused the settings.
    #[error("TLS cannot be set up: {0}")]
    Settings(#[from] rustls::Error),
}

impl FrontDoorTls {
    /// Builds from checked configuration.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(front_door: &FrontDoor) -> Result<Self, TlsError> {
        let identity = Arc::new(Renewable::new(Arc::clone(&front_door.identity.certified)));
        let verifier = Arc::new(DeviceVerifier(Renewable::new(device_verifier(front_door)?)));
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
        let mut config = builder
            .with_client_cert_verifier(Arc::clone(&verifier) as Arc<dyn ClientCertVerifier>)
            .with_cert_resolver(Arc::clone(&identity) as Arc<dyn ResolvesServerCert>);
        config.session_storage = Arc::new(Sessions::new(front_door.connections_max as usize));
        // One, and none for a device that asks for none (RFC 9149): each is 100 bytes on its way.
        config.send_tls13_tickets = 1;
        config.max_tls13_tickets = 1;
        config.max_fragment_size = Some(FRAGMENT_BYTES_MAX);
        Ok(Self { server_config: Arc::new(config), identity, verifier })
    }

    /// For the acceptor. Stays the same object across [`FrontDoorTls::renew`].
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server_config)
    }

    /// Whether the holder of `chain`, whose key was proven when its session began, may still come in at `now`.
    ///
    /// # Errors
    /// What a full handshake would refuse it for.
    pub fn recheck(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), rustls::Error> {
        let (end_entity, intermediates) =
            chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        self.verifier.verify_client_cert(end_entity, intermediates, now).map(drop)
    }

    /// Takes certificate, authority and revocation list from `front_door`; the next handshake uses them. Open
    /// connections are not touched: end those of revoked certificates separately.
    ///
    /// # Errors
    /// [`TlsError`]; then nothing has changed.
    pub fn renew(&self, front_door: &FrontDoor) -> Result<(), TlsError> {
        self.verifier.0.renew(device_verifier(front_door)?);
        self.identity.renew(Arc::clone(&front_door.identity.certified));
        Ok(())
    }
}

impl PageTls {
    /// Builds from a checked identity.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(identity: &ServerIdentity) -> Result<Self, TlsError> {
        let identity = Arc::new(Renewable::new(Arc::clone(&identity.certified)));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&identity) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { server_config: Arc::new(config), identity })
    }

    /// For the acceptor. Stays the same object across [`PageTls::renew`].
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server_config)
    }

    /// The next handshake shows `identity`.
    pub fn renew(&self, identity: &ServerIdentity) {
        self.identity.renew(Arc::clone(&identity.certified));
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn device_verifier(front_door: &FrontDoor) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    client_verifier(&front_door.device_authority, front_door.revocation_list.as_deref())
}

/// Lets in who has a certificate of `authority` that is good today and that `revoked` does not name.
///
/// # Errors
/// [`TlsError`]: rustls refused certificates or lists.
pub fn client_verifier(
    authority: &Authority,
    revoked: Option<&RevocationList>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::clone(&authority.roots);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider()).clear_root_hint_subjects();
    let builder = match revoked {
        None => builder,
        // Unknown revocation status is refused by default. Only the device's own certificate is looked up: the list is
        // its issuer's, and nobody lists the root.
        Some(list) => builder
            .with_crls(list.lists.iter().cloned())
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration(),
    };
    Ok(builder.build()?)
}

/// A value that handshakes read and a reload replaces. The lock is held for one pointer copy.
struct Renewable<T: ?Sized>(RwLock<Arc<T>>);

impl<T: ?Sized> Renewable<T> {
    fn new(value: Arc<T>) -> Self {
        Self(RwLock::new(value))
    }

    fn current(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn renew(&self, value: Arc<T>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

impl<T: ?Sized> fmt::Debug for Renewable<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Renewable")
    }
}

impl ResolvesServerCert for Renewable<CertifiedKey> {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

/// Asks whichever verifier is current. Client certificates are mandatory (the trait's default).
#[derive(Debug)]
struct DeviceVerifier(Renewable<dyn ClientCertVerifier>);

impl ClientCertVerifier for DeviceVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.current().verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.current().verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.current().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.current().supported_verify_schemes()
    }
}
