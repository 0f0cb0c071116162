//! `fieldpost_spool_*`: the spool's own figures, taken over at every scrape.

use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::spool::{Health, SpoolStats};

/// The spool's figures as they were at the last [`SpoolMetrics::take`].
#[derive(Debug, Default)]
pub struct SpoolMetrics {
    health: Gauge,
    first_lsn: Gauge,
    committed_lsn: Gauge,
    pending_bytes: Gauge,
    segments: Gauge,
    spares: Gauge,
    bytes: Gauge,
    bytes_max: Gauge,
    sync_us_max: Gauge,
    archive_files: Gauge,
    archive_bytes: Gauge,
    archive_bytes_max: Gauge,
    commits: Counter,
    records: Counter,
    record_bytes: Counter,
    sync_us: Counter,
    damaged: Counter,
}

impl SpoolMetrics {
    /// Takes over the spool's figures.
    pub fn take(&self, stats: &SpoolStats) {
        let health = match stats.health {
            Health::Ok => 0,
            Health::Full => 1,
            Health::Failed => 2,
        };
        self.health.set(health);
        for (gauge, value) in [
            (&self.first_lsn, stats.first.0),
            (&self.committed_lsn, stats.committed.0),
            (&self.pending_bytes, stats.pending_bytes),
            (&self.segments, stats.segments_count),
            (&self.spares, stats.spares_count),
            (&self.bytes, stats.bytes),
            (&self.bytes_max, stats.bytes_max),
            (&self.sync_us_max, stats.sync_us_max),
            (&self.archive_files, stats.archive.files_count),
            (&self.archive_bytes, stats.archive.bytes),
            (&self.archive_bytes_max, stats.archive.bytes_max),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        for (counter, total) in [
            (&self.commits, stats.commits_total),
            (&self.records, stats.records_total),
            (&self.record_bytes, stats.bytes_total),
            (&self.sync_us, stats.sync_us_total),
            (&self.damaged, stats.damaged_total),
        ] {
            // The spool counts; a scrape only shows.
            counter.inner().store(total, Ordering::Relaxed);
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            ("health", "0 ok, 1 full (only alarms are accepted), 2 failed", &self.health),
            ("first_lsn", "Earliest log sequence number kept", &self.first_lsn),
            ("committed_lsn", "Newest committed log sequence number", &self.committed_lsn),
            ("pending_bytes", "Bytes waiting to be committed", &self.pending_bytes),
            ("segments", "Segment files with records", &self.segments),
            ("spares", "Preallocated segment files, reserve included", &self.spares),
            ("bytes", "Bytes of all segment files", &self.bytes),
            ("bytes_max", "Bound on the bytes of all segment files", &self.bytes_max),
            ("sync_us_max", "Longest fdatasync of a commit since start, microseconds", &self.sync_us_max),
            ("archive_files", "Files kept of segments that went", &self.archive_files),
            ("archive_bytes", "Bytes of those files", &self.archive_bytes),
            ("archive_bytes_max", "Bound on the bytes of those files", &self.archive_bytes_max),
        ] {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, counter) in [
            ("commits", "Group commits", &self.commits),
            ("records", "Committed records", &self.records),
            ("record_bytes", "Committed bytes, headers included", &self.record_bytes),
            ("sync_us", "Time spent in fdatasync of commits, microseconds", &self.sync_us),
            ("damaged_records", "Records found damaged when read", &self.damaged),
        ] {
            registry.register(name, help, counter.clone());
        }
    }
}
