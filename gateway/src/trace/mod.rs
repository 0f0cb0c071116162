//! "Where is my message": every hop of one sequence of a device, and when.
//!
//! **Read from what is on the disk, whether or not the gateway runs, and without a position**: what a trace says of a record is
//! what the loss ledger may say of it. No operator is named; the alarm's timeline does that.
//!
//! ```text
//! spool, archive --entries--> received, STORED (lsn)      refused/NAME.ndjson --> refused, and why
//! ledger ---------------> what became of the sequence     cursors ------------> owed | accepted, output by output
//! disclosure log -------> sent, first and last time
//! spool --own records---> DELIVERED, SEEN, confirmed      [forward.KIND.release] -> withheld, and why
//! ```
//!
//! It reads the spool from end to end, as `fieldpost ledger` does without a snapshot: about a second for each gigabyte that is in
//! the page cache. Bounds: [`ENTRIES_MAX`] entries and [`RECEIPTS_MAX`] receipts of a sequence.

mod find;
mod outputs;
mod words;

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use fieldpost_protocol::{BootId, Seq};
use serde::Serialize;

use crate::config::{Config, Forward};
use crate::ledger::{Account, Boot, Fate, Ledger};
use crate::live::unit::UnitId;
use crate::service::storage::SPOOL_DIR;
use crate::spool::{self, Lsn, SpoolError};

/// A sequence is stored once; repeated identities and quarantine come on top.
pub const ENTRIES_MAX: usize = 32;
/// An alarm has a receipt of each output, two of its wearer, and one that somebody saw it.
pub const RECEIPTS_MAX: usize = 64;

/// Which message, and what the loss ledger says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    unit: UnitId,
    boot: BootId,
    seq: Seq,
    state: Option<Fate>,
}

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
}

/// Whether the disclosure log may be asked: it is for what Data Protection Act 2018 s.62(4) names alone, and reading it over
/// HTTP takes a role of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disclosures {
    /// Say when each output was sent it.
    Asked,
    /// Leave them alone.
    LeftAlone,
}

/// What became of an entry at one output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum OutputState {
    /// The force system has it.
    Accepted,
    /// It waits for its turn, or for the force system.
    Owed,
    /// The force system will never take it.
    Refused {
        /// Which kind of refusal, and what it said.
        why: String,
        /// When, RFC 3339.
        at: String,
    },
    /// It does not leave the gateway by this output.
    Withheld {
        /// By which part of the release.
        why: &'static str,
    },
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
}

/// It cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// What an output refused.
    #[error("cannot read what {output} refused: {source}")]
    Refusals {
        /// Its name.
        output: String,
        /// What the file system said.
        source: io::Error,
    },
    /// When it was sent.
    #[error("cannot read the disclosure log: {0}")]
    Disclosures(io::Error),
}

/// The outputs that are configured now, for whoever traces while the gateway runs.
#[derive(Debug, Clone, Default)]
pub struct Outputs(Arc<RwLock<Arc<[Forward]>>>);

impl Outputs {
    /// From now on these.
    pub fn set(&self, config: &Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config.forwards.as_slice().into();
    }

    /// Those of this moment.
    #[must_use]
    pub fn now(&self) -> Arc<[Forward]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Question {
    /// One for `boot`, or for every boot of the device that has got as far as `seq`, oldest first.
    #[must_use]
    pub fn all(ledger: &Ledger, unit: &UnitId, boot: Option<BootId>, seq: Seq) -> Vec<Self> {
        let boots = ledger.account(unit).map(Account::boots).unwrap_or_default();
        let ask = |boot, state| Self { unit: unit.clone(), boot, seq, state };
        match boot {
            Some(asked) => {
                let known = boots.iter().find(|boot| boot.id() == asked.0);
                vec![ask(asked, known.and_then(|boot| state(boot, seq)))]
            }
            None => boots
                .iter()
                .filter(|boot| boot.newest().is_some_and(|newest| newest >= seq.0))
                .map(|boot| ask(BootId(boot.id()), state(boot, seq)))
                .collect(),
        }
    }
}

/// What became of a sequence; `None` also if it is known in number only.
fn state(boot: &Boot, seq: Seq) -> Option<Fate> {
    let ranges = boot.ranges();
    ranges.iter().find(|span| (span.first..=span.last).contains(&seq.0)).map(|span| span.fate)
}

/// Follows each of `questions` through a data directory, and to each of `forwards`. Blocking.
///
/// # Errors
/// [`TraceError`]. Damage in the spool is none: what is lost is not found.
pub fn trace(
    data_dir: &Path,
    forwards: &[Forward],
    questions: &[Question],
    disclosures: Disclosures,
) -> Result<Vec<Trace>, TraceError> {
    let dir = data_dir.join(SPOOL_DIR);
    let found = find::all(&dir, questions)?;
    let disk = outputs::Kept { data_dir, forwards, disclosures, places: spool::lanes(&dir)? };
    questions
        .iter()
        .zip(found)
        .map(|(question, found)| {
            let entries = found.entries.iter().map(|entry| entry.shown(&disk));
            Ok(Trace {
                unit: question.unit.to_string(),
                boot: question.boot.0,
                seq: question.seq.0,
                state: question.state,
                entries: entries.collect::<Result<_, TraceError>>()?,
                receipts: found.receipts,
            })
        })
        .collect()
}
