//! The account of one boot: which of its sequences are in which state, as few spans.
//!
//! **Every sequence from 0 to the newest is in exactly one state**, so the counts always add up to newest + 1. What no
//! span covers is owed. Bound: [`Boot::settle`] folds the lowest spans into plain counts; below that floor a sequence's
//! state is known in number only, and a late record there pays off one that is owed.
//!
//! ```text
//! 0 ........ floor ..... [stored 40-99] owed 100-104 [evicted 105-130] [stored 131-200 = newest]
//!  counts only           spans, ascending, never overlapping, never two alike side by side
//! ```

use serde::{Deserialize, Serialize};

use super::fate::{Counts, Fate};
use crate::dedup::BootTimes;

/// Consecutive sequences in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First sequence.
    pub first: u32,
    /// Last sequence.
    pub last: u32,
    /// Their state.
    #[serde(rename = "state")]
    pub fate: Fate,
}

impl Span {
    /// How many sequences.
    #[must_use]
    pub fn count(&self) -> u64 {
        u64::from(self.last - self.first) + 1
    }
}

/// One boot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Boot {
    /// Boot id.
    #[serde(rename = "b")]
    pub(super) boot: u32,
    /// What is missing below this sequence is [`Fate::Unaccounted`] rather than owed.
    #[serde(rename = "a", default, skip_serializing_if = "is_zero")]
    accounts_from: u32,
    /// Sequences below are only counted, in `below`. Up to 2^32, one past the largest sequence.
    #[serde(rename = "f", default, skip_serializing_if = "is_zero_u64")]
    floor: u64,
    #[serde(rename = "c", default, skip_serializing_if = "Counts::is_empty")]
    below: Counts,
    #[serde(rename = "s")]
    spans: Vec<Span>,
    /// What the front door has to know of the boot after a restart.
    #[serde(flatten)]
    pub(super) times: BootTimes,
    /// Records under an identity of this boot that was used before.
    #[serde(rename = "n", default, skip_serializing_if = "is_zero_u64")]
    pub(super) repeated_count: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero_u64(number: &u64) -> bool {
    *number == 0
}

impl Boot {
    /// Nothing known; what is missing below `accounts_from` may have come before the ledger began.
    #[must_use]
    pub fn new(boot: u32, accounts_from: u32) -> Self {
        Self { boot, accounts_from, ..Self::default() }
    }

