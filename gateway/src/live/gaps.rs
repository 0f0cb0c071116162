//! What is missing of a unit's track: sequences that its device has issued and nobody has yet, or never will.
//!
//! **A gap is said, never drawn over.** It is `backlog` as long as the device may still send it, `lost` once the device has
//! declared it lost. What arrives late makes it smaller and, in the end, go. Pure: times come with the records.
//!
//! Bounds: [`SPANS_MAX`] spans in [`BOOTS_MAX`] boots a unit; the oldest give way. A gap that began before the live state was
//! rebuilt is not known here: the loss ledger has it.

use fieldpost_protocol::{Loss, Seq};
use serde::Serialize;

/// Spans kept of a unit.
const SPANS_MAX: usize = 16;
/// Boots of a device that are followed: a backlog may be of the one before.
const BOOTS_MAX: usize = 2;
/// Gaps shown, the newest.
pub const SHOWN_MAX: usize = 8;
/// An alarm or a position on its way makes a gap for a moment; only what lasts is shown.
const SHOWN_AFTER_MS: u64 = 2_000;

/// Why something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GapKind {
    /// The device still owes it.
    Backlog,
    /// The device has declared it lost.
    Lost,
}

/// A time of which something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The last record before it, Unix ms.
    pub from_ms: u64,
    /// The first record after it, Unix ms.
    pub until_ms: u64,
    /// Why.
    pub kind: GapKind,
}

/// Sequences that are missing.
#[derive(Debug, Clone, Copy)]
struct Span {
    boot: u32,
    first: u32,
    last: u32,
    from_ms: u64,
    until_ms: u64,
    kind: GapKind,
    /// When it was noticed, by the gateway's clock.
    noticed_ms: u64,
}

/// The newest record of a boot.
#[derive(Debug, Clone, Copy)]
struct Newest {
    boot: u32,
    seq: u32,
    at_ms: u64,
}

/// The gaps of one unit.
#[derive(Debug, Clone, Default)]
pub struct Gaps {
    /// Heard of longest ago first.
    boots: Vec<Newest>,
    /// Noticed longest ago first.
    spans: Vec<Span>,
    /// When the unit was heard last, by the gateway's clock.
    heard_ms: u64,
}

impl Gaps {
    /// A record came: its boot and sequence, when it was made, and when it was received, Unix ms.
    pub fn note(&mut self, boot: u32, seq: u32, at_ms: u64, received_at_ms: u64) {
        self.heard_ms = self.heard_ms.max(received_at_ms);
        let Some(at) = self.boots.iter().position(|newest| newest.boot == boot) else {
            if self.boots.len() == BOOTS_MAX {
                self.boots.remove(0);
            }
            self.boots.push(Newest { boot, seq, at_ms });
            return;
        };
        let newest = self.boots[at];
        if seq <= newest.seq {
            self.fill(boot, seq, at_ms);
            return;
        }
        self.boots[at] = Newest { boot, seq, at_ms };
        if seq > newest.seq + 1 {
            self.spans.push(Span {
                boot,
                first: newest.seq + 1,
                last: seq - 1,
                from_ms: newest.at_ms.min(at_ms),
                until_ms: newest.at_ms.max(at_ms),
                kind: GapKind::Backlog,
                noticed_ms: received_at_ms,
            });
            self.hold_to_bounds();
        }
    }

    /// The device declares sequences lost.
    pub fn lose(&mut self, loss: &Loss) {
        for range in &loss.ranges {
            let (first, last) = (range.first.0, range.last().map_or(u32::MAX, |Seq(last)| last));
            let spans = std::mem::take(&mut self.spans);
            for span in spans {
                if span.boot == loss.boot.0 && span.first <= last && first <= span.last {
                    span.mark_lost(first.max(span.first), last.min(span.last), &mut self.spans);
                } else {
                    self.spans.push(span);
                }
            }
        }
        self.hold_to_bounds();
    }

    /// The newest gaps, the newest last.
    pub fn shown(&self) -> impl Iterator<Item = Gap> + '_ {
        let lasts =
            |span: &&Span| span.kind == GapKind::Lost || self.heard_ms >= span.noticed_ms + SHOWN_AFTER_MS;
        let count = self.spans.iter().filter(lasts).count();
        let shown = self.spans.iter().filter(lasts).skip(count.saturating_sub(SHOWN_MAX));
        shown.map(|span| Gap { from_ms: span.from_ms, until_ms: span.until_ms, kind: span.kind })
    }

    /// A record that was missing is here.
    fn fill(&mut self, boot: u32, seq: u32, at_ms: u64) {
        let holds = |span: &Span| span.boot == boot && span.first <= seq && seq <= span.last;
        let Some(at) = self.spans.iter().position(holds) else { return };
        let span = self.spans[at];
        let at_ms = at_ms.clamp(span.from_ms, span.until_ms);
        let before = Span { last: seq.wrapping_sub(1), until_ms: at_ms, ..span };
        let after = Span { first: seq.wrapping_add(1), from_ms: at_ms, ..span };
        let parts = [(span.first < seq, before), (seq < span.last, after)];
        let parts = parts.into_iter().filter(|(is_there, _)| *is_there).map(|(_, part)| part);
        self.spans.splice(at..=at, parts);
        self.hold_to_bounds();
    }

    fn hold_to_bounds(&mut self) {
        let surplus = self.spans.len().saturating_sub(SPANS_MAX);
        self.spans.drain(..surplus);
    }
}

