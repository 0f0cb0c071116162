//! One text written as what differs from another of the same make.
//!
//! A unit's JSON changes in few of its fields. Both texts are cut behind each comma; of every piece that differs, the part
//! behind what it has in common with its predecessor is kept. Texts of different make are kept whole. Works for any bytes.
//!
//! ```text
//! 0 text                                        whole, to the end
//! 1 (pieces skipped, bytes kept, length, bytes)*   varints; pieces that are not named are as they were
//! ```

use super::wire::{Reader, put_bytes, put_varint};

const WHOLE: u8 = 0;
const PIECES: u8 = 1;

/// Appends what makes `new` out of `old`.
pub(super) fn put(out: &mut Vec<u8>, old: &[u8], new: &[u8]) {
    let from = out.len();
    let (old_pieces, new_pieces) = (pieces(old), pieces(new));
    if old_pieces.clone().count() == new_pieces.clone().count() {
        out.push(PIECES);
        let mut skipped = 0;
        for (old, new) in old_pieces.zip(new_pieces) {
            if old == new {
                skipped += 1;
                continue;
            }
            let kept = old.iter().zip(new).take_while(|(a, b)| a == b).count();
            put_varint(out, skipped);
            put_varint(out, kept as u64);
            put_bytes(out, &new[kept..]);
            skipped = 0;
        }
        if out.len() - from <= new.len() {
            return;
        }
        out.truncate(from);
    }
    out.push(WHOLE);
    out.extend_from_slice(new);
}

/// The text that `delta` makes out of `old`; `None` if it is no delta of it.
pub(super) fn apply(old: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let (kind, rest) = delta.split_first()?;
    match *kind {
        WHOLE => Some(rest.to_vec()),
        PIECES => {
            let mut new = Vec::with_capacity(old.len() + 16);
            let mut pieces = pieces(old);
            let mut reader = Reader::new(rest);
            while !reader.is_empty() {
                for _ in 0..reader.varint()? {
                    new.extend_from_slice(pieces.next()?);
                }
                let kept = usize::try_from(reader.varint()?).ok()?;
                new.extend_from_slice(pieces.next()?.get(..kept)?);
                new.extend_from_slice(reader.bytes()?);
            }
            pieces.for_each(|piece| new.extend_from_slice(piece));
            Some(new)
        }
        _ => None,
    }
}

fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    text.split_inclusive(|byte| *byte == b',')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_position_that_moved_takes_few_bytes() {
        let old = br#"{"id":"sim/pc-0001","position":{"lon":-1.234567,"lat":51.600000},"last_report_ms":1795000000123}"#;
        let new = br#"{"id":"sim/pc-0001","position":{"lon":-1.234570,"lat":51.600002},"last_report_ms":1795000010123}"#;
        let mut delta = Vec::new();
        put(&mut delta, old, new);
        assert_eq!(apply(old, &delta).unwrap(), new);
        assert!(delta.len() <= 26, "{} bytes", delta.len());
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_any_other(old in "[a,]{0,20}", new in "[a,]{0,20}", junk in any::<Vec<u8>>()) {
            let mut delta = Vec::new();
            put(&mut delta, old.as_bytes(), new.as_bytes());
            prop_assert_eq!(apply(old.as_bytes(), &delta), Some(new.into_bytes()));
            // Never a panic, whatever it is.
            _ = apply(old.as_bytes(), &junk);
        }
    }
}
