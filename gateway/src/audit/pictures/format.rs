//! The form of a journal file.
//!
//! ```text
//! "FPPICT1\n"  hash before this file, 32 bytes
//! (length u32, at_ms u64, n u64, hash 32 bytes, payload)*        little endian
//! hash = SHA-256(hash before ++ at_ms ++ n ++ payload); the first payload begins with a keyframe
//! ```

use super::super::hash::{self, Hash};

pub(super) const MAGIC: &[u8; 8] = b"FPPICT1\n";
pub(super) const FILE_HEAD_BYTES: usize = MAGIC.len() + 32;
pub(super) const BATCH_HEAD_BYTES: usize = 4 + 8 + 8 + 32;
/// Longest payload: a keyframe of 50,000 units and 16,384 alarms is 30 MB.
pub(super) const PAYLOAD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHead {
    pub(super) payload_bytes: usize,
    pub(super) at_ms: u64,
    pub(super) n: u64,
    pub(super) hash: Hash,
}

impl BatchHead {
    pub(super) fn of(previous: &Hash, at_ms: u64, n: u64, payload: &[u8]) -> Self {
        Self { payload_bytes: payload.len(), at_ms, n, hash: link(previous, at_ms, n, payload) }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.payload_bytes).expect("a payload is at most 256 MiB: checked before");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&self.at_ms.to_le_bytes());
        out.extend_from_slice(&self.n.to_le_bytes());
        out.extend_from_slice(&self.hash.0);
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (at_ms, rest) = rest.split_first_chunk::<8>()?;
        let (n, rest) = rest.split_first_chunk::<8>()?;
        let hash = Hash(*rest.first_chunk::<32>()?);
        let payload_bytes = u32::from_le_bytes(*length) as usize;
        (payload_bytes <= PAYLOAD_BYTES_MAX).then_some(Self {
            payload_bytes,
            at_ms: u64::from_le_bytes(*at_ms),
            n: u64::from_le_bytes(*n),
            hash,
        })
    }
}

/// The hash of a batch behind `previous`.
pub(super) fn link(previous: &Hash, at_ms: u64, n: u64, payload: &[u8]) -> Hash {
    hash::of_parts(&[&previous.0, &at_ms.to_le_bytes(), &n.to_le_bytes(), payload])
}

/// `pictures-000001-1795000000123.fpp`: its number, and when it was begun, Unix ms.
pub(super) fn file_name(index: u32, at_ms: u64) -> String {
    format!("pictures-{index:06}-{at_ms}.fpp")
}

pub(super) fn parse_name(name: &str) -> Option<(u32, u64)> {
    let (index, at_ms) = name.strip_prefix("pictures-")?.strip_suffix(".fpp")?.split_once('-')?;
    Some((index.parse().ok()?, at_ms.parse().ok()?))
}
