//! What happened, as one number: two runs of a seed are the same if their hashes are.

use std::fmt::Arguments;

/// Everything that happened so far, hashed (FNV-1a, 64 bit), and printed if somebody wants to read it.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    prints: bool,
}

impl Trace {
    /// Nothing has happened. `prints`: every event on standard output.
    #[must_use]
    pub fn new(prints: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, prints }
    }

    /// Something happened; `bytes` says what in full, `words` for people.
    pub(super) fn note(&mut self, now_ms: u64, what: u8, bytes: &[u8], words: Arguments<'_>) {
        self.events += 1;
        for byte in now_ms.to_le_bytes().iter().chain([&what]).chain(bytes) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.prints {
            crate::console::result(&format!("{:>10.3} {words}", now_ms as f64 / 1000.0));
        }
    }

    /// The hash.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events it holds.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }
}
