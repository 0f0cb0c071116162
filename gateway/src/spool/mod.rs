//! The spool: durable append-only store, read by cursors.

/// A place in the spool: dense, the first entry is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lsn(pub u64);
