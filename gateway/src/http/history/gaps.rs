//! Where a track has no points, and why.
//!
//! **A line is never drawn through a time in which nobody knows where the unit was**: silence longer than the live page's rule,
//! a break or the end of duty, records that are declared lost, and damage of the store.

use std::ops::RangeInclusive;

use super::view::GapView;
use crate::history::row::{Row, RowKey, Said};
use crate::ledger::Fate;
use crate::ledger::view::LedgerView;
use crate::live::unit::{PERIOD_ON_DUTY_MS, STALE_FACTOR};

/// Positions that are further apart have a gap between them.
const SILENT_MS: u64 = STALE_FACTOR * PERIOD_ON_DUTY_MS;

/// Sequences of one boot that will never come.
pub(super) type Lost = Vec<(u32, RangeInclusive<u32>)>;

/// What the ledger knows to be lost of a unit.
pub(super) fn lost(account: &LedgerView) -> Lost {
    let boots = account.accounts.iter().flat_map(|account| &account.boots);
    let of_boot = boots.flat_map(|boot| boot.ranges.iter().map(move |span| (boot.boot, span)));
    let is_lost = |fate| {
        matches!(fate, Fate::Evicted | Fate::Expired | Fate::Damaged | Fate::Formatted | Fate::LostOtherwise)
    };
    of_boot
        .filter(|(_, span)| is_lost(span.fate))
        .map(|(boot, span)| (boot, span.first..=span.last))
        .collect()
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
    let is_lost = |(boot, span): &(u32, RangeInclusive<u32>)| {
        *boot == last.boot && *boot == row.boot && *span.start() < between.end && *span.end() >= between.start
    };
    if was_gated {
        Some("off_duty")
    } else if lost.iter().any(is_lost) {
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
