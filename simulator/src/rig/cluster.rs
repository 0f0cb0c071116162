//! Three nats-servers, each on a machine of its own as far as the network goes: killed, paused, cut off from each other.
//!
//! ```text
//! this network namespace: gateway and consumer, 10.77.N.1   <-- forwarding between the machines is cut by nft
//!    |- js1 -- eth0 10.77.1.2  n1        a server keeps its link to us when it is cut off from the other two
//!    |- js2 -- eth0 10.77.2.2  n2
//!    '- js3 -- eth0 10.77.3.2  n3
//! ```
//!
//! Every server writes to its disk before it acknowledges (`sync_interval: always`). Needs root.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{RigError, error::tool};
use crate::check::http::Http;

/// Its own network comes about in milliseconds.
const READY_MAX: Duration = Duration::from_secs(20);
const CLIENTS: u16 = 4222;
const MONITOR: u16 = 8222;
/// From one look at the servers to the next.
const AGAIN: Duration = Duration::from_millis(50);

/// The cluster. Ended when dropped.
pub(super) struct Cluster {
    binary: PathBuf,
    nodes: Vec<Node>,
}

struct Node {
    /// Keeps the network while the server is down.
    holder: Child,
    server: Option<Child>,
    dir: PathBuf,
}

impl Cluster {
    /// How many.
    pub(super) const NODES: usize = 3;

    /// Starts the servers; `dir` gets their stores. Only in a network namespace of its own.
    pub(super) fn start(binary: &Path, dir: &Path) -> Result<Self, RigError> {
        tool(&["ip", "link", "set", "lo", "up"])?;
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(RigError::io("forward packets"))?;
        let mut cluster = Self { binary: binary.to_path_buf(), nodes: Vec::new() };
        for number in 0..Self::NODES {
            let dir = dir.join(name(number));
            fs::create_dir_all(&dir).map_err(RigError::io("make a server's folder"))?;
            fs::write(dir.join("server.conf"), configuration(number, &dir))
                .map_err(RigError::io("write a server's configuration"))?;
            let holder = machine(number)?;
            cluster.nodes.push(Node { holder, server: None, dir });
        }
        for number in 0..Self::NODES {
            cluster.run(number)?;
        }
        Ok(cluster)
    }

    /// Where its clients connect, all of it.
    pub(super) fn urls() -> Vec<String> {
        (0..Self::NODES).map(|number| format!("nats://{}:{CLIENTS}", address(number))).collect()
    }

