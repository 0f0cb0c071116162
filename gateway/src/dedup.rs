//! Which records the spool already has: (force, device, boot, sequence).
//!
//! **A record that was seen is never appended twice while it is remembered, and forgetting is safe**: what is forgotten
//! and comes again is stored again, and every sink drops it by its key. So every bound below may bite at any time.
//!
//! ```text
//! Dedup: 16 shards of unit -> Arc<DeviceSeen>            a session holds its own Arc: one lock nobody else wants
//! DeviceSeen: newest boots -> ascending ranges of sequences   [0..=41] [60..=60]
//! ```

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fieldpost_protocol::{BootId, DeviceId, Envelope, ForceId, Seq};

use crate::record::{Record, RecordKind};
use crate::spool::{BatchLimits, Lsn, ReadError, Spool};

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupBounds {
    /// Devices; beyond it one that is not connected is forgotten.
    pub devices_max: usize,
    /// Boots per device; beyond it the one heard of longest ago is forgotten.
    pub boots_max: usize,
    /// Ranges per boot; beyond it the lowest is forgotten.
    pub ranges_max: usize,
}

impl Default for DedupBounds {
    /// 100,000 devices (a force has 40,000) x 4 boots x 64 ranges: at most 56 B + 2 KiB a device, 200 B in practice.
    fn default() -> Self {
        Self { devices_max: 100_000, boots_max: 4, ranges_max: 64 }
    }
}

const SHARDS: usize = 16;

/// Entries read back at start: what a thousand messages a second leave in four minutes, read in well under a second.
/// What was appended longer ago was acknowledged long ago, and every sink drops it by its key.
pub const REBUILD_ENTRIES_MAX: u64 = 262_144;

/// The memory of every device. Clones share it.
#[derive(Debug, Clone)]
pub struct Dedup {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shards: [Mutex<HashMap<Box<str>, Arc<DeviceSeen>>>; SHARDS],
    hasher: RandomState,
    bounds: DedupBounds,
}

/// The memory of one device, locked for as long as one read batch takes.
#[derive(Debug)]
pub struct DeviceSeen {
    seen: Mutex<Seen>,
}

/// What has been seen of one device.
#[derive(Debug)]
pub struct Seen {
    /// Heard of longest ago first.
    boots: Vec<BootSeen>,
    /// The newest entry appended for the device: once it is committed, so is every record remembered here.
    newest: Lsn,
    boots_max: usize,
    ranges_max: usize,
}

#[derive(Debug)]
struct BootSeen {
    boot: BootId,
    /// First and last sequence, ascending, with a hole between any two.
    ranges: Vec<(u32, u32)>,
}

impl Dedup {
    /// An empty memory.
    #[must_use]
    pub fn new(bounds: DedupBounds) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { inner: Arc::new(Inner { shards, hasher: RandomState::new(), bounds }) }
    }

    /// The memory of one device, made on first use.
    #[must_use]
    pub fn device(&self, force: &ForceId, device: &DeviceId) -> Arc<DeviceSeen> {
        let unit = format!("{force}/{device}").into_boxed_str();
        let Inner { shards, hasher, bounds } = &*self.inner;
        let shard = hasher.hash_one(&unit) as usize % SHARDS;
        let mut devices = lock(&shards[shard]);
        if let Some(seen) = devices.get(&unit) {
            return Arc::clone(seen);
        }
        if devices.len() >= bounds.devices_max.div_ceil(SHARDS) {
            forget_one(&mut devices);
        }
        let seen = Arc::new(DeviceSeen { seen: Mutex::new(Seen::new(*bounds)) });
        devices.insert(unit, Arc::clone(&seen));
        seen
    }

    /// Reads the newest [`REBUILD_ENTRIES_MAX`] committed entries of the spool back into the memory. Call at start,
    /// before the front door opens: a device that reconnects after a restart sends again what it has no PUBACK for.
    /// Returns the records remembered.
    ///
    /// # Errors
    /// [`ReadError`]: the spool cannot be read.
    pub async fn rebuild_from(&self, spool: &Spool) -> Result<u64, ReadError> {
        let committed = spool.committed();
        let mut reader = spool.reader(Lsn(committed.0.saturating_sub(REBUILD_ENTRIES_MAX).max(1)));
        let limits = BatchLimits { count_max: 4096, bytes_max: 1 << 20, age_ms_max: 0 };
        let mut count = 0;
        while reader.position() <= committed {
            let batch = reader.next_batch(limits).await?;
            for entry in &batch.entries {
                if let Ok(record) = Record::decode(entry.lsn, &entry.payload) {
                    self.remember(&record);
                    count += 1;
                }
            }
            // A long tail must not hold the runtime that answers health checks.
            tokio::task::yield_now().await;
        }
        Ok(count)
    }

    fn remember(&self, record: &Record) {
        let head = match record.kind {
            RecordKind::Envelope | RecordKind::Quarantine(_) => Envelope::decode(&record.payload).ok(),
            RecordKind::Acknowledged => None,
        };
        if let Some(Envelope { head, .. }) = head {
            self.device(&record.force, &record.device).lock().remember(head.boot, head.seq, record.lsn);
        }
    }
}

