//! What a reader is asked for and what it hands over.

use bytes::Bytes;
use serde::Serialize;

use super::run::{Classes, Part};
use super::{EntryClass, Lsn};
use crate::record::{Record, RecordError};

/// When a batch is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most entries in a batch (0 counts as 1).
    pub count_max: usize,
    /// Most payload bytes in a batch; a single larger entry still comes, alone.
    pub bytes_max: usize,
    /// How long to let a batch grow after its first entry was seen; 0 = hand over what is there.
    pub age_ms_max: u64,
}

/// What a look of [`Reader::look`] is after.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'c> {
    /// Entries of these classes; others are stepped over.
    pub classes: &'c [EntryClass],
    /// And none after this one.
    pub through: Lsn,
    /// Entries stepped over or taken at most: the longest a look takes.
    pub looked_max: usize,
}

/// One committed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub lsn: Lsn,
    /// Its class.
    pub class: EntryClass,
    /// What was appended. Shares one buffer (a window of the file or a part of one commit) with its neighbours: copy it to keep it.
    pub payload: Bytes,
}

/// Why entries are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GapReason {
    /// Retention removed them before this reader came.
    Retention,
    /// Their bytes are damaged or missing on the disk.
    Damaged,
}

/// Entries that will never come: loss is data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// First missing entry.
    pub from: Lsn,
    /// Last missing entry.
    pub to: Lsn,
    /// Why.
    pub reason: GapReason,
}

impl Gap {
    /// Missing entries.
    pub fn count(&self) -> u64 {
        self.to.0 - self.from.0 + 1
    }
}

/// What a reader hands over: a gap or entries or both; the gap comes before the entries.
#[derive(Clone)]
pub struct Batch {
    /// Entries missing right before `entries`.
    pub gap: Option<Gap>,
    /// The last LSN this batch accounts for: where a cursor goes once the batch is delivered.
    pub end: Lsn,
    pub(super) parts: Vec<Part>,
    pub(super) count: usize,
}

impl Batch {
    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// It may have none: see [`super::Reader::look`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// In order, without holes but for what was not wanted. For those who want bytes.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.parts.iter().flat_map(Part::entries)
    }

    /// The same as records; what is none is an error with its number. **Those at the tail are decoded once for all readers.**
    pub fn records(&self) -> impl Iterator<Item = &Result<Record, RecordError>> + '_ {
        self.parts.iter().flat_map(Part::records)
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { gap, end, count, .. } = self;
        write!(f, "Batch({count} entries to {end}, {gap:?})")
    }
}

/// Which entries a batch is to have, besides its limits.
#[derive(Clone, Copy)]
pub(super) struct Filter {
    pub(super) classes: Classes,
    pub(super) through: u64,
    pub(super) looked_max: usize,
}

impl Filter {
    pub(super) const EVERYTHING: Self =
        Self { classes: Classes::ALL, through: u64::MAX, looked_max: usize::MAX };
}

impl From<Wanted<'_>> for Filter {
    fn from(wanted: Wanted<'_>) -> Self {
        let Wanted { classes, through, looked_max } = wanted;
        Self { classes: classes.into(), through: through.0, looked_max: looked_max.max(1) }
    }
}

/// A batch in the making.
pub(super) struct Portion {
    pub(super) filter: Filter,
    pub(super) parts: Vec<Part>,
    pub(super) count: usize,
    limits: BatchLimits,
    bytes: usize,
    /// Entries stepped over or taken.
    looked: usize,
}

/// What becomes of the next entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// It is not wanted.
    SteppedOver,
    /// The batch is full, or goes no further: it is for the next one.
    NotNow,
}

impl Portion {
    pub(super) fn new(limits: BatchLimits, filter: Filter) -> Self {
        Self { filter, parts: Vec::new(), count: 0, limits, bytes: 0, looked: 0 }
    }

    /// Counts the next entry, if it still belongs to this batch.
    pub(super) fn take(&mut self, lsn: u64, class: EntryClass, payload_bytes: usize) -> Taken {
        let Filter { classes, through, looked_max } = self.filter;
        let is_wanted = classes.has(class);
        if lsn > through || self.looked >= looked_max || (is_wanted && self.is_full(payload_bytes)) {
            return Taken::NotNow;
        }
        self.looked += 1;
        if !is_wanted {
            return Taken::SteppedOver;
        }
        self.count += 1;
        self.bytes += payload_bytes;
        Taken::Yes
    }

    fn is_full(&self, payload_bytes: usize) -> bool {
        self.count >= self.limits.count_max.max(1)
            || (self.count > 0 && self.bytes + payload_bytes > self.limits.bytes_max)
    }

    /// What was taken, up to before `next`.
    pub(super) fn finish(self, gap: Option<Gap>, next: u64) -> Batch {
        Batch { gap, end: Lsn(next - 1), parts: self.parts, count: self.count }
    }
}
