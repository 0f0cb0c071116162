//! The tail: the newest committed runs, still in memory.
//!
//! **A reader that keeps up reads no file**: it is handed what the writer had in its hands. One that has fallen further
//! behind than `tail_bytes_max` reads the segments, and comes back here by itself. Nobody holds anything in it: the oldest
//! run makes room for the newest.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::format::sealed_records;
use super::reading::Spot;
use super::run::{Run, Slot};

/// Entries of one batch in one buffer, about: with what goes with it, each allocation stays below the 128 KiB from where on the
/// C library maps memory anew each time.
#[cfg(not(test))]
const RUN_BYTES: usize = 48 << 10;
/// Small, so that the batches of tests are several runs.
#[cfg(test)]
const RUN_BYTES: usize = 512;

/// See the module. Runs are dense: each begins with the number after the one before it.
#[derive(Default)]
pub(super) struct Tail {
    runs: VecDeque<Kept>,
    bytes: usize,
}

/// A run and where it lies on the disk.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) run: Arc<Run>,
    /// First LSN of the segment.
    base: u64,
    /// Of the run's buffer in the segment.
    offset: u64,
}

impl Kept {
    /// Behind the entry before `at`, which is 1 at least.
    pub(super) fn spot_before(&self, at: usize) -> Spot {
        let before = &self.run.slots()[at - 1];
        Spot { base: self.base, offset: self.offset + before.payload().end as u64, lsn: before.lsn + 1 }
    }

    fn first(&self) -> u64 {
        self.run.slots().first().map_or(u64::MAX, |slot| slot.lsn)
    }
}

/// The runs of a sealed batch that lies at `offset` of the segment that starts with `base`.
pub(super) fn runs_of(batch: &[u8], base: u64, offset: u64) -> Vec<Kept> {
    let mut runs = Vec::new();
    let (mut began, mut ended) = (0, 0);
    let mut slots = Vec::new();
    let mut close = |began: usize, ended: usize, slots: Vec<Slot>| {
        let run = Arc::new(Run::new(Bytes::copy_from_slice(&batch[began..ended]), slots));
        runs.push(Kept { run, base, offset: offset + began as u64 });
    };
    for (lsn, class, payload) in sealed_records(batch) {
        if slots.is_empty() {
            // As many as there will be if they are all like the first: made once, not grown.
            let entry_bytes = (payload.end - began).max(1);
            slots.reserve((batch.len() - began).min(RUN_BYTES) / entry_bytes + 1);
        }
        slots.push(Slot::new(lsn, class, payload.start - began..payload.end - began));
        ended = payload.end;
        if ended - began >= RUN_BYTES {
            close(began, ended, std::mem::take(&mut slots));
            began = ended;
        }
    }
    if !slots.is_empty() {
        close(began, ended, slots);
    }
    runs
}

impl Tail {
    /// Adds the newest runs; returns what had to make room, to be dropped without the lock.
    pub(super) fn add(&mut self, newest: Vec<Kept>, bytes_max: usize) -> Vec<Kept> {
        for kept in newest {
            self.bytes += kept.run.bytes_max();
            self.runs.push_back(kept);
        }
        let mut gone = Vec::new();
        while self.bytes > bytes_max
            && let Some(oldest) = self.runs.pop_front()
        {
            self.bytes -= oldest.run.bytes_max();
            gone.push(oldest);
        }
        gone
    }

    /// Lets go of every run that is of a segment before the one that starts with `base`.
    pub(super) fn forget_before(&mut self, base: u64) {
        while let Some(oldest) = self.runs.pop_front_if(|kept| kept.base < base) {
            self.bytes -= oldest.run.bytes_max();
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The run that holds `lsn`, and the place of `lsn` in it.
    pub(super) fn at(&self, lsn: u64) -> Option<(Kept, usize)> {
        let after = self.runs.partition_point(|kept| kept.first() <= lsn);
        let kept = &self.runs[after.checked_sub(1)?];
        let at = usize::try_from(lsn - kept.first()).ok()?;
        (at < kept.run.slots().len()).then(|| (kept.clone(), at))
    }
}
