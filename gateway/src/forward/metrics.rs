//! `fieldpost_forward_*`: one series per configured forwarder and closed reason; counted per batch.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::event::{GapReason, PassedOver, Withheld};
use super::{RefuseReason, RetryReason, TakMetrics};

/// Every forwarder's metrics.
#[derive(Debug, Default)]
pub struct ForwardMetrics {
    delivered: Family<Name, Counter>,
    batches: Family<Name, Counter>,
    retries: Family<NameReason, Counter>,
    refused: Family<NameReason, Counter>,
    withheld: Family<NameReason, Counter>,
    passed_over: Family<NameReason, Counter>,
    lost: Family<NameReason, Counter>,
    lag_records: Family<Name, Gauge>,
    lag_seconds: Family<Name, Gauge<f64, AtomicU64>>,
    last_success: Family<Name, Gauge>,
    failing: Family<Name, Gauge>,
    /// TAK clients that connect to us.
    pub tak: TakMetrics,
    /// Lines of the disclosure log that could not be written.
    pub disclosure_failures: Counter,
    names: Mutex<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    forwarder: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameReason {
    forwarder: String,
    reason: &'static str,
}

/// One forwarder's figures at one moment.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ForwarderSnapshot {
    /// Its configured name.
    pub name: String,
    /// Events the sink has accepted since start.
    pub delivered_count: u64,
    /// Events the sink refused for good since start.
    pub refused_count: u64,
    /// Records that stay here by policy since start.
    pub withheld_count: u64,
    /// Entries lost to this forwarder since start.
    pub lost_count: u64,
    /// Committed entries it has not passed yet.
    pub lag_records_count: i64,
    /// Age in seconds of the oldest record it works on; 0 when it has caught up.
    pub lag_s: f64,
    /// Whether its last attempt failed.
    pub is_failing: bool,
}

/// One forwarder's handles: counting is one atomic addition.
#[derive(Debug, Clone)]
pub(super) struct ForwarderMetrics {
    pub(super) delivered: Counter,
    pub(super) batches: Counter,
    pub(super) lag_records: Gauge,
    pub(super) lag_seconds: Gauge<f64, AtomicU64>,
    pub(super) last_success: Gauge,
    pub(super) failing: Gauge,
    retries: [Counter; RetryReason::ALL.len()],
    refused: [Counter; RefuseReason::ALL.len()],
    withheld: [Counter; Withheld::ALL.len()],
    passed_over: [Counter; PassedOver::ALL.len()],
    lost: [Counter; GapReason::ALL.len()],
}

