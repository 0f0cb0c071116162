//! The servers that are compared: the gateway's own binary and Debian's mosquitto, each with mutual TLS 1.3.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use fieldpost_gateway::{
    config::template::TemplateValues,
    init::{self, InitOptions},
    pki::Authority,
};
use fieldpost_protocol::ForceId;

use super::{
    Usage,
    listening::{free_port, until_it_listens},
};
use crate::raw::{Credentials, EnrolError, Enrolment, write_peer_files};

/// A server could not be set up or started.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// A file or a process.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The gateway's directory could not be made.
    #[error("cannot make the gateway's directory: {0}")]
    Init(String),
    /// Devices could not be enrolled.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The server ended or never became ready.
    #[error("{0} did not become ready; its log is on standard error")]
    NotReady(&'static str),
}

/// Which server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// The gateway's binary.
    Fieldpost {
        /// Where it is.
        binary: PathBuf,
        /// More TOML for its configuration: sinks.
        appendix: String,
    },
    /// mosquitto from PATH, persistence off.
    Mosquitto,
    /// nats-server with JetStream that syncs every message.
    Nats {
        /// Where it is.
        binary: PathBuf,
    },
}

/// How long a server may take to become ready.
pub(super) const READY_MAX: Duration = Duration::from_secs(30);

/// A running server with enrolled devices. Killed when dropped.
pub struct Server {
    /// Its name in tables.
    pub name: &'static str,
    /// Where devices connect.
    pub address: SocketAddr,
    /// Where people look, if it is a gateway.
    pub control_room: SocketAddr,
    /// Devices that may.
    pub devices: Vec<Credentials>,
    dir: PathBuf,
    peer: Peer,
    child: Child,
}

impl Peer {
    /// The gateway's binary without a sink.
    #[must_use]
    pub fn fieldpost(binary: &Path) -> Self {
        Self::Fieldpost { binary: binary.to_path_buf(), appendix: String::new() }
    }

    /// Its name in tables.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fieldpost { .. } => "fieldpost",
            Self::Mosquitto => "mosquitto",
            Self::Nats { .. } => "nats-server",
        }
    }
}

impl Server {
    /// Sets up `peer` in the empty folder `dir` with `device_count` devices, and starts it.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn start(peer: Peer, dir: &Path, device_count: usize) -> Result<Self, PeerError> {
        let port = free_port().map_err(at("cannot find a free port"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let control_room = free_port().map_err(at("cannot find a free port"))?;
        let control_room = SocketAddr::from((Ipv4Addr::LOCALHOST, control_room));
        let name = peer.name();
        let mut authority = match &peer {
            Peer::Fieldpost { appendix, .. } => init_gateway(dir, address, control_room, appendix)?,
            Peer::Mosquitto => init_mosquitto(dir, port)?,
            Peer::Nats { .. } => init_nats(dir, port)?,
        };
        let force = ForceId::try_new("bench").expect("five letters are an identity");
        let devices = Enrolment { authority: &mut authority, force }.enrol("dev", device_count)?;
        // The authority holds a lock that the gateway's own tools would wait for.
        drop(authority);
        let child = spawn(&peer, dir, port)?;
        Ok(Self { name, address, control_room, devices, dir: dir.to_path_buf(), peer, child })
    }

    /// Starts the server again after [`Server::kill`], on the same files.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn restart(&mut self) -> Result<(), PeerError> {
        self.child = spawn(&self.peer, &self.dir, self.address.port())?;
        Ok(())
    }

    /// `kill -9`, and waits until the process is gone.
    ///
    /// # Errors
    /// If the process cannot be waited for.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// If the process cannot be signalled or waited for.
    pub fn terminate(&mut self) -> io::Result<std::process::ExitStatus> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        self.child.wait()
    }

    /// What the server has used so far.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn usage(&self) -> io::Result<Usage> {
        Usage::of(self.child.id())
    }

    /// The program that runs.
    #[must_use]
    pub fn binary(&self) -> &Path {
        match &self.peer {
            Peer::Fieldpost { binary, .. } => binary,
            other => Path::new(other.name()),
        }
    }

    /// The folder it was set up in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.kill().is_err() {
            tracing::warn!(server = self.name, "could not be ended");
        }
    }
}

fn init_gateway(
    dir: &Path,
    front_door: SocketAddr,
    control_room: SocketAddr,
    appendix: &str,
) -> Result<Authority, PeerError> {
    let values = TemplateValues {
        front_door_listen: front_door.to_string(),
        control_room_listen: control_room.to_string(),
        metrics_listen: "127.0.0.1:0".to_owned(),
        forces: vec![("bench".to_owned(), "Benchmark".to_owned())],
        appendix: appendix.to_owned(),
    };
    let options = InitOptions { values, ..InitOptions::default() };
    let made = init::init(dir, &options).map_err(|error| PeerError::Init(error.to_string()))?;
    Ok(made.authority)
}

