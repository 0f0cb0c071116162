//! What the PostgreSQL sink and the PostgreSQL history share: a server's address, a connection, a schema, days.
//!
//! **A commit counts only once the server has answered it, and a schema that is not ours is never touched.** Positions go
//! in clear text to this machine only; passwords come from files and are in no message and no log.
//!
//! ```text
//! Server --Link::open--> schema::ensure (foreign, newer: refused; older: migrated) --> days --> COPY, INSERT, COMMIT
//! ```
//!
//! Bounds: [`CONNECT_MS_MAX`] for a connection, [`STATEMENT_MS_MAX`] for a statement; both are the server's too, so that a
//! session of ours that nobody ends holds no lock for longer.

#[cfg(test)]
pub(crate) mod cluster;
pub(crate) mod days;
mod fault;
pub(crate) mod link;
pub(crate) mod schema;
mod tls;

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod tls_claims;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

pub use fault::Fault;

/// How long one attempt to connect may take, greeting and TLS included.
pub const CONNECT_MS_MAX: u64 = 5_000;
/// The longest statement: a batch on a busy server takes far less.
pub const STATEMENT_MS_MAX: u64 = 60_000;

/// Latest time that is written, Unix ms: the end of the year 9999. Later ones are written as this.
const LATEST_MS: u64 = 253_402_300_799_999;

/// Where, as whom, and in which schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `postgresql://user@host:port/database`, without a password.
    pub url: String,
    /// The schema, which is ours alone.
    pub schema: String,
    /// File whose first line is the password; read for every connection, so that it can be replaced.
    pub password_file: Option<PathBuf>,
    /// PEM of who issued the server's certificate; without it the server is on this machine and TLS is not asked for.
    pub authority: Option<PathBuf>,
    /// PEM files of our client certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// The server's clock never comes into it: every time is one of ours, as Unix ms.
pub(crate) fn time_of(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms.min(LATEST_MS))
}

/// Unix ms of a time that was written by [`time_of`].
pub(crate) fn ms_of(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(LATEST_MS)
}

/// A name as SQL wants it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
