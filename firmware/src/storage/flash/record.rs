//! One record in flash.
//!
//! ```text
//!  word 0   length, !length, kind, !kind    written last: only now it is a record
//!  word 1   key
//!  word 2   CRC-32 of words 0 and 1 and the body
//!  word 3   erased: live; 0: removed
//!  body     padded to a word with 0xFF                                           little-endian
//! ```
//!
//! **Every word is written once between erases**, so that parts with error correction per word serve as well. A cut before
//! word 0 leaves noise that is no record; one flipped bit anywhere in a record is found and put right.

use crc::{CRC_32_ISO_HDLC, Crc, Table};

/// Words 0 to 3.
pub(super) const HEAD_BYTES: usize = 16;
/// Longest body: a device note.
pub(super) const BODY_BYTES_MAX: usize = 144;
/// Longest record.
pub(super) const RECORD_BYTES_MAX: usize = HEAD_BYTES + BODY_BYTES_MAX;
/// Where word 3 is.
pub(super) const MARK_OFFSET: u32 = 12;
/// What word 3 becomes.
pub(super) const REMOVED: [u8; 4] = [0; 4];

const _: () = assert!(crate::storage::ENTRY_BYTES_MAX <= BODY_BYTES_MAX && BODY_BYTES_MAX.is_multiple_of(4));

/// A table of 1 KiB: a start checks every live record, which is most of what it does.
static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// What a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// An entry of a partition.
    Entry = 0x5A,
    /// The sector that the body names is about to be erased: nothing in it counts any more.
    Erasing = 0x3C,
    /// The device note.
    Note = 0x69,
}

/// What lies at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A whole record; its bytes are right now, whatever they were.
    Record { kind: Kind, key: u32, body_bytes: usize, repaired: bool },
    /// A record that was removed; nothing of it is looked at, not even its key.
    Removed { body_bytes: usize },
    /// A record was here and its content is beyond repair.
    Damaged { body_bytes: usize },
    /// No record begins here.
    Nothing,
}

/// CRC-32 over several parts, as everything in flash has it.
pub(crate) fn crc32(parts: &[&[u8]]) -> u32 {
    let mut digest = CRC.digest();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize()
}

/// Bytes in flash of a record whose body has so many.
pub(super) const fn record_bytes(body_bytes: usize) -> usize {
    HEAD_BYTES + body_bytes.next_multiple_of(4)
}

/// Writes a record into erased `bytes`.
pub(super) fn encode(kind: Kind, key: u32, body: &[u8], bytes: &mut [u8; RECORD_BYTES_MAX]) {
    let length = u8::try_from(body.len()).expect("bodies are at most BODY_BYTES_MAX long");
    bytes[..4].copy_from_slice(&[length, !length, kind as u8, !(kind as u8)]);
    bytes[4..8].copy_from_slice(&key.to_le_bytes());
    bytes[HEAD_BYTES..HEAD_BYTES + body.len()].copy_from_slice(body);
    let crc = crc_of(&bytes[..], body.len());
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
}

/// Looks at the bytes from a place on, and puts a single flipped bit right.
pub(super) fn examine(bytes: &mut [u8]) -> Found {
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Found::Nothing };
    let word = word_at(head, 0);
    if word == u32::MAX {
        return Found::Nothing;
    }
    let Some((body_bytes, kind)) = well_formed(word) else { return examine_flipped_word(bytes, word) };
    if record_bytes(body_bytes) > bytes.len() {
        return Found::Nothing;
    }
    let key = word_at(bytes, 4);
    // Half its bits decide: one flipped bit neither removes nor revives.
    if word_at(bytes, MARK_OFFSET as usize).count_zeros() >= 16 {
        return Found::Removed { body_bytes };
    }
    if is_whole(bytes, body_bytes) {
        return Found::Record { kind, key, body_bytes, repaired: false };
    }
    if !repair(bytes, body_bytes) {
        return Found::Damaged { body_bytes };
    }
    Found::Record { kind, key: word_at(bytes, 4), body_bytes, repaired: true }
}

