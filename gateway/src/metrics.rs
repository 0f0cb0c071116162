//! Counters and gauges, in data-flow order: `fieldpost_ingest_*`, `fieldpost_broker_*`, `fieldpost_spool_*`,
//! `fieldpost_retention_*`, `fieldpost_forward_*`, `fieldpost_tak_*`,
//! `fieldpost_live_*`, `fieldpost_history_*`.
//!
//! Promise: **counting never waits, and no device or operator can add a time series.** Every label is a closed enum or
//! a name from the configuration; counting is one atomic addition. One group per stage; each stage adds its own fields
//! here and registers them in its group's `register`.

mod spool;

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use crate::live::metrics::LiveMetrics;

pub use self::spool::SpoolMetrics;
pub use crate::broker::BrokerMetrics;
use crate::forward::ForwardMetrics;
pub use crate::history::metrics::HistoryMetrics;
pub use crate::ingest::IngestMetrics;
pub use crate::retention::RetentionMetrics;

/// Every metric of the gateway. Shared as an `Arc`; fields are handles that may be cloned.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Front door: connections, packets, records.
    pub ingest: IngestMetrics,
    /// Brokers that devices are behind.
    pub broker: BrokerMetrics,
    /// Durable store.
    pub spool: SpoolMetrics,
    /// What is erased, and why nothing is.
    pub retention: RetentionMetrics,
    /// Forwarders.
    pub forward: ForwardMetrics,
    /// Control-room page.
    pub live: LiveMetrics,
    /// Where everything was.
    pub history: HistoryMetrics,
    /// The process and its configuration.
    pub service: ServiceMetrics,
}

/// `fieldpost_service_*`.
#[derive(Debug, Default)]
pub struct ServiceMetrics {
    /// Reloads that took effect.
    pub reloads: Counter,
    /// Reloads refused because the new configuration had mistakes; the old one stayed.
    pub reloads_refused: Counter,
    /// Unix seconds at which the front door's certificate expires.
    pub certificate_expiry_s: Gauge,
    /// Unix seconds at which the revocation list expires; after it every device is refused. 0 = no list configured.
    pub revocation_list_expiry_s: Gauge,
}

impl Metrics {
    /// Builds and registers every metric at zero, so that a scrape names them all from the first second.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("fieldpost");
        let ingest = IngestMetrics::default();
        let broker = BrokerMetrics::default();
        let spool = SpoolMetrics::default();
        let retention = RetentionMetrics::default();
        let forward = ForwardMetrics::default();
        let live = LiveMetrics::default();
        let history = HistoryMetrics::default();
        let service = ServiceMetrics::default();
        ingest.register(registry.sub_registry_with_prefix("ingest"));
        broker.register(registry.sub_registry_with_prefix("broker"));
        spool.register(registry.sub_registry_with_prefix("spool"));
        retention.register(registry.sub_registry_with_prefix("retention"));
        forward.register(registry.sub_registry_with_prefix("forward"));
        forward.tak.register(registry.sub_registry_with_prefix("tak"));
        live.register(registry.sub_registry_with_prefix("live"));
        history.register(registry.sub_registry_with_prefix("history"));
        service.register(registry.sub_registry_with_prefix("service"));
        Arc::new(Self { registry, ingest, broker, spool, retention, forward, live, history, service })
    }

    /// The whole registry in OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(4096);
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing into a String cannot fail");
        text
    }
}

impl ServiceMetrics {
    fn register(&self, registry: &mut Registry) {
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of this gateway", version);
        registry.register("reloads", "Reloads that took effect", self.reloads.clone());
        registry.register(
            "reloads_refused",
            "Reloads refused because the new configuration had mistakes",
            self.reloads_refused.clone(),
        );
        registry.register(
            "certificate_expiry_seconds",
            "Unix time at which the front door's certificate expires",
            self.certificate_expiry_s.clone(),
        );
        registry.register(
            "revocation_list_expiry_seconds",
            "Unix time at which the revocation list expires; 0 = none configured",
            self.revocation_list_expiry_s.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_named_from_the_first_scrape_in_data_flow_order() {
        let text = Metrics::new().encode();
        let positions: Vec<_> = ["fieldpost_ingest_", "fieldpost_spool_", "fieldpost_service_"]
            .iter()
            .map(|prefix| text.find(prefix).unwrap())
            .collect();
        assert!(positions.is_sorted(), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