fn init_mosquitto(dir: &Path, port: u16) -> Result<Authority, PeerError> {
    let mut authority = Authority::create(&dir.join("pki")).map_err(EnrolError::from)?;
    write_peer_files(&mut authority, dir)?;
    let dir_text = dir.display();
    let config = format!(
        "listener {port} 127.0.0.1\ncafile {dir_text}/ca.pem\ncertfile {dir_text}/server.pem\n\
         keyfile {dir_text}/server.key\nrequire_certificate true\ntls_version tlsv1.3\nallow_anonymous true\n\
         persistence false\nmax_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\nlog_type none\nuser root\n"
    );
    fs::write(dir.join("mosquitto.conf"), config).map_err(at("cannot write mosquitto.conf"))?;
    Ok(authority)
}

fn init_nats(dir: &Path, port: u16) -> Result<Authority, PeerError> {
    let mut authority = Authority::create(&dir.join("pki")).map_err(EnrolError::from)?;
    write_peer_files(&mut authority, dir)?;
    let dir_text = dir.display();
    let config = format!(
        "listen: 127.0.0.1:{port}\n\
         tls {{ cert_file: \"{dir_text}/server.pem\", key_file: \"{dir_text}/server.key\", ca_file: \"{dir_text}/ca.pem\", verify: true }}\n\
         jetstream {{ store_dir: \"{dir_text}/store\", sync_interval: always }}\n"
    );
    fs::write(dir.join("nats.conf"), config).map_err(at("cannot write nats.conf"))?;
    Ok(authority)
}

fn spawn_nats(binary: &Path, dir: &Path, port: u16) -> Result<Child, PeerError> {
    let child = Command::new(binary)
        .arg("-c")
        .arg(dir.join("nats.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(at(&format!("cannot start {} (`cargo xtask test tools` installs it)", binary.display())))?;
    until_it_listens(child, port).map_err(at("nats-server"))
}

fn spawn(peer: &Peer, dir: &Path, port: u16) -> Result<Child, PeerError> {
    match peer {
        Peer::Fieldpost { binary, .. } => spawn_gateway(binary, dir),
        Peer::Mosquitto => spawn_mosquitto(dir, port),
        Peer::Nats { binary } => spawn_nats(binary, dir, port),
    }
}

/// The gateway says when it is ready, as it does to systemd (sd_notify(3)).
fn spawn_gateway(binary: &Path, dir: &Path) -> Result<Child, PeerError> {
    let socket_path = dir.join("notify");
    if socket_path.exists() {
        fs::remove_file(&socket_path).map_err(at("cannot remove the old socket"))?;
    }
    let socket = UnixDatagram::bind(&socket_path).map_err(at("cannot make the notify socket"))?;
    socket.set_read_timeout(Some(READY_MAX)).map_err(at("cannot bound the wait"))?;
    let mut child = Command::new(binary)
        .args(["run", "-c"])
        .arg(dir.join("gateway.toml"))
        .env("NOTIFY_SOCKET", &socket_path)
        // As `docs/systemd/fieldpost.service` starts it.
        .env("MALLOC_TRIM_THRESHOLD_", "131072")
        .env("FIELDPOST__LOG__LEVEL", "error")
        .env("FIELDPOST__FRONT_DOOR__CONNECTIONS_MAX", "1000000")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(at(&format!("cannot start {}", binary.display())))?;
    let mut message = [0; 256];
    loop {
        match socket.recv(&mut message) {
            Ok(len) if message[..len].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") => {
                return Ok(child);
            }
            Ok(_) => {}
            Err(_) => {
                // It never said so: nothing to save.
                let _ = child.kill();
                let _ = child.wait();
                return Err(PeerError::NotReady("fieldpost"));
            }
        }
    }
}

fn spawn_mosquitto(dir: &Path, port: u16) -> Result<Child, PeerError> {
    let conf = dir.join("mosquitto.conf");
    let child = Command::new("mosquitto")
        .arg("-c")
        .arg(&conf)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(at("cannot start mosquitto (Debian package `mosquitto`)"))?;
    until_it_listens(child, port).map_err(at("mosquitto"))
}

fn at(what: &str) -> impl FnOnce(io::Error) -> PeerError {
    let what = what.to_owned();
    move |source| PeerError::Io { what, source }
}
