//! Why a rig cannot go on, sorted by who has to act.

use std::{io, path::Path, time::Duration};

/// A rig's failure. It says what to do, or holds what was seen instead of what was awaited.
#[derive(thiserror::Error)]
pub enum Failure {
    /// A program or file that must be there is not.
    #[error(
        "{tool}: {detail}; `cargo xtask tools` installs what the rig needs, `cargo xtask test board` builds the rest"
    )]
    Tool {
        /// The program or file.
        tool: String,
        /// What happened when it was asked for.
        detail: String,
    },
    /// Something awaited did not come.
    #[error("{awaited} did not come within {waited:?}; seen instead:\n{seen}")]
    Late {
        /// What was awaited.
        awaited: String,
        /// How long.
        waited: Duration,
        /// The end of what came instead.
        seen: String,
    },
    /// A child process ended or said something that it must not.
    #[error("{who}: {what}")]
    Child {
        /// Which child.
        who: &'static str,
        /// What it did.
        what: String,
    },
    /// A file or socket of the rig.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
}

impl std::fmt::Debug for Failure {
    /// As it displays: a test that unwraps shows this, and the log in it has lines.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Failure {
    /// A tool that cannot be started or found.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hand over an error or a fresh text: a reference is noise"
    )]
    pub fn tool(tool: impl Into<String>, detail: impl ToString) -> Self {
        Self::Tool { tool: tool.into(), detail: detail.to_string() }
    }

    /// A child that misbehaved.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hand over an error or a fresh text: a reference is noise"
    )]
    pub fn child(who: &'static str, what: impl ToString) -> Self {
        Self::Child { who, what: what.to_string() }
    }

    /// For `map_err` on work with a file.
    pub fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("cannot {what} {}", path.display());
        move |source| Self::Io { what, source }
    }

    /// For `map_err` on work with a socket or child.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
