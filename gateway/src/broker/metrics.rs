//! What comes through brokers: `fieldpost_broker_*`. Records, duplicates and quarantine are counted with the front door's.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::refusal::Refusal;

/// `fieldpost_broker_*`.
#[derive(Debug)]
pub struct BrokerMetrics {
    /// Brokers connected now.
    pub connected: Gauge,
    /// Connections made.
    pub connections: Counter,
    /// Messages that came.
    pub messages: Counter,
    /// Messages dropped, by reason.
    refused: Family<ReasonLabel, Counter>,
    refused_each: [Counter; Refusal::ALL.len()],
    /// Messages of which every record was stored before.
    pub duplicates: Counter,
    /// Messages of whose records another gateway has said STORED.
    pub stored_elsewhere: Counter,
    /// Messages that devices sealed with an envelope key that is being replaced.
    pub former_key: Counter,
    /// Sealed frames sent to devices.
    pub sent: Counter,
    /// Frames for devices that were let go: no connection, or the broker takes no more. Each is sent again when its cause
    /// comes again.
    pub unsent: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl Default for BrokerMetrics {
    fn default() -> Self {
        let refused = Family::<ReasonLabel, Counter>::default();
        let refused_each = Refusal::ALL
            .map(|refusal| refused.get_or_create_owned(&ReasonLabel { reason: refusal.as_str() }));
        Self {
            connected: Gauge::default(),
            connections: Counter::default(),
            messages: Counter::default(),
            refused,
            refused_each,
            duplicates: Counter::default(),
            stored_elsewhere: Counter::default(),
            former_key: Counter::default(),
            sent: Counter::default(),
            unsent: Counter::default(),
        }
    }
}

impl BrokerMetrics {
    /// Messages dropped for `refusal`.
    #[must_use]
    pub fn refused(&self, refusal: Refusal) -> &Counter {
        &self.refused_each[refusal as usize]
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("connected", "Brokers connected now", self.connected.clone());
        let counters = [
            ("connections", "Connections made to brokers", &self.connections),
            ("messages", "Messages that came through brokers", &self.messages),
            ("duplicates", "Messages of which every record was stored before", &self.duplicates),
            ("stored_elsewhere", "Messages that another gateway has said STORED of", &self.stored_elsewhere),
            ("former_key", "Messages sealed with an envelope key that is being replaced", &self.former_key),
            ("sent", "Sealed frames sent to devices", &self.sent),
            ("unsent", "Frames for devices that were let go", &self.unsent),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("refused", "Messages dropped", self.refused.clone());
    }
}
