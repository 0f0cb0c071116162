//! Promise 3, the lanes: **an alarm that is STORED waits for no backlog on its way to the force system.**
//!
//! Counted in records, not in time: however long the force system was away, at most so many others arrive there for the first time
//! between the alarm's STORED and the alarm.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Fact};
use crate::{
    check::ledger::RecordId,
    simulation::{gateway::BATCH_COUNT_MAX, key},
};

/// A batch of each lane: what is held while the force system is away goes on before an alarm that came later.
const OTHERS_MAX: u32 = 3 * BATCH_COUNT_MAX as u32;

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
        let Some(record) = key::parse(text) else { return Ok(()) };
        self.waits.remove(&record);
        if !self.delivered.insert(record) || self.raised.contains(&record) {
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
