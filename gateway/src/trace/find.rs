//! Finding a sequence in the spool and its archive.

use std::path::Path;

use bytes::Bytes;
use fieldpost_protocol::{ClockQuality, Envelope};

use super::outputs::Kept;
use super::{ENTRIES_MAX, Question, RECEIPTS_MAX, Receipt, Stored, TraceError};
use crate::alarms::{Acknowledgement, AlarmId, Confirmed, Delivered};
use crate::record::{QuarantineReason, Record, RecordKind};
use crate::spool::{self, EntryClass, ExportedEntry, Lsn, RealDisk};

/// What there is of one question.
#[derive(Default)]
pub(super) struct Found {
    pub(super) entries: Vec<Entry>,
    pub(super) receipts: Vec<Receipt>,
}

/// One entry with the record in it.
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) class: EntryClass,
    /// When it was committed, Unix ms, if that is kept.
    pub(super) stored_at_ms: Option<u64>,
    pub(super) is_archived: bool,
}

/// Walks everything that is kept, oldest first. One [`Found`] for each question.
pub(super) fn all(dir: &Path, questions: &[Question]) -> Result<Vec<Found>, TraceError> {
    let mut found: Vec<Found> = questions.iter().map(|_| Found::default()).collect();
    let first = spool::ls(dir)?.segments.first().map_or(Lsn(u64::MAX), |segment| segment.first);
    let mut take = |entry: ExportedEntry<'_>, is_archived: bool| {
        // A newer version's entry is not ours to read.
        let Ok(record) = Record::decode(entry.lsn, &Bytes::copy_from_slice(entry.payload)) else { return };
        for (question, found) in questions.iter().zip(&mut found) {
            if record.force == question.unit.force && record.device == question.unit.device {
                found.take(question, &record, entry, is_archived);
            }
        }
    };
    spool::walk_archive(
        &RealDisk,
        dir,
        &mut |entry| {
            // What is in a segment still comes from there.
            if entry.lsn < first {
                take(entry, true);
            }
        },
        &mut |_| {},
    )?;
    spool::export(dir, Lsn(0), Lsn(u64::MAX), &mut |entry| {
        take(entry, false);
        Ok(())
    })?;
    Ok(found)
}

impl Found {
    fn take(&mut self, question: &Question, record: &Record, entry: ExportedEntry<'_>, is_archived: bool) {
        if let Some(receipt) = receipt(question, record) {
            if self.receipts.len() < RECEIPTS_MAX {
                self.receipts.push(receipt);
            }
        } else if is_asked(question, record) && self.entries.len() < ENTRIES_MAX {
            let (record, stored_at_ms) = (record.clone(), entry.written_at_ms);
            self.entries.push(Entry { record, class: entry.class, stored_at_ms, is_archived });
        }
    }
}

/// Also what is in quarantine, if it has a head that can be read.
fn envelope(record: &Record) -> Option<Envelope<'_>> {
    match record.kind {
        RecordKind::Quarantine(QuarantineReason::Envelope) => None,
        RecordKind::Envelope | RecordKind::Repeated | RecordKind::Quarantine(_) => {
            Envelope::decode(&record.payload).ok()
        }
        _ => None,
    }
}

fn is_asked(question: &Question, record: &Record) -> bool {
    envelope(record).is_some_and(|found| (found.head.boot, found.head.seq) == (question.boot, question.seq))
}

/// That somebody has the alarm that is asked for. What it names beside that stays in the spool.
fn receipt(question: &Question, record: &Record) -> Option<Receipt> {
    let (alarm, what, at_ms, by): (AlarmId, _, _, _) = match record.kind {
        RecordKind::Delivered => {
            let said: Delivered = serde_json::from_slice(&record.payload).ok()?;
            (said.alarm.parse().ok()?, "delivered", said.acceptance.at_ms, Some(said.acceptance.by))
        }
        RecordKind::Acknowledged => {
            let said: Acknowledgement = serde_json::from_slice(&record.payload).ok()?;
            (said.alarm.parse().ok()?, "seen", said.at_ms, None)
        }
        RecordKind::Confirmed => {
            let said: Confirmed = serde_json::from_slice(&record.payload).ok()?;
            let what = match said.receipt {
                fieldpost_protocol::downlink::Receipt::Stored => "stored-confirmed",
                fieldpost_protocol::downlink::Receipt::Delivered => "delivered-confirmed",
                fieldpost_protocol::downlink::Receipt::Seen => "seen-confirmed",
            };
            (said.alarm, what, said.at_ms, None)
        }
        _ => return None,
    };
    let is_asked = alarm.unit == question.unit && (alarm.boot, alarm.seq) == (question.boot, question.seq);
    is_asked.then_some(Receipt { what, at_ms, by, repeat: alarm.repeat })
}

impl Entry {
    /// What may be said of it.
    pub(super) fn shown(&self, kept: &Kept<'_>, receipts: &[Receipt]) -> Result<Stored, TraceError> {
        let record = &self.record;
        let head = envelope(record).map(|envelope| envelope.head);
        let quarantine = match record.kind {
            RecordKind::Quarantine(reason) => Some(reason.as_str()),
            _ => None,
        };
        let class = head.map(|head| match head.class.name() {
            Some(name) => name.to_owned(),
            None => format!("class-{}", head.class.0),
        });
        Ok(Stored {
            lsn: record.lsn,
            key: record.key(),
            class: class.unwrap_or_default(),
            mode: head.map_or("", |head| head.mode.as_str()),
            lane: record.lane.as_str(),
            quarantine,
            device_time_ms: head.filter(|head| head.clock != ClockQuality::Unset).map(|head| head.time_ms),
            received_at_ms: record.received_at_ms,
            stored_at_ms: self.stored_at_ms,
            is_archived: self.is_archived,
            read_by: kept.readers(self.class, record.lsn),
            outputs: kept.outputs(self, receipts)?,
        })
    }
}
