//! Proof of origin where TLS ends at a broker that is not the gateway: a MAC on each envelope and on each downlink frame.
//!
//! ```text
//!  device's private key --+                                        +-- device's certificate
//!                         ECDH on P-256 = one secret = ECDH on P-256
//!  gateway's public key --+            | HKDF-SHA-256              +-- gateway's private key
//!                                      v  (force, device)
//!                                 EnvelopeKey -- HMAC-SHA-256, cut to 16 bytes
//! ```
//!
//! **The key is of one device of one force**, so a tag names both without a byte on the wire. The tag covers direction, lane
//! and the whole frame before it: class, mode, boot id, sequence, time and body. What it does not do is notice a true frame
//! that comes again: (device, boot id, sequence) tells, see `docs/PROTOCOL.md`.
//!
//! Memory: nothing is allocated; a MAC takes about half a KiB of stack.

use core::fmt;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::{
    code::AuthAlgorithm,
    downlink::Downlink,
    envelope::{self, Envelope},
    identity::{DeviceId, ForceId},
    limits::DOWNLINK_BYTES_MAX,
    topic::Lane,
    wire::{DecodeError, EncodeError},
};

/// Bytes of a tag: 128 bits, the shortest that RFC 4868 allows.
pub const TAG_BYTES: usize = 16;

/// What authentication adds to an envelope: algorithm and tag.
pub const TRAILER_BYTES: usize = 1 + TAG_BYTES;

/// What keeps the keys of this use apart from any other use of the same secret.
const PURPOSE: &[u8] = b"fieldpost envelope 1";

/// First byte under the MAC, so that nothing sent up can be sent down.
const UP: u8 = 1;
const DOWN: u8 = 2;

/// A device's key for envelopes, up and down. **It never prints.** 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EnvelopeKey([u8; 32]);

/// Why a frame proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum AuthError {
    /// Not an envelope, or not a downlink frame.
    Malformed(DecodeError),
    /// No tag.
    Missing,
    /// A tag made in a way this version does not know.
    Algorithm(AuthAlgorithm),
    /// Another key, lane, direction or content than the tag was made for.
    Mismatch,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "the frame cannot be read: {error}"),
            Self::Missing => f.write_str("the frame carries no tag"),
            Self::Algorithm(algorithm) => write!(f, "tag algorithm {} is not known here", algorithm.0),
            Self::Mismatch => f.write_str("the tag was not made for this frame, lane and device"),
        }
    }
}

impl core::error::Error for AuthError {}

impl EnvelopeKey {
    /// Takes a key as it was derived before: for keys in a vault, and for tests.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Derives the key of one device from what both ends agreed on: the x coordinate of the ECDH point, 32 bytes (SP
    /// 800-56A), through HKDF-SHA-256 (RFC 5869) without salt, over the purpose and both identities with their lengths.
    #[must_use]
    pub fn derive(agreed: &[u8], force: &ForceId, device: &DeviceId) -> Self {
        let extracted = mac(&[0; 32]).chain_update(agreed).finalize().into_bytes();
        let (force, device) = (force.as_str().as_bytes(), device.as_str().as_bytes());
        let expanded = mac(&extracted.into())
            .chain_update(PURPOSE)
            .chain_update([len_of(force)])
            .chain_update(force)
            .chain_update([len_of(device)])
            .chain_update(device)
            .chain_update([1]);
        Self(expanded.finalize().into_bytes().into())
    }

    /// Puts a tag behind the envelope in the first `len` bytes of `buffer`, which carries none, and returns the new length.
    ///
    /// # Errors
    /// [`EncodeError::BufferTooSmall`] without [`TRAILER_BYTES`] of room; [`EncodeError::TooLong`] if these are no
    /// envelope, or one with a tag.
    pub fn seal(&self, lane: Lane, buffer: &mut [u8], len: usize) -> Result<usize, EncodeError> {
        let end = len + TRAILER_BYTES;
        let frame = buffer.get_mut(..end).ok_or(EncodeError::BufferTooSmall)?;
        envelope::mark_tagged(frame).ok_or(EncodeError::TooLong)?;
        frame[len] = AuthAlgorithm::HMAC_SHA256_128.0;
        let (covered, place) = frame.split_at_mut(len + 1);
        let whole = self.up(lane, covered).finalize().into_bytes();
        place.copy_from_slice(&whole[..TAG_BYTES]);
        Ok(end)
    }

