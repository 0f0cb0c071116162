//! What other gateways of the group have stored of one device, as their receipts said.
//!
//! **A receipt is believed by its tag, never by its sender.** Whoever could make one has the key of the device or of the
//! gateways. It is memory alone: a gateway that was away has missed what was said meanwhile, and stores such a record a
//! second time, under the same key.

use fieldpost_protocol::{BootId, Receipts, Seq, SeqRange};

/// Boots of a device remembered: the present one, and one that drains.
const BOOTS_MAX: usize = 2;
/// Ranges of a boot remembered, newest last: 1 KiB a device at most.
const RANGES_MAX: usize = 64;

/// Ranges by boot, the boot heard of last at the end.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    boots: Vec<(BootId, Vec<(u32, u32)>)>,
}

impl Elsewhere {
    /// Takes what a receipt says.
    pub(super) fn learn(&mut self, receipts: &Receipts) {
        let at = self.boots.iter().position(|(boot, _)| *boot == receipts.boot);
        let (boot, mut ranges) = match at {
            Some(at) => self.boots.remove(at),
            None => {
                if self.boots.len() >= BOOTS_MAX {
                    self.boots.remove(0);
                }
                (receipts.boot, Vec::new())
            }
        };
        for SeqRange { first, more } in &receipts.ranges {
            add(&mut ranges, first.0, first.0.saturating_add(*more));
        }
        self.boots.push((boot, ranges));
    }

    /// Whether another gateway has it.
    pub(super) fn has(&self, boot: BootId, seq: Seq) -> bool {
        let of_boot = self.boots.iter().find(|(known, _)| *known == boot);
        of_boot
            .is_some_and(|(_, ranges)| ranges.iter().any(|(first, last)| (*first..=*last).contains(&seq.0)))
    }
}

/// Adds a range, joining those it touches; beyond the bound the one added longest ago goes.
fn add(ranges: &mut Vec<(u32, u32)>, mut first: u32, mut last: u32) {
    ranges.retain(|&(begin, end)| {
        let touches = begin <= last.saturating_add(1) && first <= end.saturating_add(1);
        if touches {
            (first, last) = (first.min(begin), last.max(end));
        }
        !touches
    });
    if ranges.len() >= RANGES_MAX {
        ranges.remove(0);
    }
    ranges.push((first, last));
}

#[cfg(test)]
mod tests {
    use fieldpost_protocol::Receipt;

    use super::*;

    fn said(boot: u32, ranges: &[(u32, u32)]) -> Receipts {
        let range = |&(first, more): &(u32, u32)| SeqRange { first: Seq(first), more };
        Receipts { receipt: Receipt::Stored, boot: BootId(boot), ranges: ranges.iter().map(range).collect() }
    }

    #[test]
    fn what_a_receipt_names_is_known_and_nothing_else() {
        let mut elsewhere = Elsewhere::default();
        elsewhere.learn(&said(7, &[(5, 2), (20, 0)]));
        elsewhere.learn(&said(7, &[(8, 1)]));
        let known: Vec<u32> = (0..30).filter(|seq| elsewhere.has(BootId(7), Seq(*seq))).collect();
        assert_eq!(known, [5, 6, 7, 8, 9, 20]);
        assert!(!elsewhere.has(BootId(8), Seq(5)));
    }

    #[test]
    fn memory_is_bounded_in_boots_and_ranges() {
        let mut elsewhere = Elsewhere::default();
        for n in 0..1000 {
            elsewhere.learn(&said(n / 500, &[(n * 2, 0)]));
        }
        elsewhere.learn(&said(9, &[(0, u32::MAX)]));
        assert_eq!(elsewhere.boots.len(), BOOTS_MAX);
        assert!(elsewhere.boots.iter().all(|(_, ranges)| ranges.len() <= RANGES_MAX));
        assert!(elsewhere.has(BootId(1), Seq(1998)) && elsewhere.has(BootId(9), Seq(u32::MAX)));
    }
}
