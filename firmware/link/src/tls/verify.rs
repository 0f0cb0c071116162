//! Who is a gateway.
//!
//! **Chain, name and key usage always; dates against the device's clock while that is good.** In this order, the first
//! fault is the reason:
//!
//! | check | refused |
//! |---|---|
//! | shape | what is not a certificate |
//! | role | a certificate that carries a device identity, lacks extended key usage serverAuth, or may not sign |
//! | dates | see below |
//! | chain | whatever does not lead, over authorities only, to one from the provisioning slot |
//! | name | a subject alternative name other than the provisioned one |
//! | possession | a handshake not signed by the certificate's key (by rustls, with [`ServerCertVerifier`]'s help) |
//!
//! rustls' own rules would let a certificate without extended key usage serve; ours do not.
//!
//! **Without a good clock** the chain is judged at the earliest instant, not before this image was built, at which every
//! certificate of it is valid; if there is none it is refused. So an old stolen key of a certificate that ended before
//! the image was built is of no use, and a device that has lost its clock still reports. [`Dates`] keeps the period of
//! the last accepted chain: the session judges it again as soon as the clock is good.

mod dates;
mod refusal;

use alloc::sync::Arc;
use core::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

pub use self::{
    dates::Dates,
    refusal::{Checks, Refusal},
};
use super::gateway_certificate::{CertificateFacts, Malformed};

/// Intermediate authorities that a gateway may show.
const INTERMEDIATES_MAX: usize = 2;

/// Judges gateways. Shared by all connections of one provisioning.
pub struct GatewayVerifier {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
    built_unix_s: u32,
    checks: Checks,
    clock: ClockNow,
    accepted: AcceptedDates,
}

/// Seconds of Unix time; 0 while the clock is not good. 32 bits: the target has no wider atomics; good until 2106.
#[derive(Debug, Default)]
struct ClockNow(AtomicU32);

/// The last accepted chain's period, for the session.
#[derive(Debug, Default)]
struct AcceptedDates {
    from_unix_s: AtomicU32,
    to_unix_s: AtomicU32,
}

impl GatewayVerifier {
    pub(super) fn new(
        roots: RootCertStore,
        algorithms: WebPkiSupportedAlgorithms,
        built_unix_s: u32,
        checks: Checks,
    ) -> Arc<Self> {
        let (clock, accepted) = (ClockNow::default(), AcceptedDates::default());
        Arc::new(Self { roots, algorithms, built_unix_s, checks, clock, accepted })
    }

    /// The time by which the next gateway is judged; `None` while the clock is not good.
    pub(super) fn set_clock(&self, unix_s: Option<u32>) {
        self.clock.0.store(unix_s.unwrap_or(0), Ordering::Relaxed);
    }

    /// The period of the chain accepted last.
    pub(super) fn accepted_dates(&self) -> Dates {
        Dates {
            from_unix_s: self.accepted.from_unix_s.load(Ordering::Relaxed).into(),
            to_unix_s: self.accepted.to_unix_s.load(Ordering::Relaxed).into(),
        }
    }

    /// Judges a chain; the name and the signature of the handshake are still to come.
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Result<Dates, Refusal> {
        let shape = |Malformed| Refusal::Shape;
        if intermediates.len() > INTERMEDIATES_MAX {
            return Err(Refusal::Shape);
        }
        let facts = CertificateFacts::read(end_entity).map_err(shape)?;
        let has_role = facts.serves && facts.may_sign && !facts.is_a_device;
        if self.checks.wants(Refusal::Role) && !has_role {
            return Err(Refusal::Role);
        }
        let chain = intermediates.iter().map(|certificate| CertificateFacts::read(certificate));
        let dates = Dates::of(chain.chain([Ok(facts)])).map_err(shape)?;
        let at_unix_s = match self.clock.0.load(Ordering::Relaxed) {
            0 => dates.from_unix_s.max(self.built_unix_s.into()),
            now_s => now_s.into(),
        };
        if self.checks.wants(Refusal::Dates) && !dates.contain(at_unix_s) {
            return Err(Refusal::Dates);
        }
        let certificate = ParsedCertificate::try_from(end_entity).map_err(|_| Refusal::Shape)?;
        if self.checks.wants(Refusal::Chain) {
            self.follow(&certificate, intermediates, at_unix_s, dates)?;
        }
        if self.checks.wants(Refusal::Name) {
            verify_server_name(&certificate, name).map_err(|_| Refusal::Name)?;
        }
        Ok(dates)
    }

    fn follow(
        &self,
        certificate: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        at_unix_s: u64,
        dates: Dates,
    ) -> Result<(), Refusal> {
        let at_unix_s = if self.checks.wants(Refusal::Dates) { at_unix_s } else { dates.from_unix_s };
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at_unix_s));
        let algorithms = self.algorithms.all;
        let followed = verify_server_cert_signed_by_trust_anchor(
            certificate,
            &self.roots,
            intermediates,
            at,
            algorithms,
        );
        match followed {
            Ok(()) => Ok(()),
            // Rigs that omit the role must not be saved by webpki's own look at it.
            Err(Error::InvalidCertificate(
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
            )) => {
                if self.checks.wants(Refusal::Role) {
                    Err(Refusal::Role)
                } else {
                    Ok(())
                }
            }
            Err(_) => Err(Refusal::Chain),
        }
    }
}

impl ServerCertVerifier for GatewayVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let dates = self.judge(end_entity, intermediates, server_name).map_err(Error::from)?;
        let clip = |unix_s: u64| u32::try_from(unix_s).unwrap_or(u32::MAX);
        self.accepted.from_unix_s.store(clip(dates.from_unix_s), Ordering::Relaxed);
        self.accepted.to_unix_s.store(clip(dates.to_unix_s), Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Never offered, so never reached.
        Err(Refusal::Possession.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.checks.wants(Refusal::Possession) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(message, cert, dss, &self.algorithms).map_err(|_| Refusal::Possession.into())
    }

    fn supported_verify_schemes(&self) -> alloc::vec::Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for GatewayVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayVerifier").field("checks", &self.checks).finish_non_exhaustive()
    }
}
