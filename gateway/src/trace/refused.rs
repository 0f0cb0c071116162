//! Finding an entry among what an output refused.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::OutputState;
use crate::spool::Lsn;

/// A line of the refusals, without the event.
#[derive(Deserialize)]
pub(super) struct Refusal {
    refused_at: String,
    reason: String,
    detail: String,
    lsn: u64,
    /// By whom and why.
    dropped: Option<String>,
}

impl Refusal {
    pub(super) fn into_state(self) -> OutputState {
        let dropped = self.dropped.map(|said| format!("; dropped {said}"));
        let why = format!("{}: {}{}", self.reason, self.detail, dropped.unwrap_or_default());
        OutputState::Refused { why, at: self.refused_at }
    }
}

/// The first line about the entry.
pub(super) fn refusal(path: &Path, lsn: Lsn) -> io::Result<Option<Refusal>> {
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
