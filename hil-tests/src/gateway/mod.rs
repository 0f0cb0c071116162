//! The gateway's binary as a child process, with its own authority in a temporary folder.
//!
//! ```text
//! fieldpost init -> pki issue (one device) -> run --kill -9--> run, on the same ports and the same spool
//!                                              |- page: what operators see, and acknowledge
//!                                              '- records: what is committed, read from the spool
//! ```

mod behind_broker;
mod enrol;
mod page;
mod records;

use std::{
    fs::OpenOptions,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

pub use self::{
    enrol::Enrolled,
    page::{Page, Shown},
    records::{Record, Records},
};
use crate::{Failure, places};

/// The name in the gateway's certificate.
pub const GATEWAY_NAME: &str = "gateway.bench.example";
/// The force that the bench's devices belong to.
pub const FORCE: &str = "bench";
/// Ready within a second or two; on a machine that builds at the same time, in ten.
const START_WAIT_MAX: Duration = Duration::from_secs(60);

/// A gateway: its folder, and its process while it runs.
#[derive(Debug)]
pub struct Gateway {
    binary: PathBuf,
    dir: PathBuf,
    addresses: Addresses,
    process: Option<Child>,
}

/// Where a running gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Devices.
    pub front_door: SocketAddr,
    /// People.
    pub control_room: SocketAddr,
    /// Metrics and health.
    pub metrics: SocketAddr,
}

impl Gateway {
    /// A new gateway in the empty folder `dir`, running on free loopback ports.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn start(dir: &Path) -> Result<Self, Failure> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let addresses = Addresses { front_door: any, control_room: any, metrics: any };
        let binary = places::gateway_binary()?;
        let mut gateway = Self { binary, dir: dir.to_path_buf(), addresses, process: None };
        let folder = gateway.dir.display().to_string();
        gateway.command(&["init", &folder, "--name", GATEWAY_NAME, "--force", FORCE])?;
        gateway.run()?;
        Ok(gateway)
    }

    /// Where it is, also while it does not run.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// [`Failure`] if it does not run.
    pub fn kill(&mut self) -> Result<(), Failure> {
        let mut process = self.process.take().ok_or_else(|| Failure::child("gateway", "does not run"))?;
        process.kill().and_then(|()| process.wait()).map(drop).map_err(Failure::io("cannot kill the gateway"))
    }

    /// Runs it again after a kill, on the same ports.
    ///
    /// # Errors
    /// [`Failure`] if it does not get ready.
    pub fn run(&mut self) -> Result<(), Failure> {
        let log = self.dir.join("gateway.log");
        let errors = OpenOptions::new().create(true).append(true).open(&log);
        let errors = errors.map_err(Failure::at("write", &log))?;
        let listen = |address: SocketAddr| address.to_string();
        let mut command = Command::new(&self.binary);
        command
            .args(["run", "-c"])
            .arg(self.config())
            .env("FIELDPOST__FRONT_DOOR__LISTEN", listen(self.addresses.front_door))
            .env("FIELDPOST__CONTROL_ROOM__LISTEN", listen(self.addresses.control_room))
            .env("FIELDPOST__METRICS__LISTEN", listen(self.addresses.metrics))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors);
        let mut child = command.spawn().map_err(|error| Failure::tool("fieldpost", error))?;
        let stdout = child.stdout.take().expect("stdout was piped just above");
        self.process = Some(child);
        self.addresses = wait_until_ready(stdout).map_err(|seen| Failure::Late {
            awaited: "the gateway's `ready`".to_owned(),
            waited: START_WAIT_MAX,
            seen: format!("{seen}\n{}", self.log_tail()),
        })?;
        Ok(())
    }

    /// The end of its log, for a report. It never holds positions.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("gateway.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn config(&self) -> PathBuf {
        self.dir.join("gateway.toml")
    }

    /// Runs a subcommand to its end and returns what it printed.
    fn command(&self, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = Command::new(&self.binary);
        let output = command
            .args(arguments)
            .env("FIELDPOST__CONTROL_ROOM__LISTEN", self.addresses.control_room.to_string())
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Failure::tool("fieldpost", error))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::child(
            "gateway",
            format!("`fieldpost {}` ended with {}: {said}", arguments.join(" "), output.status),
        ))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.process.is_some() {
            // Nothing is left to report to.
            let _ = self.kill();
        }
    }
}

/// Reads `front_door ADDR`, `control_room URL`, `metrics URL`, `ready`.
fn wait_until_ready(stdout: ChildStdout) -> Result<Addresses, String> {
    let (lines, seen) = mpsc::channel();
    // Goes on reading after `ready`, so that the gateway never blocks on a full pipe; ends with it.
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
    let mut said = Vec::new();
    while said.last().is_none_or(|line| line != "ready") {
        said.push(seen.recv_timeout(START_WAIT_MAX).map_err(|_| said.join("\n"))?);
    }
    let address = |name: &str| {
        let url = said.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        let rest = url.strip_prefix("http://").unwrap_or(url);
        rest.split('/').next()?.parse().ok()
    };
    match (address("front_door"), address("control_room"), address("metrics")) {
        (Some(front_door), Some(control_room), Some(metrics)) => {
            Ok(Addresses { front_door, control_room, metrics })
        }
        _ => Err(said.join("\n")),
    }
}