/// Drops the device whose newest record is oldest, of those no session holds. Rare: only beyond `devices_max`.
fn forget_one(devices: &mut HashMap<Box<str>, Arc<DeviceSeen>>) {
    let idle = devices.iter().filter(|(_, seen)| Arc::strong_count(seen) == 1);
    let oldest = idle.min_by_key(|(_, seen)| seen.lock().newest).map(|(unit, _)| unit.clone());
    if let Some(unit) = oldest {
        devices.remove(&unit);
    }
}

impl DeviceSeen {
    /// Locks the device's memory. Hold it across check, append and [`Seen::remember`]; never across an await.
    pub fn lock(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

impl Seen {
    fn new(bounds: DedupBounds) -> Self {
        Self {
            boots: Vec::new(),
            newest: Lsn(0),
            boots_max: bounds.boots_max.max(1),
            ranges_max: bounds.ranges_max.max(1),
        }
    }

    /// Whether the record was appended before. If so, it is durable once [`Seen::newest`] is committed.
    #[must_use]
    pub fn contains(&self, boot: BootId, seq: Seq) -> bool {
        let Some(of_boot) = self.boots.iter().rev().find(|of_boot| of_boot.boot == boot) else {
            return false;
        };
        of_boot.contains(seq.0)
    }

    /// The newest entry appended for the device.
    #[must_use]
    pub fn newest(&self) -> Lsn {
        self.newest
    }

    /// Remembers that the record was appended as entry `lsn`.
    pub fn remember(&mut self, boot: BootId, seq: Seq, lsn: Lsn) {
        self.advance(lsn);
        let at = match self.boots.iter().rposition(|of_boot| of_boot.boot == boot) {
            Some(at) => {
                // A device that drains an old boot must not lose the memory of its present one.
                self.boots[at..].rotate_left(1);
                self.boots.len() - 1
            }
            None => {
                if self.boots.len() >= self.boots_max {
                    self.boots.remove(0);
                }
                self.boots.push(BootSeen { boot, ranges: Vec::with_capacity(1) });
                self.boots.len() - 1
            }
        };
        self.boots[at].insert(seq.0, self.ranges_max);
    }

    /// Notes an entry without a sequence: quarantined bytes that are no envelope.
    pub fn advance(&mut self, lsn: Lsn) {
        self.newest = self.newest.max(lsn);
    }
}

impl BootSeen {
    fn contains(&self, seq: u32) -> bool {
        // From the end: a device mostly sends its newest.
        let candidate = self.ranges.iter().rev().find(|(first, _)| *first <= seq);
        candidate.is_some_and(|(_, last)| seq <= *last)
    }

    fn insert(&mut self, seq: u32, ranges_max: usize) {
        let after = self.ranges.iter().rposition(|(first, _)| *first <= seq).map_or(0, |before| before + 1);
        let touches_before = after > 0 && seq <= self.ranges[after - 1].1.saturating_add(1);
        let touches_after =
            self.ranges.get(after).is_some_and(|(first, _)| seq.checked_add(1) == Some(*first));
        match (touches_before, touches_after) {
            (true, true) => {
                self.ranges[after - 1].1 = self.ranges[after].1;
                self.ranges.remove(after);
            }
            (true, false) => self.ranges[after - 1].1 = self.ranges[after - 1].1.max(seq),
            (false, true) => self.ranges[after].0 = seq,
            (false, false) => {
                self.ranges.insert(after, (seq, seq));
                if self.ranges.len() > ranges_max {
                    self.ranges.remove(0);
                }
            }
        }
    }
}

/// Locks whatever another thread may have left: every critical section leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn seen(boots_max: usize, ranges_max: usize) -> Seen {
        Seen::new(DedupBounds { devices_max: 1, boots_max, ranges_max })
    }

