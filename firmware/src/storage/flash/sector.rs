//! The head of a sector: when it was opened, and by which start.
//!
//! ```text
//!  "FPQ1" | sequence u32 | boot u32 | CRC-32 u32 of the twelve bytes before            little-endian
//! ```
//!
//! The boot id is there so that a lost boot counter can be replaced by a number that is surely larger than every one before.

use super::record::crc32;

pub(super) const HEADER_BYTES: u32 = 16;
const MAGIC: [u8; 4] = *b"FPQ1";

/// A sector that was opened for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SectorHeader {
    /// Counts openings within the partition, from 1.
    pub(super) sequence: u32,
    /// The newest boot id known then.
    pub(super) boot: u32,
}

impl SectorHeader {
    pub(super) fn encode(self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.boot.to_le_bytes());
        let crc = crc32(&[&bytes[..12]]);
        bytes[12..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header, if it is one; a single flipped bit is put right.
    pub(super) fn decode(mut bytes: [u8; HEADER_BYTES as usize]) -> Option<Self> {
        if let Some(header) = Self::decode_exactly(&bytes) {
            return Some(header);
        }
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Some(header) = Self::decode_exactly(&bytes) {
                return Some(header);
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        None
    }

    fn decode_exactly(bytes: &[u8; HEADER_BYTES as usize]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let is_good = bytes[..4] == MAGIC && crc32(&[&bytes[..12]]) == word(12);
        is_good.then(|| Self { sequence: word(4), boot: word(8) })
    }
}
