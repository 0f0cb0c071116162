//! From the configuration to running forwarders.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::cot::{Door, Spans, Style, TakError, TakMetrics, TakSettings, TakSink, Terms};
use super::file::{FileSettings, FileSink};
use super::metrics::ForwarderMetrics;
use super::nats::{NatsSettings, NatsSink};
use super::nmea::{NmeaError, NmeaServer, NmeaSettings, NmeaSink};
use super::postgres::{PostgresSettings, PostgresSink, RetentionSettings};
use super::refusals::refusals_of;
use super::release::{Disclosures, Whom};
use super::webhook::{WebhookError, WebhookSettings, WebhookSink};
use super::{BackoffSettings, ClockBounds, Forwarder, ForwarderSettings, Random, Sink, SpoolSource};
use crate::config::{self, Config};
use crate::live::order;
use crate::live::standing::Situation;
use crate::live::system_now_ms;
use crate::metrics::Metrics;
use crate::pki::TlsError;
use crate::retention::{Rules, for_history};
use crate::sabotage::{self, Sabotage};
use crate::spool::{BatchLimits, Clock, Spool, SpoolError};

/// The file sink begins a new file at this size: a day of a middle-sized force.
const FILE_ROTATE_BYTES: u64 = 256 * 1024 * 1024;
/// How long an attempt that is under way may go on once the gateway stops.
const STOP_MS_MAX: u64 = 2_000;

/// Pause before a forwarder that ended in a fault is started again.
const RESTART_DELAY: Duration = Duration::from_secs(5);

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
    /// Its connection to a location server cannot be set up.
    #[error("forwarder {name}: {source}")]
    Nmea {
        /// Its configured name.
        name: String,
        /// Why.
        source: NmeaError,
    },
    /// Nobody can connect.
    #[error("tak.listen: cannot listen on {address}: {source}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Its connection to a TAK server, or the listener for TAK clients, cannot be set up.
    #[error("forwarder {name}: {source}")]
    Tak {
        /// Its configured name.
        name: String,
        /// Why.
        source: TakError,
    },
}

/// Running forwarders. Dropping them does not stop them: call [`Forwarders::stop`].
pub struct Forwarders {
    stop: CancellationToken,
    disclosures: Disclosures,
    running: Vec<(String, JoinHandle<()>)>,
    /// Where TAK clients come in; kept over a reload that leaves the address as it is.
    listening: Option<Listening>,
    /// Lets them in.
    door: Option<(Arc<Door>, JoinHandle<()>)>,
    situation: Arc<dyn Situation>,
    /// The configuration in force.
    config: Arc<Config>,
}

/// Where TAK clients come in.
#[derive(Clone)]
struct Listening {
    /// As configured: port 0 takes a free one.
    configured: SocketAddr,
    address: SocketAddr,
    listener: Arc<TcpListener>,
}

impl fmt::Debug for Forwarders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarders").field("running", &self.running).finish_non_exhaustive()
    }
}

enum AnySink {
    Nats(Box<NatsSink>),
    Postgres(Box<PostgresSink>),
    Webhook(Box<WebhookSink>),
    File(FileSink),
    Nmea(Box<NmeaSink>),
    Tak(TakSink),
}

impl Forwarders {
    /// Starts every forwarder of the configuration. Needs a tokio runtime; blocks for small files. `situation` is what
    /// sinks ask of units and alarms.
    ///
    /// # Errors
    /// [`StartError`]; none is left running then.
    pub fn start(
        config: &Config,
        spool: &Spool,
        metrics: &Metrics,
        situation: Arc<dyn Situation>,
        disclosures: &Disclosures,
    ) -> Result<Self, StartError> {
        let prepared = prepare(config, &situation, disclosures, &metrics.forward.tak, None)?;
        Self::start_prepared(prepared, config, spool, metrics, situation, disclosures)
    }

