//! STORED for many records in few frames: what is committed together is said together, a frame a device and boot.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fieldpost_protocol::limits::SEQ_RANGES_MAX;
use fieldpost_protocol::{Body, BootId, Downlink as Frame, Envelope, Receipt, Receipts, Seq, SeqRange};

use super::register::Enrolled;

/// Identities of the records in one envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) boot: BootId,
    pub(super) seqs: Vec<Seq>,
    /// Of the alarm family.
    pub(super) is_alarm: bool,
}

/// Sequences by boot.
type Sequences = BTreeMap<BootId, BTreeSet<u32>>;

/// What collects between two commits.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// By the address of what the entry itself keeps alive.
    devices: HashMap<usize, (Arc<Enrolled>, Sequences)>,
}

impl Named {
    /// The records of a payload. `None` if it is no envelope: then there is nothing that a receipt could name.
    pub(super) fn of(payload: &[u8]) -> Option<Self> {
        let Envelope { head, body, .. } = Envelope::decode(payload).ok()?;
        let seqs = match Body::decode(&head, body) {
            Ok(Body::PositionBatch(items)) => {
                items.map(|item| item.map(|item| item.seq)).collect::<Result<_, _>>().ok()
            }
            _ => None,
        };
        // What cannot be read is kept under the identity that it claims, and is no longer the device's either.
        let is_alarm = head.class.is_alarm_family();
        Some(Self { boot: head.boot, seqs: seqs.unwrap_or_else(|| vec![head.seq]), is_alarm })
    }
}

impl Batch {
    /// Adds what is committed.
    pub(super) fn add(&mut self, device: &Arc<Enrolled>, named: &Named) {
        let entry = self.devices.entry(Arc::as_ptr(device).addr());
        let (_, boots) = entry.or_insert_with(|| (Arc::clone(device), BTreeMap::new()));
        boots.entry(named.boot).or_default().extend(named.seqs.iter().map(|seq| seq.0));
    }

    /// Every frame to send, and an empty batch again.
    pub(super) fn take(&mut self) -> Vec<(Arc<Enrolled>, Frame)> {
        let mut frames = Vec::new();
        for (_, (device, boots)) in self.devices.drain() {
            for (boot, seqs) in boots {
                for ranges in ranges_of(&seqs).chunks(SEQ_RANGES_MAX) {
                    let ranges = ranges.iter().copied().collect();
                    let receipts = Receipts { receipt: Receipt::Stored, boot, ranges };
                    frames.push((Arc::clone(&device), Frame::Receipts(receipts)));
                }
            }
        }
        frames
    }
}

fn ranges_of(seqs: &BTreeSet<u32>) -> Vec<SeqRange> {
    let mut ranges: Vec<SeqRange> = Vec::new();
    for seq in seqs {
        match ranges.last_mut() {
            Some(range) if range.first.0 + range.more + 1 == *seq => range.more += 1,
            _ => ranges.push(SeqRange { first: Seq(*seq), more: 0 }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_range() {
        let ranges = ranges_of(&[1, 2, 3, 7, 9, 10, u32::MAX].into());
        let said: Vec<_> = ranges.iter().map(|range| (range.first.0, range.more)).collect();
        assert_eq!(said, [(1, 2), (7, 0), (9, 1), (u32::MAX, 0)]);
    }
}
