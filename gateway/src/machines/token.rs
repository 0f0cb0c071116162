//! Tokens of machines.

use aws_lc_rs::{digest, rand};
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::MachinesError;

/// Says what it is to whoever finds one, and to tools that look for secrets.
const PREFIX: &str = "fieldpost_";
const RANDOM_BYTES: usize = 32;

/// A token, to be shown once. It never reaches a log.
pub struct Token(String);

impl Token {
    pub(super) fn random() -> Result<Self, MachinesError> {
        let mut bytes = [0; RANDOM_BYTES];
        rand::fill(&mut bytes).map_err(|_| MachinesError::NoRandom)?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        digest_of(&self.0)
    }

    /// Its text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// 256 random bits need no slow hash: nobody guesses them, and a look-up by the digest tells a guesser nothing by its time.
pub(super) fn digest_of(token: &str) -> [u8; 32] {
    digest::digest(&digest::SHA256, token.as_bytes()).as_ref().try_into().expect("SHA-256 is 32 bytes")
}

/// The token of a request: `Authorization: Bearer ...` (RFC 6750, 2.1), once. A token in the address would be in logs.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut said = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(said), None) = (said.next(), said.next()) else { return None };
    let (scheme, token) = said.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}
