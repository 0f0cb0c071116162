//! "Where is my message": every hop of one sequence of a device, and when.
//!
//! **Read from what is on the disk, whether or not the gateway runs, and without a position**: what a trace says of a record is
//! what the loss ledger may say of it. No operator is named; the alarm's timeline does that.
//!
//! ```text
//! spool, archive --entries--> received, STORED (lsn)      refused/NAME.ndjson --> refused, and why
//! ledger ---------------> what became of the sequence     cursors ------------> owed, or its turn is over
//! disclosure log -------> sent, first and last time;      [forward.KIND.release] -> withheld, and why
//!                         what is not on it was passed over
//! spool --own records---> DELIVERED, SEEN, confirmed      machines.json --------> who fetches for themselves
//! ```
//!
//! **Every hop has its time, or says that the time is not kept**: when a sink said yes is kept of alarms alone, in their DELIVERED.
//!
//! It reads the spool from end to end, as `fieldpost ledger` does without a snapshot: about a second for each gigabyte that is in
//! the page cache. Bounds: [`ENTRIES_MAX`] entries and [`RECEIPTS_MAX`] receipts of a sequence.

mod find;
mod hop;
mod log;
mod outputs;
mod refused;
mod words;

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use fieldpost_protocol::{BootId, Seq};

pub use self::hop::{Output, OutputState, Receipt, Sent, Stored, Trace};
use crate::config::{Config, Forward};
use crate::ledger::{Account, Boot, Fate, Ledger};
use crate::live::unit::UnitId;
use crate::machines::{Machines, MachinesError};
use crate::service::storage::SPOOL_DIR;
use crate::spool::{self, SpoolError};

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

/// Whether the disclosure log may be asked: it is for what Data Protection Act 2018 s.62(4) names alone, and reading it over
/// HTTP takes a role of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disclosures {
    /// Say when each output was sent it.
    Asked,
    /// Leave them alone.
    LeftAlone,
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
    /// Who fetches events.
    #[error(transparent)]
    Machines(#[from] MachinesError),
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

/// Follows each of `questions` through a data directory, and to each of `forwards` and each machine that may fetch at `now_ms`. Blocking.
///
/// # Errors
/// [`TraceError`]. Damage in the spool is none: what is lost is not found.
pub fn trace(
    data_dir: &Path,
    forwards: &[Forward],
    questions: &[Question],
    disclosures: Disclosures,
    now_ms: u64,
) -> Result<Vec<Trace>, TraceError> {
    let dir = data_dir.join(SPOOL_DIR);
    let found = find::all(&dir, questions)?;
    let machines = Machines::new(data_dir).all()?;
    let places = spool::lanes(&dir)?;
    let disk = outputs::Kept { data_dir, forwards, machines: &machines, disclosures, places, now_ms };
    questions
        .iter()
        .zip(found)
        .map(|(question, found)| {
            let entries = found.entries.iter().map(|entry| entry.shown(&disk, &found.receipts));
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
