//! What one sink received, and in which order.

use std::collections::BTreeMap;

use super::{Arrival, Content, RecordId, lane_bit};
use crate::check::latency::Latencies;

/// What one sink received.
#[derive(Debug)]
pub(super) struct SinkLedger {
    pub(super) name: String,
    arrived: BTreeMap<(usize, u32), Vec<bool>>,
    /// Highest sequence seen of (device, boot, lane).
    newest: BTreeMap<(usize, u32, u8), u32>,
    count: u64,
    duplicates_raw: u64,
    pub(super) duplicates_after_key: u64,
    pub(super) unknown: Vec<String>,
    pub(super) out_of_order: Vec<RecordId>,
    latencies: Latencies,
}

/// What one sink got, counted at the end.
#[derive(Debug, Clone)]
pub struct SinkCount {
    /// Its name.
    pub name: String,
    /// Different records that arrived.
    pub count: u64,
    /// Stored records that never arrived.
    pub lost: u64,
    /// Deliveries beyond the first of a key: allowed, delivery is at least once.
    pub duplicates_raw: u64,
    /// Records that stay double when the key is applied: never allowed.
    pub duplicates_after_key: u64,
    /// Arrivals that no device issued.
    pub unknown: u64,
    /// Records that arrived after a younger one of their lane.
    pub out_of_order: u64,
    /// Publish to arrival.
    pub latencies: Latencies,
}

impl SinkLedger {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            arrived: BTreeMap::new(),
            newest: BTreeMap::new(),
            count: 0,
            duplicates_raw: 0,
            duplicates_after_key: 0,
            unknown: Vec::new(),
            out_of_order: Vec::new(),
            latencies: Latencies::default(),
        }
    }

    pub(super) fn has(&self, record: RecordId) -> bool {
        let boot = self.arrived.get(&(record.device, record.boot));
        boot.and_then(|seqs| seqs.get(record.seq as usize)).copied().unwrap_or(false)
    }

    /// A record arrived, so long after it was published in `lanes`.
    pub(super) fn take(
        &mut self,
        record: RecordId,
        content: Option<Content>,
        lanes: u8,
        latency_us: u64,
    ) -> Arrival {
        if self.mark(record) {
            self.duplicates_raw += 1;
            return Arrival::Again(record);
        }
        self.count += 1;
        // A new key over a content that another key already delivered: the key failed to tell them apart.
        if content.is_some_and(|content| content.record != record) {
            self.duplicates_after_key += 1;
        }
        self.latencies.add(latency_us);
        self.check_order(record, content.map_or(lanes, order_bit));
        Arrival::First(record)
    }

    /// Its account, with `lost` stored records that never arrived.
    pub(super) fn counted(&self, lost: u64) -> SinkCount {
        SinkCount {
            name: self.name.clone(),
            count: self.count,
            lost,
            duplicates_raw: self.duplicates_raw,
            duplicates_after_key: self.duplicates_after_key,
            unknown: self.unknown.len() as u64,
            out_of_order: self.out_of_order.len() as u64,
            latencies: self.latencies.clone(),
        }
    }

    /// Marks a record as arrived; true if it was already.
    fn mark(&mut self, record: RecordId) -> bool {
        let seqs = self.arrived.entry((record.device, record.boot)).or_default();
        let at = record.seq as usize;
        if seqs.len() <= at {
            seqs.resize(at + 1, false);
        }
        std::mem::replace(&mut seqs[at], true)
    }

    pub(super) fn note_unknown(&mut self, key: &str) {
        self.unknown.push(key.to_owned());
    }

    /// Within a lane sequences rise. If a record was published in two lanes, because its connection broke, and nobody
    /// says by which it came, it is not judged.
    fn check_order(&mut self, record: RecordId, lanes: u8) {
        if lanes.count_ones() != 1 {
            return;
        }
        let newest = self.newest.entry((record.device, record.boot, lanes)).or_insert(record.seq);
        if record.seq < *newest {
            self.out_of_order.push(record);
        }
        *newest = record.seq.max(*newest);
    }
}

/// What was overtaken is in an order of its own.
fn order_bit(content: Content) -> u8 {
    if content.overtaken { 16 } else { lane_bit(content.lane) }
}
