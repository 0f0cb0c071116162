//! Promise 3, the lanes: **an alarm that is STORED waits for no backlog on its way to the force system.**
//!
//! Counted in records, not in time: however long the force system was away, at most so many others arrive there between the
//! alarm's STORED and the alarm.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Fact};
use crate::{check::ledger::RecordId, simulation::key};

/// Two batches, one that was under way and one that was taken before the alarm was seen; and as much again of records that
/// arrive twice while the force system takes them without saying so.
const OTHERS_MAX: u32 = 256;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Overtaking {
    raised: BTreeSet<RecordId>,
    delivered: BTreeSet<RecordId>,
    /// STORED and not delivered, with how many others have arrived since.
    waits: BTreeMap<RecordId, u32>,
}

impl Overtaking {
    fn arrived(&mut self, text: &str) -> Result<(), String> {
        let record = key::parse(text);
        if let Some(alarm) = record.filter(|record| self.raised.contains(record)) {
            self.waits.remove(&alarm);
            self.delivered.insert(alarm);
            return Ok(());
        }
        for (alarm, others) in &mut self.waits {
            *others += 1;
            if *others > OTHERS_MAX {
                let alarm = key::of(*alarm);
                return Err(format!(
                    "{others} records have arrived since alarm {alarm} was STORED, and it has not"
                ));
            }
        }
        Ok(())
    }
}

impl Checker for Overtaking {
    fn name(&self) -> &'static str {
        "alarms first"
    }

    fn see(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Raised(alarm) => {
                self.raised.insert(*alarm);
            }
            Fact::Stored(records) => {
                let is_waiting = |id: &&RecordId| self.raised.contains(id) && !self.delivered.contains(id);
                for alarm in records.iter().filter(is_waiting) {
                    self.waits.entry(*alarm).or_default();
                }
            }
            Fact::Delivered(text) => return self.arrived(text),
            _ => {}
        }
        Ok(())
    }
}
