//! A machine, as people are told of it: everything but its token's digest.

use serde::Serialize;

use super::release::Words;
use super::{Change, Machine};

/// What is told.
#[derive(Debug, Clone, Serialize)]
pub struct MachineView {
    name: String,
    release: Words,
    /// Unix ms.
    until_ms: u64,
    changed: Change,
    revoked: Option<Change>,
}

impl Machine {
    /// What is told of it.
    #[must_use]
    pub fn view(&self) -> MachineView {
        MachineView {
            name: self.name.clone(),
            release: Words::from(&self.release),
            until_ms: self.until_ms,
            changed: self.changed.clone(),
            revoked: self.revoked.clone(),
        }
    }
}

impl MachineView {
    /// In one line, as of `now_ms`.
    #[must_use]
    pub fn line(&self, now_ms: u64) -> String {
        let standing = match &self.revoked {
            Some(revoked) => format!("revoked {} by {}", time(revoked.at_ms), revoked.by),
            None if now_ms >= self.until_ms => format!("ended {}", time(self.until_ms)),
            None => format!("until {}", time(self.until_ms)),
        };
        format!("{}\t{standing}\t{}", self.name, self.release)
    }
}

fn time(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok());
    at.map_or_else(|| at_ms.to_string(), |at| at.to_string())
}
