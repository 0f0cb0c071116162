//! The disclosure log (Data Protection Act 2018, section 62): which records went to which system, when, and what of them.
//!
//! ```text
//! batch --Recipient::disclose--> AccessLog --lines that wait together--> DATA_DIR/disclosures (chain, fsync) --> Sink::deliver
//! ```
//! **No record is handed to a sink before the line that names it is durable.** If the line cannot be written nothing is
//! sent, and the forwarder tries again like after any other failure. A crash in between leaves records that are on the log
//! and were not sent: they are sent after the restart, so in the end both count the same, record by record.
//!
//! A line names every record by its key ([`crate::audit::runs`]). A record that goes to the same recipient once more (the
//! sink failed, the gateway was killed) is in a line of its own kind, `records_disclosed_again`. What is remembered for this is
//! bounded ([`RECENT_MAX`] a recipient, read back from the log at the start); past it a repetition is written like a new
//! disclosure, and whoever counts keys sees that it is none.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;

use super::super::again::{Asked, Wish};
use super::super::event::{Event, EventState};
use super::Release;
use super::recent::{RecentOf, Seen};
use crate::audit::line::{DisclosureNote, LINE_BYTES_MAX, Note};
use crate::audit::{AccessLog, Journal, What, runs};

/// Bytes of keys in one line, so that the whole line stays below its limit.
const KEYS_BYTES_MAX: usize = LINE_BYTES_MAX / 2;

/// The line is not durable, so nothing may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the disclosure log cannot be written, so nothing is sent: check the data directory's disk")]
pub struct NotLogged;

/// The way to the disclosure log. Clones share it.
#[derive(Clone)]
pub struct Disclosures {
    way: Way,
    recent: RecentOf,
}

#[derive(Clone)]
enum Way {
    /// Through the writer, which writes lines that wait together at one go.
    Log(AccessLog),
    /// By the caller's hand, blocking: simulation, rigs, tests.
    Inline(Arc<Mutex<Box<dyn Journal>>>),
}

/// To whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whom {
    /// The output's configured name.
    pub name: String,
    /// What kind of output it is.
    pub kind: &'static str,
    /// Where it is, without passwords.
    pub address: String,
}

/// One recipient's way to the disclosure log. Clones share it.
#[derive(Clone)]
pub struct Recipient {
    disclosures: Disclosures,
    whom: Arc<Whom>,
    /// Of every line: all but keys.
    said: Arc<DisclosureNote>,
}

impl Disclosures {
    /// Starts the log's writer on the current runtime. `recent`: what the log's end says was disclosed already
    /// ([`RecentOf::read`]). Failures to write are counted in `failures`.
    #[must_use]
    pub fn start(journal: impl Journal, recent: RecentOf, failures: Counter) -> Self {
        Self { way: Way::Log(AccessLog::counting(journal, failures)), recent }
    }

    /// Lines are written by whoever discloses, blocking: for the simulation, rigs and tests.
    #[must_use]
    pub fn inline(journal: impl Journal) -> Self {
        Self { way: Way::Inline(Arc::new(Mutex::new(Box::new(journal)))), recent: RecentOf::default() }
    }

    /// The way of one recipient that is released so much.
    #[must_use]
    pub fn recipient(&self, whom: Whom, release: &Release) -> Recipient {
        let said = DisclosureNote {
            to: whom.name.clone(),
            kind: whom.kind.to_owned(),
            address: whom.address.clone(),
            fields: release.fields.iter().map(|field| field.as_str().to_owned()).collect(),
            precision_m: release.precision_m,
            marking: release.marking.as_str().to_owned(),
            ..DisclosureNote::default()
        };
        Recipient { disclosures: self.clone(), whom: Arc::new(whom), said: Arc::new(said) }
    }

