//! The truth: every record the fleet issued, where it got to, and when.
//!
//! **Every (device, boot, sequence) ends in exactly one state**: stored, declared lost by its device, still owed, or -
//! and then the run has failed - unaccounted for. A stored record must be in every sink, once after its key, in the order
//! of its lane.
//!
//! ```text
//! issued -> published -> stored (PUBACK) -> sink, sink, ...      times are microseconds since the run began
//!      \-> declared lost (a loss record)    \-> the page
//! ```

mod sink;
mod verdict;

use std::collections::{BTreeMap, VecDeque};

use fieldpost_protocol::{Body, Class, Envelope, Lane};

use self::sink::SinkLedger;
pub use self::{sink::SinkCount, verdict::Balance};
use super::latency::Latencies;

/// Positions that wait for the page to show them, per device; older ones are given up as overtaken.
const WAITING_FOR_PAGE_MAX: usize = 512;

/// Names a record: its device, boot and sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// The device's place in the fleet.
    pub device: usize,
    /// Boot id.
    pub boot: u32,
    /// Sequence.
    pub seq: u32,
}

/// What a delivered event says of itself, apart from its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Whose record it is.
    pub record: RecordId,
    /// The lane it was delivered in.
    pub lane: Lane,
    /// Whether newer ones of its lane overtook it in the gateway.
    pub overtaken: bool,
}

/// What an arrival was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The first of its key.
    First(RecordId),
    /// Its key was there before.
    Again(RecordId),
    /// No device of this fleet issued it.
    Unknown,
}

/// Everything known of one record.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    published_us: Option<u64>,
    stored_us: Option<u64>,
    /// One bit per lane it was published in.
    lanes: u8,
    declared_lost: bool,
}

#[derive(Debug, Default)]
struct Boot {
    /// How many sequences the device says it has issued.
    issued: u32,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct DeviceLedger {
    name: String,
    boots: BTreeMap<u32, Boot>,
    /// Device time and publish time of positions that the page has not shown yet.
    waiting_for_page: VecDeque<(u64, u64)>,
}

/// The whole truth of a run.
#[derive(Debug)]
pub struct Ledger {
    force: String,
    devices: Vec<DeviceLedger>,
    by_name: BTreeMap<String, usize>,
    sinks: Vec<SinkLedger>,
    stored: Latencies,
    page: Latencies,
    published_count: u64,
    republished_count: u64,
}

impl Ledger {
    /// An empty ledger for a fleet and its sinks.
    #[must_use]
    pub fn new(force: &str, devices: &[String], sinks: &[&str]) -> Self {
        let by_name = devices.iter().cloned().enumerate().map(|(number, name)| (name, number)).collect();
        let devices = devices
            .iter()
            .map(|name| DeviceLedger {
                name: name.clone(),
                boots: BTreeMap::new(),
                waiting_for_page: VecDeque::new(),
            })
            .collect();
        Self {
            force: force.to_owned(),
            devices,
            by_name,
            sinks: sinks.iter().map(|name| SinkLedger::new(name)).collect(),
            stored: Latencies::default(),
            page: Latencies::default(),
            published_count: 0,
            republished_count: 0,
        }
    }

    /// A device says how many sequences of a boot it has issued.
    pub fn issued(&mut self, device: usize, boot: u32, count: u32) {
        let boot = self.devices[device].boots.entry(boot).or_default();
        boot.issued = boot.issued.max(count);
    }

    /// A device hands a frame to its connection. Returns the records in it; a batch holds many.
    pub fn published(&mut self, device: usize, lane: Lane, frame: &[u8], now_us: u64) -> Vec<RecordId> {
        let Ok(envelope) = Envelope::decode(frame) else { return Vec::new() };
        let boot = envelope.head.boot.0;
        let id = |seq: u32| RecordId { device, boot, seq };
        let mut records = Vec::new();
        match Body::decode(&envelope.head, envelope.body) {
            Ok(Body::PositionBatch(items)) => {
                for item in items.flatten() {
                    records.push(id(item.seq.0));
                    self.expect_on_page(device, lane, item.time_ms, now_us);
                }
            }
            Ok(Body::Loss(loss)) => {
                records.push(id(envelope.head.seq.0));
                self.declare_lost(
                    device,
                    loss.boot.0,
                    loss.ranges.iter().map(|range| (range.first.0, range.more.saturating_add(1))),
                );
            }
            _ => {
                records.push(id(envelope.head.seq.0));
                if envelope.head.class == Class::POSITION {
                    self.expect_on_page(device, lane, envelope.head.time_ms, now_us);
                }
            }
        }
        for record in &records {
            let entry = self.entry(*record);
            let again = entry.published_us.is_some();
            entry.published_us.get_or_insert(now_us);
            entry.lanes |= lane_bit(lane);
            self.published_count += u64::from(!again);
            self.republished_count += u64::from(again);
        }
        records
    }

