//! The history from the configuration.
//!
//! **A history that cannot be opened does not keep the gateway from starting**: custody goes on, the page says what is missing.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::{StartError, clock_bounds};
use crate::config::Config;
use crate::history::task::{self, Running, Surroundings};
use crate::history::{FileStore, PostgresSettings, PostgresStore, Retention, Settings};
use crate::live::system_now_ms;
use crate::metrics::Metrics;
use crate::retention::for_history;
use crate::spool::Spool;

/// How long a start waits for the history's database: the front door opens after it.
const DATABASE_PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn start(
    config: &Config,
    spool: &Spool,
    metrics: &Arc<Metrics>,
    closing: &CancellationToken,
) -> Result<Running, StartError> {
    let mut settings = Settings::new(task::dir_in(&config.data_dir));
    let policy = &config.history;
    settings.retention = Retention { movement_days: policy.movement_days, alarms_days: policy.alarms_days };
    settings.bytes_max = policy.bytes_max;
    settings.holds = for_history(&config.data_dir, config.forces.keys().cloned().collect());
    let around = Surroundings {
        spool,
        clock_bounds: clock_bounds(config),
        now_ms: Arc::new(system_now_ms),
        metrics: Arc::clone(metrics),
        shutdown: closing,
    };
    if let Some(server) = &policy.postgres {
        let Settings { rows_max, retention, holds, .. } = settings;
        let settings = PostgresSettings { server: server.clone(), rows_max, retention, holds };
        let (store, is_new) = Box::pin(PostgresStore::open(settings, DATABASE_PATIENCE)).await;
        return Ok(task::start_new_or_on(Arc::new(store), is_new, around)?);
    }
    let opened = spawn_blocking(move || FileStore::open(settings))
        .await
        .expect("opening the history does not panic, and nobody aborts it");
    Ok(task::start(opened, around)?)
}
