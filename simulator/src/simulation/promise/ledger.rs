//! Promise 2, the gateway's half: **once all has settled the gateway's loss ledger says of every sequence what became of it.**
//!
//! A disk that was full may have kept the ledger from its file, and a crash then takes what it had not written; the ledger
//! counts that as missed. What it must not do even then is to know of a sequence that no device issued.

use std::collections::{BTreeMap, BTreeSet};

use fieldpost_protocol::{Body, Envelope};

use super::{Checker, Fact};
use crate::{
    check::{
        account::{AccountsPage, Truth, differences},
        ledger::RecordId,
    },
    simulation::{gateway::FORCE, key},
};

/// Boots of a device that the gateway keeps in detail; of others it knows the sum.
const BOOTS_KEPT: usize = 8;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LossLedger {
    issued: BTreeMap<(usize, u32), u32>,
    stored: BTreeSet<RecordId>,
    /// What any published loss record names.
    named: BTreeSet<RecordId>,
    /// What the gateway said last.
    accounts: Option<Box<AccountsPage>>,
}

impl LossLedger {
    fn truth(&self, device: usize, boot: u32, count: u32) -> Vec<Truth> {
        let of = |seq| {
            let id = RecordId { device, boot, seq };
            match (self.stored.contains(&id), self.named.contains(&id)) {
                (true, _) => Truth::Acknowledged,
                (false, true) => Truth::DeclaredLost,
                (false, false) => Truth::Open,
            }
        };
        (0..count).map(of).collect()
    }

    fn judge(&self) -> Result<(), String> {
        let Some(page) = &self.accounts else { return Err("it was never read".to_owned()) };
        for (&(device, boot), &count) in &self.issued {
            let unit = format!("{FORCE}/pc-{device:04}");
            let account = page.accounts.iter().find(|account| account.unit == unit);
            let boots = account.map_or(&[][..], |account| &account.boots);
            let found = boots.iter().find(|known| known.boot == boot);
            if found.is_none() && (boots.len() >= BOOTS_KEPT || page.missed > 0) {
                continue;
            }
            let truth = if page.missed > 0 {
                vec![Truth::Unknown; count as usize]
            } else {
                self.truth(device, boot, count)
            };
            if let Some(first) = differences(&unit, boot, &truth, found).into_iter().next() {
                return Err(first);
            }
        }
        Ok(())
    }
}

impl Checker for LossLedger {
    fn name(&self) -> &'static str {
        "the gateway's ledger is true"
    }

    fn see(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Issued { device, boot, count, .. } => {
                let known = self.issued.entry((*device, *boot)).or_default();
                *known = (*known).max(*count);
            }
            Fact::Published { device, frame, .. } => {
                let lost = named(*device, frame);
                // Its power may go before it is asked how much it has issued.
                for record in key::records(*device, frame).iter().chain(&lost) {
                    let known = self.issued.entry((record.device, record.boot)).or_default();
                    *known = (*known).max(record.seq.saturating_add(1));
                }
                self.named.extend(lost);
            }
            Fact::Stored(records) => self.stored.extend(*records),
            Fact::Accounts(page) => self.accounts = Some(Box::new((*page).clone())),
            Fact::Settled { .. } => return self.judge(),
            _ => {}
        }
        Ok(())
    }
}

/// What a frame of `device` names as lost.
pub(super) fn named(device: usize, frame: &[u8]) -> Vec<RecordId> {
    let Ok(envelope) = Envelope::decode(frame) else { return Vec::new() };
    let Ok(Body::Loss(loss)) = Body::decode(&envelope.head, envelope.body) else { return Vec::new() };
    let ranges = loss.ranges.iter().map(|range| range.first.0..=range.first.0.saturating_add(range.more));
    ranges.flatten().map(|seq| RecordId { device, boot: loss.boot.0, seq }).collect()
}