    /// Ends every forwarder at a batch border and starts those of `config` in their place. What `config` needs of files and
    /// ports is taken before: if it cannot be had, the old ones are not touched. If the new ones then cannot be started, the
    /// old ones are started again from their cursors. A TAK listener moves to another address of the same port by a restart only.
    ///
    /// # Errors
    /// [`StartError`]; the configuration that was in force still is. [`StartError::Cursor`] with none running if not even
    /// its forwarders start again, which the log says: the next reload tries anew.
    pub async fn reload(
        &mut self,
        config: &Config,
        spool: &Spool,
        metrics: &Metrics,
    ) -> Result<(), StartError> {
        let prepared = self.prepare(config, metrics)?;
        let left = self.running.iter().map(|(name, _)| name.clone());
        let left: Vec<_> =
            left.filter(|name| prepared.sinks.iter().all(|(kept, _)| kept.name != *name)).collect();
        self.stop().await;
        if let Err(error) = self.replace(prepared, config, spool, metrics) {
            self.start_again(spool, metrics);
            return Err(error);
        }
        for name in left {
            // Its last state must not be told for ever.
            metrics.forward.forwarder(&name).rest();
        }
        Ok(())
    }

    fn prepare(&self, config: &Config, metrics: &Metrics) -> Result<Prepared, StartError> {
        let (tak, held) = (&metrics.forward.tak, self.listening.as_ref());
        prepare(config, &self.situation, &self.disclosures, tak, held)
    }

    /// In the place of forwarders that are stopped. After an error everything is as it was.
    fn replace(
        &mut self,
        prepared: Prepared,
        config: &Config,
        spool: &Spool,
        metrics: &Metrics,
    ) -> Result<(), StartError> {
        let (situation, disclosures) = (Arc::clone(&self.situation), self.disclosures.clone());
        *self = Self::start_prepared(prepared, config, spool, metrics, situation, &disclosures)?;
        Ok(())
    }

    /// A force system must not be cut off for a configuration that never came into force.
    fn start_again(&mut self, spool: &Spool, metrics: &Metrics) {
        let in_force = Arc::clone(&self.config);
        let started = self.prepare(&in_force, metrics);
        if let Err(error) = started.and_then(|prepared| self.replace(prepared, &in_force, spool, metrics)) {
            tracing::error!(%error, "forwarders cannot be started again: nothing is forwarded");
        }
    }

    /// Ends every forwarder at a batch border, within two seconds and one cursor write. What is still owed stays in
    /// the spool.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        for (name, task) in self.running.drain(..) {
            if let Err(error) = task.await {
                tracing::error!(forwarder = name, %error, "forwarder ended in a fault");
            }
        }
        if let Some((_, task)) = self.door.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the listener for TAK clients ended in a fault");
        }
    }

    /// Takes the list of revoked TAK clients from `config`, which else is the configuration in force: who is on it is put out
    /// within a second, and nobody else is disturbed.
    ///
    /// # Errors
    /// [`TlsError`]; then nothing has changed.
    pub fn renew_tak_revocations(&mut self, config: &Config) -> Result<(), TlsError> {
        if let (Some((door, _)), Some(listener)) = (&self.door, &config.tak) {
            door.renew(listener)?;
        }
        self.config = Arc::new(config.clone());
        Ok(())
    }

    /// Where TAK clients connect, if they may.
    #[must_use]
    pub fn tak_address(&self) -> Option<SocketAddr> {
        self.listening.as_ref().map(|listening| listening.address)
    }

    fn start_prepared(
        prepared: Prepared,
        config: &Config,
        spool: &Spool,
        metrics: &Metrics,
        situation: Arc<dyn Situation>,
        disclosures: &Disclosures,
    ) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let Prepared { sinks, door, listening } = prepared;
        let mut ready = Vec::with_capacity(sinks.len());
        let shared = Arc::new(config.clone());
        let rules = Rules::new(&config.data_dir, config.periods(), metrics.retention.share());
        let rules = Arc::new(rules);
        for (forward, sink) in sinks {
            let handles = metrics.forward.forwarder(&forward.name);
            let settings = settings(&shared, &forward, disclosures);
            let (config, situation) = (Arc::clone(&shared), Arc::clone(&situation));
            let (spool, stop) = (spool.clone(), stop.clone());
            let (door, rules) = (door.clone(), Arc::clone(&rules));
            let plan = Plan { config, forward, settings, rules, spool, handles, stop, situation, door };
            let source = plan.source()?;
            ready.push((plan, source, sink));
        }
        let running = ready.into_iter().map(|(plan, source, sink)| {
            let first = plan.spawn(source, sink);
            (plan.forward.name.clone(), tokio::spawn(supervise(first, plan)))
        });
        let running = running.collect();
        let door = listening.as_ref().zip(door).map(|(held, door)| {
            let listening = Arc::clone(&door).run(Arc::clone(&held.listener), stop.clone());
            (door, tokio::spawn(listening))
        });
        let disclosures = disclosures.clone();
        Ok(Self { running, listening, door, disclosures, stop, situation, config: shared })
    }
}

