//! Retention: **what is under a legal hold stays, what was promised for a period stays as long, and what neither keeps is gone
//! from the disk once all has settled.**
//!
//! Times are the gateway's own: a clock that was ahead makes it let go early, and nobody can hold that against it. So a
//! period counts up to the latest time that the clock ever showed, and whether all is gone is asked only if it never jumped.

use std::collections::{BTreeMap, BTreeSet};

use super::{Audit, Checker, Fact, Kept};
use crate::{check::ledger::RecordId, simulation::key};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Retention {
    /// What was published first while a hold of the plan lasted.
    covered: BTreeMap<usize, (Option<usize>, BTreeSet<RecordId>)>,
    published: BTreeSet<RecordId>,
    stored: BTreeSet<RecordId>,
    /// By number: when it came, and until when it was promised to stay.
    promised: BTreeMap<u64, u64>,
}

impl Retention {
    fn publish(&mut self, device: usize, record: RecordId) {
        if !self.published.insert(record) {
            return;
        }
        for (of, covered) in self.covered.values_mut() {
            if of.is_none_or(|of| of == device) {
                covered.insert(record);
            }
        }
    }

    fn audit(&mut self, audit: &Audit<'_>) -> Result<(), String> {
        let found: BTreeSet<RecordId> = audit.kept.iter().filter_map(|kept| kept.id).collect();
        for (hold, (_, covered)) in &self.covered {
            let gone = covered.iter().find(|id| self.stored.contains(id) && !found.contains(id));
            if let Some(id) = gone {
                return Err(format!("{} is gone, and hold {hold} covers it", key::of(*id)));
            }
        }
        let numbers: BTreeSet<u64> = audit.kept.iter().map(|kept| kept.lsn).collect();
        for (lsn, until_ms) in &self.promised {
            if *until_ms > audit.latest_ms && !numbers.contains(lsn) {
                let early_ms = until_ms - audit.latest_ms;
                return Err(format!("record {lsn} is gone {early_ms} ms before its time"));
            }
        }
        let promised = |kept: &Kept| Some((kept.lsn, kept.received_at_ms + kept.period_ms?));
        self.promised = audit.kept.iter().filter_map(promised).collect();
        Ok(())
    }

    /// Nobody holds anything any more, and time has passed.
    fn rested(audit: &Audit<'_>, spool_ms: u64, within_ms: u64) -> Result<(), String> {
        let late = |kept: &&Kept| {
            let until_ms = kept.received_at_ms + kept.period_ms.unwrap_or(spool_ms);
            kept.is_archived && until_ms + within_ms < audit.latest_ms
        };
        match audit.kept.iter().find(late) {
            None => Ok(()),
            Some(kept) => Err(format!(
                "record {} came {} ms ago, was to go after {} ms, and is on the disk",
                kept.lsn,
                audit.latest_ms - kept.received_at_ms,
                kept.period_ms.unwrap_or(spool_ms)
            )),
        }
    }
}

impl Checker for Retention {
    fn name(&self) -> &'static str {
        "retention"
    }

    fn see(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Held { hold, device } => {
                self.covered.insert(*hold, (*device, BTreeSet::new()));
            }
            Fact::Released { hold } => {
                self.covered.remove(hold);
            }
            Fact::Published { device, frame, .. } => {
                for record in key::records(*device, frame) {
                    self.publish(*device, record);
                }
            }
            Fact::Stored(records) => self.stored.extend(*records),
            Fact::Audited(audit) => return self.audit(audit),
            Fact::Rested { audit, spool_ms, within_ms } => {
                return Self::rested(audit, *spool_ms, *within_ms);
            }
            _ => {}
        }
        Ok(())
    }
}
