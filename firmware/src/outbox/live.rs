//! The live lane: the few records that say what is true now, and are not on the air yet.
//!
//! **At most one position is live: the newest.** An older one, an aged event, or one too many becomes backlog; nothing
//! is moved in storage for it. The backlog is looked at only while this lane is empty, so no record is in both.

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
    /// Adds a record; what it supersedes is backlog from now on.
    pub(super) fn add(&mut self, record: LiveRecord) {
        let older_position = self.records.iter().position(|held| held.is_position && record.is_position);
        match older_position {
            // A position comes back from the air after a newer one was taken.
            Some(place) if self.records[place].key > record.key => return,
            Some(place) => {
                self.records.remove(place);
            }
            None if self.records.is_full() => {
                self.records.remove(0);
            }
            None => {}
        }
        let place = self.records.partition_point(|held| held.key < record.key);
        self.records.insert(place, record).expect("has room: full lanes gave way above");
    }

    /// Drops what is live no longer: aged events, and positions while the duty gate holds them back.
    pub(super) fn drop_past(&mut self, now_ms: u64, gate_is_open: bool) {
        self.records.retain(|record| {
            let aged = now_ms.saturating_sub(record.since_ms) > LIVE_AGE_MS_MAX;
            if record.is_position { gate_is_open } else { !aged }
        });
    }

    /// Takes the next record to send.
    pub(super) fn take_first(&mut self) -> Option<LiveRecord> {
        if self.records.is_empty() { None } else { Some(self.records.remove(0)) }
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.records.retain(|record| record.key != key);
    }
}
