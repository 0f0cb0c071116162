//! What other gateways of the group have stored of one device, as their receipts said.
//!
//! **A receipt is believed by its tag, never by its sender, and speaks of what the record said, not of its number alone.** Whoever
//! could make one has the key of the device or of the gateways. It is memory alone: a gateway that was away has missed what was
//! said meanwhile, and stores such a record a second time, under the same key.

use fieldpost_protocol::{BootId, NamedRecord, Proven};

use crate::dedup::Contents;
use crate::fingerprint::Fingerprint;
use crate::sabotage::{self, Sabotage};

/// By boot, number and content, as far back as a gateway knows what it has stored itself.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(Contents);

impl Elsewhere {
    /// Takes what a receipt says.
    pub(super) fn learn(&mut self, proven: &Proven) {
        for record in &proven.records {
            if !self.has(proven.boot, *record) {
                self.0.add(proven.boot, record.seq, Fingerprint(record.print.0));
            }
        }
    }

    /// Whether another gateway has it.
    pub(super) fn has(&self, boot: BootId, record: NamedRecord) -> bool {
        let found = self.0.find(boot, record.seq, Fingerprint(record.print.0));
        found == Some(true) || (found.is_some() && sabotage::is(Sabotage::NameByNumber))
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
    fn the_newest_are_known_however_often_they_are_said() {
        let mut elsewhere = Elsewhere::default();
        for n in 0..2000 {
            elsewhere.learn(&said(1, record(n, n)));
            elsewhere.learn(&said(1, record(n, n)));
        }
        assert!(elsewhere.has(BootId(1), record(1999, 1999)) && elsewhere.has(BootId(1), record(1008, 1008)));
        assert!(!elsewhere.has(BootId(1), record(0, 0)), "memory is bounded");
    }
}