impl ForwardMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("delivered", "Events the sink has accepted", self.delivered.clone());
        registry.register("batches", "Batches the sink has accepted", self.batches.clone());
        registry.register("retries", "Attempts to be repeated, by reason", self.retries.clone());
        registry.register("refused", "Events the sink refused for good, by reason", self.refused.clone());
        registry.register(
            "withheld",
            "Records that do not leave the gateway by policy, by reason",
            self.withheld.clone(),
        );
        registry.register(
            "passed_over",
            "Events that the sink had nothing to do with and did not send, by reason",
            self.passed_over.clone(),
        );
        registry.register("lost", "Entries lost to the forwarder, by reason", self.lost.clone());
        registry.register("lag_records", "Committed entries not passed yet", self.lag_records.clone());
        registry.register("lag_seconds", "Age of the oldest record in work", self.lag_seconds.clone());
        registry.register(
            "last_success_seconds",
            "Unix time at which the sink last accepted a batch",
            self.last_success.clone(),
        );
        registry.register(
            "disclosure_failures",
            "Lines of the disclosure log that could not be written: nothing is sent meanwhile",
            self.disclosure_failures.clone(),
        );
        registry.register("failing", "1 while the last attempt failed", self.failing.clone());
    }

    /// The handles of forwarder `name`, all series at zero.
    pub(super) fn forwarder(&self, name: &str) -> ForwarderMetrics {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
        let label = Name { forwarder: name.to_owned() };
        let by = |family: &Family<NameReason, Counter>, reason| counter(family, name, reason);
        ForwarderMetrics {
            delivered: self.delivered.get_or_create_owned(&label),
            batches: self.batches.get_or_create_owned(&label),
            lag_records: self.lag_records.get_or_create_owned(&label),
            lag_seconds: self.lag_seconds.get_or_create_owned(&label),
            last_success: self.last_success.get_or_create_owned(&label),
            failing: self.failing.get_or_create_owned(&label),
            retries: RetryReason::ALL.map(|reason| by(&self.retries, reason.as_str())),
            refused: RefuseReason::ALL.map(|reason| by(&self.refused, reason.as_str())),
            withheld: Withheld::ALL.map(|reason| by(&self.withheld, reason.as_str())),
            passed_over: PassedOver::ALL.map(|reason| by(&self.passed_over, reason.as_str())),
            lost: GapReason::ALL.map(|reason| by(&self.lost, reason.as_str())),
        }
    }

    /// Every forwarder's figures, in the order they were started.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ForwarderSnapshot> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        names
            .into_iter()
            .map(|name| {
                let metrics = self.forwarder(&name);
                let sum = |counters: &[Counter]| counters.iter().map(Counter::get).sum();
                ForwarderSnapshot {
                    name,
                    delivered_count: metrics.delivered.get(),
                    refused_count: sum(&metrics.refused),
                    withheld_count: sum(&metrics.withheld),
                    lost_count: sum(&metrics.lost),
                    lag_records_count: metrics.lag_records.get(),
                    lag_s: metrics.lag_seconds.get(),
                    is_failing: metrics.failing.get() != 0,
                }
            })
            .collect()
    }
}

impl ForwarderMetrics {
    /// The forwarder is gone: nothing waits for it, nothing fails.
    pub(super) fn rest(&self) {
        self.failing.set(0);
        self.lag_records.set(0);
        self.lag_seconds.set(0.0);
    }

    pub(super) fn retried(&self, reason: RetryReason) {
        self.retries[place(&RetryReason::ALL, &reason)].inc();
    }

    pub(super) fn refused(&self, reason: RefuseReason) {
        self.refused[place(&RefuseReason::ALL, &reason)].inc();
    }

    pub(super) fn withheld(&self, reason: Withheld) {
        self.withheld[place(&Withheld::ALL, &reason)].inc();
    }

    pub(super) fn passed_over(&self, reason: PassedOver, count: u64) {
        self.passed_over[place(&PassedOver::ALL, &reason)].inc_by(count);
    }

    pub(super) fn lost(&self, reason: GapReason, count: u64) {
        self.lost[place(&GapReason::ALL, &reason)].inc_by(count);
    }
}

fn counter(family: &Family<NameReason, Counter>, name: &str, reason: &'static str) -> Counter {
    family.get_or_create_owned(&NameReason { forwarder: name.to_owned(), reason })
}

fn place<T: PartialEq>(all: &[T], item: &T) -> usize {
    all.iter().position(|known| known == item).expect("the list names every reason")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_metric() {
        let page = include_str!("../../../docs/sinks/events.md");
        let mut registry = Registry::with_prefix("fieldpost_forward");
        let metrics = ForwardMetrics::default();
        // A family without a series is not in a scrape.
        let _handles = metrics.forwarder("cad");
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let metrics = text.lines().filter_map(|line| line.strip_prefix("# TYPE fieldpost_forward_"));
        for (name, kind) in metrics.filter_map(|line| line.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            assert!(page.contains(&format!("_{name}{suffix}`")), "{name}{suffix}");
        }
    }

    #[test]
    fn every_series_is_there_from_the_start() {
        let metrics = ForwardMetrics::default();
        let _handles = metrics.forwarder("cad");
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for reason in RetryReason::ALL {
            let series = format!("retries_total{{forwarder=\"cad\",reason=\"{}\"}} 0", reason.as_str());
            assert!(text.contains(&series), "{series}");
        }
    }
}
