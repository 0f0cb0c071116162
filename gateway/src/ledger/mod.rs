//! The loss ledger: what became of every sequence that a device ever issued.
//!
//! **The ledger balances: of every boot, each sequence from 0 to the newest is in exactly one state** ([`Fate`]): stored,
//! quarantined with its reason, declared lost by the device with its reason, or still owed. It is a fold of committed
//! records, so it says nothing that the spool did not say; a redelivery changes nothing.
//!
//! ```text
//! SPOOL -- own reader, own cursor --> Ledger: device -> boots -> spans --> API, `fieldpost ledger`
//!                                        '--> ledger.json, every 30 s and at the end
//! ```
//! After a restart the snapshot is read and what was committed since is folded: at most [`task::SNAPSHOT_RECORDS`] records
//! or 30 s of them, however long the backlog. The cursor keeps them in the spool until a snapshot has them.
//!
//! Bounds: [`Bounds`]. What has to give way is counted on: a boot's lowest spans become numbers, a device's boot heard of
//! longest ago goes into its sum, a device heard of longest ago goes. Whoever may have been here before is marked
//! ([`Fate::Unaccounted`]), never called owed.

mod boot;
mod fate;
pub mod snapshot;
pub mod task;
pub mod view;

use fieldpost_protocol::{Body, BootId, Class, Envelope, Loss, Seq};
use serde::{Deserialize, Serialize};

pub use self::boot::{Boot, Span};
pub use self::fate::{Counts, Fate};
use crate::dedup;
use crate::fingerprint::Fingerprint;
use crate::live::unit::UnitId;
use crate::live::unit_map::UnitMap;
use crate::record::{Record, RecordKind};
use crate::sabotage::{self, Sabotage};
use crate::spool::Lsn;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Devices.
    pub devices_max: usize,
    /// Boots a device in detail.
    pub boots_max: usize,
    /// Spans a boot.
    pub spans_max: usize,
    /// Spans in all; beyond it every boot keeps [`SPANS_MIN`] only.
    pub spans_total_max: usize,
}

impl Default for Bounds {
    /// 100,000 devices, 8 boots each, 128 spans a boot, 1,000,000 spans in all: 12 MB of spans and at most 200 B a boot.
    fn default() -> Self {
        Self { devices_max: 100_000, boots_max: 8, spans_max: 128, spans_total_max: 1_000_000 }
    }
}

/// Spans a boot keeps however many there are in all.
pub const SPANS_MIN: usize = 4;

/// The accounts of every device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    devices: UnitMap<Account>,
    bounds: Bounds,
    /// Records up to here are in the accounts.
    folded: Lsn,
    /// Whether every record ever committed was folded, so that a device met for the first time is new.
    is_complete: bool,
    /// Entries that were gone or damaged when they were to be folded: nobody knows whose.
    missed_count: u64,
    spans_total: usize,
}