    /// Boot id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.boot
    }

    /// The newest sequence anything is known of.
    #[must_use]
    pub fn newest(&self) -> Option<u32> {
        match self.spans.last() {
            Some(span) => Some(span.last),
            None => self.floor.checked_sub(1).and_then(|newest| u32::try_from(newest).ok()),
        }
    }

    /// What its times say.
    #[must_use]
    pub fn times(&self) -> BootTimes {
        self.times
    }

    /// Records under an identity of this boot that was used before.
    #[must_use]
    pub fn repeated_count(&self) -> u64 {
        self.repeated_count
    }

    /// First and last sequence of everything the spool was given, as far as it is known one by one.
    pub fn held(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let held = self.spans.iter().filter(|span| span.fate.rank() > Fate::Evicted.rank());
        held.map(|span| (span.first, span.last))
    }

    pub(super) fn spans_count(&self) -> usize {
        self.spans.len()
    }

    /// Enters a word about `first..=last`. A weaker word than what is known of a sequence changes nothing.
    pub fn enter(&mut self, first: u32, last: u32, fate: Fate) {
        // The common case by far: the next sequence, in the state of the one before it.
        if let Some(newest) = self.spans.last_mut()
            && newest.last.checked_add(1) == Some(first)
            && newest.fate == fate
        {
            newest.last = last;
            return;
        }
        let first = self.pay_below(first, last, fate);
        if first <= u64::from(last) {
            let first = u32::try_from(first).expect("not after `last`, which is a u32");
            self.overlay(Span { first, last, fate });
        }
    }

    /// Enters the part below the floor, where only numbers are known; returns where the rest begins.
    fn pay_below(&mut self, first: u32, last: u32, fate: Fate) -> u64 {
        let first = u64::from(first);
        if first >= self.floor {
            return first;
        }
        let mut count = self.floor.min(u64::from(last) + 1) - first;
        for debt in [Fate::Owed, Fate::Unaccounted] {
            let paid = count.min(self.below[debt]);
            self.below[debt] -= paid;
            self.below[fate] += paid;
            count -= paid;
        }
        self.floor
    }

    fn overlay(&mut self, new: Span) {
        let from = self.spans.partition_point(|span| span.last < new.first);
        let to = self.spans.partition_point(|span| span.first <= new.last);
        // At most two pieces for each span touched, and one more.
        let mut pieces: Vec<Span> = Vec::with_capacity(2 * (to - from) + 1);
        // The next sequence of `new` that is in no piece; one past the largest is a u64.
        let mut next = u64::from(new.first);
        for old in &self.spans[from..to] {
            if old.first < new.first {
                pieces.push(Span { last: new.first - 1, ..*old });
            }
            let covered = Span { first: old.first.max(new.first), last: old.last.min(new.last), ..*old };
            if u64::from(covered.first) > next {
                pieces.push(Span { first: next as u32, last: covered.first - 1, fate: new.fate });
            }
            let fate = if new.fate.rank() > old.fate.rank() { new.fate } else { old.fate };
            pieces.push(Span { fate, ..covered });
            next = u64::from(covered.last) + 1;
            if old.last > new.last {
                pieces.push(Span { first: new.last + 1, ..*old });
            }
        }
        if next <= u64::from(new.last) {
            pieces.push(Span { first: next as u32, ..new });
        }
        self.spans.splice(from..to, pieces);
        // A piece may be like its neighbour on either side.
        self.spans.dedup_by(|after, before| {
            let joins = before.fate == after.fate && before.last.checked_add(1) == Some(after.first);
            if joins {
                before.last = after.last;
            }
            joins
        });
    }

    /// Folds the lowest spans into counts until at most `spans_max` are left.
    pub(super) fn settle(&mut self, spans_max: usize) {
        let surplus = self.spans.len().saturating_sub(spans_max);
        for span in self.spans.drain(..surplus) {
            missing(&mut self.below, self.accounts_from, self.floor, span.first);
            self.below[span.fate] += span.count();
            self.floor = u64::from(span.last) + 1;
        }
    }

    /// How many sequences are in each state: newest + 1 in all.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = self.below;
        let mut next = self.floor;
        for span in &self.spans {
            missing(&mut counts, self.accounts_from, next, span.first);
            counts[span.fate] += span.count();
            next = u64::from(span.last) + 1;
        }
        counts
    }

    /// How many of the lowest sequences are known in number only.
    #[must_use]
    pub fn settled_count(&self) -> u64 {
        self.floor
    }

    /// Every sequence from the floor to the newest, in order, holes as owed or unaccounted.
    #[must_use]
    pub fn ranges(&self) -> Vec<Span> {
        let mut ranges = Vec::with_capacity(2 * self.spans.len());
        let mut next = self.floor;
        for span in &self.spans {
            let border = u64::from(self.accounts_from).clamp(next, u64::from(span.first).max(next));
            for (from, to, fate) in
                [(next, border, Fate::Unaccounted), (border, u64::from(span.first), Fate::Owed)]
            {
                if from < to {
                    ranges.push(Span { first: from as u32, last: (to - 1) as u32, fate });
                }
            }
            ranges.push(*span);
            next = u64::from(span.last) + 1;
        }
        ranges
    }
}

