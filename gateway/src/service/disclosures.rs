//! The disclosure log of the running gateway.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::error::StartError;
use crate::audit::files::KeepLines;
use crate::audit::{AccessFiles, Series};
use crate::config::Config;
use crate::forward::release::{Disclosures, RecentOf};
use crate::metrics::Metrics;
use crate::retention::Holds;

/// Opens the log below the data directory and reads its end: what was disclosed already.
pub(super) async fn disclosures(config: &Config, counters: &Arc<Metrics>) -> Result<Disclosures, StartError> {
    let dir = config.data_dir.join(Series::Disclosures.name());
    let at = dir.clone();
    let recent = spawn_blocking(move || RecentOf::read(&at))
        .await
        .expect("reading the log does not panic, and nobody aborts it")
        .map_err(|source| StartError::Disclosures { dir, source })?;
    let keep = KeepLines::days(config.audit.disclosures_days, Holds::new(&config.data_dir));
    let files = AccessFiles::of(Series::Disclosures, &config.data_dir).kept(keep);
    Ok(Disclosures::start(files, recent, counters.forward.disclosure_failures.clone()))
}