/// The account of one device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Account {
    /// Heard of longest ago first.
    boots: Vec<Boot>,
    /// Boots up to this one may have been here before, if they come anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partial_through: Option<u32>,
    /// Boots that are in `earlier` only.
    #[serde(default, skip_serializing_if = "is_zero")]
    earlier_boots_count: u64,
    #[serde(default, skip_serializing_if = "Counts::is_empty")]
    earlier: Counts,
    /// Quarantined payloads that are no envelope, and so have no sequence.
    #[serde(default, skip_serializing_if = "is_zero")]
    unnumbered_count: u64,
    /// The newest record of the device.
    heard: Lsn,
    /// What the newest alarms said, oldest first: their redeliveries must be known after a restart, however late.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    alarms: Vec<(BootId, Seq, Fingerprint)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Ledger {
    /// An empty ledger that begins at the first record of all.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            devices: UnitMap::default(),
            bounds,
            folded: Lsn(0),
            is_complete: true,
            missed_count: 0,
            spans_total: 0,
        }
    }

    /// The newest record folded.
    #[must_use]
    pub fn folded(&self) -> Lsn {
        self.folded
    }

    /// Entries that could not be folded: their sequences show as owed.
    #[must_use]
    pub fn missed_count(&self) -> u64 {
        self.missed_count
    }

    /// One device's account.
    #[must_use]
    pub fn account(&self, unit: &UnitId) -> Option<&Account> {
        self.devices.get(unit)
    }

    /// Every account after `after`, by force and device.
    pub fn accounts(&self, after: Option<&UnitId>) -> impl Iterator<Item = (&UnitId, &Account)> {
        self.devices.after(after)
    }

    /// If the spool ends at `committed`, before what is in the ledger, numbers after it are given out anew: takes them
    /// when they come. Returns whether that was so.
    pub fn goes_back_to(&mut self, committed: Lsn) -> bool {
        let goes_back = self.folded > committed;
        self.folded = self.folded.min(committed);
        goes_back
    }

    /// Notes that `count` entries up to `through` will never be folded.
    pub fn miss(&mut self, count: u64, through: Lsn) {
        if through > self.folded && count > 0 {
            self.missed_count += count;
            self.is_complete = false;
            self.folded = through;
        }
    }

    /// Folds one committed record. Records must come in ascending LSN; one that was folded before changes nothing.
    pub fn fold(&mut self, record: &Record) {
        if record.lsn <= self.folded {
            return;
        }
        if sabotage::is(Sabotage::MissInLedger) && record.lsn.0.is_multiple_of(50) {
            return self.miss(1, record.lsn);
        }
        self.folded = record.lsn;
        if sabotage::is(Sabotage::ForgetInLedger) && record.lsn.0.is_multiple_of(50) {
            return;
        }
        let (fate, envelope) = match record.kind {
            RecordKind::Envelope | RecordKind::Repeated => {
                (Some(Fate::Stored), Envelope::decode(&record.payload).ok())
            }
            RecordKind::Quarantine(reason) => {
                (Fate::quarantined(reason), Envelope::decode(&record.payload).ok())
            }
            // What the gateway wrote itself: it has no sequence.
            _ => return,
        };
        let unit = UnitId { force: record.force.clone(), device: record.device.clone() };
        let (Some(fate), Some(envelope)) = (fate, envelope) else {
            self.enter(&unit, record.lsn, |account, _| account.unnumbered_count += 1);
            return;
        };
        let (boot, seq) = (envelope.head.boot.0, envelope.head.seq.0);
        let repeats = record.kind == RecordKind::Repeated;
        self.enter(&unit, record.lsn, |account, boots| {
            account.note_alarm(&envelope);
            let boot = account.boot(boot, seq, boots);
            boot.enter(seq, seq, fate);
            boot.times.note(&envelope.head, repeats);
            boot.repeated_count += u64::from(repeats);
        });
        // By class first: one record in thousands is a loss record, and reading the others' bodies would be most of the fold.
        if fate == Fate::Stored
            && envelope.head.class == Class::LOSS
            && let Ok(Body::Loss(loss)) = Body::decode(&envelope.head, envelope.body)
        {
            self.enter_loss(&unit, record.lsn, &loss);
        }
    }

    fn enter_loss(&mut self, unit: &UnitId, lsn: Lsn, loss: &Loss) {
        let fate = Fate::lost(loss.reason);
        for range in &loss.ranges {
            let (first, last) = (range.first.0, range.last().map_or(u32::MAX, |last| last.0));
            self.enter(unit, lsn, |account, boots| {
                account.boot(loss.boot.0, first, boots).enter(first, last, fate);
            });
        }
    }

    /// Changes one account, then holds it to the bounds.
    fn enter(&mut self, unit: &UnitId, lsn: Lsn, change: impl FnOnce(&mut Account, BootRule)) {
        let spans_max =
            if self.spans_total < self.bounds.spans_total_max { self.bounds.spans_max } else { SPANS_MIN };
        if self.devices.get_mut(unit).is_none() {
            self.make_room_for_a_device();
        }
        let account = self.devices.get_or_insert_with(unit, Account::default);
        let before = account.spans_count();
        account.heard = lsn;
        change(account, BootRule { boots_max: self.bounds.boots_max, is_complete: self.is_complete });
        account.settle(spans_max);
        self.spans_total = self.spans_total + account.spans_count() - before;
    }

    /// Rare: only beyond `devices_max`, which is more than are enrolled.
    fn make_room_for_a_device(&mut self) {
        if self.devices.len() < self.bounds.devices_max {
            return;
        }
        let oldest =
            self.devices.iter().min_by_key(|(_, account)| account.heard).map(|(unit, _)| unit.clone());
        if let Some(account) = oldest.and_then(|unit| self.devices.remove(&unit)) {
            self.spans_total -= account.spans_count();
            self.is_complete = false;
        }
    }
}

/// What a boot that is met for the first time is to be taken for.
#[derive(Clone, Copy)]
struct BootRule {
    boots_max: usize,
    is_complete: bool,
}

impl Account {
    /// Every boot kept in detail, heard of longest ago first.
    #[must_use]
    pub fn boots(&self) -> &[Boot] {
        &self.boots
    }

    /// How many boots are known in sum only, and their counts.
    #[must_use]
    pub fn earlier(&self) -> (u64, &Counts) {
        (self.earlier_boots_count, &self.earlier)
    }

    /// Quarantined payloads that have no sequence.
    #[must_use]
    pub fn unnumbered_count(&self) -> u64 {
        self.unnumbered_count
    }

    /// The newest record of the device.
    #[must_use]
    pub fn heard(&self) -> Lsn {
        self.heard
    }

    /// What the newest alarms said, oldest first.
    #[must_use]
    pub fn alarms(&self) -> &[(BootId, Seq, Fingerprint)] {
        &self.alarms
    }

    fn note_alarm(&mut self, envelope: &Envelope<'_>) {
        let head = &envelope.head;
        if head.class.is_alarm_family() {
            if self.alarms.len() == dedup::ALARMS_MAX {
                self.alarms.remove(0);
            }
            self.alarms.push((head.boot, head.seq, Fingerprint::of_envelope(envelope)));
        }
    }

    /// Of all boots together.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = self.earlier;
        self.boots.iter().for_each(|boot| counts.add(&boot.counts()));
        counts
    }

    /// The account of a boot, made if `seq` is the first that is heard of it.
    fn boot(&mut self, id: u32, seq: u32, rule: BootRule) -> &mut Boot {
        if let Some(at) = self.boots.iter().rposition(|boot| boot.id() == id) {
            self.boots[at..].rotate_left(1);
        } else {
            if self.boots.is_empty() && !rule.is_complete {
                self.partial_through = Some(id);
            }
            if self.boots.len() >= rule.boots_max.max(1) {
                let oldest = self.boots.remove(0);
                self.partial_through = self.partial_through.max(Some(oldest.id()));
                self.earlier_boots_count += 1;
                self.earlier.add(&oldest.counts());
            }
            let is_partial = self.partial_through.is_some_and(|through| id <= through);
            self.boots.push(Boot::new(id, if is_partial { seq } else { 0 }));
        }
        self.boots.last_mut().expect("rotated to the end or pushed above")
    }

    fn spans_count(&self) -> usize {
        self.boots.iter().map(Boot::spans_count).sum()
    }

    /// Only the boot heard of last can have grown.
    fn settle(&mut self, spans_max: usize) {
        if let Some(boot) = self.boots.last_mut() {
            boot.settle(spans_max);
        }
    }
}

#[cfg(test)]
mod tests;
