//! Key agreement on secp256r1 (RFC 8446 section 4.2.8.2: uncompressed points only).

use alloc::boxed::Box;

use p256::{PublicKey, SecretKey, ecdh::diffie_hellman, elliptic_curve::sec1::ToEncodedPoint as _};
use rustls::{
    Error, NamedGroup, PeerMisbehaved,
    crypto::{ActiveKeyExchange, GetRandomFailed, SharedSecret, SupportedKxGroup},
};

use super::{Entropy, EntropyFailed};

/// 0x04, x, y.
const POINT_BYTES: usize = 65;
const UNCOMPRESSED: u8 = 4;
/// A draw is outside the group's order once in 2^32: eight such draws mean a broken source.
const DRAWS_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Agreement(pub(super) &'static dyn Entropy);

struct Ephemeral {
    secret: SecretKey,
    public: [u8; POINT_BYTES],
}

impl Agreement {
    fn draw(&self) -> Result<SecretKey, GetRandomFailed> {
        let mut bytes = [0; 32];
        for _ in 0..DRAWS_MAX {
            self.0.fill(&mut bytes).map_err(|EntropyFailed| GetRandomFailed)?;
            if let Ok(secret) = SecretKey::from_slice(&bytes) {
                return Ok(secret);
            }
        }
        Err(GetRandomFailed)
    }
}

impl SupportedKxGroup for Agreement {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let secret = self.draw()?;
        let mut public = [0; POINT_BYTES];
        public.copy_from_slice(secret.public_key().to_encoded_point(false).as_bytes());
        Ok(Box::new(Ephemeral { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }
}

impl ActiveKeyExchange for Ephemeral {
    fn complete(self: Box<Self>, peer_pub_key: &[u8]) -> Result<SharedSecret, Error> {
        if peer_pub_key.len() != POINT_BYTES || peer_pub_key.first() != Some(&UNCOMPRESSED) {
            return Err(PeerMisbehaved::InvalidKeyShare.into());
        }
        // Checks that the point is on the curve and not the identity.
        let peer = PublicKey::from_sec1_bytes(peer_pub_key).map_err(|_| PeerMisbehaved::InvalidKeyShare)?;
        let shared = diffie_hellman(self.secret.to_nonzero_scalar(), peer.as_affine());
        Ok(SharedSecret::from(&shared.raw_secret_bytes()[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }
}
