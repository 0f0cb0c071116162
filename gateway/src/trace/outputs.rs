//! What each output has of an entry, from its release, its refusals and its cursor.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::find::Entry;
use super::{Disclosures, Output, OutputState, Sent, TraceError};
use crate::audit::{Series, answer::Span, disclosed};
use crate::config::Forward;
use crate::forward::refusals::{again_of, older_of, refusals_of};
use crate::forward::{ClockBounds, Renderer};
use crate::spool::{EntryClass, LanePlaces, Lsn};

/// The gateway's own readers, by the names of their cursors.
const READERS: [(&str, &str); 3] = [
    (crate::live::CURSOR_NAME, "live"),
    (crate::ledger::task::CURSOR_NAME, "ledger"),
    (crate::history::task::CURSOR_NAME, "history"),
];

/// What the disk knows of the outputs.
pub(super) struct Kept<'a> {
    pub(super) data_dir: &'a Path,
    pub(super) forwards: &'a [Forward],
    pub(super) disclosures: Disclosures,
    pub(super) places: LanePlaces,
}

impl Kept<'_> {
    /// Which of the gateway's own readers have an entry durably.
    pub(super) fn readers(&self, class: EntryClass, lsn: Lsn) -> Vec<&'static str> {
        let has = |cursor: &str| self.places.get(cursor).is_some_and(|places| places.is_done(class, lsn));
        READERS.iter().filter(|(cursor, _)| has(cursor)).map(|(_, reader)| *reader).collect()
    }

    /// Each output, in the order of the configuration.
    pub(super) fn outputs(&self, entry: &Entry) -> Result<Vec<Output>, TraceError> {
        let sent = match self.disclosures {
            Disclosures::Asked => sent(self.data_dir, entry.record.key()).map_err(TraceError::Disclosures)?,
            Disclosures::LeftAlone => BTreeMap::new(),
        };
        let states = self.forwards.iter().map(|forward| {
            let name = forward.name.clone();
            match self.state(forward, entry) {
                Ok(state) => Ok(Output { sent: sent.get(&name).copied(), name, state }),
                Err(source) => Err(TraceError::Refusals { output: name, source }),
            }
        });
        states.collect()
    }

    fn state(&self, forward: &Forward, entry: &Entry) -> io::Result<OutputState> {
        // The same renderer as the forwarder's: what it withholds is withheld there.
        let mut renderer = Renderer::new(ClockBounds::default(), forward.release.clone());
        if let Err(withheld) = renderer.event(&entry.record) {
            return Ok(OutputState::Withheld { why: withheld.as_str() });
        }
        let path = refusals_of(self.data_dir, &forward.name);
        if refusal(&again_of(&path), entry.record.lsn)?.is_some() {
            return Ok(OutputState::Owed);
        }
        for path in [older_of(&path), path] {
            if let Some(refusal) = refusal(&path, entry.record.lsn)? {
                let dropped = refusal.dropped.map(|said| format!("; dropped {said}"));
                let why = format!("{}: {}{}", refusal.reason, refusal.detail, dropped.unwrap_or_default());
                return Ok(OutputState::Refused { why, at: refusal.refused_at });
            }
        }
        // An output that never ran has no cursor yet.
        let places = self.places.get(&forward.name);
        let is_done = places.is_some_and(|places| places.is_done(entry.class, entry.record.lsn));
        Ok(if is_done { OutputState::Accepted } else { OutputState::Owed })
    }
}

/// When each output was sent the record.
fn sent(data_dir: &Path, key: String) -> io::Result<BTreeMap<String, Sent>> {
    let dir = data_dir.join(Series::Disclosures.name());
    let mut sent: BTreeMap<String, Sent> = BTreeMap::new();
    if !dir.is_dir() {
        return Ok(sent);
    }
    let span = Span { from_ms: 0, until_ms: u64::MAX };
    let question = disclosed::Question { to: None, unit: None, key: Some(key), span };
    for line in disclosed::disclosed(&dir, &question)?.disclosures {
        let at_ms = line.at_ms;
        let first = Sent { first_at_ms: at_ms, last_at_ms: at_ms, count: 0 };
        let sent = sent.entry(line.what.to).or_insert(first);
        sent.last_at_ms = at_ms;
        sent.count += 1;
    }
    Ok(sent)
}

/// A line of the refusals, without the event.
#[derive(Deserialize)]
struct Refusal {
    refused_at: String,
    reason: String,
    detail: String,
    lsn: u64,
    /// By whom and why.
    dropped: Option<String>,
}

fn refusal(path: &Path, lsn: Lsn) -> io::Result<Option<Refusal>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let wanted = format!("\"lsn\":{},", lsn.0);
    for line in BufReader::new(file).lines() {
        let line = line?;
        if line.contains(&wanted)
            && let Ok(refusal) = serde_json::from_str::<Refusal>(&line)
            && refusal.lsn == lsn.0
        {
            return Ok(Some(refusal));
        }
    }
    Ok(None)
}
