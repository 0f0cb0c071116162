//! Retention: how long the spool and its archive keep a record, by class, and what a legal hold keeps beyond that.
//!
//! **A hold wins over every period, and nothing is erased while the holds cannot be read.** A class without a period of its
//! own is kept as long as the spool has room and time for it (`spool.retain_hours`), as a reader's convenience; a period is a
//! promise both ways: kept at least so long, also if the spool's space is needed, and erased after it.
//!
//! ```text
//! `fieldpost hold` --> holds.json --+
//! [retention] ------> Periods ------+--> Rules (spool::Keep) <-- asked entry by entry -- spool's keeper
//!                                            '--> erased.ndjson: what went, as counts by class; fsynced before it goes
//! ```
//!
//! What "erased" covers: the spool's segments and archive. The history has periods of its own (`[history]`) and asks the same
//! holds. A record goes with its segment: the one being written, and those that a sink still needs, are never touched.

mod erased;
mod holds;
mod papers;
mod rules;

#[cfg(test)]
mod tests;

use fieldpost_protocol::Class;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::sync::{Arc, Mutex, PoisonError};

pub use erased::ERASED_FILE;
pub use holds::{HOLDS_FILE, Hold, Holds, HoldsError, Note};
pub use papers::{Papers, Pinned};
pub use rules::{Rules, for_history};

use crate::record::{Record, RecordKind};

/// What a record is, for retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionClass {
    /// Alarms and cancellations from devices, what people and force systems did with them, and by which rules and when.
    Alarms,
    /// Positions.
    Positions,
    /// Everything else a device says: status, sensors, losses, health.
    Events,
    /// What could not be taken as a record.
    Quarantine,
}

impl RetentionClass {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Alarms, Self::Positions, Self::Events, Self::Quarantine];

    /// The class of `record`. A class of a later protocol is an event, or an alarm if it is of that family.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        match record.kind {
            own if own.is_gateways_own() => Self::Alarms,
            RecordKind::Quarantine(_) => Self::Quarantine,
            _ => match record.envelope() {
                Some(envelope) if envelope.head.class.is_alarm_family() => Self::Alarms,
                Some(envelope) if matches!(envelope.head.class, Class::POSITION | Class::POSITION_BATCH) => {
                    Self::Positions
                }
                Some(_) => Self::Events,
                None => Self::Quarantine,
            },
        }
    }

    /// Its name in the purge log and as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alarms => "alarms",
            Self::Positions => "positions",
            Self::Events => "events",
            Self::Quarantine => "quarantine",
        }
    }
}

/// How long each class is kept, ms; `None`: as long as the spool does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Periods {
    /// By [`RetentionClass::ALL`].
    pub own_ms: [Option<u64>; 4],
    /// How long the spool keeps what every sink has.
    pub spool_ms: u64,
}

impl Periods {
    /// The period that was promised for `class`, if one was.
    #[must_use]
    pub fn own(&self, class: RetentionClass) -> Option<u64> {
        self.own_ms[class as usize]
    }

    /// After how long a segment is left although it is not full: an eighth of the shortest period that was promised. `None`: none
    /// was.
    #[must_use]
    pub fn seal_after_ms(&self) -> Option<u64> {
        self.own_ms.iter().flatten().min().map(|shortest_ms| shortest_ms / 8)
    }

    /// The shortest of all.
    #[must_use]
    pub fn shortest_ms(&self) -> u64 {
        self.own_ms.iter().map(|own| own.unwrap_or(self.spool_ms)).min().unwrap_or(self.spool_ms)
    }

    /// The longest of all.
    #[must_use]
    pub fn longest_ms(&self) -> u64 {
        self.own_ms.iter().map(|own| own.unwrap_or(self.spool_ms)).max().unwrap_or(self.spool_ms)
    }
}

/// `fieldpost_retention_*`, and what the health page says.
#[derive(Debug, Default)]
pub struct RetentionMetrics {
    erased: [Counter; 4],
    unreadable: Counter,
    trouble: Arc<Mutex<Option<String>>>,
}

impl RetentionMetrics {
    /// Handles on the same counters.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            erased: self.erased.clone(),
            unreadable: self.unreadable.clone(),
            trouble: Arc::clone(&self.trouble),
        }
    }

    /// Why nothing is erased at present, if so.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        for class in RetentionClass::ALL {
            let name = format!("erased_{}", class.as_str());
            let help = "Records erased: from the spool, its archive and refused events";
            registry.register(name, help, self.erased[class as usize].clone());
        }
        let help = "Entries erased that were damaged or of an unknown kind";
        registry.register("erased_unreadable", help, self.unreadable.clone());
    }
}