/// All it takes to start one forwarder, and to start it again.
struct Plan {
    config: Arc<Config>,
    forward: config::Forward,
    settings: ForwarderSettings,
    rules: Arc<Rules>,
    spool: Spool,
    handles: ForwarderMetrics,
    stop: CancellationToken,
    situation: Arc<dyn Situation>,
    door: Option<Arc<Door>>,
}

impl Plan {
    fn source(&self) -> Result<SpoolSource, StartError> {
        let name = &self.forward.name;
        SpoolSource::open(&self.spool, name, limits(&self.forward))
            .map_err(|source| StartError::Cursor { name: name.clone(), source })
    }

    fn spawn(&self, source: SpoolSource, sink: AnySink) -> JoinHandle<()> {
        match sink {
            AnySink::Nats(sink) => self.spawn_with(source, *sink),
            AnySink::Postgres(sink) => self.spawn_with(source, *sink),
            AnySink::Webhook(sink) => self.spawn_with(source, *sink),
            AnySink::Nmea(sink) => self.spawn_with(source, *sink),
            AnySink::File(sink) => self.spawn_with(source, sink),
            AnySink::Tak(sink) => self.spawn_with(source, sink),
        }
    }

    fn spawn_with<S: Sink + 'static>(&self, source: SpoolSource, sink: S) -> JoinHandle<()> {
        let (settings, handles, stop) = (self.settings.clone(), self.handles.clone(), self.stop.clone());
        let forwarder = Forwarder::with_handles(settings, source, sink, handles, stop);
        tokio::spawn(forwarder.under(Arc::clone(&self.rules)).run())
    }
}

/// What [`supervise`] restarts.
trait Restart: Send + Sync {
    fn name(&self) -> &str;
    fn handles(&self) -> &ForwarderMetrics;
    fn stop(&self) -> &CancellationToken;
    /// Starts it again from its cursor.
    fn again(&self) -> Result<JoinHandle<()>, StartError>;
}

impl Restart for Plan {
    fn name(&self) -> &str {
        &self.forward.name
    }

    fn handles(&self) -> &ForwarderMetrics {
        &self.handles
    }

    fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    fn again(&self) -> Result<JoinHandle<()>, StartError> {
        let sink = sink(&self.forward, &self.config, &self.settings, &self.situation, self.door.as_ref())?;
        Ok(self.spawn(self.source()?, sink))
    }
}

/// Starts a forwarder again that ended in a fault of ours: a force system must not fall silent for a bug. What it had
/// not finished is delivered again, with the same keys.
async fn supervise(mut running: JoinHandle<()>, restart: impl Restart) {
    while let Err(fault) = running.await {
        restart.handles().failing.set(1);
        tracing::error!(forwarder = restart.name(), %fault, "forwarder ended in a fault, starting it again");
        running = loop {
            tokio::select! {
                () = restart.stop().cancelled() => return,
                () = tokio::time::sleep(RESTART_DELAY) => {}
            }
            match restart.again() {
                Ok(running) => break running,
                Err(error) => {
                    tracing::error!(forwarder = restart.name(), %error, "cannot start it again yet");
                }
            }
        };
    }
}

/// What can be made before the old forwarders are stopped.
struct Prepared {
    sinks: Vec<(config::Forward, AnySink)>,
    door: Option<Arc<Door>>,
    listening: Option<Listening>,
}

/// Everything that can fail before the old forwarders are stopped, which hold the port `held`.
fn prepare(
    config: &Config,
    situation: &Arc<dyn Situation>,
    disclosures: &Disclosures,
    tak: &TakMetrics,
    held: Option<&Listening>,
) -> Result<Prepared, StartError> {
    let of_listener = |source| StartError::Tak { name: "tak".to_owned(), source };
    let door = config.tak.as_ref().map(|listener| Door::new(listener, tak)).transpose();
    let door = door.map_err(of_listener)?;
    let sinks = config.forwards.iter().map(|forward| {
        let settings = settings(config, forward, disclosures);
        let sink = sink(forward, config, &settings, situation, door.as_ref())?;
        Ok((forward.clone(), sink))
    });
    let sinks = sinks.collect::<Result<_, StartError>>()?;
    let listening = config.tak.as_ref().map(|tak| listen(tak.listen, held)).transpose()?;
    Ok(Prepared { sinks, door, listening })
}

