//! What an operator may choose about the spool, checked as a whole before anything is opened.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::format::{
    BATCH_BYTES_MAX, BATCH_HEADER_BYTES, PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES,
};
use super::{Keep, SpoolError};
use crate::config::SpoolPolicy;

/// How a test breaks a promise on purpose, to show that the rig for that promise turns red.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sabotage {
    #[default]
    None,
    /// Committed is published before fdatasync returned.
    PublishBeforeSync,
    /// A failed fsync is tried again.
    RetryFailedSync,
    /// Every segment gets the same epoch and checksums do not depend on it.
    ForgetEpoch,
    /// A reader takes the first damage for the end of the segment and steps over the rest without a word.
    StopAtDamage,
    /// What is found at the tail counts as committed without being synced.
    TrustPageCache,
    /// Retention does not look at the cursors.
    DeleteUndelivered,
    /// A segment goes before what is kept of it is durable in the archive.
    EraseBeforeArchive,
}

/// Wall clock in unix milliseconds, given by the caller so that a test can turn it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// A clock that asks `now_ms` for unix milliseconds.
    pub fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    /// The system's wall clock.
    pub fn system() -> Self {
        Self::new(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
            since_epoch.map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
        })
    }

    /// Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Bounds of a spool. `Default` fits a force of 10,000 devices for some hours.
#[derive(Debug, Clone)]
pub struct SpoolSettings {
    /// Length of one segment file. Deletion works by whole segments.
    pub segment_bytes: u64,
    /// Hard bound on the bytes of all segment files, spares included.
    pub bytes_max: u64,
    /// Part of `bytes_max` kept back, as preallocated files, for [`super::EntryClass::Alarm`] and `Internal`.
    pub reserve_bytes: u64,
    /// How long a segment that every cursor has passed is kept for readers; 0 = not at all. Space goes first:
    /// under `bytes_max` pressure such a segment goes at once.
    pub retain_ms: u64,
    /// A segment that has records and is so old, ms, is left for a new one although it is not full, so that what is in it can
    /// go in time. Not if that took from the reserve, and only with the next record.
    pub seal_after_ms: Option<u64>,
    /// Bound of the pending batch: appends wait above it (alarms may fill the last quarter).
    pub pending_bytes_max: usize,
    /// The newest entries that stay in memory for readers, decoded: bytes, everything counted.
    pub tail_bytes_max: usize,
    /// Overwrite the records of a recycled segment with zeros, so that what retention dropped is gone from the disk.
    /// Costs a second write of every byte, outside the commit path.
    pub erase_recycled: bool,
    /// Wall clock.
    pub clock: Clock,
    /// Who says what is kept of a segment that goes. Without, nothing is.
    pub keep: Option<Arc<dyn Keep>>,
    /// Hard bound on the bytes of the archive, beside `bytes_max`.
    pub archive_bytes_max: u64,
    /// An archive file is looked at no more often than this, ms, unless the rules change.
    pub archive_look_ms: u64,
    #[cfg(test)]
    pub(super) sabotage: Sabotage,
}

impl Default for SpoolSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            bytes_max: 4 << 30,
            // Two segments: at 64 B each about 400,000 alarms.
            reserve_bytes: 32 << 20,
            retain_ms: 24 * 60 * 60 * 1000,
            seal_after_ms: None,
            // About 8,000 records of 100 B: some milliseconds of the busiest load measured.
            pending_bytes_max: 1 << 20,
            // About 30,000 records of 100 B: three seconds of 10,000 a second, and more than any reader lets a batch grow.
            tail_bytes_max: 10 << 20,
            erase_recycled: true,
            clock: Clock::system(),
            keep: None,
            archive_bytes_max: 1 << 30,
            archive_look_ms: 60 * 60 * 1000,
            #[cfg(test)]
            sabotage: Sabotage::None,
        }
    }
}

impl From<&SpoolPolicy> for SpoolSettings {
    fn from(policy: &SpoolPolicy) -> Self {
        Self {
            segment_bytes: policy.segment_bytes,
            bytes_max: policy.bytes_max,
            reserve_bytes: policy.reserve_bytes,
            retain_ms: u64::from(policy.retain_hours) * 3_600_000,
            ..Self::default()
        }
    }
}

impl SpoolSettings {
    /// Checks the settings against each other.
    ///
    /// # Errors
    /// [`SpoolError::Settings`] names the first rule that is broken.
    pub fn check(&self) -> Result<(), SpoolError> {
        let rules = [
            (
                self.pending_bytes_max >= 1024 && self.pending_bytes_max <= BATCH_BYTES_MAX,
                "pending_bytes_max must lie between 1 KiB and 4 MiB",
            ),
            (
                self.segment_bytes <= 1 << 30,
                "segment_bytes must be at most 1 GiB: start-up scans one segment",
            ),
            (
                self.segment_bytes >= (SEGMENT_HEADER_BYTES + self.pending_bytes_max) as u64,
                "segment_bytes must hold a whole pending batch: at least pending_bytes_max + 4 KiB",
            ),
            (
                self.bytes_max / self.segment_bytes.max(1) >= self.reserve_segments() as u64 + 3,
                "bytes_max must hold reserve_bytes and three segments more: raise it, or lower segment_bytes or reserve_bytes",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, problem)) => Err(SpoolError::Settings { problem }),
            None => Ok(()),
        }
    }

    /// Whole segments that make up the reserve.
    pub(super) fn reserve_segments(&self) -> usize {
        usize::try_from(self.reserve_bytes.div_ceil(self.segment_bytes.max(1))).unwrap_or(usize::MAX / 2)
    }

    /// Largest payload that fits a pending batch of these settings.
    pub(super) fn payload_bytes_max(&self) -> usize {
        PAYLOAD_BYTES_MAX.min(self.pending_bytes_max - BATCH_HEADER_BYTES - RECORD_HEADER_BYTES)
    }

    /// True, except where a test shows why it must be.
    pub(super) fn rewrites_tail(&self) -> bool {
        #[cfg(test)]
        if self.sabotaged(Sabotage::TrustPageCache) {
            return false;
        }
        true
    }

    #[cfg(test)]
    pub(super) fn sabotaged(&self, sabotage: Sabotage) -> bool {
        self.sabotage == sabotage
    }
}