    /// The gateway acknowledged these records: it has them from now on.
    pub fn stored(&mut self, records: &[RecordId], now_us: u64) {
        for record in records {
            let entry = self.entry(*record);
            if entry.stored_us.is_none() {
                entry.stored_us = Some(now_us);
                let latency_us = now_us.saturating_sub(entry.published_us.unwrap_or(now_us));
                self.stored.add(latency_us);
            }
        }
    }

    /// A sink received a record under a key, with what its content states, if it states anything.
    pub fn arrived(&mut self, sink: usize, key: &str, content: Option<Content>, now_us: u64) -> Arrival {
        let Some(record) = self.parse_key(key) else {
            self.sinks[sink].note_unknown(key);
            return Arrival::Unknown;
        };
        let Entry { published_us, lanes, .. } = *self.entry(record);
        let Some(published_us) = published_us else {
            self.sinks[sink].note_unknown(key);
            return Arrival::Unknown;
        };
        self.sinks[sink].take(record, content, lanes, now_us.saturating_sub(published_us))
    }

    /// The page showed a device's position of this device time: everything up to it has been shown or overtaken.
    pub fn shown(&mut self, device: usize, time_ms: u64, now_us: u64) {
        while let Some(&(waiting_ms, published_us)) = self.devices[device].waiting_for_page.front() {
            if waiting_ms > time_ms {
                return;
            }
            self.devices[device].waiting_for_page.pop_front();
            self.page.add(now_us.saturating_sub(published_us));
        }
    }

    /// Where a device stands in the fleet.
    #[must_use]
    pub fn device(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The record an idempotency key names, if it is one of this fleet's devices.
    #[must_use]
    pub fn parse_key(&self, key: &str) -> Option<RecordId> {
        let mut parts = key.rsplitn(3, '.');
        let (seq, boot, owner) = (parts.next()?, parts.next()?, parts.next()?);
        let device = owner.strip_prefix(self.force.as_str())?.strip_prefix('.')?;
        Some(RecordId { device: self.device(device)?, boot: boot.parse().ok()?, seq: seq.parse().ok()? })
    }

    /// The idempotency key of a record.
    #[must_use]
    pub fn key(&self, record: RecordId) -> String {
        format!("{}.{}.{}.{}", self.force, self.devices[record.device].name, record.boot, record.seq)
    }

    /// Publishes to the gateway: (first time, again).
    #[must_use]
    pub fn publish_counts(&self) -> (u64, u64) {
        (self.published_count, self.republished_count)
    }

    /// Publish to PUBACK.
    #[must_use]
    pub fn stored_latencies(&self) -> &Latencies {
        &self.stored
    }

    /// Publish to the page.
    #[must_use]
    pub fn page_latencies(&self) -> &Latencies {
        &self.page
    }

    fn entry(&mut self, record: RecordId) -> &mut Entry {
        let boot = self.devices[record.device].boots.entry(record.boot).or_default();
        let at = record.seq as usize;
        if boot.entries.len() <= at {
            boot.entries.resize(at + 1, Entry::default());
        }
        &mut boot.entries[at]
    }

    fn expect_on_page(&mut self, device: usize, lane: Lane, time_ms: u64, now_us: u64) {
        if lane != Lane::Live {
            return;
        }
        let waiting = &mut self.devices[device].waiting_for_page;
        if waiting.back().is_some_and(|(newest_ms, _)| *newest_ms >= time_ms) {
            return;
        }
        if waiting.len() == WAITING_FOR_PAGE_MAX {
            waiting.pop_front();
        }
        waiting.push_back((time_ms, now_us));
    }

    fn declare_lost(&mut self, device: usize, boot: u32, ranges: impl Iterator<Item = (u32, u32)>) {
        for (first, count) in ranges {
            for seq in first..first.saturating_add(count) {
                self.entry(RecordId { device, boot, seq }).declared_lost = true;
            }
        }
    }
}

fn lane_bit(lane: Lane) -> u8 {
    match lane {
        Lane::Alarm => 1,
        Lane::Live => 2,
        Lane::Backlog => 4,
        Lane::Health => 8,
    }
}
