//! Accounts as JSON, exactly as the API and `fieldpost ledger --json` have them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Account, Boot, Counts, Ledger, Span};
use crate::live::unit::UnitId;
use crate::spool::Lsn;

/// Most accounts in one answer; the next ones are asked for with `after`.
pub const PAGE_ACCOUNTS_MAX: usize = 1_000;

/// Some accounts.
#[derive(Debug, Serialize)]
pub struct LedgerView {
    /// Every record up to this one is in the accounts.
    pub through_lsn: Lsn,
    /// Entries of the spool that were gone or damaged before they could be accounted for: nobody knows whose.
    pub missed: u64,
    /// By force and device.
    pub accounts: Vec<AccountView>,
    /// There are more: ask again with `after` set to this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
}

/// One device.
#[derive(Debug, Serialize)]
pub struct AccountView {
    /// `force/device`.
    pub unit: String,
    /// Sequences in each state, all boots together; states that do not occur are left out.
    pub counts: BTreeMap<&'static str, u64>,
    /// Every boot kept in detail, by boot id.
    pub boots: Vec<BootView>,
    /// Boots that are known in sum only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earlier: Option<EarlierView>,
    /// Quarantined payloads that are no envelope, and so have no sequence.
    pub unnumbered: u64,
}

/// One boot.
#[derive(Debug, Serialize)]
pub struct BootView {
    /// Boot id.
    pub boot: u32,
    /// The newest sequence anything is known of.
    pub newest: Option<u32>,
    /// Sequences in each state: newest + 1 in all.
    pub counts: BTreeMap<&'static str, u64>,
    /// Records under an identity of this boot that the device had used before: stored all the same, under their own keys.
    #[serde(skip_serializing_if = "is_zero")]
    pub repeated: u64,
    /// So many of the lowest sequences are in `counts` only.
    #[serde(skip_serializing_if = "is_zero")]
    pub settled: u64,
    /// Every sequence after those, in order and without holes: what is missing is `owed` or `unaccounted`.
    pub ranges: Vec<Span>,
}

/// Boots that are known in sum only.
#[derive(Debug, Serialize)]
pub struct EarlierView {
    /// How many boots.
    pub boots: u64,
    /// Their sequences in each state.
    pub counts: BTreeMap<&'static str, u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl LedgerView {
    /// One device's account; none if nothing is known of it.
    #[must_use]
    pub fn of(ledger: &Ledger, unit: &UnitId) -> Self {
        let account = ledger.account(unit).map(|account| AccountView::new(unit, account));
        Self { accounts: account.into_iter().collect(), ..Self::empty(ledger) }
    }

    /// The first accounts after `after`, of the units that `sees` admits.
    #[must_use]
    pub fn page(ledger: &Ledger, after: Option<&UnitId>, sees: impl Fn(&UnitId) -> bool) -> Self {
        let mut rest = ledger.accounts(after).filter(|(unit, _)| sees(unit));
        let accounts: Vec<_> = rest
            .by_ref()
            .take(PAGE_ACCOUNTS_MAX)
            .map(|(unit, account)| AccountView::new(unit, account))
            .collect();
        let next_after = rest.next().and_then(|_| accounts.last().map(|account| account.unit.clone()));
        Self { accounts, next_after, ..Self::empty(ledger) }
    }

    /// No account.
    #[must_use]
    pub fn empty(ledger: &Ledger) -> Self {
        Self {
            through_lsn: ledger.folded(),
            missed: ledger.missed_count(),
            accounts: Vec::new(),
            next_after: None,
        }
    }
}

impl AccountView {
    fn new(unit: &UnitId, account: &Account) -> Self {
        let (boots_count, counts) = account.earlier();
        let mut boots: Vec<_> = account.boots().iter().map(BootView::from).collect();
        boots.sort_unstable_by_key(|boot| boot.boot);
        Self {
            unit: unit.to_string(),
            counts: named(&account.counts()),
            boots,
            earlier: (boots_count > 0).then(|| EarlierView { boots: boots_count, counts: named(counts) }),
            unnumbered: account.unnumbered_count(),
        }
    }
}

impl From<&Boot> for BootView {
    fn from(boot: &Boot) -> Self {
        Self {
            boot: boot.id(),
            newest: boot.newest(),
            counts: named(&boot.counts()),
            repeated: boot.repeated_count(),
            settled: boot.settled_count(),
            ranges: boot.ranges(),
        }
    }
}

fn named(counts: &Counts) -> BTreeMap<&'static str, u64> {
    counts.occurring().map(|(fate, count)| (fate.as_str(), count)).collect()
}
