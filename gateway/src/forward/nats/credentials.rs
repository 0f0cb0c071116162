//! NATS `.creds` files: a JWT that says who we are, and the seed that proves it.
//!
//! The server sends a nonce, we answer with the JWT and an Ed25519 signature over the nonce. Source: NATS ADR-14 (JWT
//! and NKeys); the seed's base32 text holds two prefix bytes, 32 seed bytes and a CRC-16/XMODEM, little end first.

use std::path::PathBuf;

use async_nats::{Auth, AuthError};
use aws_lc_rs::signature::Ed25519KeyPair;

/// Reads the file and answers `nonce`. The file is read for every connection, so that it can be replaced.
pub(super) async fn answer(path: PathBuf, nonce: Vec<u8>) -> Result<Auth, AuthError> {
    let text = tokio::fs::read_to_string(&path).await.map_err(|error| {
        AuthError::new(format!("cannot read the credentials {}: {error}", path.display()))
    })?;
    let (jwt, key) = parse(&text).map_err(|what| AuthError::new(format!("{}: {what}", path.display())))?;
    let mut auth = Auth::new();
    auth.jwt = Some(jwt.to_owned());
    auth.signature = Some(key.sign(&nonce).as_ref().to_vec());
    Ok(auth)
}

fn parse(text: &str) -> Result<(&str, Ed25519KeyPair), &'static str> {
    let jwt = section(text, "NATS USER JWT").ok_or("no section \"BEGIN NATS USER JWT\"")?;
    let seed = section(text, "USER NKEY SEED").ok_or("no section \"BEGIN USER NKEY SEED\"")?;
    let seed = decode_seed(seed).ok_or("the seed is damaged")?;
    let key = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| "the seed is not a key")?;
    Ok((jwt, key))
}

/// The first line that follows `-----BEGIN {name}-----`.
fn section<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut lines = text.lines().map(str::trim).skip_while(|line| {
        line.trim_matches('-').strip_prefix("BEGIN ").is_none_or(|begun| begun.trim() != name)
    });
    lines.next()?;
    lines.find(|line| !line.is_empty()).filter(|line| !line.starts_with('-'))
}

/// A user's seed: prefix "S", type "U".
fn decode_seed(text: &str) -> Option<[u8; 32]> {
    let bytes = decode_base32(text)?;
    let (raw, crc) = bytes.split_last_chunk::<2>()?;
    let (prefix, seed) = raw.split_first_chunk::<2>()?;
    // Seed 18 << 3, then the user type 20 << 3 spread over the two bytes.
    let is_user_seed = prefix[0] & 0xF8 == 18 << 3 && ((prefix[0] & 7) << 5 | prefix[1] >> 3) == 20 << 3;
    (is_user_seed && u16::from_le_bytes(*crc) == crc16(raw)).then(|| seed.try_into().ok()).flatten()
}

/// RFC 4648 base32 without padding.
fn decode_base32(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut bits, mut bits_count) = (0_u32, 0);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'2'..=b'7' => letter - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u32::from(value);
        bits_count += 5;
        if bits_count >= 8 {
            bits_count -= 8;
            bytes.push(u8::try_from(bits >> bits_count & 0xFF).expect("masked to a byte"));
        }
    }
    Some(bytes)
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ u16::from(*byte) << 8,
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
            },
        )
    })
}
