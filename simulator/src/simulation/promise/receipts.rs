//! Promise 4, the wearer's half: **DELIVERED and SEEN are said of what was delivered and seen, of nothing else, and of all of it**,
//! however often the gateway is killed in between.

use std::collections::BTreeSet;

use fieldpost_protocol::Receipt;

use super::{Checker, Fact};
use crate::{check::ledger::RecordId, simulation::key};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    raised: BTreeSet<RecordId>,
    delivered: BTreeSet<RecordId>,
    taken: BTreeSet<RecordId>,
    /// Devices were told DELIVERED of these.
    told: BTreeSet<RecordId>,
}

impl Receipts {
    /// An alarm that the force system has, and whose device was never told.
    fn owed(&self) -> Option<&RecordId> {
        self.raised.intersection(&self.delivered).find(|alarm| !self.told.contains(alarm))
    }

    fn told(&mut self, receipt: Receipt, alarm: RecordId) -> Result<(), String> {
        let is_true = match receipt {
            Receipt::Stored => true,
            Receipt::Delivered => {
                self.told.insert(alarm);
                self.delivered.contains(&alarm)
            }
            Receipt::Seen => self.taken.contains(&alarm),
        };
        if is_true {
            Ok(())
        } else {
            Err(format!("{receipt:?} was said of alarm {}, and it was not", key::of(alarm)))
        }
    }
}

impl Checker for Receipts {
    fn name(&self) -> &'static str {
        "receipts are true"
    }

    fn is_done(&self) -> bool {
        self.owed().is_none()
    }

    fn see(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Raised(alarm) => {
                self.raised.insert(*alarm);
            }
            Fact::Taken(alarm) => {
                self.taken.insert(*alarm);
            }
            Fact::Delivered(text) => self.delivered.extend(key::parse(text)),
            Fact::Told { receipt, alarm } => return self.told(*receipt, *alarm),
            Fact::Settled { .. } => {
                if let Some(alarm) = self.owed() {
                    return Err(format!(
                        "the force system has alarm {}, and its device was never told",
                        key::of(*alarm)
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_before_its_time_and_one_that_never_comes_are_both_found() {
        let alarm = RecordId { device: 0, boot: 1, seq: 2 };
        let key = key::of(alarm);
        let (delivered, settled) = (Fact::Delivered(&key), Fact::Settled { owed: 0 });
        let told = |receipt| Fact::Told { receipt, alarm };
        let judged = |facts: &[&Fact<'_>]| {
            let mut receipts = Receipts::default();
            facts.iter().try_for_each(|fact| receipts.see(fact))
        };
        let raised = Fact::Raised(alarm);
        let (told_delivered, told_seen) = (told(Receipt::Delivered), told(Receipt::Seen));
        assert_eq!(judged(&[&raised, &delivered, &told_delivered, &settled]), Ok(()));
        assert_eq!(judged(&[&raised, &Fact::Taken(alarm), &told_seen]), Ok(()));
        for lie in [&[&raised, &told_delivered][..], &[&raised, &told_seen], &[&raised, &delivered, &settled]]
        {
            assert!(judged(lie).is_err(), "{lie:?}");
        }
    }
}
