//! Promise 4, the page's half: **an alarm that was shown stays until a person closes it, which nobody does here; who has taken it has
//! it; and it goes up if nobody takes it.**
//!
//! Whether it goes up is asked of a gateway that could say so: it ran all the time, the page was complete, and its spool took
//! records. What its clock showed does not matter.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Fact, Page};
use crate::{
    check::ledger::RecordId,
    simulation::{key, page::Shown},
};

/// The first step of an emergency button comes after 10 s; as long again for a disk that takes two seconds a write.
const GOES_UP_WITHIN_MS: u64 = 20_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Standing {
    shown: BTreeSet<RecordId>,
    owned: BTreeSet<RecordId>,
    /// Since when nobody has it, at looks without a break.
    open_since_ms: BTreeMap<RecordId, u64>,
}

impl Standing {
    fn look(&mut self, page: &Page) -> Result<(), String> {
        let there: BTreeSet<RecordId> = page.alarms.iter().map(|alarm| alarm.id).collect();
        if let Some(gone) = self.shown.difference(&there).next() {
            return Err(format!("alarm {} has left the page, and nobody closed it", key::of(*gone)));
        }
        self.shown.extend(there);
        let (owned, open): (Vec<&Shown>, _) = page.alarms.iter().partition(|alarm| alarm.is_owned);
        if let Some(alarm) = open.into_iter().find(|alarm| self.owned.contains(&alarm.id)) {
            return Err(format!(
                "a person had taken alarm {}, and nobody has it any more",
                key::of(alarm.id)
            ));
        }
        self.owned.extend(owned.iter().map(|alarm| alarm.id));
        if !page.takes_records {
            self.open_since_ms.clear();
            return Ok(());
        }
        for alarm in &page.alarms {
            if alarm.is_owned || alarm.steps > 0 {
                self.open_since_ms.remove(&alarm.id);
                continue;
            }
            let since_ms = *self.open_since_ms.entry(alarm.id).or_insert(page.at_ms);
            if page.at_ms - since_ms > GOES_UP_WITHIN_MS {
                let (id, waited_ms) = (key::of(alarm.id), page.at_ms - since_ms);
                return Err(format!(
                    "nobody has taken alarm {id} for {waited_ms} ms, and it has not gone up"
                ));
            }
        }
        Ok(())
    }
}

impl Checker for Standing {
    fn name(&self) -> &'static str {
        "no alarm is forgotten"
    }

    fn see(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Page(page) => return self.look(page),
            Fact::Crashed { .. } | Fact::DiskFails => self.open_since_ms.clear(),
            _ => {}
        }
        Ok(())
    }
}
