//! The live lane: the few records that say what is true now, and are not on the air yet.
//!
//! **At most one position is live: the newest.** An older one, an aged event, or one too many becomes backlog; nothing
//! is moved in storage for it.

use crate::storage::Key;

/// Records that may wait in the live lane.
const LIVE_COUNT_MAX: usize = 8;

/// An event older than this is history. The newest position stays live however old it is: it is the newest there is.
const LIVE_AGE_MS_MAX: u64 = 30_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LiveRecord {
    pub(super) key: Key,
    pub(super) is_position: bool,
    pub(super) since_ms: u64,
}

/// In ascending order of key.
#[derive(Debug, Clone, Default)]
pub(super) struct LiveLane {
    records: heapless::Vec<LiveRecord, LIVE_COUNT_MAX>,
}

impl LiveLane {
    pub(super) fn holds(&self, key: Key) -> bool {
        self.records.iter().any(|record| record.key == key)
    }

    /// Adds a record and returns the smallest key that became backlog for it.
    pub(super) fn add(&mut self, record: LiveRecord) -> Option<Key> {
        let older_position = self.records.iter().position(|held| held.is_position && record.is_position);
        let superseded = match older_position {
            // A position comes back from the air after a newer one was taken.
            Some(place) if self.records[place].key > record.key => return Some(record.key),
            Some(place) => Some(self.records.remove(place).key),
            None if self.records.is_full() => Some(self.records.remove(0).key),
            None => None,
        };
        let place = self.records.partition_point(|held| held.key < record.key);
        self.records.insert(place, record).expect("has room: full lanes gave way above");
        superseded
    }

    /// Drops what is live no longer and returns the smallest key that became backlog: aged events, and positions while
    /// the duty gate holds them back.
    pub(super) fn drop_past(&mut self, now_ms: u64, gate_is_open: bool) -> Option<Key> {
        let mut smallest = None;
        self.records.retain(|record| {
            let aged = now_ms.saturating_sub(record.since_ms) > LIVE_AGE_MS_MAX;
            let keep = if record.is_position { gate_is_open } else { !aged };
            if !keep && smallest.is_none() {
                smallest = Some(record.key);
            }
            keep
        });
        smallest
    }

    /// The next record to send, without taking it.
    pub(super) fn first(&self) -> Option<LiveRecord> {
        self.records.first().copied()
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.records.retain(|record| record.key != key);
    }
}
