//! A set of sequences as ascending, merged ranges, bounded as a loss record is.

use fieldpost_protocol::{Seq, SeqRange, limits::SEQ_RANGES_MAX};

/// Ranges as they travel in a loss record.
pub(super) type Ranges = heapless::Vec<SeqRange, SEQ_RANGES_MAX>;

/// No room for another range; the set is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RangesFull;

/// Adds one sequence. Ranges stay ascending, apart and merged.
pub(super) fn insert(ranges: &mut Ranges, seq: Seq) -> Result<(), RangesFull> {
    let end = |range: &SeqRange| range.first.0.saturating_add(range.more);
    // The first range that ends at or after the place just before `seq`.
    let place = ranges.partition_point(|range| end(range).saturating_add(1) < seq.0);
    let Some(range) = ranges.get_mut(place) else {
        return ranges.push(SeqRange { first: seq, more: 0 }).map_err(|_| RangesFull);
    };
    if range.first <= seq && seq.0 <= end(range) {
        return Ok(());
    }
    if end(range).checked_add(1) == Some(seq.0) {
        range.more += 1;
        join_next(ranges, place);
        return Ok(());
    }
    if seq.0.checked_add(1) == Some(range.first.0) {
        *range = SeqRange { first: seq, more: range.more + 1 };
        return Ok(());
    }
    ranges.insert(place, SeqRange { first: seq, more: 0 }).map_err(|_| RangesFull)
}

/// Joins the range at `place` with the next one if they touch now.
fn join_next(ranges: &mut Ranges, place: usize) {
    let Some(next) = ranges.get(place + 1).copied() else { return };
    let range = &mut ranges[place];
    if range.first.0 + range.more + 1 == next.first.0 {
        range.more += next.more + 1;
        ranges.remove(place + 1);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, vec::Vec};

    use proptest::prelude::{prop, proptest};

    use super::*;

    proptest! {
        #[test]
        fn ranges_name_exactly_what_was_inserted(seqs in prop::collection::vec(0u32..24, 0..40)) {
            let mut ranges = Ranges::new();
            let mut model = BTreeSet::new();
            for seq in seqs {
                if insert(&mut ranges, Seq(seq)) == Ok(()) {
                    model.insert(seq);
                }
            }
            let named: Vec<u32> =
                ranges.iter().flat_map(|range| range.first.0..=range.first.0 + range.more).collect();
            assert_eq!(named, model.into_iter().collect::<Vec<_>>(), "ascending, each once");
            for pair in ranges.windows(2) {
                assert!(pair[0].first.0 + pair[0].more + 1 < pair[1].first.0, "touching ranges are merged");
            }
        }
    }
}
