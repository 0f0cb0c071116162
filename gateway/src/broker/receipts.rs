//! STORED for many records in few frames: what is committed together is said together, at most 24 records a frame.
//!
//! **A record is named by number and by what it said**: a receipt must not speak of another record that a device gave the same
//! number, before it was wiped or after.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fieldpost_protocol::limits::PROVEN_RECORDS_MAX;
use fieldpost_protocol::{
    BatchItem, Body, BootId, Class, Downlink as Frame, Envelope, Head, NamedRecord, Proven, Receipt,
};

use super::register::Enrolled;
use crate::fingerprint::Fingerprint;

/// Identities of the records in one envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) boot: BootId,
    pub(super) records: Vec<NamedRecord>,
    /// Of the alarm family.
    pub(super) is_alarm: bool,
}

/// Records by boot.
type Records = BTreeMap<BootId, BTreeSet<NamedRecord>>;

/// What collects between two commits.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// In the order in which they came first.
    devices: Vec<(Arc<Enrolled>, Records)>,
    /// Where each is, by the address of what the entry itself keeps alive.
    places: HashMap<usize, usize>,
}

impl Named {
    /// The records of a payload. `None` if it is no envelope: then there is nothing that a receipt could name.
    pub(super) fn of(payload: &[u8]) -> Option<Self> {
        let Envelope { head, body, .. } = Envelope::decode(payload).ok()?;
        let is_alarm = head.class.is_alarm_family();
        let records = match Body::decode(&head, body) {
            Ok(Body::PositionBatch(items)) => {
                items.map(|item| item.map(|item| of_item(&head, &item))).collect::<Result<_, _>>().ok()
            }
            _ => None,
        };
        let records = records.unwrap_or_else(|| vec![of_unread(&head, body)]);
        Some(Self { boot: head.boot, records, is_alarm })
    }
}

fn of_item(head: &Head, item: &BatchItem) -> NamedRecord {
    let head = Head { class: Class::POSITION, time_ms: item.time_ms, ..*head };
    NamedRecord { seq: item.seq, print: Fingerprint::of_position(&head, &item.position).print() }
}

/// What cannot be read is kept under the identity that it claims, and is no longer the device's either: of a batch, which
/// begins with its first item behind the count, that is the first.
fn of_unread(head: &Head, body: &[u8]) -> NamedRecord {
    let first = body.get(1..).filter(|_| head.class == Class::POSITION_BATCH);
    let print = match first {
        Some(first) => Fingerprint::of(&Head { class: Class::POSITION, ..*head }, first),
        None => Fingerprint::of(head, body),
    };
    NamedRecord { seq: head.seq, print: print.print() }
}

impl Batch {
    /// Adds what is committed.
    pub(super) fn add(&mut self, device: &Arc<Enrolled>, named: &Named) {
        let place = *self.places.entry(Arc::as_ptr(device).addr()).or_insert(self.devices.len());
        if place == self.devices.len() {
            self.devices.push((Arc::clone(device), BTreeMap::new()));
        }
        self.devices[place].1.entry(named.boot).or_default().extend(&named.records);
    }

    /// Every frame to send, and an empty batch again.
    pub(super) fn take(&mut self) -> Vec<(Arc<Enrolled>, Frame)> {
        let mut frames = Vec::new();
        self.places.clear();
        for (device, boots) in self.devices.drain(..) {
            for (boot, records) in boots {
                let records: Vec<_> = records.into_iter().collect();
                for records in records.chunks(PROVEN_RECORDS_MAX) {
                    let records = records.iter().copied().collect();
                    let proven = Proven { receipt: Receipt::Stored, boot, records };
                    frames.push((Arc::clone(&device), Frame::Proven(proven)));
                }
            }
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_protocol::limits::FRAME_BYTES_MAX;
    use fieldpost_protocol::{ClockQuality, FixSource, Mode, Position, ReportReason, Seq, encode_batch};

    use super::*;

    fn head(class: Class, seq: u32, time_ms: u64) -> Head {
        let (mode, clock) = (Mode::Test, ClockQuality::Gnss);
        Head { version: 1, class, mode, clock, boot: BootId(7), seq: Seq(seq), time_ms }
    }

    fn frame(head: Head, body: &[u8]) -> Vec<u8> {
        let mut buffer = [0; FRAME_BYTES_MAX];
        Envelope { head, body, trailer: None }.encode(&mut buffer).unwrap().to_vec()
    }

    fn items() -> Vec<BatchItem> {
        let position = Position {
            latitude_udeg: 51_507_400,
            longitude_udeg: -127_758,
            speed_cmps: None,
            course_turn256: None,
            accuracy_m: 5,
            source: FixSource::GNSS,
            reason: ReportReason::INTERVAL,
        };
        (4..6).map(|n| BatchItem { seq: Seq(n), time_ms: u64::from(n) * 1000, position }).collect()
    }

    #[test]
    fn a_record_has_one_name_alone_and_in_a_batch_and_its_batch_may_be_unreadable() {
        let items = items();
        let alone = |item: &BatchItem| {
            let mut body = [0; 64];
            let body = item.position.encode(&mut body).unwrap();
            Named::of(&frame(head(Class::POSITION, item.seq.0, item.time_ms), body)).unwrap().records
        };
        let mut body = [0; 256];
        let (_, body) = encode_batch(&items, &mut body).unwrap();
        let batch = frame(head(Class::POSITION_BATCH, 4, 4000), body);
        let together: Vec<_> = items.iter().flat_map(alone).collect();
        assert_eq!(Named::of(&batch).unwrap().records, together);
        let cut = frame(head(Class::POSITION_BATCH, 4, 4000), &body[..body.len() - 1]);
        assert_eq!(Named::of(&cut).unwrap().records, together[..1]);
    }

    #[test]
    fn the_same_number_with_another_content_is_another_record() {
        let named = |time_ms| Named::of(&frame(head(Class::STATUS, 9, time_ms), b"body")).unwrap().records;
        assert_ne!(named(1), named(2));
    }
}
