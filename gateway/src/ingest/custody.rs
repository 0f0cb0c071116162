//! From a device's payload to entries of the spool: decode, check for duplicates, append.
//!
//! **What this module calls stored is appended, not yet durable**: the session acknowledges once the returned entry is
//! committed. Check, append and remembering happen under one lock of the device's own memory, so two connections of the
//! same device (a takeover) cannot both append a record.

use bytes::BytesMut;
use fieldpost_protocol::{Class, ClockQuality, DeviceId, Envelope, ForceId, Head, Lane, Mode};

use super::config::ClockBounds;
use crate::decode::{Decoded, LONE_POSITION_BYTES_MAX, decode, lone_position};
use crate::dedup::{Seen, Verdict};
use crate::fingerprint::Fingerprint;
use crate::metrics::IngestMetrics;
use crate::record::{QuarantineReason, Record, RecordKind};
use crate::sabotage::{self, Sabotage};
use crate::spool::{EntryClass, FullReason, Lsn, Spool, TryAppendError};

/// Where records come from and go to, for the length of one read batch.
pub(crate) struct Custody<'a> {
    pub(crate) spool: &'a Spool,
    pub(crate) metrics: &'a IngestMetrics,
    pub(crate) clock: ClockBounds,
    pub(crate) force: &'a ForceId,
    pub(crate) device: &'a DeviceId,
    pub(crate) ceiling: Mode,
    /// Unix time in ms, read once a batch.
    pub(crate) now_ms: u64,
    /// The newest committed entry, read once a batch.
    pub(crate) committed: Lsn,
    /// The device's memory, locked.
    pub(crate) seen: &'a mut Seen,
    /// One entry at a time is encoded here.
    pub(crate) entry: &'a mut BytesMut,
    pub(crate) counts: Counts,
}

/// What one read batch came to; added to the metrics once.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) publishes: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) records: u64,
    pub(crate) duplicates: u64,
    pub(crate) repeated: u64,
    pub(crate) clock_future: u64,
    pub(crate) clock_ancient: u64,
}

/// Why a payload is not stored (yet).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotStored {
    /// No room: try again from item `items_done` on. It lasts if the spool itself is full; else the next commit makes room.
    Full { items_done: u8, lasts: bool },
    /// The spool will never take it: close the connection, the device keeps its record.
    Failed,
    /// Larger than any entry the spool takes.
    TooLarge,
}

