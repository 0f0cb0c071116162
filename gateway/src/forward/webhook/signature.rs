//! Signed requests: who sent them, when, and that nobody changed them.
//!
//! **Every request carries a signature by every key of the file, over its id, its time and its body, byte for byte.** So a key
//! is changed without a gap: the new one goes beside the old one, the receiver changes, the old one goes.
//!
//! ```text
//! webhook-id: ID   webhook-timestamp: SECONDS   webhook-signature: v1,BASE64 v1,BASE64
//! BASE64 = base64(HMAC-SHA256(key, "ID.SECONDS.BODY"))
//! ```
//!
//! Source: Standard Webhooks specification 1.0.0, "Signature scheme" (symmetric signatures). A key has 24 to 64 bytes there.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The old one and the new one.
const KEYS_MAX: usize = 2;
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Far more than two keys and their comments.
const FILE_BYTES_MAX: u64 = 4096;
const PREFIX: &str = "whsec_";

/// One key, or two while one takes the place of the other.
pub struct SigningKeys(Vec<hmac::Key>);

/// The file holds no keys. Nothing here repeats what is in it.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeysError {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Anybody on this machine can read it.
    #[error("others may read it: chmod 600")]
    Exposed,
    /// A line is not a key.
    #[error("line {0} is not whsec_ and the base64 of {from} to {to} bytes", from = KEY_BYTES.start(), to = KEY_BYTES.end())]
    Line(usize),
    /// None, or more than two.
    #[error("{0} keys: write one, or two while one takes the place of the other")]
    Count(usize),
}

impl SigningKeys {
    /// Reads a file: a key a line; empty lines and those that begin with `#` are left out. Blocking.
    ///
    /// # Errors
    /// [`SigningKeysError`].
    pub fn load(path: &Path) -> Result<Self, SigningKeysError> {
        use std::os::unix::fs::PermissionsExt as _;
        let file = File::open(path)?;
        if file.metadata()?.permissions().mode() & 0o007 != 0 {
            return Err(SigningKeysError::Exposed);
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, SigningKeysError> {
        let lines = text.lines().map(str::trim).zip(1..);
        let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.map(|(line, number)| key(line).ok_or(SigningKeysError::Line(number)));
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        if keys.is_empty() || keys.len() > KEYS_MAX {
            return Err(SigningKeysError::Count(keys.len()));
        }
        Ok(Self(keys))
    }

    /// The value of `webhook-signature`: one signature for each key, in the order of the file.
    #[must_use]
    pub fn sign(&self, id: &str, signed_at_s: i64, body: &[u8]) -> String {
        let signatures = self.0.iter().map(|key| {
            let mut signature = hmac::Context::with_key(key);
            signature.update(format!("{id}.{signed_at_s}.").as_bytes());
            signature.update(body);
            format!("v1,{}", STANDARD.encode(signature.sign()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeys({})", self.0.len())
    }
}

fn key(line: &str) -> Option<hmac::Key> {
    let bytes = STANDARD.decode(line.strip_prefix(PREFIX)?).ok()?;
    KEY_BYTES.contains(&bytes.len()).then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the specification's reference libraries.
    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn the_vector_of_the_reference_libraries_is_met() {
        let keys = SigningKeys::parse(KEY).unwrap();
        let signature = keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn with_two_keys_there_is_a_signature_for_each() {
        let sign = |text: &str| SigningKeys::parse(text).unwrap().sign("id", 1, b"[]");
        let both = sign(&format!("# new\n{OTHER}\n\n# old\n{KEY}\n"));
        assert_eq!(both, format!("{} {}", sign(OTHER), sign(KEY)));
    }

    #[test]
    fn what_is_not_a_key_is_named_by_its_line_and_never_repeated() {
        let short = format!("{KEY}\nwhsec_c2hvcnQ=");
        let many = [KEY; 3].join("\n");
        let cases = [("", "0 keys"), (&*many, "3 keys"), (&*short, "line 2"), ("MfKQ9r8GKYqrTwjU", "line 1")];
        for (text, said) in cases {
            let error = SigningKeys::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("MfKQ") && !error.contains("c2hv"), "{error}");
        }
        assert_eq!(format!("{:?}", SigningKeys::parse(KEY).unwrap()), "SigningKeys(1)");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), KEY).unwrap();
        assert!(SigningKeys::load(file.path()).is_ok());
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(SigningKeys::load(file.path()), Err(SigningKeysError::Exposed)));
    }
}
