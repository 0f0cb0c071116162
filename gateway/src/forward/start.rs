//! From the configuration to running forwarders.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::file::{FileSettings, FileSink};
use super::nats::{NatsSettings, NatsSink};
use super::webhook::{WebhookError, WebhookSettings, WebhookSink};
use super::{BackoffSettings, ClockBounds, Forwarder, ForwarderSettings, Sink, SpoolSource};
use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::spool::{BatchLimits, Spool, SpoolError};

/// The file sink begins a new file at this size: a day of a middle-sized force.
const FILE_ROTATE_BYTES: u64 = 256 * 1024 * 1024;
/// How long an attempt that is under way may go on once the gateway stops.
const STOP_MS_MAX: u64 = 2_000;

/// A forwarder cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its cursor cannot be opened.
    #[error("forwarder {name}: {source}")]
    Cursor {
        /// Its configured name.
        name: String,
        /// Why.
        source: SpoolError,
    },
    /// Its webhook cannot be used.
    #[error("forwarder {name}: {source}")]
    Webhook {
        /// Its configured name.
        name: String,
        /// Why.
        source: WebhookError,
    },
}

/// Running forwarders. Dropping them does not stop them: call [`Forwarders::stop`].
#[derive(Debug)]
pub struct Forwarders {
    stop: CancellationToken,
    running: Vec<(String, JoinHandle<()>)>,
}

enum AnySink {
    Nats(Box<NatsSink>),
    Webhook(Box<WebhookSink>),
    File(FileSink),
}

impl Forwarders {
    /// Starts every forwarder of the configuration. Needs a tokio runtime; blocks for small files.
    ///
    /// # Errors
    /// [`StartError`]; none is left running then.
    pub fn start(config: &Config, spool: &Spool, metrics: &Metrics) -> Result<Self, StartError> {
        let prepared = prepare(config)?;
        Self::start_prepared(prepared, config, spool, metrics)
    }

    /// Ends every forwarder at a batch border and starts those of `config` in their place. If `config` cannot work, the
    /// old ones are not touched.
    ///
    /// # Errors
    /// [`StartError::Webhook`] with the old ones still running; [`StartError::Cursor`] with none.
    pub async fn reload(
        &mut self,
        config: &Config,
        spool: &Spool,
        metrics: &Metrics,
    ) -> Result<(), StartError> {
        let prepared = prepare(config)?;
        self.stop().await;
        *self = Self::start_prepared(prepared, config, spool, metrics)?;
        Ok(())
    }

    /// Ends every forwarder at a batch border, within [`STOP_MS_MAX`] and one cursor write. What is still owed stays in
    /// the spool.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        for (name, task) in self.running.drain(..) {
            if let Err(error) = task.await {
                tracing::error!(forwarder = name, %error, "forwarder ended in a fault");
            }
        }
    }

    fn start_prepared(
        prepared: Vec<(config::Forward, AnySink)>,
        config: &Config,
        spool: &Spool,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let mut sources = Vec::with_capacity(prepared.len());
        for (forward, sink) in prepared {
            let source = SpoolSource::open(spool, &forward.name, limits(&forward.batch))
                .map_err(|source| StartError::Cursor { name: forward.name.clone(), source })?;
            sources.push((settings(config, &forward), source, sink));
        }
        let running = sources.into_iter().map(|(settings, source, sink)| {
            let name = settings.name.clone();
            (name, spawn(settings, source, sink, metrics, stop.clone()))
        });
        Ok(Self { running: running.collect(), stop })
    }
}

/// Everything that can fail before the old forwarders are stopped.
fn prepare(config: &Config) -> Result<Vec<(config::Forward, AnySink)>, StartError> {
    let sinks = config.forwards.iter().map(|forward| Ok((forward.clone(), sink(forward)?)));
    sinks.collect()
}

fn sink(forward: &config::Forward) -> Result<AnySink, StartError> {
    Ok(match &forward.sink {
        config::Sink::Nats(nats) => AnySink::Nats(Box::new(NatsSink::new(NatsSettings {
            url: nats.url.clone(),
            stream: nats.stream.clone(),
            subject_prefix: nats.subject_prefix.clone(),
            credentials: nats.credentials.clone(),
            authority: nats.authority.clone(),
            client: nats.client.as_ref().map(|files| (files.certificate.clone(), files.key.clone())),
        }))),
        config::Sink::Webhook(webhook) => {
            let settings = WebhookSettings {
                url: webhook.url.clone(),
                authority: webhook.authority.clone(),
                bearer_token_file: webhook.bearer_token_file.clone(),
            };
            let sink = WebhookSink::try_new(settings)
                .map_err(|source| StartError::Webhook { name: forward.name.clone(), source })?;
            AnySink::Webhook(Box::new(sink))
        }
        config::Sink::File(file) => AnySink::File(FileSink::new(FileSettings {
            path: file.path.clone(),
            rotate_bytes: FILE_ROTATE_BYTES,
        })),
    })
}

fn settings(config: &Config, forward: &config::Forward) -> ForwarderSettings {
    ForwarderSettings {
        name: forward.name.clone(),
        backoff: BackoffSettings {
            delay_ms_min: forward.retry.delay_ms_min,
            delay_ms_max: forward.retry.delay_ms_max,
        },
        attempt_ms_max: forward.retry.attempt_ms_max,
        stop_ms_max: STOP_MS_MAX,
        clock: ClockBounds {
            future_ms_max: u64::from(config.clock.future_s_max) * 1000,
            past_ms_max: u64::from(config.clock.past_hours_max) * 3_600_000,
        },
        refusals: config.data_dir.join("refused").join(format!("{}.ndjson", forward.name)),
    }
}

fn limits(batch: &config::BatchPolicy) -> BatchLimits {
    BatchLimits {
        count_max: batch.count_max as usize,
        bytes_max: batch.bytes_max as usize,
        age_ms_max: batch.age_ms_max,
    }
}

fn spawn(
    settings: ForwarderSettings,
    source: SpoolSource,
    sink: AnySink,
    metrics: &Metrics,
    stop: CancellationToken,
) -> JoinHandle<()> {
    fn run<S: Sink + 'static>(
        settings: ForwarderSettings,
        source: SpoolSource,
        sink: S,
        metrics: &Metrics,
        stop: CancellationToken,
    ) -> JoinHandle<()> {
        tokio::spawn(Forwarder::new(settings, source, sink, metrics, stop).run())
    }
    match sink {
        AnySink::Nats(sink) => run(settings, source, *sink, metrics, stop),
        AnySink::Webhook(sink) => run(settings, source, *sink, metrics, stop),
        AnySink::File(sink) => run(settings, source, sink, metrics, stop),
    }
}
