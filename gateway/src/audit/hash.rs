//! SHA-256 in hexadecimal: what links a chain.

use std::fmt;
use std::io::{self, BufRead};
use std::str::FromStr;

use aws_lc_rs::digest;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

/// Before the first record of a chain.
pub const NOTHING: Hash = Hash([0; 32]);

/// The hash of some bytes.
#[must_use]
pub fn of(bytes: &[u8]) -> Hash {
    of_parts(&[bytes])
}

/// The hash of some bytes that follow `previous` in a chain.
#[must_use]
pub fn after(previous: &Hash, bytes: &[u8]) -> Hash {
    of_parts(&[&previous.0, bytes])
}

/// The hash of these, one behind the other.
#[must_use]
pub fn of_parts(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    Hash(context.finish().as_ref().try_into().expect("SHA-256 is 32 bytes"))
}

/// The hash of all that `reader` gives, and how many bytes that is. Blocking; memory is the reader's buffer.
///
/// # Errors
/// It cannot be read.
pub fn of_all(mut reader: impl BufRead) -> io::Result<(Hash, u64)> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut bytes = 0;
    loop {
        let len = match reader.fill_buf() {
            Ok([]) => break,
            Ok(some) => {
                context.update(some);
                some.len()
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        reader.consume(len);
        bytes += len as u64;
    }
    Ok((Hash(context.finish().as_ref().try_into().expect("SHA-256 is 32 bytes")), bytes))
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The text is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 hexadecimal digits")]
pub struct HashError;

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        if text.len() != 64 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(HashError);
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| HashError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| HashError)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_by_parts_is_that_of_the_whole() {
        for len in [0, 1, 99, 100, 101, 1_000] {
            let text = vec![7; len];
            let reader = io::BufReader::with_capacity(100, text.as_slice());
            assert_eq!(of_all(reader).unwrap(), (of(&text), len as u64));
        }
    }
}