/// Counts the hole from `next` to before `first`.
fn missing(counts: &mut Counts, accounts_from: u32, next: u64, first: u32) {
    let first = u64::from(first);
    let border = u64::from(accounts_from).clamp(next, first.max(next));
    counts[Fate::Unaccounted] += border - next;
    counts[Fate::Owed] += first.saturating_sub(border);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn span(first: u32, last: u32, fate: Fate) -> Span {
        Span { first, last, fate }
    }

    #[test]
    fn a_device_that_numbers_without_holes_is_one_span() {
        let mut boot = Boot::new(1, 0);
        (0..10_000).for_each(|seq| boot.enter(seq, seq, Fate::Stored));
        assert_eq!(boot.ranges(), [span(0, 9_999, Fate::Stored)]);
    }

    #[test]
    fn a_hole_is_owed_until_it_is_filled_or_declared_lost() {
        let mut boot = Boot::new(1, 0);
        boot.enter(0, 4, Fate::Stored);
        boot.enter(10, 10, Fate::Stored);
        assert_eq!(boot.counts()[Fate::Owed], 5);
        boot.enter(5, 7, Fate::Evicted);
        boot.enter(9, 9, Fate::Stored);
        let (stored, evicted) = (Fate::Stored, Fate::Evicted);
        let expected = [span(0, 4, stored), span(5, 7, evicted), span(8, 8, Fate::Owed), span(9, 10, stored)];
        assert_eq!(boot.ranges(), expected);
    }

    #[test]
    fn what_is_stored_stays_stored_and_what_was_declared_lost_may_still_come() {
        let mut boot = Boot::new(1, 0);
        boot.enter(3, 3, Fate::Stored);
        boot.enter(0, 9, Fate::Expired);
        boot.enter(5, 5, Fate::Stored);
        assert_eq!((boot.counts()[Fate::Stored], boot.counts()[Fate::Expired]), (2, 8));
    }

    #[test]
    fn the_largest_sequence_is_a_sequence() {
        let mut boot = Boot::new(1, 0);
        boot.enter(u32::MAX, u32::MAX, Fate::Stored);
        boot.enter(0, u32::MAX, Fate::Evicted);
        assert_eq!(boot.counts().total(), 1 << 32);
        boot.settle(0);
        assert_eq!((boot.counts().total(), boot.newest()), (1 << 32, Some(u32::MAX)));
    }

    #[test]
    fn what_came_before_the_ledger_began_is_not_called_owed() {
        let mut boot = Boot::new(1, 100);
        boot.enter(100, 100, Fate::Stored);
        boot.enter(105, 105, Fate::Stored);
        boot.enter(40, 40, Fate::Stored);
        let counts = boot.counts();
        assert_eq!((counts[Fate::Unaccounted], counts[Fate::Owed], counts[Fate::Stored]), (99, 4, 3));
    }

    #[test]
    fn a_late_record_below_the_floor_pays_off_what_is_owed() {
        let mut boot = Boot::new(1, 0);
        (0..100).step_by(2).for_each(|seq| boot.enter(seq, seq, Fate::Stored));
        boot.settle(4);
        let before = boot.counts();
        boot.enter(1, 1, Fate::Stored);
        let after = boot.counts();
        assert_eq!(after[Fate::Stored], before[Fate::Stored] + 1);
        assert_eq!((after[Fate::Owed] + 1, after.total()), (before[Fate::Owed], before.total()));
    }

    fn words() -> impl Strategy<Value = Vec<(u32, u32, Fate)>> {
        let fates = prop_oneof![Just(Fate::Stored), Just(Fate::QuarantinedBody), Just(Fate::Evicted)];
        let first = prop_oneof![9 => 0u32..60, 1 => any::<u32>()];
        let word = (first, 0u32..12, fates)
            .prop_map(|(first, more, fate)| (first, first.saturating_add(more), fate));
        proptest::collection::vec(word, 1..60)
    }

    proptest! {
        #[test]
        fn spans_agree_with_a_plain_map_and_every_sequence_has_one_state(words in words()) {
            let mut boot = Boot::new(1, 0);
            let mut model: BTreeMap<u32, Fate> = BTreeMap::new();
            for (first, last, fate) in words {
                boot.enter(first, last, fate);
                for seq in first..=last {
                    let known = model.entry(seq).or_insert(fate);
                    if fate.rank() > known.rank() { *known = fate; }
                }
            }
            let newest = *model.keys().next_back().unwrap();
            prop_assert_eq!(boot.newest(), Some(newest));
            let ranges = boot.ranges();
            let mut next = 0u64;
            for range in &ranges {
                prop_assert_eq!(u64::from(range.first), next, "no hole, no overlap");
                next = u64::from(range.last) + 1;
                if range.fate != Fate::Owed {
                    for seq in range.first..=range.last { prop_assert_eq!(model.remove(&seq), Some(range.fate)); }
                }
            }
            prop_assert_eq!(model.len(), 0);
            prop_assert_eq!(boot.counts().total(), u64::from(newest) + 1);
        }

        #[test]
        fn settling_changes_no_count(words in words(), spans_max in 0usize..8) {
            let mut boot = Boot::new(1, 0);
            for (first, last, fate) in words { boot.enter(first, last, fate); }
            let before = (boot.counts(), boot.newest());
            boot.settle(spans_max);
            prop_assert_eq!((boot.counts(), boot.newest()), before);
            prop_assert_eq!(boot.spans_count() <= spans_max, true);
        }
    }
}