    /// Starts a server (again) on its store.
    pub(super) fn run(&mut self, number: usize) -> Result<(), RigError> {
        let node = &mut self.nodes[number];
        let log = fs::File::options().create(true).append(true).open(node.dir.join("server.log"));
        let log = log.map_err(RigError::io("make a log"))?;
        let server = inside(&node.holder)
            .arg(&self.binary)
            .arg("-c")
            .arg(node.dir.join("server.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(RigError::io("start nats-server"))?;
        node.server = Some(server);
        Ok(())
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self, number: usize) -> Result<(), RigError> {
        if let Some(mut server) = self.nodes[number].server.take() {
            server.kill().and_then(|()| server.wait()).map_err(RigError::io("kill nats-server"))?;
        }
        Ok(())
    }

    /// `STOP` or `CONT`.
    pub(super) fn signal(&self, number: usize, signal: &str) -> Result<(), RigError> {
        match &self.nodes[number].server {
            Some(server) => super::error::signal(server.id(), signal),
            None => Ok(()),
        }
    }

    /// Nothing passes between this server and the other two; its clients keep it.
    pub(super) fn cut_off(number: usize) -> Result<(), RigError> {
        let address = address(number);
        nft(&format!(
            "chain cut {{\ntype filter hook forward priority 0\nip saddr {address} drop\nip daddr {address} drop\n}}"
        ))
    }

    /// What the servers say to their clients is lost; what clients say to them arrives.
    pub(super) fn lose_answers() -> Result<(), RigError> {
        nft(&format!(
            "chain lose {{\ntype filter hook input priority 0\ntcp sport {CLIENTS} meta length > 100 drop\n}}"
        ))
    }

    /// Everything passes again.
    pub(super) fn heal() -> Result<(), RigError> {
        tool(&["nft", "flush", "ruleset"]).map(drop)
    }

    /// The server that a client of this name is connected to, once there is one.
    pub(super) async fn serving(client: &str) -> Result<usize, RigError> {
        let start = Instant::now();
        while start.elapsed() < READY_MAX {
            for number in 0..Self::NODES {
                let answer = ask(number, "/connz").await;
                let connections = answer["connections"].as_array().cloned().unwrap_or_default();
                if connections.iter().any(|connection| connection["name"] == client) {
                    return Ok(number);
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
        Err(RigError::NotReady(READY_MAX))
    }

    /// The server that leads the stream, and the last sequence of it, as far as anybody who answers knows.
    pub(super) async fn stream() -> (Option<usize>, u64) {
        let (mut leader, mut last) = (None, 0);
        for number in 0..Self::NODES {
            let answer = ask(number, "/jsz?streams=true").await;
            let stream = &answer["account_details"][0]["stream_detail"][0];
            let seq = stream["state"]["last_seq"].as_u64().unwrap_or(0);
            if seq >= last {
                last = seq;
                let led = stream["cluster"]["leader"].as_str();
                leader = (0..Self::NODES).find(|other| led == Some(&name(*other))).or(leader);
            }
        }
        (leader, last)
    }

    /// Waits until the stream has `more` messages more than now, and says how long that took.
    pub(super) async fn goes_on(more: u64, most: Duration) -> Result<Duration, RigError> {
        let (start, (_, before)) = (Instant::now(), Self::stream().await);
        while Self::stream().await.1 < before + more {
            if start.elapsed() > most {
                return Err(RigError::Hang(most));
            }
            tokio::time::sleep(AGAIN).await;
        }
        Ok(start.elapsed())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for number in 0..self.nodes.len() {
            if self.kill(number).is_err() {
                tracing::warn!("nats-server could not be ended");
            }
        }
        for node in &mut self.nodes {
            if node.holder.kill().and_then(|()| node.holder.wait()).is_err() {
                tracing::warn!("a network namespace could not be ended");
            }
        }
    }
}

fn name(number: usize) -> String {
    format!("n{}", number + 1)
}

fn address(number: usize) -> String {
    format!("10.77.{}.2", number + 1)
}

fn configuration(number: usize, dir: &Path) -> String {
    let (name, own, store) = (name(number), address(number), dir.join("store"));
    let routes = (0..Cluster::NODES).filter(|other| *other != number);
    let routes: Vec<_> = routes.map(|other| format!("nats://{}:6222", address(other))).collect();
    format!(
        "server_name: {name}\nlisten: {own}:{CLIENTS}\nhttp: {own}:{MONITOR}\n\
         jetstream {{ store_dir: {store:?}, sync_interval: always }}\n\
         cluster {{ name: rig, listen: {own}:6222, routes: [{}] }}\n",
        routes.join(", ")
    )
}

/// A network of its own with one cable to ours; it lasts as long as the process.
fn machine(number: usize) -> Result<Child, RigError> {
    // Ends by itself if this rig is killed before it can.
    let mut holder = Command::new("unshare")
        .args(["--net", "--", "sleep", "1800"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(RigError::io("start unshare (Debian package util-linux)"))?;
    let wired = wire(number, &holder);
    if wired.is_err() {
        // It holds nothing.
        let _ = holder.kill().and_then(|()| holder.wait());
    }
    wired.map(|()| holder)
}

fn wire(number: usize, holder: &Child) -> Result<(), RigError> {
    let (start, ours) = (Instant::now(), fs::read_link("/proc/self/ns/net").ok());
    while fs::read_link(format!("/proc/{}/ns/net", holder.id())).ok() == ours {
        if start.elapsed() > READY_MAX {
            return Err(RigError::NotReady(READY_MAX));
        }
        std::thread::yield_now();
    }
    let (cable, id) = (format!("js{}", number + 1), holder.id().to_string());
    let (here, there) = (format!("10.77.{}.1", number + 1), address(number));
    tool(&["ip", "link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &id])?;
    tool(&["ip", "addr", "add", &format!("{here}/24"), "dev", &cable])?;
    tool(&["ip", "link", "set", &cable, "up"])?;
    for words in [
        ["addr", "add", &format!("{there}/24"), "dev", "eth0"].as_slice(),
        &["link", "set", "eth0", "up"],
        &["link", "set", "lo", "up"],
        &["route", "add", "default", "via", &here],
    ] {
        let net = format!("--net=/proc/{id}/ns/net");
        tool(&[&["nsenter", &net, "ip"], words].concat())?;
    }
    Ok(())
}

fn inside(holder: &Child) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{}/ns/net", holder.id()));
    command
}

fn nft(chain: &str) -> Result<(), RigError> {
    let file = tempfile::NamedTempFile::new().map_err(RigError::io("make a file"))?;
    fs::write(file.path(), format!("flush ruleset\ntable inet rig {{\n{chain}\n}}\n"))
        .map_err(RigError::io("write the rules"))?;
    tool(&["nft", "-f", &file.path().to_string_lossy()]).map(drop)
}

/// What a server's monitor says; nothing if it does not answer.
async fn ask(number: usize, path: &str) -> serde_json::Value {
    let http = Http::new(&format!("{}:{MONITOR}", address(number)));
    let asked = tokio::time::timeout(Duration::from_secs(2), http.get_json(path)).await;
    asked.ok().and_then(Result::ok).unwrap_or_default()
}
