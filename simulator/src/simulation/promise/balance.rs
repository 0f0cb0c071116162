//! Promise 2: **every sequence a device issued ends in exactly one state**: STORED, or given up by its device and named, or still
//! owed; once all has settled, none is owed.

use std::collections::{BTreeMap, BTreeSet};

use fieldpost_protocol::Envelope;

use super::{Checker, Fact, ledger};
use crate::{check::ledger::RecordId, simulation::key};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Balance {
    issued: BTreeMap<(usize, u32), u32>,
    stored: BTreeSet<RecordId>,
    /// Loss records under way, and what each names.
    naming: BTreeMap<RecordId, Vec<RecordId>>,
    named: BTreeSet<RecordId>,
}

impl Checker for Balance {
    fn name(&self) -> &'static str {
        "the ledger balances"
    }

    fn see(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Issued { device, boot, count, balances } => {
                let known = self.issued.entry((*device, *boot)).or_default();
                *known = (*known).max(*count);
                if !balances {
                    return Err(format!("device {device} does not know where all of boot {boot} is"));
                }
            }
            Fact::Published { device, frame, .. } => {
                let lost = ledger::named(*device, frame);
                if let (false, Ok(envelope)) = (lost.is_empty(), Envelope::decode(frame)) {
                    let head = envelope.head;
                    let id = RecordId { device: *device, boot: head.boot.0, seq: head.seq.0 };
                    self.naming.insert(id, lost);
                }
            }
            Fact::Stored(records) => {
                self.stored.extend(*records);
                let named = records.iter().filter_map(|record| self.naming.get(record)).flatten();
                self.named.extend(named);
            }
            Fact::Settled { owed: 0 } => {
                for (&(device, boot), &count) in &self.issued {
                    let mut ids = (0..count).map(|seq| RecordId { device, boot, seq });
                    if let Some(lost) = ids.find(|id| !self.stored.contains(id) && !self.named.contains(id)) {
                        return Err(format!(
                            "{} was issued, and nobody knows what became of it",
                            key::of(lost)
                        ));
                    }
                }
            }
            Fact::Settled { owed } => return Err(format!("{owed} records are still owed")),
            _ => {}
        }
        Ok(())
    }
}
