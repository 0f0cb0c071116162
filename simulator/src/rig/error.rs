//! The rig itself failed: it proves nothing, neither way.

use std::{
    io,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use crate::{bench::PeerError, raw::EnrolError};

/// Why a rig could not work.
#[derive(Debug, thiserror::Error)]
pub enum RigError {
    /// A file, a process or the network.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Anything else that was tried.
    #[error("cannot {what}: {why}")]
    Cannot {
        /// What was tried.
        what: String,
        /// Why not.
        why: String,
    },
    /// A tool is missing or refused.
    #[error(
        "`{command}` failed: {said} (rigs need root and the Debian packages of docs/TESTING.md; \
             `cargo xtask tools` installs them)"
    )]
    Tool {
        /// The command line.
        command: String,
        /// What it said.
        said: String,
    },
    /// Devices could not be enrolled.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// A server did not start.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The gateway ended instead of starting.
    #[error("the gateway ended with {status} instead of starting: {said}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// The last lines of its log.
        said: String,
    },
    /// The part of a rig that runs in a namespace of its own.
    #[error("the rig inside the network namespace ended with {0}")]
    Inside(ExitStatus),
    /// The gateway did not say that it is ready.
    #[error("the gateway was not ready within {0:?}")]
    NotReady(Duration),
    /// What must happen under load did not.
    #[error("under load nothing moved for {0:?}: the gateway hangs")]
    Hang(Duration),
}

impl RigError {
    pub(super) fn io(what: &str) -> impl FnOnce(io::Error) -> Self {
        let what = what.to_owned();
        move |source| Self::Io { what, source }
    }

    pub(super) fn cannot<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Self {
        let what = what.to_owned();
        move |why| Self::Cannot { what, why: why.to_string() }
    }
}

/// Runs a tool to its end and returns what it printed.
pub(super) fn tool(words: &[&str]) -> Result<String, RigError> {
    let failed = |said: String| RigError::Tool { command: words.join(" "), said };
    let output = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{}, {}", output.status, said.trim())))
}

/// Sends a signal by its name.
pub(super) fn signal(process: u32, name: &str) -> Result<(), RigError> {
    tool(&["kill", &format!("-{name}"), &process.to_string()]).map(drop)
}
