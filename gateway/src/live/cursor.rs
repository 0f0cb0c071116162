//! Where a reader of the stream was: the `id` of an event.
//!
//! ```text
//! 17 0012345678       the change's number | ten digits for whose units the event was one of
//! ```
//! **A cursor is taken up only by who sees the very forces it was issued for.** Whose grant has changed since has not been sent
//! what stands in a new force, and may hold what is of a lost one: they are told that they lagged, and read everything. The
//! digits are no secret and protect nothing: what is sent is always chosen by the forces of the asking session.
//!
//! It stays one decimal number that grows from event to event, so that a page can tell older from newer.

use bytes::Bytes;

use crate::audit::hash;
use crate::people::Forces;

/// Digits of a mark: those of the largest `u32`.
const MARK_DIGITS: usize = 10;

/// Stands for a set of forces in a cursor: the first four bytes of the SHA-256 of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u32);

impl Mark {
    pub(super) fn of(forces: &Forces) -> Self {
        let [a, b, c, d, ..] = hash::of(forces.to_string().as_bytes()).0;
        Self(u32::from_be_bytes([a, b, c, d]))
    }

    /// The cursor behind change number `n`.
    pub(super) fn cursor(self, n: u64) -> String {
        format!("{n}{:0MARK_DIGITS$}", self.0)
    }

    /// The head of an event, up to its data (WHATWG HTML, "Server-sent events").
    pub(super) fn head(self, n: u64, event: &str) -> Bytes {
        Bytes::from(format!("id: {n}{:0MARK_DIGITS$}\nevent: {event}\ndata: ", self.0))
    }
}

/// The change that `cursor` stands behind, if it was issued for exactly `forces`.
#[must_use]
pub fn read(cursor: &str, forces: &Forces) -> Option<u64> {
    let (n, mark) = cursor.split_at_checked(cursor.len().checked_sub(MARK_DIGITS)?)?;
    let is_theirs = mark.parse() == Ok(Mark::of(forces).0);
    n.parse().ok().filter(|_| is_theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_by_who_sees_the_forces_it_was_issued_for_and_nobody_else() {
        let all = ["*", "", "sim", "kent,sim"].map(|text| text.parse::<Forces>().unwrap());
        for issued_for in &all {
            let cursor = Mark::of(issued_for).cursor(17);
            for asked_by in &all {
                assert_eq!(
                    read(&cursor, asked_by),
                    (issued_for == asked_by).then_some(17),
                    "{issued_for:?} {asked_by:?}"
                );
            }
        }
    }

    #[test]
    fn rubbish_is_no_cursor_and_later_ones_are_larger() {
        let sim: Forces = "sim".parse().unwrap();
        let mark = Mark::of(&sim);
        let mark_alone = mark.cursor(1)[1..].to_owned();
        for rubbish in ["", "1", "-1", "17", &mark_alone, "é0123456789", "99999999999999999999999999999999"]
        {
            assert_eq!(read(rubbish, &sim), None, "{rubbish}");
        }
        let number = |n| mark.cursor(n).parse::<u128>().unwrap();
        assert!(number(9) < number(10) && number(10) < number(u64::MAX));
        assert_eq!(read(&mark.cursor(u64::MAX), &sim), Some(u64::MAX));
    }
}
