//! Opening the spool, and telling what was found.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use super::StartError;
use crate::config::Config;
use crate::metrics::RetentionMetrics;
use crate::retention::{Holds, Rules};
use crate::spool::{Disk, RecoveryReport, Spool, SpoolError, SpoolSettings};
use crate::{history, ledger, live};

/// Directory of the spool in the data directory.
pub(crate) const SPOOL_DIR: &str = "spool";

/// Makes the data directory and opens the spool in it. Blocking.
pub(super) fn open(
    config: &Config,
    disk: Arc<dyn Disk>,
    erased: RetentionMetrics,
) -> Result<Spool, StartError> {
    make_private(&config.data_dir)?;
    if let Err(error) = Holds::new(&config.data_dir).make() {
        // Custody goes on; the keeper erases nothing and the health page says so.
        tracing::error!(%error, "nothing is erased");
    }
    let mut settings = SpoolSettings::from(&config.spool);
    settings.keep = Some(Arc::new(Rules::new(&config.data_dir, config.periods(), erased)));
    settings.seal_after_ms = config.periods().seal_after_ms();
    settings.archive_bytes_max = config.retention.archive_bytes_max;
    let (spool, report) = Spool::open(&config.data_dir.join(SPOOL_DIR), settings, disk)?;
    tell(&report);
    retire_cursors(&spool, config)?;
    Ok(spool)
}

fn make_private(path: &Path) -> Result<(), StartError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| fs::metadata(path).map(drop))
        .map_err(|source| StartError::DataDirectory { path: path.to_owned(), source })
}

fn tell(report: &RecoveryReport) {
    if report.is_clean() {
        tracing::info!(first = report.first.0, last = report.last.0, "spool opened");
        return;
    }
    tracing::warn!(
        first = report.first.0,
        last = report.last.0,
        torn_bytes = report.torn.as_ref().map_or(0, |torn| torn.bytes),
        damaged = report.damaged.len(),
        unreadable_segments = report.unreadable_segments.len(),
        cursors_reset = ?report.cursors_reset,
        skipped = report.skipped.is_some(),
        "spool recovered; `fieldpost spool verify` shows the details"
    );
}

/// A sink that left the configuration must not hold the spool for ever: its cursor goes. If it comes back it starts at
/// the earliest record kept. Blocking.
pub(super) fn retire_cursors(spool: &Spool, config: &Config) -> Result<(), SpoolError> {
    for cursor in spool.stats().cursors {
        let wanted = [live::CURSOR_NAME, ledger::task::CURSOR_NAME, history::task::CURSOR_NAME]
            .contains(&cursor.name.as_str())
            || config.forwards.iter().any(|forward| forward.name == cursor.name);
        if !wanted {
            tracing::warn!(
                cursor = cursor.name,
                position = cursor.position.0,
                "no such sink any more: its cursor is retired"
            );
            spool.retire_cursor(&cursor.name)?;
        }
    }
    Ok(())
}
