//! In the spool: **no record stands twice**, however often its device sent it. At the sink: **every record that was STORED arrives, and
//! nothing arrives that no device sent**; twice is allowed there, as the key makes it once.

use std::collections::BTreeSet;

use super::{Audit, Checker, Fact, stays_here};
use crate::{check::ledger::RecordId, simulation::key};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct OnceByKey {
    published: BTreeSet<RecordId>,
    /// Not for force systems: they stay in the gateway.
    withheld: BTreeSet<RecordId>,
    stored: BTreeSet<RecordId>,
    delivered: BTreeSet<RecordId>,
}

fn stands_once(audit: &Audit<'_>) -> Result<(), String> {
    let mut known = BTreeSet::new();
    let devices = audit.kept.iter().filter(|kept| !kept.is_archived);
    for (kept, id) in devices.filter_map(|kept| Some((kept, kept.id?))) {
        if !known.insert(kept.key_hash) {
            return Err(format!(
                "{} stands twice in the spool, the second time as entry {}",
                key::of(id),
                kept.lsn
            ));
        }
    }
    Ok(())
}

impl Checker for OnceByKey {
    fn name(&self) -> &'static str {
        "exactly once by key"
    }

    fn see(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Published { device, frame, .. } => {
                let records = key::records(*device, frame);
                if stays_here(frame) {
                    self.withheld.extend(&records);
                }
                self.published.extend(records);
                Ok(())
            }
            Fact::Stored(records) => {
                self.stored.extend(*records);
                Ok(())
            }
            Fact::Delivered(text) => {
                // Any other key is the gateway's own: a loss it reports.
                let Some(record) = key::parse(text) else { return Ok(()) };
                self.delivered.insert(record);
                if self.published.contains(&record) {
                    Ok(())
                } else {
                    Err(format!("{text} arrived, and no device sent it"))
                }
            }
            Fact::Audited(audit) => stands_once(audit),
            Fact::Settled { .. } => {
                let owed = self.stored.difference(&self.delivered).filter(|r| !self.withheld.contains(r));
                match owed.clone().next() {
                    None => Ok(()),
                    Some(first) => Err(format!(
                        "{} records are STORED and never arrived, {} first",
                        owed.count(),
                        key::of(*first)
                    )),
                }
            }
            _ => Ok(()),
        }
    }
}