impl Span {
    /// Puts itself into `spans`, of which `first` to `last` are lost.
    fn mark_lost(self, first: u32, last: u32, spans: &mut Vec<Self>) {
        let (begins_ms, ends_ms) = (self.border_ms(first), self.border_ms(last.saturating_add(1)));
        if self.first < first {
            spans.push(Self { last: first - 1, until_ms: begins_ms, ..self });
        }
        spans.push(Self { first, last, from_ms: begins_ms, until_ms: ends_ms, kind: GapKind::Lost, ..self });
        if last < self.last {
            spans.push(Self { first: last + 1, from_ms: ends_ms, ..self });
        }
    }

    /// When the border before `seq` was, if the records came evenly.
    fn border_ms(&self, seq: u32) -> u64 {
        let count = u128::from(self.last - self.first) + 1;
        let share = u128::from(seq.saturating_sub(self.first)).min(count);
        let lasts_ms = u128::from(self.until_ms - self.from_ms);
        self.from_ms + u64::try_from(lasts_ms * share / count).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_protocol::{BootId, LossReason, SeqRange};

    use super::*;

    const S: u64 = 1_000;

    /// A unit whose device reports every 10 s: sequence n at n x 10 s.
    fn heard(seqs: impl IntoIterator<Item = u32>) -> Gaps {
        let mut gaps = Gaps::default();
        for seq in seqs {
            gaps.note(1, seq, u64::from(seq) * 10 * S, u64::from(seq) * 10 * S);
        }
        gaps
    }

    fn shown(gaps: &Gaps) -> Vec<(u64, u64, GapKind)> {
        gaps.shown().map(|gap| (gap.from_ms / S, gap.until_ms / S, gap.kind)).collect()
    }

    fn lost(boot: u32, first: u32, last: u32) -> Loss {
        let mut loss = Loss { reason: LossReason::EVICTED, boot: BootId(boot), ranges: Default::default() };
        let range = SeqRange { first: Seq(first), more: last - first };
        assert!(loss.ranges.push(range).is_ok());
        loss
    }

    #[test]
    fn what_is_missing_is_a_gap_until_it_comes() {
        let mut gaps = heard([0, 1, 5, 6]);
        assert_eq!(shown(&gaps), [(10, 50, GapKind::Backlog)]);
        gaps.note(1, 2, 20 * S, 70 * S);
        assert_eq!(shown(&gaps), [(20, 50, GapKind::Backlog)]);
        gaps.note(1, 4, 40 * S, 70 * S);
        assert_eq!(shown(&gaps), [(20, 40, GapKind::Backlog)]);
        gaps.note(1, 3, 30 * S, 70 * S);
        assert_eq!(shown(&gaps), []);
    }

    #[test]
    fn what_the_device_gave_up_is_lost_and_the_rest_still_comes() {
        let mut gaps = heard([0, 10, 11]);
        gaps.lose(&lost(1, 3, 5));
        let (backlog, lost_kind) = (GapKind::Backlog, GapKind::Lost);
        let borders: Vec<_> = gaps.shown().map(|gap| gap.kind).collect();
        assert_eq!(borders, [backlog, lost_kind, backlog]);
        for seq in [1, 2, 6, 7, 8, 9] {
            gaps.note(1, seq, u64::from(seq) * 10 * S, 120 * S);
        }
        assert_eq!(gaps.shown().map(|gap| gap.kind).collect::<Vec<_>>(), [lost_kind]);
        gaps.lose(&lost(7, 0, 9));
        assert_eq!(gaps.shown().count(), 1, "another boot's loss is another's");
    }

    #[test]
    fn an_alarm_that_overtook_a_position_makes_no_gap() {
        let mut gaps = heard([0, 1]);
        gaps.note(1, 3, 30 * S, 30 * S);
        assert_eq!(shown(&gaps), []);
        gaps.note(1, 2, 30 * S, 30 * S + 5);
        gaps.note(1, 4, 40 * S, 40 * S);
        assert_eq!(shown(&gaps), []);
    }

    #[test]
    fn a_new_boot_begins_anew_and_the_one_before_may_still_fill_up() {
        let mut gaps = heard([0, 5]);
        gaps.note(2, 0, 60 * S, 60 * S);
        assert_eq!(shown(&gaps), [(0, 50, GapKind::Backlog)]);
        (1..5).for_each(|seq| gaps.note(1, seq, u64::from(seq) * 10 * S, 70 * S));
        assert_eq!(shown(&gaps), []);
    }

    #[test]
    fn a_device_that_leaves_out_every_second_sequence_costs_no_more_than_the_bound() {
        let gaps = heard((0..10_000).step_by(2));
        assert_eq!((gaps.spans.len(), gaps.shown().count()), (SPANS_MAX, SHOWN_MAX));
        assert_eq!(gaps.shown().last().map(|gap| gap.until_ms / S), Some(99_960), "the newest last");
    }

    #[test]
    fn a_clock_that_jumps_makes_no_gap_that_ends_before_it_begins() {
        let mut gaps = heard([0, 1]);
        gaps.note(1, 5, 3 * S, 60 * S);
        gaps.note(1, 3, 900 * S, 70 * S);
        gaps.lose(&lost(1, 4, 4));
        assert!(gaps.shown().all(|gap| gap.from_ms <= gap.until_ms && gap.until_ms <= 10 * S));
    }

    proptest::proptest! {
        #[test]
        fn no_sequence_of_records_and_losses_breaks_it(steps in proptest::collection::vec((0..3_u32, 0..60_u32, 0..9_u32, 0..u64::MAX), 0..80)) {
            let mut gaps = Gaps::default();
            for (boot, seq, more, at_ms) in steps {
                gaps.note(boot, seq, at_ms, at_ms / 2);
                if more > 5 { gaps.lose(&lost(boot, seq, seq + more)); }
                proptest::prop_assert!(gaps.spans.len() <= SPANS_MAX);
                proptest::prop_assert!(gaps.spans.iter().all(|s| s.first <= s.last && s.from_ms <= s.until_ms));
            }
        }
    }
}