/// The port that is held already, if it is the one.
fn listen(configured: SocketAddr, held: Option<&Listening>) -> Result<Listening, StartError> {
    if let Some(held) = held.filter(|held| held.configured == configured) {
        return Ok(held.clone());
    }
    let listening = std::net::TcpListener::bind(configured).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = Arc::new(TcpListener::from_std(listener)?);
        Ok(Listening { configured, address, listener })
    });
    listening.map_err(|source| StartError::Listen { address: configured, source })
}

fn sink(
    forward: &config::Forward,
    config: &Config,
    settings: &ForwarderSettings,
    situation: &Arc<dyn Situation>,
    door: Option<&Arc<Door>>,
) -> Result<AnySink, StartError> {
    Ok(match &forward.sink {
        config::Sink::Nats(nats) => AnySink::Nats(Box::new(NatsSink::new(NatsSettings {
            url: nats.url.clone(),
            stream: nats.stream.clone(),
            subject_prefix: nats.subject_prefix.clone(),
            replicas: nats.replicas,
            duplicate_window: nats.duplicate_window_s.map(|s| Duration::from_secs(u64::from(s))),
            credentials: nats.credentials.clone(),
            authority: nats.authority.clone(),
            client: nats.client.as_ref().map(|files| (files.certificate.clone(), files.key.clone())),
        }))),
        config::Sink::Postgres(server) => AnySink::Postgres(Box::new(PostgresSink::new(PostgresSettings {
            server: server.clone(),
            clock: clock(config),
            retention: RetentionSettings {
                periods: config.periods(),
                holds: for_history(&config.data_dir, config.forces.keys().cloned().collect()),
                now_ms: Arc::new(system_now_ms),
            },
        }))),
        config::Sink::Webhook(webhook) => {
            let settings = WebhookSettings {
                url: webhook.url.clone(),
                authority: webhook.authority.clone(),
                bearer_token_file: webhook.bearer_token_file.clone(),
                signing_keys_file: webhook.signing_keys_file.clone(),
            };
            let sink = WebhookSink::try_new(settings)
                .map_err(|source| StartError::Webhook { name: forward.name.clone(), source })?;
            AnySink::Webhook(Box::new(sink))
        }
        config::Sink::File(file) => AnySink::File(FileSink::new(FileSettings {
            path: file.path.clone(),
            rotate_bytes: FILE_ROTATE_BYTES,
        })),
        config::Sink::Nmea(nmea) => {
            let sink = NmeaSink::try_new(nmea_settings(nmea, settings))
                .map_err(|source| StartError::Nmea { name: forward.name.clone(), source })?;
            AnySink::Nmea(Box::new(sink))
        }
        config::Sink::Tak(tak) => {
            let tak = tak_settings(forward, tak, settings);
            let sink = TakSink::start(tak, Arc::clone(situation), settings.wall.clone())
                .map_err(|source| StartError::Tak { name: forward.name.clone(), source })?;
            AnySink::Tak(sink)
        }
        config::Sink::TakClient(client) => {
            let door = door.expect("the configuration has clients only where it has a listener");
            let terms = terms(forward, &client.manner, settings);
            let (situation, clock) = (Arc::clone(situation), settings.wall.clone());
            AnySink::Tak(TakSink::await_client(door, client, terms, situation, clock))
        }
    })
}

fn nmea_settings(nmea: &config::NmeaSink, settings: &ForwarderSettings) -> NmeaSettings {
    let uri: hyper::Uri = nmea.url.parse().expect("the configuration was checked");
    let client = nmea.client.as_ref();
    NmeaSettings {
        server: NmeaServer {
            host: uri.host().unwrap_or_default().to_owned(),
            port: uri.port_u16().unwrap_or_default(),
            is_tls: uri.scheme_str() == Some("tls"),
            authority: nmea.authority.clone(),
            client: client.map(|files| (files.certificate.clone(), files.key.clone())),
        },
        sends_every_position: nmea.sends_every_position,
        sends_every_mode: nmea.sends_every_mode,
        clock: settings.clock,
        recipient: settings.recipient.clone(),
        wall: settings.wall.clone(),
    }
}