    #[test]
    fn a_record_is_seen_once_it_was_appended_and_not_before() {
        let mut seen = seen(2, 8);
        assert!(!seen.contains(BootId(1), Seq(0)));
        seen.remember(BootId(1), Seq(0), Lsn(7));
        assert!(seen.contains(BootId(1), Seq(0)));
        assert!(!seen.contains(BootId(1), Seq(1)) && !seen.contains(BootId(2), Seq(0)));
        assert_eq!(seen.newest(), Lsn(7));
    }

    #[test]
    fn the_boot_heard_of_longest_ago_is_forgotten_first() {
        let mut seen = seen(2, 8);
        for boot in 1..=3 {
            seen.remember(BootId(boot), Seq(0), Lsn(u64::from(boot)));
        }
        assert!(!seen.contains(BootId(1), Seq(0)));
        assert!(seen.contains(BootId(2), Seq(0)) && seen.contains(BootId(3), Seq(0)));
    }

    #[test]
    fn a_boot_that_is_heard_of_again_is_not_the_next_to_go() {
        let mut seen = seen(2, 8);
        for boot in [1, 2, 1, 3] {
            seen.remember(BootId(boot), Seq(boot), Lsn(1));
        }
        assert!(seen.contains(BootId(1), Seq(1)) && !seen.contains(BootId(2), Seq(2)));
    }

    #[test]
    fn too_many_holes_forget_the_lowest_and_never_claim_a_hole() {
        let mut seen = seen(1, 3);
        for seq in [0, 10, 20, 30] {
            seen.remember(BootId(1), Seq(seq), Lsn(1));
        }
        assert!(!seen.contains(BootId(1), Seq(0)));
        for seq in [9, 11, 19, 21, 29, 31] {
            assert!(!seen.contains(BootId(1), Seq(seq)), "{seq}");
        }
    }

    #[test]
    fn a_connected_device_is_never_forgotten() {
        let dedup = Dedup::new(DedupBounds { devices_max: SHARDS, ..DedupBounds::default() });
        let force = ForceId::try_new("f").unwrap();
        let held: Vec<_> =
            (0..100).map(|n| dedup.device(&force, &DeviceId::try_new(&format!("d{n}")).unwrap())).collect();
        for (n, seen) in held.iter().enumerate() {
            let again = dedup.device(&force, &DeviceId::try_new(&format!("d{n}")).unwrap());
            assert!(Arc::ptr_eq(seen, &again));
        }
    }

    proptest! {
        #[test]
        fn ranges_agree_with_a_plain_set(seqs in proptest::collection::vec(
            proptest::prop_oneof![0u32..40, any::<u32>()], 0..200)) {
            let mut seen = seen(1, 1000);
            let mut model = BTreeSet::new();
            for (n, seq) in seqs.iter().enumerate() {
                prop_assert_eq!(seen.contains(BootId(1), Seq(*seq)), model.contains(seq));
                seen.remember(BootId(1), Seq(*seq), Lsn(n as u64));
                model.insert(*seq);
            }
            for probe in (0..45).chain([u32::MAX - 1, u32::MAX]) {
                prop_assert_eq!(seen.contains(BootId(1), Seq(probe)), model.contains(&probe));
            }
            let ranges = &seen.boots.first().map(|boot| boot.ranges.clone()).unwrap_or_default();
            for pair in ranges.windows(2) {
                prop_assert_eq!(pair[0].1 < pair[1].0 - 1, true, "holes between ranges");
            }
        }
    }
}
