//! The life of the gateway on one page: start, reload, shut down.
//!
//! Promises: **it starts whole or not at all; a reload with a mistake changes nothing; a shutdown loses nothing that was
//! acknowledged and leaves every sink at a batch border.** Start-up reads a bounded tail of the spool, never the backlog.
//!
//! ```text
//! start:     data dir -> spool (recover) -> metrics listener -> ledger -> history -> live -> page -> forwarders -> front door
//! shut down: not ready -> front door (last PUBACKs, 0x8B) -> forwarders -> page -> live -> ledger -> history -> spool -> metrics listener
//! reload:    check everything -> certificates, revoked sessions, forces, roster, sinks -> say what needs a restart
//! ```

mod devices;
mod disclosures;
mod error;
mod history;
mod page;
mod reload;
mod revocation;
pub(crate) mod storage;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

pub use self::devices::ConnectedDevices;
pub use self::error::StartError;
pub use self::reload::Difference;
pub use self::revocation::RefreshError;
use crate::admin;
use crate::alarms::Watch;
use crate::audit::pictures::Keep;
use crate::broker::Brokers;
use crate::config::Config;
use crate::dedup::{Dedup, DedupBounds};
use crate::downlink::{Downlink, DownlinkBounds};
use crate::forward::feed::Feeds;
use crate::forward::{self, Forwarders, SinkFiles};
use crate::health::Readiness;
use crate::history::task::History;
use crate::http::{self, MachineFeeds};
use crate::ingest::{FrontDoor, IngestConfig};
use crate::ledger;
use crate::live::order::ClockBounds;
use crate::live::standing::Situation;
use crate::live::{self, system_now_ms};
use crate::login::LoginLinks;
use crate::machines::Machines;
use crate::metrics::Metrics;
use crate::people::{Assignments, Consoles, Password};
use crate::pki::{FrontDoorTls, PageTls, TlsError};
use crate::retention::RetentionClass;
use crate::spool::{Disk, RealDisk, Spool};
use crate::trace::Outputs;

/// The front door may use 6 tenths of the drain deadline; the rest is for sinks, page and spool.
const FRONT_DOOR_TENTHS: u32 = 6;

/// A running gateway. Dropping it stops nothing in order: call [`Service::shutdown`].
#[derive(Debug)]
pub struct Service {
    /// Where devices connect.
    pub front_door: SocketAddr,
    /// Where operators connect.
    pub control_room: SocketAddr,
    /// Where TAK clients connected at the start, if they may.
    pub tak: Option<SocketAddr>,
    /// Where metrics are.
    pub metrics: SocketAddr,
    /// Makes login links for the page.
    pub login: Arc<LoginLinks>,
    /// The first administrator's password, if this start made it.
    first_password: std::sync::Mutex<Option<Password>>,
    /// Who is watching.
    pub consoles: Consoles,
    /// The durable store.
    pub spool: Spool,
    /// Every counter.
    pub counters: Arc<Metrics>,
    /// What the gateway knows of its own state.
    pub readiness: Readiness,
    /// The configuration it was started with; whatever a reload cannot change stays as it is here.
    started: Config,
    /// What reloads have made of it.
    current: std::sync::Mutex<Arc<Config>>,
    door: FrontDoor,
    brokers: Brokers,
    brokers_closing: CancellationToken,
    door_tls: FrontDoorTls,
    forwarders: Mutex<Forwarders>,
    /// What the sinks' certificates, keys and tokens were when they were last looked at.
    sink_files: std::sync::Mutex<SinkFiles>,
    /// A reload could not start the sinks: the next one tries again, changed or not.
    sinks_are_owed: AtomicBool,
    /// What the sinks are, for the page.
    outputs: Outputs,
    live: live::Running,
    ledger: ledger::task::Running,
    history: crate::history::task::Running,
    page: http::Running,
    page_tls: Option<PageTls>,
    admin: JoinHandle<()>,
    admin_closing: CancellationToken,
}

