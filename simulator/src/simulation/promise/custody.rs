//! Promise 1: **what a device has heard to be STORED is in the spool after any crash, until the force system has it.**

use std::collections::BTreeSet;

use super::{Checker, Fact, stays_here};
use crate::{check::ledger::RecordId, simulation::key};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Custody {
    /// Acknowledged, and the gateway's alone: the device has let go of them and no sink has them yet.
    gateways: BTreeSet<RecordId>,
    delivered: BTreeSet<RecordId>,
    /// No force system ever has them, so retention alone says how long they are kept.
    withheld: BTreeSet<RecordId>,
}

impl Checker for Custody {
    fn name(&self) -> &'static str {
        "custody"
    }

    fn see(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Published { device, frame, .. } if stays_here(frame) => {
                self.withheld.extend(key::records(*device, frame));
                Ok(())
            }
            Fact::Stored(records) => {
                let is_owed =
                    |record: &&RecordId| !self.delivered.contains(record) && !self.withheld.contains(record);
                let new = records.iter().filter(is_owed);
                self.gateways.extend(new);
                Ok(())
            }
            Fact::Delivered(text) => {
                if let Some(record) = key::parse(text) {
                    self.gateways.remove(&record);
                    self.delivered.insert(record);
                }
                Ok(())
            }
            Fact::Found(found) => match self.gateways.difference(found).next() {
                None => Ok(()),
                Some(lost) => Err(format!(
                    "{} of {} acknowledged records are gone, {} first",
                    self.gateways.difference(found).count(),
                    self.gateways.len() + self.delivered.len(),
                    key::of(*lost)
                )),
            },
            _ => Ok(()),
        }
    }
}
