//! FreeTAKServer as it comes from PyPI. Its own certificates name no host, so it gets ours.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{papers::Papers, port};
use crate::rig::{RigError, error::tool};

/// It starts a dozen Python processes: half a minute on a busy machine.
const READY_MAX: Duration = Duration::from_secs(150);

/// Between its own processes. Its defaults are where another rig may listen, or another FreeTAKServer; then it routes nothing.
const INNER_PORTS: [&str; 5] = [
    "FTS_ROUTING_PROXY_SUBSCRIBE_PORT",
    "FTS_ROUTING_PROXY_PUBLISHER_PORT",
    "FTS_ROUTING_PROXY_SERVER_PORT",
    "FTS_INTEGRATION_MANAGER_PULLER_PORT",
    "FTS_INTEGRATION_MANAGER_PUBLISHER_PORT",
];

/// The server and its children. Killed when dropped.
pub(super) struct FreeTakServer {
    pub(super) port: u16,
    child: Child,
}

impl FreeTakServer {
    /// Starts it with its files in `dir`, and waits until it listens.
    pub(super) async fn start(python: &Path, dir: &Path, papers: &Papers) -> Result<Self, RigError> {
        let failed = |what| RigError::io(what);
        for folder in ["certs", "Logs"] {
            fs::create_dir_all(dir.join(folder)).map_err(failed("make FreeTAKServer's folder"))?;
        }
        papers.give(&dir.join("certs"))?;
        let text = "System:\n  FTS_NODE_ID: rig\n  FTS_CONNECTION_MESSAGE: null\n  FTS_MAINLOOP_DELAY: 1\n";
        fs::write(dir.join("FTSConfig.yaml"), text).map_err(failed("configure FreeTAKServer"))?;
        let log = fs::File::create(dir.join("log")).map_err(failed("make a log"))?;
        let (port, clear_port, api_port) = (port()?, port()?, port()?);
        let mut command = Command::new(python);
        command.args(["-m", "FreeTAKServer.controllers.services.FTS"]);
        command.args(
            ["-DataPackageIP", "-CoTIP", "-SSLCoTIP", "-RestAPIIP"]
                .iter()
                .flat_map(|key| [*key, "127.0.0.1"]),
        );
        command.envs(paths(dir)).env("FTS_FIRST_START", "false").env("FTS_COT_TO_DB", "False");
        let ports = [("FTS_SSLCOT_PORT", port), ("FTS_COT_PORT", clear_port), ("FTS_API_PORT", api_port)];
        command.envs(ports.map(|(name, port)| (name, port.to_string())));
        for name in INNER_PORTS {
            command.env(name, super::port()?.to_string());
        }
        // A group of its own: it starts a dozen processes that do not end with it.
        command.process_group(0).stdin(Stdio::null()).stderr(Stdio::null()).stdout(log);
        let mut child = command.spawn().map_err(failed("start FreeTAKServer"))?;
        let give_up = Instant::now() + READY_MAX;
        let is_up = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        while !is_up() && Instant::now() < give_up && matches!(child.try_wait(), Ok(None)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let server = Self { port, child };
        if is_up() { Ok(server) } else { Err(RigError::cannot("start FreeTAKServer")("it does not listen")) }
    }

    pub(super) fn url(&self) -> String {
        format!("tls://127.0.0.1:{}", self.port)
    }
}

impl Drop for FreeTakServer {
    fn drop(&mut self) {
        end(self.child.id());
        // Killed with its group.
        let _ = self.child.wait();
    }
}

fn end(group: u32) {
    if let Err(error) = tool(&["kill", "-KILL", "--", &format!("-{group}")]) {
        tracing::warn!(%error, "FreeTAKServer could not be ended");
    }
}

/// Where it keeps things: by default everything is below `/opt`, which it also makes.
fn paths(dir: &Path) -> Vec<(&'static str, PathBuf)> {
    let files = [
        ("FTS_CONFIG_PATH", "FTSConfig.yaml"),
        ("FTS_PERSISTENCE_PATH", ""),
        ("FTS_DB_PATH", "db.sqlite"),
        ("FTS_CERTS_PATH", "certs"),
        ("FTS_LOGFILE_PATH", "Logs"),
        ("FTS_SERVER_KEYDIR", "certs/server.key"),
        ("FTS_SERVER_PEMDIR", "certs/server.pem"),
        ("FTS_UNENCRYPTED_KEYDIR", "certs/server.key.unencrypted"),
        ("FTS_SERVER_P12DIR", "certs/server.p12"),
        ("FTS_CADIR", "certs/ca.pem"),
        ("FTS_CAKEYDIR", "certs/ca.key"),
        ("FTS_CRLDIR", "certs/FTS_CRL.json"),
        ("FTS_TESTCLIENT_PEMDIR", "certs/Client.pem"),
        ("FTS_TESTCLIENT_KEYDIR", "certs/Client.key"),
        ("FTS_CLIENT_PACKAGES_PATH", "certs/clientPackages"),
        ("FTS_EXCHECK_PATH", "ExCheck"),
        ("FTS_EXCHECK_TEMPLATE_PATH", "ExCheck/template"),
        ("FTS_EXCHECK_CHECKLIST_PATH", "ExCheck/checklist"),
        ("FTS_DATAPACKAGE_PATH", "packages"),
    ];
    files.map(|(name, file)| (name, if file.is_empty() { dir.to_path_buf() } else { dir.join(file) })).into()
}
