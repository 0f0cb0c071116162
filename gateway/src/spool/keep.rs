//! The seam between the spool and the rules of retention: **the spool asks, entry by entry, before it lets bytes go.**
//!
//! It knows neither classes nor people; whoever implements [`Keep`] knows nothing of files.

use super::ExportedEntry;

/// What becomes of an entry whose segment or archive file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is kept, at least until this time (unix ms) or until [`Keep::version`] changes.
    Keep {
        /// `u64::MAX`: nobody knows how long.
        until_ms: u64,
    },
    /// It is erased.
    Erase,
}

/// Rules of retention.
pub trait Keep: std::fmt::Debug + Send + Sync {
    /// After how long a delivered segment is worth a look, ms: the shortest period of any entry.
    fn shortest_ms(&self) -> u64;

    /// Changes whenever an earlier verdict may no longer hold. Asked about once a second.
    ///
    /// # Errors
    /// The rules cannot be read: nothing is erased.
    fn version(&self) -> Result<u64, String>;

    /// Starts a look at one file. `is_pressed`: its space is needed, so only what was promised is kept.
    ///
    /// # Errors
    /// The rules cannot be read now: nothing is erased.
    fn begin(&self, now_ms: u64, is_pressed: bool) -> Result<Box<dyn Pass + '_>, String>;

    /// Why nothing can be erased at present, in words; `None` once it can. Only told when it changes.
    fn tell(&self, trouble: Option<&str>);
}

/// One look at one file. **No rule changes while it lives.**
pub trait Pass {
    /// What becomes of `entry`.
    fn judge(&mut self, entry: ExportedEntry<'_>) -> Verdict;

    /// What is to be kept of `file` is durable; the rest is erased when this has returned. `damaged_count` entries could
    /// not be read and go with it. May be called again for the same file after a crash.
    ///
    /// # Errors
    /// It cannot be put on record: nothing is erased.
    fn erasing(&mut self, file: &str, damaged_count: u64) -> Result<(), String>;
}
