//! The gateway's binary as a rig starts it: with an environment of its own, under another program, on another disk.
//!
//! [`Setup`] outlives its processes as the machine outlives a service: authority, configuration and devices stay.

use std::{
    ffi::{OsStr, OsString},
    net::{Ipv4Addr, SocketAddr},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use fieldpost_gateway::{config::template::TemplateValues, init};
use fieldpost_protocol::ForceId;

use super::RigError;
use crate::{
    bench::free_port,
    raw::{Credentials, Enrolment},
};

/// A start under strace on a busy machine stays far below.
const READY_MAX: Duration = Duration::from_secs(60);

/// What the last process said. What a rig breaks on purpose is said here too, so it is shown only if a start fails.
const LOG: &str = "gateway.log";

/// The smallest segments that the configuration allows, in bytes: cuts and faults then fall into their making too.
pub(super) const SEGMENT_BYTES: &str = "2097152";

/// Of a gateway in the folder `gateway`.
pub(super) const SPOOL: &str = "gateway/data/spool";

/// A gateway's folder with enrolled devices.
pub(super) struct Setup {
    /// Where devices connect.
    pub(super) address: SocketAddr,
    /// Devices that may.
    pub(super) devices: Vec<Credentials>,
    dir: PathBuf,
    /// Where people look.
    pub(super) control_room: SocketAddr,
}

impl Setup {
    /// Makes a gateway in the empty folder `dir`; `appendix` is more TOML for its configuration.
    pub(super) fn new(dir: &Path, device_count: usize, appendix: &str) -> Result<Self, RigError> {
        let port = || free_port().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let address = port().map_err(RigError::io("find a free port"))?;
        let control_room = port().map_err(RigError::io("find a free port"))?;
        let values = TemplateValues {
            front_door_listen: address.to_string(),
            control_room_listen: control_room.to_string(),
            metrics_listen: "127.0.0.1:0".to_owned(),
            forces: vec![("bench".to_owned(), "Rig".to_owned())],
            appendix: appendix.to_owned(),
        };
        let options = init::InitOptions { values, ..init::InitOptions::default() };
        let mut made = init::init(dir, &options).map_err(RigError::cannot("make the gateway's folder"))?;
        let force = ForceId::try_new("bench").expect("five letters are an identity");
        let devices = Enrolment { authority: &mut made.authority, force }.enrol("dev", device_count)?;
        Ok(Self { address, devices, dir: dir.to_path_buf(), control_room })
    }

    /// A gateway whose folder `dir` has been made already.
    pub(super) fn at(dir: &Path, address: SocketAddr, control_room: SocketAddr) -> Self {
        Self { address, devices: Vec::new(), dir: dir.to_path_buf(), control_room }
    }

    /// Starts it and waits until it says that it is ready, as it does to systemd (sd_notify(3)).
    pub(super) fn start(&self, launch: &Launch) -> Result<Gateway, RigError> {
        let path = self.dir.join("notify");
        if path.exists() {
            std::fs::remove_file(&path).map_err(RigError::io("remove the old notify socket"))?;
        }
        let socket = UnixDatagram::bind(&path).map_err(RigError::io("make the notify socket"))?;
        let log = std::fs::File::create(self.dir.join(LOG)).map_err(RigError::io("make a log"))?;
        let mut child = launch
            .command(&self.dir, &path)
            .stderr(log)
            .spawn()
            .map_err(RigError::io("start the gateway"))?;
        // Short waits, so that a gateway that ends before it is ready is noticed.
        socket.set_read_timeout(Some(Duration::from_millis(100))).map_err(RigError::io("bound the wait"))?;
        let began = std::time::Instant::now();
        let mut message = [0; 256];
        while began.elapsed() < READY_MAX {
            if let Ok(len) = socket.recv(&mut message)
                && message[..len].split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
            {
                return Ok(Gateway { child });
            }
            if let Ok(Some(status)) = child.try_wait() {
                let said = std::fs::read_to_string(self.dir.join(LOG)).unwrap_or_default();
                let last =
                    said.lines().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>();
                return Err(RigError::Ended { status, said: last.join("; ") });
            }
        }
        drop(Gateway { child });
        Err(RigError::NotReady(READY_MAX))
    }
}

/// How a process is started.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    binary: PathBuf,
    before: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Launch {
    /// The binary alone; log lines below `error` go nowhere.
    pub(super) fn of(binary: &Path) -> Self {
        let launch = Self { binary: binary.to_path_buf(), before: Vec::new(), environment: Vec::new() };
        launch.with("FIELDPOST__LOG__LEVEL", "error")
    }

    /// With an environment variable.
    pub(super) fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Under another program, whose process must become the gateway's.
    pub(super) fn under<I: IntoIterator<Item: Into<OsString>>>(mut self, words: I) -> Self {
        self.before = words.into_iter().map(Into::into).collect();
        self
    }

    /// Gives another command of the same gateway the same environment.
    pub(super) fn set_environment(&self, command: &mut Command) {
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
    }

    fn command(&self, dir: &Path, notify: &Path) -> Command {
        let mut words = self.before.iter().cloned();
        let mut command = Command::new(words.next().unwrap_or_else(|| self.binary.clone().into()));
        command.args(words);
        if !self.before.is_empty() {
            command.arg(&self.binary);
        }
        command.args(["run", "-c"]).arg(dir.join("gateway.toml")).env("NOTIFY_SOCKET", notify);
        self.set_environment(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

/// A running gateway. Killed when dropped.
pub(super) struct Gateway {
    child: Child,
}

impl Gateway {
    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and waits until the process is gone.
    pub(super) fn kill(&mut self) -> Result<(), RigError> {
        self.child.kill().and_then(|()| self.child.wait()).map_err(RigError::io("kill the gateway"))?;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub(super) fn terminate(&mut self) -> Result<ExitStatus, RigError> {
        super::error::signal(self.child.id(), "TERM")?;
        self.child.wait().map_err(RigError::io("wait for the gateway"))
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>, RigError> {
        self.child.try_wait().map_err(RigError::io("look at the gateway"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.kill().is_err() {
            tracing::warn!("the gateway could not be ended");
        }
    }
}
