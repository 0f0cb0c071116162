//! Promise 4: **an alarm that is STORED is on the page until a person has it, and its wearer hears of that.**
//!
//! A device that lost power since has forgotten that it waits for SEEN: of it only the page's half is asked.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Fact};
use crate::{check::ledger::RecordId, simulation::key};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AlarmLoop {
    raised: BTreeSet<RecordId>,
    stored: BTreeSet<RecordId>,
    seen: BTreeSet<RecordId>,
    boots: BTreeMap<usize, u32>,
    owned: BTreeMap<RecordId, bool>,
}

impl AlarmLoop {
    fn open(&self) -> Option<String> {
        let stored = self.raised.intersection(&self.stored);
        for alarm in stored {
            match self.owned.get(alarm) {
                None => return Some(format!("alarm {} is STORED and not on the page", key::of(*alarm))),
                Some(false) => return Some(format!("nobody could take alarm {}", key::of(*alarm))),
                Some(true) => {}
            }
            let waits = self.boots.get(&alarm.device) == Some(&alarm.boot);
            if waits && !self.seen.contains(alarm) {
                return Some(format!("the wearer never heard that alarm {} was seen", key::of(*alarm)));
            }
        }
        None
    }
}

impl Checker for AlarmLoop {
    fn name(&self) -> &'static str {
        "the alarm loop closes"
    }

    fn is_done(&self) -> bool {
        self.open().is_none()
    }

    fn see(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Issued { device, boot, .. } => {
                self.boots.insert(*device, *boot);
            }
            Fact::Raised(alarm) => {
                self.raised.insert(*alarm);
            }
            Fact::Stored(records) => self.stored.extend(*records),
            Fact::Seen(alarm) => {
                self.seen.insert(*alarm);
            }
            Fact::Page(page) => {
                self.owned.extend(page.alarms.iter().map(|alarm| (alarm.id, alarm.is_owned)));
            }
            Fact::Settled { .. } => return self.open().map_or(Ok(()), Err),
            _ => {}
        }
        Ok(())
    }
}
