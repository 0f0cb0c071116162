//! `fieldpost run`: the process around the gateway: log, signals, supervisor.
//!
//! ```text
//! SIGTERM, SIGINT  drain, exit 0; a second one exits at once
//! SIGHUP           read the configuration again; with a mistake nothing changes
//! every minute     take a renewed revocation list
//! spool failed     exit 74, so that the supervisor starts it again and the spool recovers
//! ```

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Config, ConfigError};
use crate::log::Logging;
use crate::people::{Password, accounts};
use crate::pki::replace_file;
use crate::service::{self, ReloadError, Service, StartError};
use crate::spool::{Health, SpoolError};

use super::args::ConfigFile;
use super::exit::{CliError, Exit};
use super::output;

/// Descriptors beside connections: segments, cursors, sinks, listeners, the page.
const DESCRIPTORS_SPARE: u64 = 2048;

/// How soon a renewed revocation list is noticed without SIGHUP.
const REVOCATION_LIST_PERIOD: Duration = Duration::from_secs(60);

/// SIGTERM and SIGINT.
struct StopSignals([Signal; 2]);

pub(super) fn run(file: &ConfigFile) -> Result<(), CliError> {
    let config = Config::load(&file.path)?;
    let logging = Logging::install(&config.log).map_err(|error| CliError::new(Exit::Software, error))?;
    raise_descriptors(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::Io, format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(serve(&file.path, config, &logging));
    // Blocking tasks (a hung file system, a name being looked up) must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(path: &Path, config: Config, logging: &Logging) -> Result<(), CliError> {
    let no_signals = |error| CliError::new(Exit::Io, format!("cannot handle signals: {error}"));
    let mut stop = StopSignals::new().map_err(no_signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(no_signals)?;
    let page_is_tls = config.control_room.identity.is_some();
    let data_dir = config.data_dir.clone();
    let service = tokio::select! {
        started = service::start(config) => started?,
        () = stop.received() => return Ok(()),
    };
    announce(&service, page_is_tls);
    if let Some(password) = service.take_first_password() {
        show_first_password(&data_dir, &password);
    }
    tell_supervisor(&[NotifyState::Ready]);
    let watchdog = tokio::spawn(watchdog(service.spool.clone()));
    let mut minutes = tokio::time::interval(REVOCATION_LIST_PERIOD);
    let failed = loop {
        tokio::select! {
            () = stop.received() => break false,
            () = service.storage_failed() => break true,
            _ = hangup.recv() => reload(path, &service, logging).await,
            _ = minutes.tick() => refresh(&service),
        }
    };
    watchdog.abort();
    tell_supervisor(&[NotifyState::Stopping]);
    if failed {
        tracing::error!("the spool's storage failed: stopping so that a restart can recover it");
    }
    tokio::select! {
        _ = service.shutdown() => {}
        () = stop.received() => tracing::warn!("asked to stop again: not waiting any longer"),
    }
    if failed {
        return Err(CliError::new(
            Exit::Io,
            "the spool's storage failed: check the disk; a restart recovers what was committed",
        ));
    }
    Ok(())
}

/// One line an address on standard output, for whoever started us with port 0.
fn announce(service: &Service, page_is_tls: bool) {
    let scheme = if page_is_tls { "https" } else { "http" };
    output::line(&format!(
        "front_door {}\ncontrol_room {scheme}://{}\nmetrics http://{}/metrics\nready",
        service.front_door, service.control_room, service.metrics
    ));
}

/// To whoever sits before the terminal, else into a private file: a journal is read by too many, and for too long.
fn show_first_password(data_dir: &Path, password: &Password) {
    let name = accounts::FIRST_NAME;
    if std::io::stderr().is_terminal() {
        output::note(&format!(
            "The first account: name {name}, password {}\nIt is shown this once and good for choosing another: log in now.",
            password.reveal()
        ));
        return;
    }
    let path = data_dir.join(accounts::FIRST_PASSWORD_FILE);
    match replace_file(&path, format!("{}\n", password.reveal()).as_bytes(), true) {
        Ok(()) => tracing::warn!(
            name,
            path = %path.display(),
            "first account made: its password is in this file until it is changed; log in and change it"
        ),
        Err(error) => tracing::error!(
            %error,
            name,
            "first account made, but its password could not be written down: `fieldpost people passwd` makes another"
        ),
    }
}

fn refresh(service: &Service) {
    tokio::task::block_in_place(|| {
        if let Err(error) = service.refresh_revocation_list() {
            tracing::error!(%error, "renewed revocation list refused");
        }
        if let Err(error) = service.refresh_tak_revocation_list() {
            tracing::error!(%error, "renewed revocation list of TAK clients refused");
        }
    });
}

async fn reload(path: &Path, service: &Service, logging: &Logging) {
    // Reading files blocks for as long as the disk takes; the other workers go on.
    let config = match tokio::task::block_in_place(|| Config::load(path)) {
        Ok(config) => config,
        Err(error) => {
            service.counters.service.reloads_refused.inc();
            match error {
                ConfigError::Invalid(problems) => {
                    for line in problems.lines() {
                        tracing::error!("{line}");
                    }
                    tracing::error!(
                        mistakes = problems.mistake_count(),
                        "reload refused: the old configuration stays in force"
                    );
                }
                error @ ConfigError::Unreadable { .. } => {
                    tracing::error!(%error, "reload refused: the old configuration stays in force");
                }
            }
            return;
        }
    };
    for warning in config.warnings.lines() {
        tracing::warn!("{warning}");
    }
    match service.reload(&config).await {
        Ok(difference) => {
            logging.set_level(&config.log);
            for key in &difference.restart {
                tracing::warn!(key, "this change needs a restart");
            }
            tracing::info!(changed = ?difference.now, "configuration reloaded, certificates and roster read again");
        }
        Err(error) => {
            if matches!(error, ReloadError::Forward(_)) {
                // Everything but the sinks was taken.
                logging.set_level(&config.log);
            }
            service.counters.service.reloads_refused.inc();
            tracing::error!(%error, "reload failed");
        }
    }
}

impl StopSignals {
    fn new() -> std::io::Result<Self> {
        Ok(Self([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]))
    }

    /// Waits for either. Cancel-safe.
    async fn received(&mut self) {
        let [terminate, interrupt] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// Feeds systemd's watchdog, if it asked for it, as long as the runtime turns and the spool has not failed.
async fn watchdog(spool: crate::spool::Spool) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval(period / 2);
    while spool.stats().health != Health::Failed {
        ticks.tick().await;
        tell_supervisor(&[NotifyState::Watchdog]);
    }
}

/// Does nothing where no supervisor listens.
fn tell_supervisor(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the supervisor could not be told");
    }
}

/// The soft limit is usually 1,024 for the sake of old programs; the hard one is what the machine allows.
fn raise_descriptors(config: &Config) {
    let wanted = u64::from(config.front_door.connections_max) + DESCRIPTORS_SPARE;
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(u64::MAX);
    let allowed = wanted.min(limit.maximum.unwrap_or(u64::MAX));
    if soft < allowed {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum: limit.maximum });
        if let Err(error) = raised {
            tracing::warn!(%error, soft, "the limit of file descriptors could not be raised");
        }
    }
    if allowed < wanted {
        tracing::warn!(
            allowed,
            wanted,
            "too few file descriptors for front_door.connections_max: raise LimitNOFILE"
        );
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        let exit = match &error {
            error if error.is_occupied() => Exit::Unavailable,
            StartError::Spool(SpoolError::Settings { .. }) | StartError::Tls(_) => Exit::Config,
            _ => Exit::Io,
        };
        Self::new(exit, error)
    }
}
