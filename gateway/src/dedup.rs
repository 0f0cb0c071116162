//! Which records the spool already has: (force, device, boot, sequence), and what they said.
//!
//! **A record is dropped as a redelivery only if the very same content was appended under its identity and is remembered.**
//! Everything else is stored: forgetting is safe, so every bound below may bite at any time.
//!
//! | identity | content | verdict |
//! |---|---|---|
//! | any | remembered, the same | again: counted, not appended |
//! | any | remembered, another | repeats: appended under a key of its own |
//! | appended | forgotten | an alarm: repeats. Else new if its time fits what was appended of its boot (a sink that has it drops it by its key), repeats if not |
//! | unknown | none | new; but if a later boot had begun by then, the boot id is used again: repeats |
//!
//! **No content is forgotten because there are holes.** Behind a broker each gateway of a group has a part of a device's numbers and
//! holes between them: of every second number 64 ranges tell no more than 128 numbers.
//!
//! ```text
//! Dedup: 16 shards of unit -> Arc<DeviceSeen>            a session holds its own Arc: one lock nobody else wants
//! DeviceSeen: newest boots -> ascending ranges of sequences   [0..=41] [60..=60]
//!             newest 992 records or more -> fingerprints
//!             newest 16 alarms -> fingerprints, which positions do not push out
//! ```
//! Identities come back from the loss ledger at start, so that a boot id is known again after a year; fingerprints from the
//! spool's tail, those of alarms from the ledger.

mod alarms;
mod boot;
mod contents;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fieldpost_protocol::{BootId, ClockQuality, DeviceId, Envelope, ForceId, Head, Seq};

pub use self::alarms::ALARMS_MAX;
pub use self::boot::BootTimes;
pub(crate) use self::contents::Contents;
use self::{alarms::Alarms, boot::BootSeen};
use crate::fingerprint::Fingerprint;
use crate::ledger::Ledger;
use crate::quota::Quota;
use crate::record::{Record, RecordKind};
use crate::sabotage::{self, Sabotage};
use crate::spool::{BatchLimits, Lsn, ReadError, Spool};

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupBounds {
    /// Devices; beyond it one that is not connected is forgotten.
    pub devices_max: usize,
    /// Boots per device; beyond it the one heard of longest ago is forgotten.
    pub boots_max: usize,
    /// Ranges per boot; beyond it the lowest is forgotten, and what is remembered of its contents is not.
    pub ranges_max: usize,
}

impl Default for DedupBounds {
    /// 100,000 devices (a force has 40,000) x 8 boots x 64 ranges: at most 4 KiB a device and 5.5 KiB of fingerprints; 300 B
    /// for one that has sent nothing since the start.
    fn default() -> Self {
        Self { devices_max: 100_000, boots_max: 8, ranges_max: 64 }
    }
}

const SHARDS: usize = 16;

/// Entries read back at start: what a thousand messages a second leave in four minutes, read in well under a second.
/// The contents of what was appended longer ago are forgotten.
pub const REBUILD_ENTRIES_MAX: u64 = 262_144;

/// How far a boot may begin before the end of an earlier one without that being odd: clocks are set late and drift.
const BOOTS_OVERLAP_MS_MAX: u64 = 5 * 60_000;

