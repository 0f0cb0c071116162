//! Promise 1: **what a device has heard to be STORED is in the spool after any crash, until the force system has it.**

use std::collections::BTreeSet;

use super::{Checker, Fact};
use crate::{check::ledger::RecordId, simulation::key};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Custody {
    /// Acknowledged, and the gateway's alone: the device has let go of them and no sink has them yet.
    gateways: BTreeSet<RecordId>,
    delivered: BTreeSet<RecordId>,
}

impl Checker for Custody {
    fn name(&self) -> &'static str {
        "custody"
    }

    fn see(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Stored(records) => {
                let new = records.iter().filter(|record| !self.delivered.contains(record));
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
