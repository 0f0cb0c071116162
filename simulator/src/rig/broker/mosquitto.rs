//! A real mosquitto that a rig stops and starts: TLS with client certificates, an access list, persistence.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::RigError;
use crate::bench::{free_port, until_it_listens};

/// Where Debian puts it.
const BINARY: &str = "/usr/sbin/mosquitto";

/// As operators are told to write it, for `gateway-a` and `gateway-b`.
const ACCESS: &str = include_str!("../../../../docs/mosquitto/access");
/// A client that has the broker in its hands.
const EVIL: &str = "user evil\ntopic readwrite #\n";

/// A broker. Ended when dropped.
pub(super) struct Mosquitto {
    config: PathBuf,
    pub(super) port: u16,
    child: Child,
}

impl Mosquitto {
    /// Starts it in `dir`, which holds `ca.pem`, `server.pem` and `server.key`.
    pub(super) fn start(dir: &Path) -> Result<Self, RigError> {
        let port = free_port().map_err(RigError::io("find a free port"))?;
        let config = dir.join("mosquitto.conf");
        let at = |name: &str| dir.join(name).display().to_string();
        // `user root`: or it gives up the rights to read the rig's folder. autosave: what it had taken since is lost with it,
        // and the devices must not care.
        let text = format!(
            "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\ntls_version tlsv1.3\nrequire_certificate true\n\
             use_identity_as_username true\nallow_anonymous false\nacl_file {}\nuser root\npersistence true\n\
             persistence_location {}/\nautosave_interval 1\nmax_inflight_messages 1000\nmax_queued_messages 20000\n\
             log_dest file {}\nlog_type error\n",
            at("ca.pem"),
            at("server.pem"),
            at("server.key"),
            at("access"),
            dir.display(),
            at("mosquitto.log"),
        );
        std::fs::write(dir.join("access"), [ACCESS, EVIL].concat())
            .map_err(RigError::io("write the access list"))?;
        std::fs::write(&config, text).map_err(RigError::io("write mosquitto's configuration"))?;
        let child = spawn(&config, port)?;
        Ok(Self { config, port, child })
    }

    /// `kill -9`, and waits until it is gone.
    pub(super) fn kill(&mut self) -> Result<(), RigError> {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).map_err(RigError::io("kill mosquitto"))
    }

    /// Starts it again with what it had saved.
    pub(super) fn restart(&mut self) -> Result<(), RigError> {
        self.child = spawn(&self.config, self.port)?;
        Ok(())
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.kill().is_err() {
            tracing::warn!("mosquitto could not be ended");
        }
    }
}

fn spawn(config: &Path, port: u16) -> Result<Child, RigError> {
    let spawned = Command::new(BINARY)
        .arg("-c")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| {
            io::Error::new(error.kind(), format!("{BINARY} (Debian package mosquitto): {error}"))
        });
    spawned.and_then(|child| until_it_listens(child, port)).map_err(RigError::io("start mosquitto"))
}
