//! The key pair that devices behind a broker agree their envelope keys with.

use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey};
use rcgen::{KeyPair, PublicKeyData as _};

use super::files::{replace_file, write_new_private};

/// Makes a P-256 key pair: the private key into the new file `path` (PKCS#8 PEM, for its owner alone), the public key, an
/// uncompressed point in hexadecimal, into `path` with `.pub` behind it. Returns the public key as it is in the file.
///
/// # Errors
/// A file exists or cannot be written, or the system gives no randomness.
pub fn make_envelope_key(path: &Path) -> io::Result<String> {
    let pair = KeyPair::generate().map_err(io::Error::other)?;
    write_new_private(path, pair.serialize_pem().as_bytes())?;
    let public: String = pair.der_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    replace_file(&PathBuf::from(beside), format!("{public}\n").as_bytes(), false)?;
    Ok(public)
}

/// Reads a public key as [`make_envelope_key`] writes it: an uncompressed point of P-256, 65 bytes.
///
/// # Errors
/// The file cannot be read, or holds no such point.
pub fn read_envelope_key(path: &Path) -> io::Result<[u8; 65]> {
    let text = std::fs::read(path)?;
    let no_point =
        || io::Error::other("it is no point of P-256 in 130 hexadecimal digits: take the .pub file");
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let byte = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    let bytes: Option<Vec<u8>> = text.trim_ascii().chunks_exact(2).map(byte).collect();
    let point: [u8; 65] = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(no_point)?;
    // Whether it is on the curve, only an agreement says.
    let own = PrivateKey::generate(&ECDH_P256).map_err(io::Error::other)?;
    let theirs = UnparsedPublicKey::new(&ECDH_P256, point);
    agreement::agree(&own, theirs, no_point(), |_| Ok(point))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::material::EnvelopeSecret;

    #[test]
    fn both_halves_agree_with_the_other_pair_on_the_same_secret() {
        let dir = tempfile::tempdir().unwrap();
        let made = ["a", "b"].map(|name| {
            let path = dir.path().join(name);
            let public = make_envelope_key(&path).unwrap();
            let point: Vec<u8> =
                (0..65).map(|at| u8::from_str_radix(&public[2 * at..2 * at + 2], 16).unwrap()).collect();
            (EnvelopeSecret::load(&path).unwrap(), point)
        });
        let agree = |mine: usize, theirs: usize| made[mine].0.agree(&made[theirs].1, <[u8]>::to_vec);
        assert_eq!(agree(0, 1), agree(1, 0));
        assert_eq!(agree(0, 1).unwrap().len(), 32);
        assert_eq!(made[0].0.agree(&[4; 65], <[u8]>::to_vec), None, "no point of the curve");
        assert!(make_envelope_key(&dir.path().join("a")).is_err(), "a key in use is never overwritten");
    }
}