/// What a record is to the device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Append it.
    New,
    /// A redelivery: it was appended, and is durable once [`Seen::newest`] is committed.
    Again,
    /// Another record under an identity that was used: append it as [`RecordKind::Repeated`].
    Repeats,
}

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
    contents: Contents,
    alarms: Alarms,
    /// The newest entry appended for the device: once it is committed, so is every record remembered here.
    newest: Lsn,
    /// What the device has taken of what all share.
    pub(crate) quota: Quota,
    boots_max: usize,
    ranges_max: usize,
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
            for record in batch.records().flatten() {
                self.remember(record);
                count += 1;
            }
            // A long tail must not hold the runtime that answers health checks.
            tokio::task::yield_now().await;
        }
        Ok(count)
    }

    fn remember(&self, record: &Record) {
        let envelope = match record.kind {
            RecordKind::Envelope | RecordKind::Repeated | RecordKind::Quarantine(_) => {
                Envelope::decode(&record.payload).ok()
            }
            _ => None,
        };
        if let Some(envelope) = envelope {
            let repeats = record.kind == RecordKind::Repeated;
            let print = Fingerprint::of_envelope(&envelope);
            let device = self.device(&record.force, &record.device);
            device.lock().remember(&envelope.head, print, record.lsn, repeats);
        }
    }

    /// Learns from the ledger which identities were ever used. Call before [`Dedup::rebuild_from`].
    pub fn learn_from(&self, ledger: &Ledger) {
        for (unit, account) in ledger.accounts(None) {
            let device = self.device(&unit.force, &unit.device);
            let mut seen = device.lock();
            seen.advance(account.heard());
            for boot in account.boots() {
                let ranges_max = seen.ranges_max;
                let known = seen.boot(BootId(boot.id()));
                known.times = boot.times();
                for (first, last) in boot.held() {
                    known.insert(first, last, ranges_max);
                }
            }
            for (boot, seq, print) in account.alarms() {
                seen.alarms.add(*boot, *seq, *print);
            }
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
            contents: Contents::default(),
            alarms: Alarms::default(),
            newest: Lsn(0),
            quota: Quota::default(),
            boots_max: bounds.boots_max.max(1),
            ranges_max: bounds.ranges_max.max(1),
        }
    }

    /// Whether a record of this identity was appended before.
    #[must_use]
    pub fn contains(&self, boot: BootId, seq: Seq) -> bool {
        self.find(boot).is_some_and(|of_boot| of_boot.contains(seq.0))
    }

    fn find(&self, boot: BootId) -> Option<&BootSeen> {
        self.boots.iter().rev().find(|of_boot| of_boot.boot == boot)
    }

    /// What a record is: see the module.
    #[must_use]
    pub fn judge(&self, head: &Head, print: Fingerprint) -> Verdict {
        if sabotage::is(Sabotage::StoreTwice) {
            return Verdict::New;
        }
        let unheard = || if self.is_boot_over(head) { Verdict::Repeats } else { Verdict::New };
        let Some(boot) = self.find(head.boot).filter(|boot| !boot.ends_before(head.seq.0)) else {
            return unheard();
        };
        match self.remembers(head, print) {
            Some(true) => Verdict::Again,
            Some(false) => Verdict::Repeats,
            None if !boot.contains(head.seq.0) => unheard(),
            None if head.class.is_alarm_family() || !boot.times.allow(head) => Verdict::Repeats,
            None => Verdict::New,
        }
    }

    /// Whether this is one of the contents remembered under the identity; `None` if none is.
    fn remembers(&self, head: &Head, print: Fingerprint) -> Option<bool> {
        let found =
            [self.alarms.find(head.boot, head.seq, print), self.contents.find(head.boot, head.seq, print)];
        found.into_iter().flatten().reduce(|any, same| any || same)
    }

    /// Whether a later boot had begun when the record was made, so that its boot id is in use for the second time.
    fn is_boot_over(&self, head: &Head) -> bool {
        let is_certain = matches!(head.clock, ClockQuality::Network | ClockQuality::Gnss);
        is_certain
            && self.boots.iter().any(|later| {
                let began =
                    later.times.first_ms.filter(|_| later.boot > head.boot && !later.times.is_repeated);
                began.is_some_and(|began| head.time_ms > began.saturating_add(BOOTS_OVERLAP_MS_MAX))
            })
    }

    /// What an alarm said, if it is one of the newest [`ALARMS_MAX`] and nothing else can be meant. `repeat` is what its key
    /// says: a repeated identity carries it.
    #[must_use]
    pub fn alarm_print(&self, boot: BootId, seq: Seq, repeat: Option<Fingerprint>) -> Option<Fingerprint> {
        let is_repeated = self.find(boot).is_some_and(|of_boot| of_boot.times.is_repeated);
        // The first of two may have been forgotten: the other must not be taken for it.
        let is_certain = !is_repeated || !self.alarms.is_full();
        repeat.or_else(|| self.alarms.oldest(boot, seq).filter(|_| is_certain))
    }

    /// The newest entry appended for the device.
    #[must_use]
    pub fn newest(&self) -> Lsn {
        self.newest
    }

    /// The newest entry appended for the device, and what it has taken of what all share.
    pub(crate) fn newest_and_quota(&mut self) -> (Lsn, &mut Quota) {
        (self.newest, &mut self.quota)
    }

    /// Remembers that the record was appended as entry `lsn`, and whether it repeats an identity.
    pub fn remember(&mut self, head: &Head, print: Fingerprint, lsn: Lsn, repeats: bool) {
        self.advance(lsn);
        let ranges_max = self.ranges_max;
        let boot = self.boot(head.boot);
        boot.insert(head.seq.0, head.seq.0, ranges_max);
        boot.times.note(head, repeats);
        self.contents.add(head.boot, head.seq, print);
        if head.class.is_alarm_family() {
            self.alarms.add(head.boot, head.seq, print);
        }
    }

    /// The memory of a boot, now the one heard of last.
    fn boot(&mut self, id: BootId) -> &mut BootSeen {
        if let Some(at) = self.boots.iter().rposition(|of_boot| of_boot.boot == id) {
            // A device that drains an old boot must not lose the memory of its present one.
            self.boots[at..].rotate_left(1);
        } else {
            if self.boots.len() >= self.boots_max {
                self.boots.remove(0);
            }
            let times = BootTimes::default();
            self.boots.push(BootSeen { boot: id, ranges: Vec::with_capacity(1), times });
        }
        self.boots.last_mut().expect("rotated to the end or pushed above")
    }

    /// Notes an entry without a sequence: quarantined bytes that are no envelope.
    pub fn advance(&mut self, lsn: Lsn) {
        self.newest = self.newest.max(lsn);
    }
}

/// Locks whatever another thread may have left: every critical section leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
