//! `fieldpost_history_*`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// `fieldpost_history_*`: what the history holds, and what it could not take.
#[derive(Debug, Default)]
pub struct HistoryMetrics {
    /// Rows taken since the start.
    pub rows: Counter,
    /// Records that will be missing: gone from the spool before they were read, or let go because the spool was full.
    pub records_missing: Counter,
    /// Committed records behind which the history is.
    pub lag_records: Gauge,
    /// Bytes on disk.
    pub bytes: Gauge,
    /// 1 while the store cannot be written.
    pub failing: Gauge,
}

impl HistoryMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("rows", "Rows taken since the start", self.rows.clone());
        registry.register(
            "records_missing",
            "Records that the history will never have",
            self.records_missing.clone(),
        );
        registry.register(
            "lag_records",
            "Committed records not in the history yet",
            self.lag_records.clone(),
        );
        registry.register("bytes", "Bytes of the history on disk", self.bytes.clone());
        registry.register("failing", "1 while the history cannot be written", self.failing.clone());
    }
}
