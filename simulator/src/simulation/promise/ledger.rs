//! Promise 2, the gateway's half: **once all has settled the gateway's loss ledger says of every sequence what became of it.**
//!
//! A disk that was full or failed may have kept the ledger from its file, and a crash then takes what it had not written; the
//! ledger counts that as missed. **Its word alone excuses nothing**: without such a crash it must have missed nothing; with
//! one it must have missed no more than what has left the spool, and each entry that it counts excuses one record that it does
//! not know. Even then it must not know of a sequence that no device issued.
//!
//! It counts as missed also what recovery found damaged. Those entries were never committed (the checker of crashes sees to that),
//! so their devices have sent them again: they excuse the count, and no record.

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
    /// The disk was full or failed at some time.
    disk_failed: bool,
    /// And the gateway crashed after that.
    may_miss: bool,
    /// Numbers that recovery called damaged.
    damaged: BTreeSet<u64>,
    /// As the auditor saw it last: the newest number of all, and how many can be read from segments.
    newest_lsn: u64,
    spooled_count: u64,
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
        let gone = self.newest_lsn.saturating_sub(self.spooled_count);
        if page.missed > gone {
            return Err(format!("it says that it missed {} entries, and {gone} cannot be read", page.missed));
        }
        let missed = page.missed.saturating_sub(self.damaged.len() as u64);
        if missed > 0 && !self.may_miss {
            return Err(format!("it says that it missed {missed} entries, and nothing kept it from reading"));
        }
        let mut absent = Vec::new();
        for (&(device, boot), &count) in &self.issued {
            let unit = format!("{FORCE}/pc-{device:04}");
            let account = page.accounts.iter().find(|account| account.unit == unit);
            let boots = account.map_or(&[][..], |account| &account.boots);
            let found = boots.iter().find(|known| known.boot == boot);
            if found.is_none() && boots.len() >= BOOTS_KEPT {
                continue;
            }
            let mut truth = self.truth(device, boot, count);
            if missed > 0 {
                // It must not know of sequences that nobody issued, whatever it has missed.
                let anything = vec![Truth::Unknown; truth.len()];
                if let Some(first) = differences(&unit, boot, &anything, found).into_iter().next() {
                    return Err(first);
                }
                // One loss record that it missed names many.
                truth
                    .iter_mut()
                    .filter(|truth| **truth == Truth::DeclaredLost)
                    .for_each(|truth| *truth = Truth::Unknown);
            }
            absent.extend(differences(&unit, boot, &truth, found));
        }
        match absent.first() {
            Some(first) if absent.len() as u64 > missed => {
                Err(format!("{} differences, {missed} entries missed: {first}", absent.len()))
            }
            _ => Ok(()),
        }
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
            Fact::DiskFails => self.disk_failed = true,
            Fact::Crashed { .. } => self.may_miss |= self.disk_failed,
            Fact::Recovered { damaged } => self.damaged.extend(damaged.iter().cloned().flatten()),
            Fact::Audited(audit) => {
                let newest_lsn = audit.kept.iter().map(|kept| kept.lsn).max();
                self.newest_lsn = self.newest_lsn.max(newest_lsn.unwrap_or(0));
                self.spooled_count = audit.kept.iter().filter(|kept| !kept.is_archived).count() as u64;
            }
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

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;
    use crate::{
        check::account::{Account, BootAccount, Range},
        simulation::promise::{Audit, Kept},
    };

    /// Ten records acknowledged, of which the gateway knows `known` and says that it `missed` some; the spool has `spooled`.
    fn judged(has_crashed: bool, spooled: u64, known: u32, missed: u64) -> Result<(), String> {
        judged_after(&[], has_crashed, spooled, known, missed)
    }

    /// The same, and recovery has called entries damaged.
    fn judged_after(
        damaged: &[RangeInclusive<u64>],
        has_crashed: bool,
        spooled: u64,
        known: u32,
        missed: u64,
    ) -> Result<(), String> {
        let mut ledger = LossLedger::default();
        let records: Vec<_> = (0..10).map(|seq| RecordId { device: 0, boot: 1, seq }).collect();
        let kept = |lsn| Kept {
            lsn,
            id: None,
            key_hash: lsn,
            received_at_ms: 0,
            period_ms: None,
            is_archived: false,
        };
        let kept: Vec<_> = (11 - spooled..=10).map(kept).collect();
        let ranges = vec![Range { first: 0, last: known - 1, state: "stored".to_owned() }];
        let boots = vec![BootAccount { boot: 1, settled: 0, ranges }];
        let accounts = vec![Account { unit: format!("{FORCE}/pc-0000"), boots }];
        let page = AccountsPage { missed, accounts, next_after: None };
        let facts = [
            Fact::Issued { device: 0, boot: 1, count: 10, balances: true },
            Fact::Stored(&records),
            Fact::Audited(&Audit { kept: &kept, latest_ms: 0 }),
            Fact::Accounts(&page),
        ];
        facts.iter().try_for_each(|fact| ledger.see(fact))?;
        ledger.see(&Fact::Recovered { damaged })?;
        if has_crashed {
            [Fact::DiskFails, Fact::Crashed { committed: 1..=10 }]
                .iter()
                .try_for_each(|fact| ledger.see(fact))?;
        }
        ledger.see(&Fact::Settled { owed: 0 })
    }

    #[test]
    fn what_a_ledger_says_that_it_missed_excuses_no_more_than_a_crash_can_have_taken() {
        assert_eq!(judged(false, 10, 10, 0), Ok(()));
        assert_eq!(judged(true, 7, 7, 3), Ok(()));
        assert_eq!(judged_after(&[2..=4], false, 7, 10, 3), Ok(()));
        assert_eq!(judged_after(&[2..=4], true, 4, 7, 6), Ok(()));
        let lies = [
            (judged(false, 7, 7, 3), "nothing kept it from reading"),
            (judged(true, 8, 7, 3), "2 cannot be read"),
            (judged(true, 1, 6, 3), "4 differences"),
            (judged(true, 1, 11, 3), "the ledger knows 11"),
            (judged_after(&[2..=3], false, 7, 10, 3), "missed 1 entries, and nothing kept it from reading"),
            (judged_after(&[2..=4], false, 7, 9, 3), "1 differences"),
        ];
        for (judged, words) in lies {
            assert!(judged.as_ref().is_err_and(|error| error.contains(words)), "{judged:?} {words}");
        }
    }
}
