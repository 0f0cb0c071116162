//! The newest changes that were sent, so that a page that comes back goes on where it was.
//!
//! **A cursor is taken up only if every change behind it is still here**: one of an earlier run, of before a time in which
//! nobody looked, or too old, is not. Then the page reads everything. Bounds: [`RING_BYTES_MAX`] and [`RING_CHANGES_MAX`].

use std::collections::VecDeque;

use bytes::Bytes;

use super::frames::{Change, frame};
use crate::people::Forces;

/// A minute of a large force: 10,000 units of 450 bytes, each every 30 s.
pub(super) const RING_BYTES_MAX: usize = 9 << 20;
/// Four a second for a quarter of an hour, and as many alarms.
pub(super) const RING_CHANGES_MAX: usize = 8_192;

/// Changes without a hole in their numbers.
#[derive(Debug, Default)]
pub(super) struct Ring {
    changes: VecDeque<(u64, usize, Change)>,
    bytes: usize,
}

impl Ring {
    /// Takes the change number `n`, which was just sent.
    pub(super) fn push(&mut self, n: u64, change: &Change) {
        if self.newest().is_some_and(|newest| newest + 1 != n) {
            self.changes.clear();
            self.bytes = 0;
        }
        let bytes = bytes_of(change);
        self.bytes += bytes;
        self.changes.push_back((n, bytes, change.clone()));
        while self.bytes > RING_BYTES_MAX || self.changes.len() > RING_CHANGES_MAX {
            let Some((_, bytes, _)) = self.changes.pop_front() else { return };
            self.bytes -= bytes;
        }
    }

    /// The newest change in it.
    pub(super) fn newest(&self) -> Option<u64> {
        self.changes.back().map(|(n, _, _)| *n)
    }

    /// What who sees `forces` is sent after the change number `cursor`, and the number of the last; `None` if `cursor` is not one
    /// of these.
    pub(super) fn after(&self, cursor: u64, forces: &Forces) -> Option<(u64, Vec<Bytes>)> {
        let (oldest, newest) = (self.changes.front()?.0, self.newest()?);
        if !(oldest..=newest).contains(&cursor) {
            return None;
        }
        let missed = self.changes.iter().filter(|(n, _, _)| *n > cursor);
        Some((newest, missed.filter_map(|(n, _, change)| frame(*n, change, forces)).collect()))
    }
}

fn bytes_of(change: &Change) -> usize {
    // An id of a unit or alarm is about 150 bytes.
    const EACH: usize = 150;
    match change {
        Change::Units(units) => units.iter().map(|(_, json)| EACH + json.len()).sum(),
        Change::UnitsGone(units) => EACH * units.len(),
        Change::Alarm { json, .. } => EACH + json.len(),
        Change::AlarmGone(_) => EACH,
        Change::Told { json, .. } => EACH + json.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(bytes: usize) -> Change {
        Change::Units(vec![("sim/pc-0001".parse().unwrap(), Bytes::from(vec![b'1'; bytes]))])
    }

    #[test]
    fn a_cursor_is_followed_by_what_came_after_it_in_order() {
        let mut ring = Ring::default();
        (7..=9).for_each(|n| ring.push(n, &change(1)));
        let event = |n| frame(n, &change(1), &Forces::All).unwrap();
        assert_eq!(ring.after(7, &Forces::All), Some((9, vec![event(8), event(9)])));
        assert_eq!(ring.after(9, &Forces::All), Some((9, vec![])));
        assert_eq!(
            ring.after(7, &"met".parse().unwrap()),
            Some((9, vec![])),
            "another force's are not sent late either"
        );
        for unknown in [0, 6, 10, u64::MAX] {
            assert_eq!(ring.after(unknown, &Forces::All), None, "{unknown}");
        }
    }

    #[test]
    fn a_hole_in_the_numbers_empties_it() {
        let mut ring = Ring::default();
        ring.push(1, &change(1));
        ring.push(5, &change(1));
        assert_eq!((ring.after(1, &Forces::All), ring.newest()), (None, Some(5)));
    }

    #[test]
    fn it_is_bounded_in_bytes_and_in_changes() {
        let mut ring = Ring::default();
        (1..=100).for_each(|n| ring.push(n, &change(1 << 20)));
        assert!(ring.bytes <= RING_BYTES_MAX && ring.changes.len() == 8);
        (101..=100_000).for_each(|n| ring.push(n, &change(1)));
        assert_eq!(ring.changes.len(), RING_CHANGES_MAX);
        ring.push(100_001, &change(RING_BYTES_MAX + 1));
        assert_eq!(
            (ring.newest(), ring.bytes),
            (None, 0),
            "one that does not fit is not kept, nor what came before"
        );
    }
}
