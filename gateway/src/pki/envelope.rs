//! The key pair that devices behind a broker agree their envelope keys with.

use std::io;
use std::path::{Path, PathBuf};

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