impl Custody<'_> {
    /// Stores a payload and returns the entry whose commit is the device's receipt. `items_done` is 0, or what
    /// [`NotStored::Full`] said about the same payload.
    pub(crate) fn store(&mut self, lane: Lane, payload: &[u8], items_done: u8) -> Result<Lsn, NotStored> {
        let decoded = decode(lane, self.ceiling, payload);
        let class = if decoded.is_alarm() { EntryClass::Alarm } else { class_of(lane) };
        match decoded {
            Decoded::Lone(head, print) => {
                self.store_one(class, lane, RecordKind::Envelope, Some((&head, print)), payload)?;
            }
            Decoded::Quarantine(reason, head) => {
                let head = head.as_ref().map(|(head, print)| (head, *print));
                self.store_quarantined(class, lane, reason, head, payload)?;
            }
            Decoded::Batch(head, items) => {
                let mut buffer = [0; LONE_POSITION_BYTES_MAX];
                for (index, item) in (0u8..).zip(items).skip(usize::from(items_done)) {
                    let item = item.expect("decode has read every item once");
                    let head = Head { class: Class::POSITION, seq: item.seq, time_ms: item.time_ms, ..head };
                    let lone = lone_position(&head, &item, &mut buffer);
                    let named = Some((&head, Fingerprint::of_position(&head, &item.position)));
                    self.store_one(class, lane, RecordKind::Envelope, named, lone).map_err(|not_stored| {
                        match not_stored {
                            NotStored::Full { lasts, .. } => NotStored::Full { items_done: index, lasts },
                            other => other,
                        }
                    })?;
                }
            }
        }
        // The newest entry of the device, also for a duplicate: whichever entry it duplicates is not after it.
        Ok(self.seen.newest())
    }

    /// Once a quarantined payload is stored it counts under its reason; a redelivery of it counts as a duplicate.
    fn store_quarantined(
        &mut self,
        class: EntryClass,
        lane: Lane,
        reason: QuarantineReason,
        head: Option<(&Head, Fingerprint)>,
        payload: &[u8],
    ) -> Result<(), NotStored> {
        if self.store_one(class, lane, RecordKind::Quarantine(reason), head, payload)? {
            self.metrics.quarantined(reason).inc();
        }
        Ok(())
    }

    /// Appends one record unless the device's memory has it. True if it was appended. What repeats the identity of another
    /// record is never taken for a redelivery of that.
    fn store_one(
        &mut self,
        class: EntryClass,
        lane: Lane,
        kind: RecordKind,
        head: Option<(&Head, Fingerprint)>,
        payload: &[u8],
    ) -> Result<bool, NotStored> {
        let verdict = head.map_or(Verdict::New, |(head, print)| self.seen.judge(head, print));
        let kind = match (verdict, kind) {
            (Verdict::Again, _) => {
                self.counts.duplicates += 1;
                return Ok(false);
            }
            (Verdict::Repeats, RecordKind::Envelope) => RecordKind::Repeated,
            // Each quarantined payload has a key of its own already.
            (Verdict::Repeats | Verdict::New, kind) => kind,
        };
        self.entry.clear();
        Record::encode_parts(
            self.entry,
            kind,
            lane,
            self.ceiling,
            self.now_ms,
            (self.force.as_str(), self.device.as_str()),
            payload,
        );
        let class = self.class_within_quota(class, lane);
        let (newest, quota) = self.seen.newest_and_quota();
        let bytes = self.entry.len();
        let has_share = quota.admits(bytes, newest, self.committed, self.spool.pending_bytes_max());
        if !has_share && class != EntryClass::Alarm {
            return Err(NotStored::Full { items_done: 0, lasts: false });
        }
        let appended = self.spool.try_append(class, self.entry);
        if matches!(appended, Err(TryAppendError::Full(_))) && sabotage::is(Sabotage::DropOnOverflow) {
            return Ok(true);
        }
        let lsn = appended.map_err(|error| match error {
            TryAppendError::Full(reason) => {
                NotStored::Full { items_done: 0, lasts: reason == FullReason::Reserve }
            }
            TryAppendError::TooLarge { .. } => NotStored::TooLarge,
            TryAppendError::Failed | TryAppendError::Closed => NotStored::Failed,
        })?;
        self.seen.quota.appended(bytes);
        if class == EntryClass::Alarm {
            self.seen.quota.used_reserve();
        }
        self.counts.records += 1;
        let repeats = verdict == Verdict::Repeats;
        self.counts.repeated += u64::from(repeats);
        match head {
            Some((head, print)) => {
                self.seen.remember(head, print, lsn, repeats);
                self.judge_clock(head);
            }
            None => self.seen.advance(lsn),
        }
        Ok(true)
    }

    /// The class an entry is appended with: one alarm too many of a device is stored as what else came by its lane.
    fn class_within_quota(&mut self, class: EntryClass, lane: Lane) -> EntryClass {
        if class == EntryClass::Alarm && !self.seen.quota.may_use_reserve(self.now_ms) {
            return class_of(lane);
        }
        class
    }

    /// A wrong clock loses nothing: the record stays as it came, and readers go by its receive time.
    fn judge_clock(&mut self, head: &Head) {
        if head.clock == ClockQuality::Unset {
            return;
        }
        if head.time_ms > self.now_ms.saturating_add(self.clock.future_ms_max) {
            self.counts.clock_future += 1;
        } else if head.time_ms < self.now_ms.saturating_sub(self.clock.past_ms_max) {
            self.counts.clock_ancient += 1;
        }
    }
}

impl Counts {
    /// Adds the batch to the metrics, one atomic addition a counter that moved.
    pub(crate) fn add_to(self, metrics: &IngestMetrics) {
        let counters = [
            (self.publishes, &metrics.publishes),
            (self.payload_bytes, &metrics.payload_bytes),
            (self.records, &metrics.records),
            (self.duplicates, &metrics.duplicates),
            (self.repeated, &metrics.repeated),
            (self.clock_future, &metrics.clock_future),
            (self.clock_ancient, &metrics.clock_ancient),
        ];
        for (count, counter) in counters {
            if count > 0 {
                counter.inc_by(count);
            }
        }
    }
}

/// Whether the payload may still be stored when only the spool's reserve is left.
pub(crate) fn is_alarm(payload: &[u8]) -> bool {
    Envelope::decode(payload).is_ok_and(|envelope| envelope.head.class.is_alarm_family())
}

/// Whether the payload is an alarm's, if it is an envelope at all: by the one byte that tells the class in every version.
pub(super) fn may_be_alarm(payload: &[u8]) -> bool {
    payload.get(1).is_some_and(|class| Class(*class).is_alarm_family())
}

fn class_of(lane: Lane) -> EntryClass {
    match lane {
        // What is not an alarm gets no reserve, whatever lane it came by.
        Lane::Alarm | Lane::Live | Lane::Health => EntryClass::Live,
        Lane::Backlog => EntryClass::Backlog,
    }
}
