//! What other gateways of the group have stored of one device, as their receipts said.
//!
//! **A receipt is believed by its tag, never by its sender, and speaks of what the record said, not of its number alone.** Whoever
//! could make one has the key of the device or of the gateways. It is memory alone: a gateway that was away has missed what was
//! said meanwhile, and stores such a record a second time, under the same key.

use std::collections::VecDeque;

use fieldpost_protocol::{BootId, NamedRecord, Proven};

use crate::sabotage::{self, Sabotage};

/// Records of a device remembered, the one heard of last at the end: 3 KiB a device at most. A device has at most 256 on their
/// way.
const RECORDS_MAX: usize = 256;

/// By boot, number and content.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(VecDeque<(BootId, NamedRecord)>);

impl Elsewhere {
    /// Takes what a receipt says.
    pub(super) fn learn(&mut self, proven: &Proven) {
        for record in &proven.records {
            let heard = (proven.boot, *record);
            if self.0.contains(&heard) {
                continue;
            }
            if self.0.len() >= RECORDS_MAX {
                self.0.pop_front();
            }
            self.0.push_back(heard);
        }
    }

    /// Whether another gateway has it.
    pub(super) fn has(&self, boot: BootId, record: NamedRecord) -> bool {
        if sabotage::is(Sabotage::NameByNumber) {
            return self.0.iter().any(|(of, known)| (*of, known.seq) == (boot, record.seq));
        }
        self.0.contains(&(boot, record))
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_protocol::{Print, Receipt, Seq};

    use super::*;

    fn record(seq: u32, print: u32) -> NamedRecord {
        NamedRecord { seq: Seq(seq), print: Print(print) }
    }

    fn said(boot: u32, record: NamedRecord) -> Proven {
        Proven { receipt: Receipt::Stored, boot: BootId(boot), records: [record].into_iter().collect() }
    }

    #[test]
    fn what_a_receipt_names_is_known_and_nothing_else() {
        let mut elsewhere = Elsewhere::default();
        elsewhere.learn(&said(7, record(5, 1)));
        assert!(elsewhere.has(BootId(7), record(5, 1)));
        for (boot, record) in [(8, record(5, 1)), (7, record(6, 1)), (7, record(5, 2))] {
            assert!(!elsewhere.has(BootId(boot), record), "{record:?}");
        }
    }

    #[test]
    fn memory_is_bounded_and_keeps_the_newest() {
        let mut elsewhere = Elsewhere::default();
        for n in 0..1000 {
            elsewhere.learn(&said(1, record(n, n)));
            elsewhere.learn(&said(1, record(n, n)));
        }
        assert_eq!(elsewhere.0.len(), RECORDS_MAX);
        assert!(elsewhere.has(BootId(1), record(999, 999)) && elsewhere.has(BootId(1), record(744, 744)));
    }
}
