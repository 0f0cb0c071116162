//! Where a track has no points, and why.
//!
//! **A line is never drawn through a time in which nobody knows where the unit was**: silence longer than the live page's rule,
//! a break or the end of duty, records that are declared lost, and damage of the store.

use std::ops::{Range, RangeInclusive};

use super::view::GapView;
use crate::history::row::{Row, RowKey, Said};
use crate::ledger::Fate;
use crate::ledger::view::LedgerView;
use crate::live::unit::{PERIOD_ON_DUTY_MS, STALE_FACTOR};

/// Positions that are further apart have a gap between them.
const SILENT_MS: u64 = STALE_FACTOR * PERIOD_ON_DUTY_MS;

/// Sequences that will never come, by boot and first sequence, without overlaps: found by halving, however many there are.
#[derive(Debug, Default)]
pub(super) struct Lost(Vec<(u32, RangeInclusive<u32>)>);

impl Lost {
    fn new(mut spans: Vec<(u32, RangeInclusive<u32>)>) -> Self {
        spans.sort_unstable_by_key(|(boot, span)| (*boot, *span.start()));
        let mut joined: Vec<(u32, RangeInclusive<u32>)> = Vec::with_capacity(spans.len());
        for (boot, span) in spans {
            match joined.last_mut() {
                Some((last_boot, last)) if *last_boot == boot && *last.end() >= *span.start() => {
                    *last = *last.start()..=*last.end().max(span.end());
                }
                _ => joined.push((boot, span)),
            }
        }
        Self(joined)
    }

    /// Whether one of `between` is among them.
    fn has(&self, boot: u32, between: &Range<u32>) -> bool {
        if between.is_empty() {
            return false;
        }
        let at = self.0.partition_point(|(of_boot, span)| (*of_boot, *span.end()) < (boot, between.start));
        self.0.get(at).is_some_and(|(of_boot, span)| *of_boot == boot && *span.start() < between.end)
    }
}

/// What the ledger knows to be lost of a unit.
pub(super) fn lost(account: &LedgerView) -> Lost {
    let boots = account.accounts.iter().flat_map(|account| &account.boots);
    let of_boot = boots.flat_map(|boot| boot.ranges.iter().map(move |span| (boot.boot, span)));
    let is_lost = |fate| {
        matches!(fate, Fate::Evicted | Fate::Expired | Fate::Damaged | Fate::Formatted | Fate::LostOtherwise)
    };
    let lost = of_boot.filter(|(_, span)| is_lost(span.fate));
    Lost::new(lost.map(|(boot, span)| (boot, span.first..=span.last)).collect())
}

/// The gaps between `rows`, which follow on the row `after`.
pub(super) fn between(rows: &[Row], after: Option<RowKey>, lost: &Lost) -> Vec<GapView> {
    let mut gaps = Vec::new();
    let mut before = after.map(|key| (key, false));
    for row in rows {
        let is_gated = matches!(row.said, Said::Status { duty, .. } if !duty.permits_position());
        let is_place = matches!(row.said, Said::Position(_));
        if let Some((last, was_gated)) = before {
            let kind = kind_of(&last, row, was_gated, lost).filter(|_| is_place || was_gated);
            gaps.extend(kind.map(|kind| GapView { from_ms: last.at_ms, until_ms: row.at_ms, kind }));
        }
        // A status on duty says nothing of where: the silence goes on, unless it ends a break.
        if is_place || is_gated || before.is_some_and(|(_, was_gated)| was_gated) {
            before = Some((row.key(), is_gated));
        }
    }
    join(gaps)
}

fn kind_of(last: &RowKey, row: &Row, was_gated: bool, lost: &Lost) -> Option<&'static str> {
    let between = last.seq.saturating_add(1)..row.seq;
    if was_gated {
        Some("off_duty")
    } else if last.boot == row.boot && lost.has(row.boot, &between) {
        Some("lost")
    } else {
        (row.at_ms - last.at_ms > SILENT_MS).then_some("silent")
    }
}

/// Neighbours of one kind become one.
fn join(gaps: Vec<GapView>) -> Vec<GapView> {
    let mut joined: Vec<GapView> = Vec::new();
    for gap in gaps {
        match joined.last_mut() {
            Some(last) if last.kind == gap.kind && last.until_ms == gap.from_ms => {
                last.until_ms = gap.until_ms;
            }
            _ => joined.push(gap),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_sequence_is_found_wherever_it_lies_and_nothing_beside_it() {
        let spans = [(2, 5..=7), (1, 5..=7), (1, 20..=29), (1, 25..=40), (3, 0..=0)];
        let lost = Lost::new(spans.to_vec());
        for boot in 0..5 {
            for start in 0..45 {
                for end in start..45 {
                    let wanted = spans
                        .iter()
                        .any(|(of, span)| *of == boot && (start..end).any(|seq| span.contains(&seq)));
                    assert_eq!(lost.has(boot, &(start..end)), wanted, "{boot} {start}..{end}");
                }
            }
        }
    }
}
