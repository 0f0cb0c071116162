//! What a trace says: a sequence, its entries, and what became of each at every output.

use serde::Serialize;

use crate::fingerprint::Fingerprint;
use crate::ledger::Fate;
use crate::record::Record;
use crate::spool::Lsn;

/// Everything that is known of one sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// `force/device`.
    pub unit: String,
    /// Boot id.
    pub boot: u32,
    /// Sequence.
    pub seq: u32,
    /// What the loss ledger says became of it; absent if nothing was heard of the sequence or of a later one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Fate>,
    /// What is stored of it, oldest first. Several: the device used the identity again for something else.
    pub entries: Vec<Stored>,
    /// That somebody has it, in the order in which it was noted.
    pub receipts: Vec<Receipt>,
}

/// One entry of the spool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// Its place in the spool: from here on it is committed, and the device was told STORED.
    pub lsn: Lsn,
    /// The id that every output sends it under.
    pub key: String,
    /// `position`, `alarm`, ...; `class-N` if this version does not know it.
    pub class: String,
    /// `actual`, `exercise`, `test`.
    pub mode: &'static str,
    /// The lane it came by.
    pub lane: &'static str,
    /// Its reason if it is in quarantine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<&'static str>,
    /// What the device's clock said, Unix time in ms, if it was ever set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_time_ms: Option<u64>,
    /// When the gateway received it, Unix time in ms.
    pub received_at_ms: u64,
    /// When it was committed, Unix time in ms; the archive does not keep that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_at_ms: Option<u64>,
    /// It is in the archive: its segment has gone.
    pub is_archived: bool,
    /// The gateway's own readers that have it for good: `live` (page and alarms), `ledger`, `history`.
    pub read_by: Vec<&'static str>,
    /// Each output.
    pub outputs: Vec<Output>,
}

/// What one output has of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Its configured name.
    pub name: String,
    /// What became of it there.
    #[serde(flatten)]
    pub state: OutputState,
    /// When it was sent, if the disclosure log was asked and names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
}

/// From the disclosure log, which has a line before anything is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// The first time, Unix time in ms.
    pub first_at_ms: u64,
    /// The last time.
    pub last_at_ms: u64,
    /// How often.
    pub count: u64,
    /// It may have been more often, and earlier: the log was cut, is damaged, or names it too often.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_at_least: bool,
}

/// What became of an entry at one output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum OutputState {
    /// The force system was sent it and said yes.
    Accepted {
        /// When, Unix time in ms; kept of alarms alone.
        #[serde(skip_serializing_if = "Option::is_none")]
        at_ms: Option<u64>,
    },
    /// It was written to the connection. There nobody says that anything was taken: TAK, NMEA, a machine's feed.
    Sent,
    /// It waits for its turn, or for the force system.
    Owed,
    /// The force system will never take it.
    Refused {
        /// Which kind of refusal, and what it said.
        why: String,
        /// When, RFC 3339.
        at: String,
    },
    /// The release in force does not let it out by this output.
    Withheld {
        /// By which part of the release.
        why: &'static str,
    },
    /// Its turn is over, and it was not sent.
    PassedOver {
        /// Why, as far as that is kept.
        why: String,
    },
    /// It may fetch it, and has not.
    NotFetched,
    /// Whether it was sent cannot be told.
    NotKnown {
        /// Where the answer would be.
        why: &'static str,
    },
    /// It was sent it, and is no output any more.
    Removed,
}

/// Somebody has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// `delivered`, `seen`, or one of those with `-confirmed`: the wearer's device has said that it knows.
    pub what: &'static str,
    /// When, Unix time in ms.
    pub at_ms: u64,
    /// The output, of a `delivered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Which of several records of that identity it is about.
    #[serde(skip)]
    pub(super) repeat: Option<Fingerprint>,
}

impl Receipt {
    /// That `output` has accepted this very record.
    pub(super) fn is_delivery(&self, output: &str, record: &Record) -> bool {
        self.what == "delivered" && self.by.as_deref() == Some(output) && self.repeat == record.repeat()
    }
}
