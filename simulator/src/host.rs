//! A gateway in this process, in a directory that is gone afterwards: the same code, configuration file and certificates
//! as a real one.

use std::{
    fmt::Write as _,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use fieldpost_gateway::{
    config::{
        Config, ConfigError, RELEASE_ALL,
        template::{TemplateValues, quoted},
    },
    init::{InitError, InitOptions, init},
    login::{LoginError, LoginLinks, Operator},
    pki::{Authority, Issued},
    service::{self, Service, StartError},
};
use tempfile::TempDir;

use crate::{
    check::jetstream::{STREAM, SUBJECT_PREFIX},
    fleet::{
        enrol::{EnrolError, Enrolment, enrol},
        source::unix_ms,
    },
    world::{force::FORCE, unit::Identity},
};

/// Small segments: a demo must not fill somebody's disk, nor wait while 64 MiB are written full of zeros.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
const SPOOL_BYTES_MAX: u64 = 1024 * 1024 * 1024;
const RESERVE_BYTES: u64 = 16 * 1024 * 1024;

/// What the gateway is to serve and to forward to.
#[derive(Debug, Clone, Default)]
pub struct HostPlan {
    /// Callsigns of the devices.
    pub roster: Vec<Identity>,
    /// GeoJSON of the town, if the page is to show it.
    pub streets: Option<String>,
    /// Where the webhook sink posts to.
    pub webhook_url: Option<String>,
    /// A NATS server with JetStream.
    pub nats_url: Option<String>,
    /// Believe device times this many hours old: recordings may be decades old.
    pub past_hours_max: Option<u32>,
}

/// The directory, the configuration and the authority, before the gateway runs.
pub struct Prepared {
    dir: TempDir,
    config: Config,
    authority: Authority,
}

/// The running gateway.
pub struct Host {
    dir: TempDir,
    service: Service,
    data_dir: PathBuf,
}

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The temporary directory cannot be used.
    #[error("cannot use a temporary directory: {0}; set TMPDIR to one with 200 MB of room")]
    Directory(#[from] io::Error),
    /// The directory cannot be initialised.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The configuration that was just written is not accepted.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Certificates cannot be issued.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The gateway does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// No login link can be made.
    #[error(transparent)]
    Login(#[from] LoginError),
}

impl Prepared {
    /// Writes everything a gateway needs into a new temporary directory. Blocks briefly.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn new(plan: &HostPlan) -> Result<Self, HostError> {
        let dir = tempfile::Builder::new().prefix("fieldpost-sim-").tempdir()?;
        let home = dir.path().join("gateway");
        let options = InitOptions {
            values: TemplateValues {
                front_door_listen: "127.0.0.1:0".to_owned(),
                control_room_listen: "127.0.0.1:0".to_owned(),
                metrics_listen: "127.0.0.1:0".to_owned(),
                forces: vec![(FORCE.to_owned(), "Fieldpost Town".to_owned())],
                appendix: sinks(plan, dir.path()),
            },
            ..InitOptions::default()
        };
        let made = init(&home, &options)?;
        let mut environment = spool_environment();
        let roster = home.join("roster.toml");
        std::fs::write(&roster, render_roster(&plan.roster))?;
        environment.push(("FIELDPOST__CONTROL_ROOM__ROSTER".to_owned(), roster.display().to_string()));
        if let Some(streets) = &plan.streets {
            let path = home.join("streets.json");
            std::fs::write(&path, streets)?;
            environment.push(("FIELDPOST__CONTROL_ROOM__STREETS".to_owned(), path.display().to_string()));
        }
        if let Some(hours) = plan.past_hours_max {
            environment.push(("FIELDPOST__CLOCK__PAST_HOURS_MAX".to_owned(), hours.to_string()));
        }
        let text = std::fs::read_to_string(&made.config)?;
        let config = Config::from_text(&made.config, &text, &environment)?;
        Ok(Self { dir, config, authority: made.authority })
    }

    /// Issues a certificate for every device.
    ///
    /// # Errors
    /// [`HostError::Enrol`].
    pub fn enrol(&mut self, devices: &[String], enrolment: Enrolment) -> Result<Vec<Issued>, HostError> {
        Ok(enrol(&mut self.authority, FORCE, devices, enrolment)?)
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn authority_pem(&self) -> String {
        self.authority.certificate_pem().to_owned()
    }

    /// Where the file sink will write.
    #[must_use]
    pub fn events_path(&self) -> PathBuf {
        events_path(self.dir.path())
    }

    /// Starts the gateway.
    ///
    /// # Errors
    /// [`HostError::Start`].
    pub async fn start(self) -> Result<Host, HostError> {
        let data_dir = self.config.data_dir.clone();
        // Boxed: the future holds every part of the gateway while it starts.
        let service = Box::pin(service::start(self.config)).await?;
        Ok(Host { dir: self.dir, service, data_dir })
    }
}

impl Host {
    /// Where devices connect.
    #[must_use]
    pub fn front_door(&self) -> SocketAddr {
        self.service.front_door
    }

    /// A one-time link to the page.
    ///
    /// # Errors
    /// [`HostError::Login`].
    pub fn login_link(&self, operator: &str) -> Result<String, HostError> {
        let now_ms = unix_ms();
        let token = LoginLinks::open(&self.data_dir, now_ms)?.issue(&Operator::try_new(operator)?, now_ms)?;
        Ok(format!("http://{}/login?token={token}", self.service.control_room))
    }

    /// Drains the gateway, then removes its directory.
    ///
    /// # Errors
    /// [`HostError::Directory`] if something is left behind.
    pub async fn stop(self) -> Result<(), HostError> {
        Box::pin(self.service.shutdown()).await;
        Ok(self.dir.close()?)
    }
}

fn events_path(dir: &Path) -> PathBuf {
    dir.join("events.ndjson")
}

fn spool_environment() -> Vec<(String, String)> {
    [("SEGMENT_BYTES", SEGMENT_BYTES), ("BYTES_MAX", SPOOL_BYTES_MAX), ("RESERVE_BYTES", RESERVE_BYTES)]
        .map(|(key, value)| (format!("FIELDPOST__SPOOL__{key}"), value.to_string()))
        .to_vec()
}

fn sinks(plan: &HostPlan, dir: &Path) -> String {
    let path = quoted(&events_path(dir).display().to_string());
    let mut sinks = format!("[[forward.file]]\npath = {path}\n{RELEASE_ALL}\n");
    if let Some(url) = &plan.webhook_url {
        write!(sinks, "[[forward.webhook]]\nurl = {}\n{RELEASE_ALL}\n", quoted(url))
            .expect("a string takes everything");
    }
    if let Some(url) = &plan.nats_url {
        let (url, stream, prefix) = (quoted(url), quoted(STREAM), quoted(SUBJECT_PREFIX));
        write!(
            sinks,
            "[[forward.nats]]\nurl = {url}\nstream = {stream}\nsubject_prefix = {prefix}\n{RELEASE_ALL}\n"
        )
        .expect("a string takes everything");
    }
    sinks
}

fn render_roster(roster: &[Identity]) -> String {
    let mut text = String::new();
    for Identity { device, callsign, kind } in roster {
        let (device, callsign, kind) = (quoted(device), quoted(callsign), quoted(kind.as_str()));
        write!(
            text,
            "[[unit]]\nforce = \"{FORCE}\"\ndevice = {device}\ncallsign = {callsign}\nkind = {kind}\n\n"
        )
        .expect("a string takes everything");
    }
    text
}
