//! From the provisioning slot to a TLS configuration, once per start or renewal.

use alloc::{borrow::ToOwned as _, sync::Arc, vec::Vec};

use rustls::{
    ClientConfig, RootCertStore,
    client::{Resumption, TicketRequest},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    time_provider::TimeProvider,
    version::TLS13,
};

use super::{
    provider::Provider,
    verify::{Checks, Dates, GatewayVerifier},
};

/// Longest certificate chain of a device, in bytes of DER: with signature and Finished it leaves in one buffer of
/// [`super::StreamBuffers`].
pub const CHAIN_BYTES_MAX: usize = 1600;

/// What the provisioning slot says. All DER; borrowed, the configuration keeps its own copy.
#[derive(Clone, Copy)]
pub struct TlsIdentity<'a> {
    /// The device's certificate, then its intermediate authorities if any.
    pub chain: &'a [&'a [u8]],
    /// Its key, PKCS#8.
    pub key_pkcs8: &'a [u8],
    /// The authorities that sign gateways.
    pub authorities: &'a [&'a [u8]],
    /// The name, or address, that the gateway's certificate must show.
    pub gateway_name: &'a str,
    /// When this image was built, Unix time: no earlier instant can be now.
    pub built_unix_s: u32,
}

/// The slot cannot be used. Each says what to provision again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ConfigError {
    /// No authority, or one that is no certificate.
    Authority,
    /// The gateway's name is neither a DNS name nor an address.
    GatewayName,
    /// No certificate, one that cannot be read, or a chain over [`CHAIN_BYTES_MAX`].
    Chain,
    /// The key is no P-256 key in PKCS#8, or not the certificate's.
    Key,
    /// The gateways' envelope key is no point of the curve.
    EnvelopeKey,
}

impl ConfigError {
    /// For the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "the slot has no usable authority certificate: provision it again",
            Self::GatewayName => {
                "the slot's gateway name is neither a DNS name nor an address: provision it again"
            }
            Self::Chain => "the slot has no usable device certificate of at most 1600 bytes: issue it again",
            Self::Key => "the slot's key is not the P-256 key of its certificate: issue both again",
            Self::EnvelopeKey => "the slot's envelope key is no point of P-256: provision it again",
        }
    }
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for ConfigError {}

/// The TLS side of one provisioning.
#[derive(Debug, Clone)]
pub struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) gateway: ServerName<'static>,
    verifier: Arc<GatewayVerifier>,
}

impl Tls {
    /// With the cryptography of this crate.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(provider: &'static Provider, identity: &TlsIdentity<'_>) -> Result<Self, ConfigError> {
        Self::with_provider(provider.rustls(), identity)
    }

    /// With any cryptography: a secure element, or another library.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn with_provider(provider: CryptoProvider, identity: &TlsIdentity<'_>) -> Result<Self, ConfigError> {
        Self::build(provider, identity, Checks::ALL)
    }

    /// With a check left out. **For rigs**: a device image is built without this feature.
    ///
    /// # Errors
    /// [`ConfigError`].
    #[cfg(feature = "broken-checks")]
    pub fn with_checks(
        provider: &'static Provider,
        identity: &TlsIdentity<'_>,
        checks: Checks,
    ) -> Result<Self, ConfigError> {
        Self::build(provider.rustls(), identity, checks)
    }

    fn build(
        provider: CryptoProvider,
        identity: &TlsIdentity<'_>,
        checks: Checks,
    ) -> Result<Self, ConfigError> {
        let gateway = ServerName::try_from(identity.gateway_name).map_err(|_| ConfigError::GatewayName)?;
        let roots = roots(identity.authorities)?;
        let algorithms = provider.signature_verification_algorithms;
        let verifier = GatewayVerifier::new(roots, algorithms, identity.built_unix_s, checks);
        let mut config = ClientConfig::builder_with_details(Arc::new(provider), Arc::new(VerifierKeepsTime))
            .with_protocol_versions(&[&TLS13])
            .map_err(|_| ConfigError::Key)?
            .dangerous() // rustls' word for any verifier but its own; ours adds to it, see `verify`
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_client_auth_cert(chain(identity.chain)?, key(identity.key_pkcs8))
            .map_err(|_| ConfigError::Key)?;
        // A session in RAM would cost more heap than a handshake costs energy, and a device that sleeps loses it. So the
        // front door is asked for no ticket (RFC 9149): 6 bytes up instead of 100 down.
        config.resumption = Resumption::disabled();
        config.send_ticket_request = Some(TicketRequest { new_session_count: 0, resumption_count: 0 });
        Ok(Self { config: Arc::new(config), gateway: gateway.to_owned(), verifier })
    }

    /// The time by which the next gateway is judged; `None` while the device's clock is not good.
    pub fn set_clock(&self, unix_s: Option<u32>) {
        self.verifier.set_clock(unix_s);
    }

    /// The period in which the chain accepted last is valid.
    #[must_use]
    pub fn accepted_dates(&self) -> Dates {
        self.verifier.accepted_dates()
    }
}

fn roots(authorities: &[&[u8]]) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        let authority = CertificateDer::from(authority.to_vec());
        roots.add(authority).map_err(|_| ConfigError::Authority)?;
    }
    if roots.is_empty() { Err(ConfigError::Authority) } else { Ok(roots) }
}

fn chain(chain: &[&[u8]]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let bytes: usize = chain.iter().map(|certificate| certificate.len()).sum();
    if chain.is_empty() || bytes > CHAIN_BYTES_MAX {
        return Err(ConfigError::Chain);
    }
    if chain.iter().any(|certificate| super::CertificateFacts::read(certificate).is_err()) {
        return Err(ConfigError::Chain);
    }
    Ok(chain.iter().map(|certificate| CertificateDer::from(certificate.to_vec())).collect())
}

fn key(pkcs8: &[u8]) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.to_owned()))
}

/// rustls asks for the time before it asks the verifier, which has its own.
#[derive(Debug)]
struct VerifierKeepsTime;

impl TimeProvider for VerifierKeepsTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(core::time::Duration::ZERO))
    }
}