fn tak_settings(
    forward: &config::Forward,
    tak: &config::TakSink,
    settings: &ForwarderSettings,
) -> TakSettings {
    let uri: hyper::Uri = tak.url.parse().expect("the configuration was checked");
    TakSettings {
        host: uri.host().unwrap_or_default().to_owned(),
        port: uri.port_u16().unwrap_or_default(),
        server_name: tak.server_name.clone(),
        authority: tak.authority.clone(),
        certificate: tak.client.certificate.clone(),
        key: tak.client.key.clone(),
        style: style(tak),
        terms: terms(forward, &tak.manner, settings),
    }
}

fn style(tak: &config::TakSink) -> Style {
    if sabotage::is(Sabotage::IgnoreStyle) {
        return Style::default();
    }
    Style { omits_declaration: !tak.sends_declaration, events_per_s_max: tak.events_per_s_max }
}

fn terms(forward: &config::Forward, manner: &config::TakManner, settings: &ForwarderSettings) -> Terms {
    let clock = settings.clock;
    Terms {
        name: forward.name.clone(),
        takes_protobuf: manner.takes_protobuf,
        release: forward.release.clone(),
        recipient: settings.recipient.clone(),
        spans: Spans {
            sends_every_position: manner.sends_every_position,
            position_stale_ms: manner.position_stale_s * 1000,
            alarm_repeat_ms: manner.alarm_repeat_s * 1000,
            alarm_stale_ms: manner.alarm_stale_s * 1000,
            clock: order::ClockBounds { ahead_ms_max: clock.future_ms_max, behind_ms_max: clock.past_ms_max },
        },
    }
}

fn settings(config: &Config, forward: &config::Forward, disclosures: &Disclosures) -> ForwarderSettings {
    let (kind, address) = config::show::destination(&forward.sink);
    let whom = Whom { name: forward.name.clone(), kind, address };
    ForwarderSettings {
        recipient: disclosures.recipient(whom, &forward.release),
        name: forward.name.clone(),
        backoff: BackoffSettings {
            delay_ms_min: forward.retry.delay_ms_min,
            delay_ms_max: forward.retry.delay_ms_max,
        },
        attempt_ms_max: forward.retry.attempt_ms_max,
        stop_ms_max: STOP_MS_MAX,
        clock: clock(config),
        release: forward.release.clone(),
        refusals: refusals_of(&config.data_dir, &forward.name),
        wall: Clock::system(),
        random: Random::system(),
    }
}

/// Which device clocks are believed.
pub(crate) fn clock(config: &Config) -> ClockBounds {
    ClockBounds {
        future_ms_max: u64::from(config.clock.future_s_max) * 1000,
        past_ms_max: u64::from(config.clock.past_hours_max) * 3_600_000,
    }
}

/// A batch is what goes to the sink at once: where that takes its time, no more than an alarm can wait for.
fn limits(forward: &config::Forward) -> BatchLimits {
    let batch = &forward.batch;
    let at_once = match &forward.sink {
        config::Sink::Tak(tak) => style(tak).at_once(),
        _ => None,
    };
    BatchLimits {
        count_max: (batch.count_max as usize).min(at_once.unwrap_or(usize::MAX)),
        bytes_max: batch.bytes_max as usize,
        age_ms_max: batch.age_ms_max,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::ForwardMetrics;
    use super::*;

    struct Faulty {
        starts_count: AtomicU32,
        handles: ForwarderMetrics,
        stop: CancellationToken,
    }

    impl Restart for Faulty {
        fn name(&self) -> &'static str {
            "faulty"
        }

        fn handles(&self) -> &ForwarderMetrics {
            &self.handles
        }

        fn stop(&self) -> &CancellationToken {
            &self.stop
        }

        fn again(&self) -> Result<JoinHandle<()>, StartError> {
            match self.starts_count.fetch_add(1, Ordering::SeqCst) {
                0 => Err(StartError::Cursor { name: "faulty".into(), source: SpoolError::Failed }),
                1 => Ok(tokio::spawn(async { panic!("again") })),
                _ => {
                    self.stop.cancel();
                    Ok(tokio::spawn(std::future::ready(())))
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_forwarder_that_ends_in_a_fault_is_started_again_until_it_runs() {
        let handles = ForwardMetrics::default().forwarder("faulty");
        let stop = CancellationToken::new();
        let faulty = Faulty { starts_count: AtomicU32::new(0), handles: handles.clone(), stop: stop.clone() };
        supervise(tokio::spawn(async { panic!("a bug") }), faulty).await;
        assert!(stop.is_cancelled(), "the third start went well");
        assert_eq!(handles.failing.get(), 1);
    }
}
