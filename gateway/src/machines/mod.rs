//! Machines that fetch events themselves: who they are, what they are released, and what they prove it with.
//!
//! **A machine has a token of 256 random bits and a release of its own; there is no default.** The token is shown once, when it is
//! made; kept is its SHA-256, which is of no use to whoever reads it. A token opens [`crate::forward::feed`] and nothing else: it is
//! no session. It ends on a date, or when somebody revokes it.
//!
//! `fieldpost machine` and the running gateway share `machines.json`, mode 0600, with the promises of [`crate::table_file`]:
//! whole or not at all, seen by the other within a second. A file that cannot be read lets nobody in.
//!
//! Bounds: [`MACHINES_MAX`] machines, revoked ones too; a name is never used twice, so the disclosure log stays true.

mod file;
mod release;
#[cfg(test)]
mod tests;
mod token;
mod view;

use std::path::PathBuf;

use crate::forward::release::{Kind, Release};

pub use self::file::{MACHINES_FILE, Machines};
pub use self::release::ReleaseError;
pub use self::token::{Token, bearer};
pub use self::view::MachineView;

/// Most machines: every system of the largest force that asks for positions, and a few years of their predecessors.
pub const MACHINES_MAX: usize = 256;
/// Longest name.
pub const NAME_BYTES_MAX: usize = 32;
/// Longest life of a token.
pub const DAYS_MAX: u32 = 1_096;

/// A machine, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// What the disclosure log and the metrics call it, behind `machine.`.
    pub name: String,
    /// What it is released.
    pub release: Release,
    /// SHA-256 of its token.
    digest: [u8; 32],
    /// Until when its token holds, Unix ms.
    pub until_ms: u64,
    /// Who made it or changed its token last, and when.
    pub changed: Change,
    /// Who revoked it, and when.
    pub revoked: Option<Change>,
}

/// Who did something, and when.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// `cli:UID`.
    pub by: String,
    /// Unix ms.
    pub at_ms: u64,
}

/// A new machine.
#[derive(Debug, Clone)]
pub struct NewMachine {
    /// Its name: 1 to 32 characters of `a-z 0-9 _ -`.
    pub name: String,
    /// What it is released.
    pub release: Release,
    /// How long its token holds.
    pub days: u32,
}

/// Why nothing was changed, or nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum MachinesError {
    /// The operating system said no.
    #[error("cannot use the machines {path}: {source}")]
    Files {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The file is not what was written.
    #[error(
        "the machines {path} are damaged ({detail}): restore the file from a backup, or move it away and make them anew"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The name is none.
    #[error(
        "a machine's name is 1 to {NAME_BYTES_MAX} characters of a-z 0-9 _ -: the disclosure log knows it by that"
    )]
    Name,
    /// There is or was one of that name.
    #[error(
        "there is, or was, a machine {0}: names are never used twice; `fieldpost machine renew` gives it a new token"
    )]
    Exists(String),
    /// There is none of that name.
    #[error("there is no machine {0}, or it was revoked")]
    Unknown(String),
    /// Too many.
    #[error("there are {MACHINES_MAX} machines, revoked ones too: no more are kept")]
    Full,
    /// A class could never go.
    #[error("nothing of {} could ever go: {why}", kind.as_str())]
    InVain {
        /// The class.
        kind: Kind,
        /// What is missing.
        why: String,
    },
    /// No random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandom,
}

impl Machine {
    /// Whether its token lets it in at `now_ms`.
    #[must_use]
    pub fn holds(&self, now_ms: u64) -> bool {
        self.revoked.is_none() && now_ms < self.until_ms
    }

    /// What its output is called in metrics and in the disclosure log. No configured output has a dot in its name.
    #[must_use]
    pub fn output(&self) -> String {
        format!("machine.{}", self.name)
    }
}

fn is_name(name: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed)
}
