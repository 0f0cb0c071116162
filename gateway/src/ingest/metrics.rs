//! What the front door counts: `fieldpost_ingest_*`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::reason::Reason;
use crate::record::QuarantineReason;

/// `fieldpost_ingest_*`. Counted once a read batch, never once a message.
#[derive(Debug)]
pub struct IngestMetrics {
    /// Connections open now, from accept on.
    pub connections: Gauge,
    /// Devices connected now, from CONNACK on.
    pub devices: Gauge,
    /// Connections accepted.
    pub accepted: Counter,
    /// Of these, devices that took up an earlier TLS session, and were let in.
    pub resumed: Counter,
    /// Connections refused before CONNACK, by reason.
    refused: ByReason,
    /// Connections ended after CONNACK, by reason.
    ended: ByReason,
    /// PUBLISH packets.
    pub publishes: Counter,
    /// Bytes of their payloads.
    pub payload_bytes: Counter,
    /// Records appended to the spool.
    pub records: Counter,
    /// Records that the spool had already.
    pub duplicates: Counter,
    /// Records under an identity that their device had used before for another one.
    pub repeated: Counter,
    /// Payloads kept in quarantine, by reason.
    quarantined: ByReason,
    /// PUBLISH packets on a topic that is not the device's.
    pub foreign_topics: Counter,
    /// Records from a clock too far ahead.
    pub clock_future: Counter,
    /// Records from a clock too far behind.
    pub clock_ancient: Counter,
    /// From append to the commit that made a batch's PUBACKs due, seconds.
    pub commit_wait_seconds: Histogram,
}

/// A family with one series for each value of a closed enum, all there from the start.
#[derive(Debug)]
struct ByReason {
    family: Family<ReasonLabel, Counter>,
    /// In the order of the enum's `ALL`.
    counters: Vec<Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl ByReason {
    fn new(reasons: impl IntoIterator<Item = &'static str>) -> Self {
        let family = Family::default();
        let counters =
            reasons.into_iter().map(|reason| family.get_or_create_owned(&ReasonLabel { reason })).collect();
        Self { family, counters }
    }

    fn of<T: PartialEq + Copy>(&self, all: &[T], reason: T) -> &Counter {
        let place = all.iter().position(|other| *other == reason);
        &self.counters[place.expect("ALL holds every reason: a test counts them")]
    }
}

impl Default for IngestMetrics {
    fn default() -> Self {
        let reasons = Reason::ALL.map(Reason::as_str);
        Self {
            connections: Gauge::default(),
            devices: Gauge::default(),
            accepted: Counter::default(),
            resumed: Counter::default(),
            refused: ByReason::new(reasons),
            ended: ByReason::new(reasons),
            publishes: Counter::default(),
            payload_bytes: Counter::default(),
            records: Counter::default(),
            duplicates: Counter::default(),
            repeated: Counter::default(),
            quarantined: ByReason::new(QuarantineReason::ALL.map(QuarantineReason::as_str)),
            foreign_topics: Counter::default(),
            clock_future: Counter::default(),
            clock_ancient: Counter::default(),
            // 0.5 ms to 16 s: a quick disk at one end, one that stalls at the other.
            commit_wait_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
        }
    }
}

impl IngestMetrics {
    /// Connections refused before CONNACK for `reason`.
    #[must_use]
    pub fn refused(&self, reason: Reason) -> &Counter {
        self.refused.of(&Reason::ALL, reason)
    }

    /// Connections ended after CONNACK for `reason`.
    #[must_use]
    pub fn ended(&self, reason: Reason) -> &Counter {
        self.ended.of(&Reason::ALL, reason)
    }

    /// Payloads put into quarantine for `reason`.
    #[must_use]
    pub fn quarantined(&self, reason: QuarantineReason) -> &Counter {
        self.quarantined.of(&QuarantineReason::ALL, reason)
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("connections", "Connections open now", self.connections.clone());
        registry.register("devices", "Devices connected now", self.devices.clone());
        let counters = [
            ("accepted", "Connections accepted", &self.accepted),
            ("resumed", "Devices let in that took up an earlier TLS session", &self.resumed),
            ("publishes", "PUBLISH packets", &self.publishes),
            ("payload_bytes", "Bytes of PUBLISH payloads", &self.payload_bytes),
            ("records", "Records appended to the spool", &self.records),
            ("duplicates", "Records that the spool had already", &self.duplicates),
            (
                "repeated_identities",
                "Records under an identity that their device had used for another",
                &self.repeated,
            ),
            ("foreign_topics", "PUBLISH packets on a topic that is not the device's", &self.foreign_topics),
            ("clock_future", "Records from a clock too far ahead", &self.clock_future),
            ("clock_ancient", "Records from a clock too far behind", &self.clock_ancient),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let families = [
            ("refused", "Connections refused before CONNACK", &self.refused),
            ("ended", "Connections ended after CONNACK", &self.ended),
            ("quarantined", "Payloads kept in quarantine", &self.quarantined),
        ];
        for (name, help, family) in families {
            registry.register(name, help, family.family.clone());
        }
        registry.register(
            "commit_wait_seconds",
            "From append to the commit that made PUBACKs due",
            self.commit_wait_seconds.clone(),
        );
    }
}
