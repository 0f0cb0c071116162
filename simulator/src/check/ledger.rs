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

use std::collections::{BTreeMap, VecDeque};

use fieldpost_protocol::{Body, Class, Envelope, Lane};

use super::account::{Account, Truth, differences};
use super::latency::Latencies;

/// Most examples of each fault kept for the report.
const EXAMPLES_MAX: usize = 5;
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

/// What one sink received.
#[derive(Debug)]
struct SinkLedger {
    name: String,
    arrived: BTreeMap<(usize, u32), Vec<bool>>,
    /// Highest sequence seen of (device, boot, lane).
    newest: BTreeMap<(usize, u32, u8), u32>,
    count: u64,
    duplicates_raw: u64,
    duplicates_after_key: u64,
    unknown: Vec<String>,
    out_of_order: Vec<RecordId>,
    latencies: Latencies,
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

/// The ledger's balance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Sequences issued by the devices.
    pub issued: u64,
    /// Acknowledged by the gateway.
    pub stored: u64,
    /// Declared lost by their device.
    pub declared_lost: u64,
    /// Neither: still in a device's outbox, or gone.
    pub open: u64,
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
        let entry = *self.entry(record);
        let Some(published_us) = entry.published_us else {
            self.sinks[sink].note_unknown(key);
            return Arrival::Unknown;
        };
        let sink = &mut self.sinks[sink];
        if sink.mark(record) {
            sink.duplicates_raw += 1;
            return Arrival::Again(record);
        }
        sink.count += 1;
        // A new key over a content that another key already delivered: the key failed to tell them apart.
        if content.is_some_and(|content| content.record != record) {
            sink.duplicates_after_key += 1;
        }
        sink.latencies.add(now_us.saturating_sub(published_us));
        sink.check_order(record, content.map_or(entry.lanes, order_bit));
        Arrival::First(record)
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

    /// Every issued sequence, sorted by its state.
    #[must_use]
    pub fn balance(&self) -> Balance {
        let mut balance = Balance::default();
        for boot in self.devices.iter().flat_map(|device| device.boots.values()) {
            balance.issued += u64::from(boot.issued);
            for seq in 0..boot.issued {
                match boot.entries.get(seq as usize) {
                    Some(entry) if entry.stored_us.is_some() => balance.stored += 1,
                    Some(entry) if entry.declared_lost => balance.declared_lost += 1,
                    _ => balance.open += 1,
                }
            }
        }
        balance
    }

    /// What every sink got.
    #[must_use]
    pub fn sink_counts(&self) -> Vec<SinkCount> {
        self.sinks
            .iter()
            .map(|sink| SinkCount {
                name: sink.name.clone(),
                count: sink.count,
                lost: self.stored_records().filter(|record| !sink.has(*record)).count() as u64,
                duplicates_raw: sink.duplicates_raw,
                duplicates_after_key: sink.duplicates_after_key,
                unknown: sink.unknown.len() as u64,
                out_of_order: sink.out_of_order.len() as u64,
                latencies: sink.latencies.clone(),
            })
            .collect()
    }

