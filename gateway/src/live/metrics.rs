//! `fieldpost_live_*`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// `fieldpost_live_*`: what the page shows, and how soon.
#[derive(Debug)]
pub struct LiveMetrics {
    /// Units the page knows.
    pub units: Gauge,
    /// Pages open now.
    pub pages: Gauge,
    /// Pages told that they were too slow and must read everything again.
    pub pages_lagged: Counter,
    /// Records read from the spool.
    pub records: Counter,
    /// Records that the spool no longer had.
    pub records_missing: Counter,
    /// Entries of the spool that this version cannot read.
    pub records_unreadable: Counter,
    /// From the receipt of a record to its rendering for the page.
    pub publish_to_page_s: Histogram,
    /// Alarms that nobody has acknowledged.
    pub alarms_unacknowledged: Gauge,
    /// From the receipt of an alarm to its acknowledgement.
    pub acknowledge_s: Histogram,
    /// Sessions of operators.
    pub sessions: Gauge,
    /// Looks at positions refused because the access record could not be written.
    pub access_record_failures: Counter,
    /// Tiles of the configured map that could not be had.
    pub map_tile_failures: Counter,
}

impl Default for LiveMetrics {
    fn default() -> Self {
        Self {
            units: Gauge::default(),
            pages: Gauge::default(),
            pages_lagged: Counter::default(),
            records: Counter::default(),
            records_missing: Counter::default(),
            records_unreadable: Counter::default(),
            publish_to_page_s: Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]),
            alarms_unacknowledged: Gauge::default(),
            acknowledge_s: Histogram::new([2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 900.0]),
            sessions: Gauge::default(),
            access_record_failures: Counter::default(),
            map_tile_failures: Counter::default(),
        }
    }
}

impl LiveMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("units", "Units the page knows", self.units.clone());
        registry.register("pages", "Pages open now", self.pages.clone());
        registry.register(
            "pages_lagged",
            "Pages told that they were too slow and must read everything again",
            self.pages_lagged.clone(),
        );
        registry.register("records", "Records read from the spool", self.records.clone());
        registry.register(
            "records_missing",
            "Records that the spool no longer had",
            self.records_missing.clone(),
        );
        registry.register(
            "records_unreadable",
            "Entries of the spool that this version cannot read",
            self.records_unreadable.clone(),
        );
        registry.register(
            "publish_to_page_seconds",
            "From the receipt of a record to its rendering for the page",
            self.publish_to_page_s.clone(),
        );
        registry.register(
            "alarms_unacknowledged",
            "Alarms that nobody has acknowledged",
            self.alarms_unacknowledged.clone(),
        );
        registry.register(
            "acknowledge_seconds",
            "From the receipt of an alarm to its acknowledgement",
            self.acknowledge_s.clone(),
        );
        registry.register("sessions", "Sessions of operators", self.sessions.clone());
        registry.register(
            "access_record_failures",
            "Looks at positions refused because the access record could not be written",
            self.access_record_failures.clone(),
        );
        registry.register(
            "map_tile_failures",
            "Tiles of the configured map that could not be had",
            self.map_tile_failures.clone(),
        );
    }
}
