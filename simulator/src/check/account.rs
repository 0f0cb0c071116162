//! The gateway's loss ledger beside the truth.
//!
//! **For every sequence that a device issued, the gateway must say what really became of it**: stored if it was
//! acknowledged, lost if its device said so, owed if it is neither. A gateway that knows of sequences nobody issued is as
//! wrong as one that forgets some.
//!
//! | truth | the ledger may say |
//! |---|---|
//! | acknowledged | stored |
//! | declared lost | the reason; or stored, if it arrived and its PUBACK did not |
//! | unknown, as entries were missed | anything, but of no more sequences than there are |
//! | open | owed, or nothing beyond its newest; or stored, as above |

use serde::Deserialize;

/// One page of the gateway's answer.
#[derive(Debug, Clone, Deserialize)]
pub struct AccountsPage {
    /// Entries the ledger could not read.
    pub missed: u64,
    /// By force and device.
    pub accounts: Vec<Account>,
    /// Where the next page begins.
    pub next_after: Option<String>,
}

/// What the gateway says of one device.
#[derive(Debug, Clone, Deserialize)]
pub struct Account {
    /// `force/device`.
    pub unit: String,
    /// Every boot.
    pub boots: Vec<BootAccount>,
}

/// What it says of one boot.
#[derive(Debug, Clone, Deserialize)]
pub struct BootAccount {
    /// Boot id.
    pub boot: u32,
    /// So many of the lowest sequences are known in number only.
    #[serde(default)]
    pub settled: u64,
    /// Every other sequence up to the newest.
    pub ranges: Vec<Range>,
}

/// Consecutive sequences in one state.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Range {
    /// First sequence.
    pub first: u32,
    /// Last sequence.
    pub last: u32,
    /// Its state, by the gateway's name.
    pub state: String,
}

/// What really became of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// Its device has a PUBACK for it.
    Acknowledged,
    /// Its device says that it is lost.
    DeclaredLost,
    /// Neither.
    Open,
    /// Nobody can say: the gateway has missed entries, and counts them.
    Unknown,
}

impl Truth {
    /// Whether the gateway may say this of such a sequence; `None` is nothing at all.
    fn allows(self, said: Option<&str>) -> bool {
        match (self, said) {
            (Self::Unknown, _) | (_, Some("stored")) => true,
            (Self::Acknowledged, _) => false,
            (Self::DeclaredLost, said) => {
                matches!(said, Some("evicted" | "expired" | "damaged" | "formatted" | "lost-otherwise"))
            }
            (Self::Open, said) => matches!(said, None | Some("owed")),
        }
    }
}

impl BootAccount {
    /// What is said of a sequence; nothing if it is beyond the newest.
    #[must_use]
    pub fn says(&self, seq: u32) -> Option<&str> {
        let at = self.ranges.partition_point(|range| range.last < seq);
        self.ranges.get(at).filter(|range| range.first <= seq).map(|range| range.state.as_str())
    }

    /// How far the account goes: one past its newest sequence.
    fn end(&self) -> u64 {
        self.ranges.last().map_or(self.settled, |range| u64::from(range.last) + 1)
    }
}

/// Every difference between one boot's truth, one entry a sequence from 0, and what the gateway says of it, in words.
#[must_use]
pub fn differences(unit: &str, boot: u32, truth: &[Truth], account: Option<&BootAccount>) -> Vec<String> {
    let mut found = Vec::new();
    let settled = account.map_or(0, |account| account.settled);
    for (seq, truth) in (0u32..).zip(truth).skip(usize::try_from(settled).unwrap_or(usize::MAX)) {
        let said = account.and_then(|account| account.says(seq));
        if !truth.allows(said) {
            let said = said.unwrap_or("nothing");
            found.push(format!("{unit} boot {boot} sequence {seq} is {truth:?}, the ledger says {said}"));
        }
    }
    let end = account.map_or(0, BootAccount::end);
    if end > truth.len() as u64 {
        found.push(format!("{unit} boot {boot}: {} sequences issued, the ledger knows {end}", truth.len()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: [Truth; 5] =
        [Truth::Acknowledged, Truth::Acknowledged, Truth::DeclaredLost, Truth::Open, Truth::Acknowledged];

    fn account(ranges: &[(u32, u32, &str)]) -> BootAccount {
        let range = |&(first, last, state): &(u32, u32, &str)| Range { first, last, state: state.to_owned() };
        BootAccount { boot: 1, settled: 0, ranges: ranges.iter().map(range).collect() }
    }

    fn found(ranges: &[(u32, u32, &str)]) -> usize {
        differences("sim/pc-0001", 1, &TRUTH, Some(&account(ranges))).len()
    }

    #[test]
    fn a_true_ledger_has_no_difference() {
        assert_eq!(found(&[(0, 1, "stored"), (2, 2, "evicted"), (3, 3, "owed"), (4, 4, "stored")]), 0);
        assert_eq!(found(&[(0, 4, "stored")]), 0, "arrived without a PUBACK");
    }

    #[test]
    fn every_lie_is_found() {
        let lies: [&[(u32, u32, &str)]; 5] = [
            // A stored record said to be owed, or lost.
            &[(0, 0, "stored"), (1, 1, "owed"), (2, 2, "evicted"), (3, 3, "owed"), (4, 4, "stored")],
            &[(0, 0, "stored"), (1, 2, "evicted"), (3, 3, "owed"), (4, 4, "stored")],
            // A loss that was declared, forgotten.
            &[(0, 1, "stored"), (2, 3, "owed"), (4, 4, "stored")],
            // The newest record forgotten.
            &[(0, 1, "stored"), (2, 2, "expired"), (3, 3, "owed")],
            // One that nobody issued.
            &[(0, 1, "stored"), (2, 2, "evicted"), (3, 3, "owed"), (4, 5, "stored")],
        ];
        for lie in lies {
            assert_eq!(found(lie), 1, "{lie:?}");
        }
        assert_eq!(differences("sim/pc-0001", 1, &TRUTH, None).len(), 4, "the whole boot forgotten");
    }
}
