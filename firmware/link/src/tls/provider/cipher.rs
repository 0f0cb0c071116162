//! AES-128-GCM over TLS 1.3 records (RFC 8446 section 5.2).

use alloc::boxed::Box;

use aes_gcm::{AeadInPlace as _, Aes128Gcm as Cipher, Key, KeyInit as _, Tag};
use rustls::{
    ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion,
    crypto::cipher::{
        AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, Nonce,
        OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
        UnsupportedOperationError, make_tls13_aad,
    },
};

use super::guard::{Excess, Guard};

const KEY_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

pub(super) struct Aes128Gcm;

/// The way out.
struct Sealer {
    cipher: Cipher,
    iv: Iv,
}

/// The way in, and what may pass on it.
struct Opener {
    cipher: Cipher,
    iv: Iv,
    guard: Guard,
}

fn keyed(key: &AeadKey) -> Cipher {
    Cipher::new(Key::<Cipher>::from_slice(&key.as_ref()[..KEY_BYTES]))
}

impl Tls13AeadAlgorithm for Aes128Gcm {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Sealer { cipher: keyed(&key), iv })
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Opener { cipher: keyed(&key), iv, guard: Guard::default() })
    }

    fn key_len(&self) -> usize {
        KEY_BYTES
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Ok(ConnectionTrafficSecrets::Aes128Gcm { key, iv })
    }
}

impl MessageEncrypter for Sealer {
    fn encrypt(&mut self, msg: OutboundPlainMessage<'_>, seq: u64) -> Result<OutboundOpaqueMessage, Error> {
        let sealed_len = self.encrypted_payload_len(msg.payload.len());
        let mut payload = PrefixedPayload::with_capacity(sealed_len);
        payload.extend_from_chunks(&msg.payload);
        payload.extend_from_slice(&msg.typ.to_array());
        let nonce = Nonce::new(&self.iv, seq);
        let tag = self
            .cipher
            .encrypt_in_place_detached(&nonce.0.into(), &make_tls13_aad(sealed_len), payload.as_mut())
            .map_err(|_| Error::EncryptError)?;
        payload.extend_from_slice(&tag);
        Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, payload))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        // The content type travels inside.
        payload_len + 1 + TAG_BYTES
    }
}

impl MessageDecrypter for Opener {
    fn decrypt<'a>(
        &mut self,
        mut msg: InboundOpaqueMessage<'a>,
        seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let payload = &mut msg.payload;
        let opened_len = payload.len().checked_sub(TAG_BYTES).ok_or(Error::DecryptError)?;
        let aad = make_tls13_aad(payload.len());
        let nonce = Nonce::new(&self.iv, seq);
        let (sealed, tag) = payload.split_at_mut(opened_len);
        self.cipher
            .decrypt_in_place_detached(&nonce.0.into(), &aad, sealed, Tag::from_slice(tag))
            .map_err(|_| Error::DecryptError)?;
        payload.truncate(opened_len);
        let message = msg.into_tls13_unpadded_message()?;
        if message.typ == ContentType::Handshake {
            self.guard.pass(message.payload).map_err(|Excess| Error::PeerSentOversizedRecord)?;
        }
        Ok(message)
    }
}
