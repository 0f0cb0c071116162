//! What a record says, in 32 bits: tells it from another record under the same identity.
//!
//! **A record has one print, however it travels**: alone or in a batch, by whichever lane, before and after newer fields. Two
//! different records of one device share one by chance once in four thousand million. It is no proof of origin: where
//! that is needed it stands under a tag ([`crate::auth`]).

use serde::{Deserialize, Serialize};

use crate::{body::Position, code::Class, envelope::Head};

/// CRC-32C of what [`covered`] gives. Four bytes on the wire, least significant first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Print(#[serde(with = "postcard::fixint::le")] pub u32);

/// Latitude and longitude, which stand first in a position. With the time they say which one it is; what may follow them
/// differs between a lone position and the same one in a batch.
const PLACE_BYTES: usize = 8;

/// What a print is taken over: time (8 bytes, least significant first) and class, then the body; of a position its place.
#[must_use]
pub fn covered<'b>(head: &Head, body: &'b [u8]) -> ([u8; 9], &'b [u8]) {
    let mut start = [0; 9];
    start[..8].copy_from_slice(&head.time_ms.to_le_bytes());
    start[8] = head.class.0;
    let told = if head.class == Class::POSITION { body.get(..PLACE_BYTES).unwrap_or(body) } else { body };
    (start, told)
}

/// The first bytes of a position's body.
#[must_use]
pub fn place(position: &Position) -> [u8; PLACE_BYTES] {
    let mut place = [0; PLACE_BYTES];
    place[..4].copy_from_slice(&position.latitude_udeg.to_le_bytes());
    place[4..].copy_from_slice(&position.longitude_udeg.to_le_bytes());
    place
}

impl Print {
    /// Of a record's head and its body's bytes, as they were sent.
    #[must_use]
    pub fn of(head: &Head, body: &[u8]) -> Self {
        let (start, told) = covered(head, body);
        Self(!start.iter().chain(told).fold(u32::MAX, |crc, byte| step(crc, *byte)))
    }
}

/// One byte of CRC-32C (Castagnoli, RFC 3720 appendix B.4), bit by bit: a device takes a few dozen bytes now and then.
fn step(crc: u32, byte: u8) -> u32 {
    (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue_comes_out() {
        assert_eq!(!b"123456789".iter().fold(u32::MAX, |crc, byte| step(crc, *byte)), 0xE306_9283);
    }
}
