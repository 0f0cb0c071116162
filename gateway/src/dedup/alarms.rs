//! What the newest alarms of a device said. Nothing but other alarms pushes one out, and the loss ledger keeps them over a
//! restart.

use fieldpost_protocol::{BootId, Seq};

use crate::fingerprint::Fingerprint;

/// Alarms of a device whose contents are remembered.
pub const ALARMS_MAX: usize = 16;

/// The fingerprints of the newest [`ALARMS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Alarms {
    entries: Vec<(BootId, Seq, Fingerprint)>,
    /// The oldest, once it is full.
    at: usize,
}

impl Alarms {
    /// Adds an alarm, once: at a start the ledger and the spool's tail tell of the same.
    pub(super) fn add(&mut self, boot: BootId, seq: Seq, print: Fingerprint) {
        let entry = (boot, seq, print);
        if self.entries.contains(&entry) {
            return;
        }
        if self.is_full() {
            self.entries[self.at] = entry;
            self.at = (self.at + 1) % ALARMS_MAX;
        } else {
            self.entries.push(entry);
        }
    }

    /// Whether one may have been forgotten.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= ALARMS_MAX
    }

    /// The content that was heard first under the identity.
    pub(super) fn oldest(&self, boot: BootId, seq: Seq) -> Option<Fingerprint> {
        let (newer, older) = self.entries.split_at(self.at);
        let mut in_order = older.iter().chain(newer);
        in_order.find(|entry| (entry.0, entry.1) == (boot, seq)).map(|entry| entry.2)
    }

    /// Whether this is one of the contents known under the identity; `None` if none is.
    pub(super) fn find(&self, boot: BootId, seq: Seq, print: Fingerprint) -> Option<bool> {
        let alike = self.entries.iter().filter(|entry| (entry.0, entry.1) == (boot, seq));
        alike.map(|entry| entry.2 == print).reduce(|any, same| any || same)
    }
}