    /// Reads an envelope that came by `lane` and checks its tag, in a time that says nothing about the right one.
    ///
    /// # Errors
    /// [`AuthError`]; the frame is nobody's.
    pub fn open<'f>(&self, lane: Lane, frame: &'f [u8]) -> Result<Envelope<'f>, AuthError> {
        let envelope = Envelope::decode(frame).map_err(AuthError::Malformed)?;
        let trailer = envelope.trailer.ok_or(AuthError::Missing)?;
        known(trailer.algorithm)?;
        let covered = frame.len() - trailer.tag.len();
        check(self.up(lane, &frame[..covered]), trailer.tag)?;
        Ok(envelope)
    }

    /// Wraps a downlink message into an authenticated frame at the front of `buffer`.
    ///
    /// # Errors
    /// [`EncodeError`] if the message cannot be sent, or does not fit [`DOWNLINK_BYTES_MAX`] bytes with its tag.
    pub fn seal_down<'b>(&self, message: &Downlink, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        let mut inner = [0; DOWNLINK_BYTES_MAX];
        let len = message.encode(&mut inner)?.len();
        let sealed = inner.get_mut(len..len + TRAILER_BYTES).ok_or(EncodeError::TooLong)?;
        sealed[0] = AuthAlgorithm::HMAC_SHA256_128.0;
        let whole = self.down(&inner[..=len]).finalize().into_bytes();
        inner[len + 1..len + TRAILER_BYTES].copy_from_slice(&whole[..TAG_BYTES]);
        Downlink::encode_sealed(&inner[..len + TRAILER_BYTES], buffer)
    }

    /// Checks an authenticated downlink frame and reads the message in it.
    ///
    /// # Errors
    /// [`AuthError`]; [`AuthError::Missing`] for every frame that is not an authenticated one.
    pub fn open_down(&self, frame: &[u8]) -> Result<Downlink, AuthError> {
        let sealed = Downlink::sealed(frame).map_err(AuthError::Malformed)?.ok_or(AuthError::Missing)?;
        let at = sealed.len().checked_sub(TRAILER_BYTES).ok_or(AuthError::Mismatch)?;
        known(AuthAlgorithm(sealed[at]))?;
        check(self.down(&sealed[..=at]), &sealed[at + 1..])?;
        Downlink::decode(&sealed[..at]).map_err(AuthError::Malformed)
    }

    fn up(&self, lane: Lane, covered: &[u8]) -> Hmac<Sha256> {
        let lane = match lane {
            Lane::Alarm => 1,
            Lane::Live => 2,
            Lane::Backlog => 3,
            Lane::Health => 4,
        };
        mac(&self.0).chain_update([UP, lane]).chain_update(covered)
    }

    fn down(&self, covered: &[u8]) -> Hmac<Sha256> {
        mac(&self.0).chain_update([DOWN, 0]).chain_update(covered)
    }
}

fn mac(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn len_of(identity: &[u8]) -> u8 {
    u8::try_from(identity.len()).expect("an identity has at most 64 characters")
}

fn known(algorithm: AuthAlgorithm) -> Result<(), AuthError> {
    match algorithm {
        AuthAlgorithm::HMAC_SHA256_128 => Ok(()),
        other => Err(AuthError::Algorithm(other)),
    }
}

/// Exactly [`TAG_BYTES`]: a shorter tag would be easier to guess.
fn check(mac: Hmac<Sha256>, tag: &[u8]) -> Result<(), AuthError> {
    if tag.len() != TAG_BYTES {
        return Err(AuthError::Mismatch);
    }
    mac.verify_truncated_left(tag).map_err(|_| AuthError::Mismatch)
}

/// A key is not for logs.
impl fmt::Debug for EnvelopeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvelopeKey(not shown)")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for EnvelopeKey {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "EnvelopeKey(not shown)");
    }
}