    /// Everything that broke a promise, in words; empty if the run was good.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let balance = self.balance();
        if balance.open > 0 {
            let keys = self.open_records().take(EXAMPLES_MAX).map(|record| self.key(record));
            faults.push(format!("{} records were issued and never stored: {}", balance.open, list(keys)));
        }
        for sink in &self.sinks {
            let missing: Vec<RecordId> = self.stored_records().filter(|record| !sink.has(*record)).collect();
            if !missing.is_empty() {
                let keys = missing.iter().take(EXAMPLES_MAX).map(|record| self.key(*record));
                faults.push(format!(
                    "{}: {} stored records are missing: {}",
                    sink.name,
                    missing.len(),
                    list(keys)
                ));
            }
            if sink.duplicates_after_key > 0 {
                faults.push(format!("{}: {} duplicates after the key", sink.name, sink.duplicates_after_key));
            }
            if !sink.out_of_order.is_empty() {
                let keys = sink.out_of_order.iter().take(EXAMPLES_MAX).map(|record| self.key(*record));
                faults.push(format!(
                    "{}: {} out of order: {}",
                    sink.name,
                    sink.out_of_order.len(),
                    list(keys)
                ));
            }
            if !sink.unknown.is_empty() {
                let keys = sink.unknown.iter().take(EXAMPLES_MAX).cloned();
                faults.push(format!(
                    "{}: {} that no device issued: {}",
                    sink.name,
                    sink.unknown.len(),
                    list(keys)
                ));
            }
        }
        faults
    }

    /// Records that are missing anywhere: never stored, or stored and not in every sink.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let missing = |record: &RecordId| !self.sinks.iter().all(|sink| sink.has(*record));
        self.open_records().count() as u64 + self.stored_records().filter(missing).count() as u64
    }

    /// Every difference between the truth and the gateway's own ledger, in words.
    #[must_use]
    pub fn compare(&self, accounts: &[Account]) -> Vec<String> {
        let mut found = Vec::new();
        for device in &self.devices {
            let unit = format!("{}/{}", self.force, device.name);
            let account = accounts.iter().find(|account| account.unit == unit);
            let boots = account.map_or(&[][..], |account| &account.boots);
            for (id, boot) in &device.boots {
                let said = boots.iter().find(|said| said.boot == *id);
                found.extend(differences(&unit, *id, &boot.truth(), said));
            }
            let unheard = boots.iter().filter(|said| !device.boots.contains_key(&said.boot));
            found.extend(unheard.map(|said| format!("{unit}: the ledger knows a boot {}", said.boot)));
        }
        found
    }

    /// Whether every stored record has arrived in every sink.
    #[must_use]
    pub fn all_delivered(&self) -> bool {
        self.sinks.iter().all(|sink| self.stored_records().all(|record| sink.has(record)))
    }

    fn stored_records(&self) -> impl Iterator<Item = RecordId> + '_ {
        self.records()
            .filter(|(_, entry)| entry.is_some_and(|entry| entry.stored_us.is_some()))
            .map(|(id, _)| id)
    }

    fn open_records(&self) -> impl Iterator<Item = RecordId> + '_ {
        let is_open = |entry: Option<&Entry>| {
            entry.is_none_or(|entry| entry.stored_us.is_none() && !entry.declared_lost)
        };
        self.records().filter(move |(_, entry)| is_open(*entry)).map(|(id, _)| id)
    }

    fn records(&self) -> impl Iterator<Item = (RecordId, Option<&Entry>)> + '_ {
        self.devices.iter().enumerate().flat_map(|(device, ledger)| {
            ledger.boots.iter().flat_map(move |(boot, entries)| {
                (0..entries.issued).map(move |seq| {
                    (RecordId { device, boot: *boot, seq }, entries.entries.get(seq as usize))
                })
            })
        })
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

impl Boot {
    /// What became of every sequence issued.
    fn truth(&self) -> Vec<Truth> {
        let of = |seq: u32| match self.entries.get(seq as usize) {
            Some(entry) if entry.stored_us.is_some() => Truth::Acknowledged,
            Some(entry) if entry.declared_lost => Truth::DeclaredLost,
            _ => Truth::Open,
        };
        (0..self.issued).map(of).collect()
    }
}

impl SinkLedger {
    fn new(name: &str) -> Self {
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

    fn has(&self, record: RecordId) -> bool {
        let boot = self.arrived.get(&(record.device, record.boot));
        boot.and_then(|seqs| seqs.get(record.seq as usize)).copied().unwrap_or(false)
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

    fn note_unknown(&mut self, key: &str) {
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

fn lane_bit(lane: Lane) -> u8 {
    match lane {
        Lane::Alarm => 1,
        Lane::Live => 2,
        Lane::Backlog => 4,
        Lane::Health => 8,
    }
}

fn list(keys: impl Iterator<Item = String>) -> String {
    keys.collect::<Vec<_>>().join(", ")
}