/// Word 0 is not one: perhaps by one bit.
fn examine_flipped_word(bytes: &mut [u8], word: u32) -> Found {
    for bit in 0..32 {
        let mended = word ^ (1 << bit);
        let Some((body_bytes, kind)) = well_formed(mended) else { continue };
        if record_bytes(body_bytes) > bytes.len() {
            continue;
        }
        bytes[..4].copy_from_slice(&mended.to_le_bytes());
        if is_whole(bytes, body_bytes) {
            let key = word_at(bytes, 4);
            return match word_at(bytes, MARK_OFFSET as usize).count_zeros() {
                16.. => Found::Removed { body_bytes },
                _ => Found::Record { kind, key, body_bytes, repaired: true },
            };
        }
    }
    Found::Nothing
}

/// Flips one bit after the other of key, CRC and body, until the CRC is right.
fn repair(bytes: &mut [u8], body_bytes: usize) -> bool {
    let places = (4..12).chain(HEAD_BYTES..HEAD_BYTES + body_bytes);
    for place in places {
        for bit in 0..8 {
            bytes[place] ^= 1 << bit;
            if is_whole(bytes, body_bytes) {
                return true;
            }
            bytes[place] ^= 1 << bit;
        }
    }
    false
}

fn well_formed(word: u32) -> Option<(usize, Kind)> {
    let [length, not_length, kind, not_kind] = word.to_le_bytes();
    let kind = [Kind::Entry, Kind::Erasing, Kind::Note].into_iter().find(|known| *known as u8 == kind)?;
    let fits = length == !not_length && kind as u8 == !not_kind && usize::from(length) <= BODY_BYTES_MAX;
    fits.then_some((length.into(), kind))
}

fn is_whole(bytes: &[u8], body_bytes: usize) -> bool {
    crc_of(bytes, body_bytes) == word_at(bytes, 8)
}

fn crc_of(bytes: &[u8], body_bytes: usize) -> u32 {
    crc32(&[&bytes[..8], &bytes[HEAD_BYTES..HEAD_BYTES + body_bytes]])
}

fn word_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded() -> [u8; RECORD_BYTES_MAX] {
        let mut bytes = [0xFF; RECORD_BYTES_MAX];
        encode(Kind::Entry, 77, b"where everybody was", &mut bytes);
        bytes
    }

    #[test]
    fn every_single_flipped_bit_is_put_right() {
        for bit in 0..(HEAD_BYTES + 19) * 8 {
            let mut bytes = encoded();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Found::Record { kind: Kind::Entry, key: 77, body_bytes: 19, repaired } = examine(&mut bytes)
            else {
                panic!("bit {bit} cost the record");
            };
            assert_eq!(&bytes[HEAD_BYTES..HEAD_BYTES + 19], b"where everybody was");
            let is_mark = (12 * 8..16 * 8).contains(&bit);
            assert_eq!(repaired, !is_mark, "bit {bit}");
        }
    }

    #[test]
    fn two_flipped_bits_in_the_body_are_damage_and_never_another_record() {
        for first in HEAD_BYTES * 8..(HEAD_BYTES + 19) * 8 {
            for second in first + 1..(HEAD_BYTES + 19) * 8 {
                let mut bytes = encoded();
                bytes[first / 8] ^= 1 << (first % 8);
                bytes[second / 8] ^= 1 << (second % 8);
                assert_eq!(examine(&mut bytes), Found::Damaged { body_bytes: 19 }, "{first} {second}");
            }
        }
    }

    #[test]
    fn zeros_and_erased_flash_are_no_record() {
        assert_eq!(examine(&mut [0; RECORD_BYTES_MAX]), Found::Nothing);
        assert_eq!(examine(&mut [0xFF; RECORD_BYTES_MAX]), Found::Nothing);
    }
}
