//! What a run came to: for a machine as one JSON object, for people as a few lines.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use crate::{
    check::{
        latency::Percentiles,
        ledger::{Ledger, SinkCount},
    },
    fleet::progress::{FleetCounts, RaisedAlarm},
};

/// The summary. Counts are records unless the name says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Whether every promise held.
    pub ok: bool,
    /// Devices in the fleet.
    pub devices: usize,
    /// Devices that connected at least once.
    pub connected: usize,
    /// Connections made; more than devices where the radio lost some.
    pub connections: u64,
    /// Issued by the devices.
    pub sent: u64,
    /// Published more than once, because a connection broke.
    pub resent: u64,
    /// Acknowledged by the gateway: fsynced.
    pub stored: u64,
    /// What every sink received.
    pub delivered: BTreeMap<String, Delivered>,
    /// Missing anywhere: never stored, or stored and not in every sink.
    pub lost: u64,
    /// Declared lost by their own device (outbox full, too old).
    pub evicted: u64,
    /// The emergency loop.
    pub alarms: Alarms,
    /// From publish to each place, in milliseconds.
    pub latency_ms: BTreeMap<String, Percentiles>,
    /// Every broken promise, in words.
    pub faults: Vec<String>,
}

/// One sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Delivered {
    /// Different records.
    pub count: u64,
    /// Stored records that are missing.
    pub lost: u64,
    /// Deliveries beyond the first of a key.
    pub duplicates_raw: u64,
    /// Records that stay double when the key is applied.
    pub duplicates_after_key: u64,
    /// Arrived after a younger one of their lane.
    pub out_of_order: u64,
}

/// The emergency loop, in alarms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Alarms {
    /// Raised by devices.
    pub raised: usize,
    /// Of those, shown on the page.
    pub shown: usize,
    /// Of those, acknowledged by a person.
    pub acknowledged: usize,
    /// Of those, the device heard that a force system has them.
    pub delivered: usize,
    /// Of those, the acknowledgement was back on the device.
    pub seen: usize,
}

impl Alarms {
    /// Counts from what the devices know and what the page shows.
    #[must_use]
    pub fn count(raised: &[RaisedAlarm], shown: usize, acknowledged: usize) -> Self {
        let seen = raised.iter().filter(|alarm| alarm.seen_us.is_some()).count();
        let delivered = raised.iter().filter(|alarm| alarm.delivered_us.is_some()).count();
        Self { raised: raised.len(), shown, acknowledged, delivered, seen }
    }
}

impl Summary {
    /// Draws the balance. `more_faults` are those that the ledger cannot know.
    #[must_use]
    pub fn new(
        ledger: &Ledger,
        fleet: FleetCounts,
        devices: usize,
        alarms: Alarms,
        more_faults: Vec<String>,
    ) -> Self {
        let balance = ledger.balance();
        let mut faults = ledger.faults();
        faults.extend(more_faults);
        let sinks = ledger.sink_counts();
        let mut latency_ms: BTreeMap<String, Percentiles> =
            sinks.iter().map(|sink| (sink.name.clone(), sink.latencies.percentiles())).collect();
        latency_ms.insert("stored".to_owned(), ledger.stored_latencies().percentiles());
        latency_ms.insert("page".to_owned(), ledger.page_latencies().percentiles());
        Self {
            ok: faults.is_empty(),
            devices,
            connected: fleet.ever_connected,
            connections: fleet.connections,
            sent: balance.issued,
            resent: ledger.publish_counts().1,
            stored: balance.stored,
            delivered: sinks.iter().map(|sink| (sink.name.clone(), Delivered::from(sink))).collect(),
            lost: ledger.lost(),
            evicted: balance.declared_lost,
            alarms,
            latency_ms,
            faults,
        }
    }

    /// One JSON object on one line.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a summary is plain data")
    }

    /// A few lines for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let Self { devices, connected, connections, sent, stored, lost, resent, evicted, .. } = self;
        let mut line = |args: std::fmt::Arguments<'_>| {
            writeln!(text, "  {args}").expect("a string takes everything");
        };
        line(format_args!("devices    {devices}, {connected} connected, {connections} connections made"));
        line(format_args!(
            "records    {sent} issued, {stored} stored, {lost} lost, {evicted} evicted, {resent} resent"
        ));
        for (name, sink) in &self.delivered {
            let Delivered { count, lost, duplicates_raw, duplicates_after_key, out_of_order } = sink;
            line(format_args!(
                "{name:<10} {count} delivered, {lost} lost, {duplicates_raw} redelivered, {duplicates_after_key} double after the key, {out_of_order} out of order"
            ));
        }
        let Alarms { raised, shown, acknowledged, delivered, seen } = self.alarms;
        line(format_args!(
            "alarms     {raised} raised, {shown} shown, {acknowledged} acknowledged, {delivered} back on the wearer as DELIVERED, {seen} as SEEN"
        ));
        for (name, Percentiles { p50, p99 }) in &self.latency_ms {
            if let (Some(p50), Some(p99)) = (p50, p99) {
                line(format_args!("to {name:<8} p50 {p50} ms, p99 {p99} ms"));
            }
        }
        for fault in &self.faults {
            line(format_args!("BROKEN     {fault}"));
        }
        text
    }
}

impl From<&SinkCount> for Delivered {
    fn from(sink: &SinkCount) -> Self {
        Self {
            count: sink.count,
            lost: sink.lost,
            duplicates_raw: sink.duplicates_raw,
            duplicates_after_key: sink.duplicates_after_key,
            out_of_order: sink.out_of_order,
        }
    }
}
