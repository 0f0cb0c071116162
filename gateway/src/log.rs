//! Structured logs on standard error, text or JSON, with a level that a reload can change.

use std::io::IsTerminal as _;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::config::{Log, LogFormat};

/// The running log; changes its level.
#[derive(Debug, Clone)]
pub struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Logging {
    /// Installs the process's log. Once per process.
    ///
    /// # Errors
    /// A log is installed already.
    pub fn install(log: &Log) -> Result<Self, TryInitError> {
        let (filter, handle) = reload::Layer::new(filter(log));
        let lines = match log.format {
            LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
            LogFormat::Text => {
                fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).boxed()
            }
        };
        tracing_subscriber::registry().with(filter).with(lines).try_init()?;
        Ok(Self { filter: handle })
    }

    /// Takes a new level or filter. The format stays until the next start.
    pub fn set_level(&self, log: &Log) {
        if let Err(error) = self.filter.reload(filter(log)) {
            tracing::warn!(%error, "the log level could not be changed");
        }
    }
}

/// The client for brokers logs packets whole; what went wrong it also returns.
const SILENCED: &str = "rumqttc=off";

/// The configuration has checked the filter; a filter that cannot be read falls back to `info`.
fn filter(log: &Log) -> EnvFilter {
    let chosen = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    chosen.add_directive(SILENCED.parse().expect("a target and a level are a directive"))
}