/// Why a reload changed less than it should have.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The certificates cannot be used; nothing was changed.
    #[error("nothing was changed: {0}")]
    Tls(#[from] TlsError),
    /// The sinks cannot be started again; everything else was changed.
    #[error("everything but the sinks was changed: {0}")]
    Forward(#[from] forward::StartError),
}

/// Starts the gateway on the current tokio runtime.
///
/// # Errors
/// [`StartError`]; nothing is left running then.
pub async fn start(config: Config) -> Result<Service, StartError> {
    // Boxed: it holds the room of every part, and happens once.
    Box::pin(start_on(config, Arc::new(RealDisk))).await
}

/// [`start`] with the spool on `disk`, so that a test can hold an fsync back.
///
/// # Errors
/// As [`start`].
pub async fn start_on(config: Config, disk: Arc<dyn Disk>) -> Result<Service, StartError> {
    probe("front_door.listen", config.front_door.listen).await?;
    probe("control_room.listen", config.control_room.listen).await?;
    if let Some(tak) = &config.tak {
        probe("tak.listen", tak.listen).await?;
    }
    let admin_listener = listen("metrics.listen", config.metrics.listen).await?;
    let metrics_address = address_of("metrics.listen", &admin_listener)?;
    let door_tls = FrontDoorTls::new(&config.front_door)?;
    let page_tls = config.control_room.identity.as_deref().map(PageTls::new).transpose()?;
    let counters = Metrics::new();
    let erased = counters.retention.share();
    let (spool, config) =
        spawn_blocking(move || storage::open(&config, disk, erased).map(|spool| (spool, config)))
            .await
            .expect("opening the spool does not panic, and nobody aborts it")?;

    let readiness = Readiness::new(spool.committed_watch(), Arc::clone(&counters), &config);
    // Cancelled if the start fails halfway: every task started so far ends and lets go of the spool.
    let starting = CancellationToken::new();
    let undo = starting.clone().drop_guard();
    let admin_closing = starting.child_token();
    let admin = tokio::spawn(admin::serve(
        admin_listener,
        Arc::clone(&counters),
        spool.clone(),
        &readiness,
        admin_closing.clone(),
    ));
    let login = Arc::new(LoginLinks::open(&config.data_dir, system_now_ms())?);
    let ledger = ledger::task::start(&config.data_dir, &spool, system_now_ms(), &starting)?;
    let dedup = Dedup::new(DedupBounds::default());
    ledger.shared().teach(&dedup);
    match dedup.rebuild_from(&spool).await {
        Ok(records_count) => tracing::info!(records_count, "newest records known again"),
        Err(error) => {
            tracing::warn!(%error, "newest records not known again: redeliveries may be stored twice");
        }
    }
    let history = history::start(&config, &spool, &counters, &starting).await?;
    let downlink = Downlink::new(DownlinkBounds::default());
    let brokers = Brokers::new(&config, &door_tls);
    let assignments = page::assignments(&config).await;
    let consoles = Consoles::default();
    let live = live::start(
        live_settings(&config, &readiness, history.history(), &assignments, &consoles),
        &spool,
        Arc::new(ConnectedDevices {
            downlink: downlink.clone(),
            brokers: Some((brokers.clone(), dedup.clone())),
        }),
        Arc::clone(&config.control_room.roster),
        Arc::clone(&counters),
        &starting,
    )?;
    let (entrance, first_password) = page::entrance(&config).await?;
    let outputs = Outputs::default();
    outputs.set(&config);
    let sources = http::Sources {
        live: live.live().clone(),
        ledger: ledger.shared().clone(),
        history: history.history().clone(),
    };
    let disclosures = disclosures::disclosures(&config, &counters).await?;
    let situation: Arc<dyn Situation> = Arc::new(live.live().clone());
    let feeds = MachineFeeds {
        feeds: Feeds::new(
            spool.clone(),
            disclosures.clone(),
            Arc::clone(&situation),
            Arc::clone(&counters),
            forward::clock(&config),
        ),
        machines: Machines::new(&config.data_dir),
    };
    let page = page::start(
        &config,
        page_tls.as_ref(),
        sources,
        page::People {
            links: Arc::clone(&login),
            entrance,
            consoles: consoles.clone(),
            assignments,
            outputs: outputs.clone(),
            feeds,
        },
        readiness.public_routes(),
        &starting,
    )
    .await?;
    // Before the sinks read them: what changes in between is a change at the next reload.
    let sink_files = sink_files(&config).await;
    let mut forwarders = Forwarders::start(&config, &spool, &counters, situation, &disclosures)?;
    let opened = FrontDoor::start(
        IngestConfig::new(&config),
        door_tls.clone(),
        spool.clone(),
        dedup.clone(),
        downlink,
        Arc::clone(&counters),
        starting.child_token(),
    )
    .await;
    let door = match opened {
        Ok(door) => door,
        Err(source) => {
            forwarders.stop().await;
            return Err(listen_error("front_door.listen", config.front_door.listen, source));
        }
    };
    let brokers_closing = starting.child_token();
    brokers.start(&spool, &dedup, &counters, &brokers_closing);
    let service = Service {
        front_door: door.address(),
        control_room: page.address(),
        tak: forwarders.tak_address(),
        metrics: metrics_address,
        login,
        first_password: std::sync::Mutex::new(first_password),
        consoles,
        spool,
        counters,
        readiness,
        current: std::sync::Mutex::new(Arc::new(config.clone())),
        started: config,
        door,
        brokers,
        brokers_closing,
        door_tls,
        forwarders: Mutex::new(forwarders),
        sink_files: std::sync::Mutex::new(sink_files),
        sinks_are_owed: AtomicBool::new(false),
        outputs,
        live,
        ledger,
        history,
        page,
        page_tls,
        admin,
        admin_closing,
    };
    undo.disarm();
    service.announce();
    Ok(service)
}

impl Service {
    fn announce(&self) {
        tracing::info!(
            front_door = %self.front_door,
            control_room = %self.control_room,
            metrics = %self.metrics,
            forces = self.started.forces.len(),
            sinks = self.started.forwards.len(),
            "gateway started"
        );
        for warning in self.started.warnings.lines() {
            tracing::warn!("{warning}");
        }
    }

    /// The password of the first administrator, once, if this start made it: to be shown to whoever started the gateway.
    #[must_use]
    pub fn take_first_password(&self) -> Option<Password> {
        self.first_password.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until the spool's storage fails: nothing is accepted any more, and only a restart recovers. Cancel-safe.
    pub async fn storage_failed(&self) {
        self.spool.failed().await;
    }

    /// Takes what can be taken of `config`: certificates, authority, revocation list (ending the sessions of revoked
    /// devices), forces, front-door limits for new connections, roster, clock bounds and sinks, also where only the
    /// contents of their certificates, keys, credentials or tokens changed. Says what needs a
    /// restart. The caller changes the log level.
    ///
    /// # Errors
    /// [`ReloadError`] says what was not changed.
    pub async fn reload(&self, config: &Config) -> Result<Difference, ReloadError> {
        let in_force = Arc::clone(&self.current());
        let mut difference = Difference {
            now: Difference::between(&in_force, config).now,
            restart: Difference::between(&self.started, config).restart,
        };
        // First what can fail before anything is touched.
        self.door_tls.renew(&config.front_door)?;
        if let (Some(tls), Some(identity)) = (&self.page_tls, &config.control_room.identity) {
            tls.renew(identity);
        }
        self.door.reload(IngestConfig::new(config));
        self.brokers.reload(config);
        self.live.live().rename(Arc::clone(&config.control_room.roster));
        self.live.live().judge_by(Arc::clone(&config.control_room.rules));
        self.live.live().believe_clocks(clock_bounds(config));
        self.readiness.take_dates(config);
        self.started.reasons.take(&config.reasons);
        *self.current() = Arc::new(config.clone());
        difference.now.extend(self.take_sink_files(config).await);
        if difference
            .now
            .iter()
            .any(|key| ["forward", "tak", "clock"].iter().any(|section| key.starts_with(section)))
        {
            self.sinks_are_owed.store(true, Ordering::Relaxed);
        }
        if self.sinks_are_owed.load(Ordering::Relaxed) {
            self.forwarders.lock().await.reload(config, &self.spool, &self.counters).await?;
            self.outputs.set(config);
            self.sinks_are_owed.store(false, Ordering::Relaxed);
            self.retire_cursors(config).await;
        }
        self.counters.service.reloads.inc();
        Ok(difference)
    }

    /// Looks at the sinks' files again; says whose are not what they were.
    async fn take_sink_files(&self, config: &Config) -> Vec<String> {
        let now = sink_files(config).await;
        let mut known = self.sink_files.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = known.changed(&now).map(|name| format!("forward.{name} (files)")).collect();
        *known = now;
        changed
    }

    /// A sink that left must not hold the spool until the next start.
    async fn retire_cursors(&self, config: &Config) {
        let (spool, config) = (self.spool.clone(), config.clone());
        let retired = spawn_blocking(move || storage::retire_cursors(&spool, &config)).await;
        let retired = retired.expect("retiring a cursor does not panic, and nobody aborts it");
        if let Err(error) = retired {
            tracing::warn!(%error, "a sink that left still holds the spool; a restart lets it go");
        }
    }

    /// The configuration in force. Held for pointer copies, and while a revocation list is taken; never across an await.
    fn current(&self) -> MutexGuard<'_, Arc<Config>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops in order within the configured deadline: nothing new is accepted, PUBACKs under way go out, sinks stop at a
    /// batch border, the spool commits and closes. Returns whether everything ended in time; what did not is dropped,
    /// and loses nothing that was acknowledged.
    pub async fn shutdown(self) -> bool {
        let allowed = Duration::from_millis(self.started.service.drain_deadline_ms);
        let deadline = Instant::now() + allowed;
        self.readiness.drain();
        // What has no PUBACK stays with the broker, what has no STORED with its device.
        self.brokers_closing.cancel();
        self.door.drain(allowed * FRONT_DOOR_TENTHS / 10).await;
        let ended = timeout_at(deadline, async {
            self.brokers.stopped().await;
            self.forwarders.into_inner().stop().await;
            self.page.stop().await;
            self.live.stop().await;
            self.ledger.stop().await;
            self.history.stop().await;
            self.spool.close().await;
        });
        let in_time = ended.await.is_ok();
        self.admin_closing.cancel();
        // A scrape under way may hold it; it is not worth waiting for.
        self.admin.abort();
        if in_time {
            tracing::info!("gateway stopped");
        } else {
            tracing::warn!(
                drain_deadline_ms = self.started.service.drain_deadline_ms,
                "drain deadline passed"
            );
        }
        in_time
    }
}

async fn sink_files(config: &Config) -> SinkFiles {
    let config = config.clone();
    spawn_blocking(move || SinkFiles::read(&config))
        .await
        .expect("reading the sinks' files does not panic, and nobody aborts it")
}

fn live_settings(
    config: &Config,
    readiness: &Readiness,
    history: &History,
    assignments: &Assignments,
    consoles: &Consoles,
) -> live::Settings {
    let mut settings = live::Settings::new(config.data_dir.clone());
    settings.clock_bounds = clock_bounds(config);
    settings.wearers = assignments.wearers().clone();
    settings.closed_kept_ms = config.periods().own(RetentionClass::Alarms);
    settings.rules = Arc::clone(&config.control_room.rules);
    settings.keep_pictures = Keep {
        age_ms_max: u64::from(config.audit.pictures_days) * 24 * 3_600_000,
        bytes_max: config.audit.pictures_bytes_max,
    };
    let consoles = consoles.clone();
    settings.watching = Some(Arc::new(move |force| {
        let watching = consoles.watching(force);
        let count = |consoles: usize| u32::try_from(consoles).unwrap_or(u32::MAX);
        Watch { consoles: count(watching.consoles), unlocked: count(watching.unlocked), ..Watch::default() }
    }));
    let (readiness, history) = (readiness.clone(), history.clone());
    settings.degraded = Arc::new(move || {
        let mut degraded = readiness.degraded();
        degraded.extend(history.condition().degraded);
        degraded
    });
    settings
}

fn clock_bounds(config: &Config) -> ClockBounds {
    ClockBounds {
        ahead_ms_max: u64::from(config.clock.future_s_max) * 1000,
        behind_ms_max: u64::from(config.clock.past_hours_max) * 3_600_000,
    }
}

/// Finds an occupied port before anything is touched. Port 0 is never occupied.
async fn probe(key: &'static str, address: SocketAddr) -> Result<(), StartError> {
    listen(key, address).await.map(drop)
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| listen_error(key, address, source))
}

fn address_of(key: &'static str, listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| listen_error(key, SocketAddr::from(([0, 0, 0, 0], 0)), source))
}

fn listen_error(key: &'static str, address: SocketAddr, source: std::io::Error) -> StartError {
    StartError::Listen { key, address, source }
}
