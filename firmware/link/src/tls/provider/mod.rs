//! The cryptography under rustls: TLS13_AES_128_GCM_SHA256, secp256r1, ECDSA P-256 with SHA-256, on RustCrypto.
//!
//! One of each, because a second is flash that no device uses: gateway and authority are ours. The `p256` crate is not
//! independently audited (docs/SECURITY.md); to put a secure element or other code in its place, write another
//! [`CryptoProvider`] and hand it to [`crate::Tls::with_provider`]. It should bound handshake messages as `guard` does here:
//! no other place sees them before rustls takes them apart.
//!
//! **Randomness comes from the caller.** There is no global source that a board could forget to replace.

mod agreement;
mod cipher;
mod digest;
mod envelope;
mod guard;
mod signing;
mod verification;

use alloc::{sync::Arc, vec};

use rustls::{
    CipherSuite, CipherSuiteCommon, Error, SupportedCipherSuite, Tls13CipherSuite,
    crypto::{CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, tls13::HkdfUsingHmac},
    pki_types::PrivateKeyDer,
    sign::SigningKey,
};

pub use self::envelope::agree_on_envelope_key;
pub(crate) use self::verification::ALGORITHMS;
use self::{
    agreement::Agreement,
    cipher::Aes128Gcm,
    digest::{HmacSha256, Sha256},
    signing::DeviceKey,
};

/// The source of random numbers failed. Nothing may go on without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EntropyFailed;

/// A cryptographically secure source of random numbers, which the board supplies.
pub trait Entropy: Send + Sync + core::fmt::Debug {
    /// Fills all of `out`.
    ///
    /// # Errors
    /// [`EntropyFailed`]; the handshake ends.
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyFailed>;
}

/// Cryptography with the board's randomness. A `static`: rustls keeps references to it.
///
/// ```
/// use fieldpost_link::{Entropy, EntropyFailed, Provider};
///
/// #[derive(Debug)]
/// struct Board;
///
/// impl Entropy for Board {
///     fn fill(&self, out: &mut [u8]) -> Result<(), EntropyFailed> {
///         out.fill(4); // a hardware generator, on a device
///         Ok(())
///     }
/// }
///
/// static PROVIDER: Provider = Provider::new(&Board);
/// assert_eq!(PROVIDER.rustls().cipher_suites.len(), 1);
/// ```
#[derive(Debug)]
pub struct Provider {
    random: Random,
    agreement: Agreement,
}

#[derive(Debug)]
struct Random(&'static dyn Entropy);

#[derive(Debug)]
struct Keys;

static SUITE: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: CipherSuite::TLS13_AES_128_GCM_SHA256,
        hash_provider: &Sha256,
        // RFC 8446 section 5.5: 2^24.5 full-size records; rustls' own providers state 2^24.
        confidentiality_limit: 1 << 24,
    },
    hkdf_provider: &HkdfUsingHmac(&HmacSha256),
    aead_alg: &Aes128Gcm,
    quic: None,
};

impl Provider {
    /// Cryptography on this source.
    #[must_use]
    pub const fn new(entropy: &'static dyn Entropy) -> Self {
        Self { random: Random(entropy), agreement: Agreement(entropy) }
    }

    /// As rustls takes it.
    #[must_use]
    pub fn rustls(&'static self) -> CryptoProvider {
        CryptoProvider {
            cipher_suites: vec![SupportedCipherSuite::Tls13(&SUITE)],
            kx_groups: vec![&self.agreement],
            signature_verification_algorithms: ALGORITHMS,
            secure_random: &self.random,
            key_provider: &Keys,
        }
    }
}

impl SecureRandom for Random {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        self.0.fill(buf).map_err(|EntropyFailed| GetRandomFailed)
    }
}

impl KeyProvider for Keys {
    fn load_private_key(&self, key_der: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Ok(Arc::new(DeviceKey::try_new(&key_der)?))
    }
}
