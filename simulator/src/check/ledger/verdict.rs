//! What the truth comes to at the end of a run: a balance, faults in words, and what the gateway's own ledger says otherwise.

use super::{Boot, Entry, Ledger, RecordId, SinkCount, sink::SinkLedger};
use crate::check::account::{Account, Truth, differences};

/// Most examples of each fault kept for the report.
const EXAMPLES_MAX: usize = 5;

/// The ledger's balance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Sequences issued by the devices.
    pub issued: u64,
    /// Acknowledged by the gateway.
    pub stored: u64,
    /// Declared lost by their device.
    pub declared_lost: u64,
    /// Neither: still in a device's outbox, or gone.
    pub open: u64,
}

impl Ledger {
    /// Every issued sequence, sorted by its state.
    #[must_use]
    pub fn balance(&self) -> Balance {
        let mut balance = Balance::default();
        for boot in self.devices.iter().flat_map(|device| device.boots.values()) {
            balance.issued += u64::from(boot.issued);
            for seq in 0..boot.issued {
                match boot.entries.get(seq as usize) {
                    Some(entry) if entry.stored_us.is_some() => balance.stored += 1,
                    Some(entry) if entry.declared_lost => balance.declared_lost += 1,
                    _ => balance.open += 1,
                }
            }
        }
        balance
    }

    /// What every sink got.
    #[must_use]
    pub fn sink_counts(&self) -> Vec<SinkCount> {
        self.sinks.iter().map(|sink| sink.counted(self.missing(sink).count() as u64)).collect()
    }

    /// Everything that broke a promise, in words; empty if the run was good.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let open = self.balance().open;
        let keys = || self.keys(self.open_records());
        let unstored =
            (open > 0).then(|| format!("{open} records were issued and never stored: {}", list(keys())));
        unstored.into_iter().chain(self.sinks.iter().flat_map(|sink| self.faults_of(sink))).collect()
    }

    fn faults_of(&self, sink: &SinkLedger) -> Vec<String> {
        let name = &sink.name;
        let mut faults = Vec::new();
        let missing = self.missing(sink).count();
        if missing > 0 {
            let keys = self.keys(self.missing(sink));
            faults.push(format!("{name}: {missing} stored records are missing: {}", list(keys)));
        }
        if sink.duplicates_after_key > 0 {
            faults.push(format!("{name}: {} duplicates after the key", sink.duplicates_after_key));
        }
        if !sink.out_of_order.is_empty() {
            let keys = self.keys(sink.out_of_order.iter().copied());
            faults.push(format!("{name}: {} out of order: {}", sink.out_of_order.len(), list(keys)));
        }
        if !sink.unknown.is_empty() {
            let keys = sink.unknown.iter().cloned();
            faults.push(format!("{name}: {} that no device issued: {}", sink.unknown.len(), list(keys)));
        }
        faults
    }

    fn keys(&self, records: impl Iterator<Item = RecordId>) -> impl Iterator<Item = String> {
        records.map(|record| self.key(record))
    }

    /// Stored records that a sink has not got.
    fn missing(&self, sink: &SinkLedger) -> impl Iterator<Item = RecordId> {
        self.stored_records().filter(|record| !sink.has(*record))
    }

    /// Records that are missing anywhere: never stored, or stored and not in every sink.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let missing = |record: &RecordId| !self.sinks.iter().all(|sink| sink.has(*record));
        self.open_records().count() as u64 + self.stored_records().filter(missing).count() as u64
    }

    /// Every difference between the truth and the gateway's own ledger, in words.
    #[must_use]
    pub fn compare(&self, accounts: &[Account]) -> Vec<String> {
        let mut found = Vec::new();
        for device in &self.devices {
            let unit = format!("{}/{}", self.force, device.name);
            let account = accounts.iter().find(|account| account.unit == unit);
            let boots = account.map_or(&[][..], |account| &account.boots);
            for (id, boot) in &device.boots {
                let said = boots.iter().find(|said| said.boot == *id);
                found.extend(differences(&unit, *id, &boot.truth(), said));
            }
            let unheard = boots.iter().filter(|said| !device.boots.contains_key(&said.boot));
            found.extend(unheard.map(|said| format!("{unit}: the ledger knows a boot {}", said.boot)));
        }
        found
    }

    /// Whether every stored record has arrived in every sink.
    #[must_use]
    pub fn all_delivered(&self) -> bool {
        self.sinks.iter().all(|sink| self.stored_records().all(|record| sink.has(record)))
    }

    fn stored_records(&self) -> impl Iterator<Item = RecordId> + '_ {
        self.records()
            .filter(|(_, entry)| entry.is_some_and(|entry| entry.stored_us.is_some()))
            .map(|(id, _)| id)
    }

    fn open_records(&self) -> impl Iterator<Item = RecordId> + '_ {
        let is_open = |entry: Option<&Entry>| {
            entry.is_none_or(|entry| entry.stored_us.is_none() && !entry.declared_lost)
        };
        self.records().filter(move |(_, entry)| is_open(*entry)).map(|(id, _)| id)
    }

    fn records(&self) -> impl Iterator<Item = (RecordId, Option<&Entry>)> + '_ {
        self.devices.iter().enumerate().flat_map(|(device, ledger)| {
            ledger.boots.iter().flat_map(move |(boot, entries)| {
                (0..entries.issued).map(move |seq| {
                    (RecordId { device, boot: *boot, seq }, entries.entries.get(seq as usize))
                })
            })
        })
    }
}

impl Boot {
    /// What became of every sequence issued.
    fn truth(&self) -> Vec<Truth> {
        let of = |seq: u32| match self.entries.get(seq as usize) {
            Some(entry) if entry.stored_us.is_some() => Truth::Acknowledged,
            Some(entry) if entry.declared_lost => Truth::DeclaredLost,
            _ => Truth::Open,
        };
        (0..self.issued).map(of).collect()
    }
}

fn list(keys: impl Iterator<Item = String>) -> String {
    keys.take(EXAMPLES_MAX).collect::<Vec<_>>().join(", ")
}