    async fn write(&self, notes: Vec<Note>) -> Result<Vec<u64>, NotLogged> {
        match &self.way {
            Way::Log(log) => log.write_all(notes).await.map_err(|_| NotLogged),
            Way::Inline(journal) => {
                let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
                let first = journal.append(&notes).map_err(|_| NotLogged)?;
                Ok((first..).take(notes.len()).collect())
            }
        }
    }
}

impl Recipient {
    /// Returns once it is durable that every owed event of these goes to the recipient now. Cancelled, it may be on the
    /// log all the same.
    ///
    /// # Errors
    /// [`NotLogged`]: nothing may be sent.
    pub async fn disclose(&self, at_ms: u64, events: &[Event]) -> Result<(), NotLogged> {
        let owed = events.iter().filter(|event| event.state == EventState::Owed);
        self.disclose_keys(at_ms, &owed.map(|event| event.key.as_str()).collect::<Vec<_>>()).await
    }

    /// The same for records that a sink sends on its own, by their keys: a standing alarm once more. A key that is there
    /// twice is one disclosure: counted twice, it could stand for a record of its line that is not sent.
    ///
    /// # Errors
    /// [`NotLogged`]: nothing may be sent.
    pub async fn disclose_keys(&self, at_ms: u64, keys: &[&str]) -> Result<(), NotLogged> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        let seen = self.disclosures.recent.look(&self.whom.name, &keys);
        let mut notes = Vec::new();
        self.lines(at_ms, What::RecordsDisclosed, &seen.new, &mut notes);
        let new_count = notes.len();
        self.again(at_ms, &seen, &mut notes);
        let new: Vec<_> = notes[..new_count].iter().filter_map(|note| note.disclosure.clone()).collect();
        let numbers = self.disclosures.write(notes).await?;
        for (n, said) in numbers.into_iter().zip(new) {
            self.disclosures.recent.remember(&self.whom.name, n, said.keys.iter());
        }
        Ok(())
    }

    /// Says durably what a person decided about `count` events that this output refused. No disclosure: what is sent again has
    /// lines of its own.
    ///
    /// # Errors
    /// [`NotLogged`]: nothing may be done.
    pub async fn decided(&self, at_ms: u64, asked: &Asked, count: u64) -> Result<(), NotLogged> {
        let what = match asked.wish {
            Wish::Retry => What::RefusedRetried,
            Wish::Drop => What::RefusedDropped,
        };
        let Asked { by, why, .. } = asked;
        let reason = format!("{count} events that {} refused, by {by}: {why}", self.whom.name);
        let note = Note { reason: Some(reason), ..Note::own(at_ms, what) };
        self.disclosures.write(vec![note]).await.map(drop)
    }

    /// A line that was all sent before is named by its number; of others the keys.
    fn again(&self, at_ms: u64, seen: &Seen<'_>, notes: &mut Vec<Note>) {
        for (n, count) in &seen.whole {
            let said = DisclosureNote { of: Some(*n), count: *count, ..(*self.said).clone() };
            notes.push(note(at_ms, What::RecordsDisclosedAgain, said));
        }
        self.lines(at_ms, What::RecordsDisclosedAgain, &seen.some, notes);
    }

    /// As many lines as it takes.
    fn lines(&self, at_ms: u64, what: What, keys: &[&str], notes: &mut Vec<Note>) {
        let mut said = (*self.said).clone();
        let mut bytes = 0;
        for run in runs::shorten(keys.iter().copied()) {
            if bytes + run.len() > KEYS_BYTES_MAX {
                let full = std::mem::replace(&mut said, (*self.said).clone());
                notes.push(note(at_ms, what, full));
                bytes = 0;
            }
            bytes += run.len() + 3;
            said.count += runs::Run::parse(&run).count();
            said.keys.push(run);
        }
        if !said.keys.is_empty() {
            notes.push(note(at_ms, what, said));
        }
    }
}

impl fmt::Debug for Disclosures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disclosures")
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.whom.fmt(f)
    }
}

fn note(at_ms: u64, what: What, said: DisclosureNote) -> Note {
    Note { disclosure: Some(said), ..Note::own(at_ms, what) }
}
