//! A real `nats-server` with JetStream, which tests kill, stop and restart.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures_util::StreamExt as _;

use super::rig::{PATIENCE, wait_for};
use crate::postgres_server::quiet_port;

pub(crate) struct NatsServer {
    dir: tempfile::TempDir,
    port: u16,
    /// Lines for its configuration file, behind those that every test needs.
    extra: String,
    child: Option<Child>,
}

/// One message of the stream.
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) message_id: String,
    /// Names of all its headers, sorted.
    pub(crate) headers: Vec<String>,
    pub(crate) event: serde_json::Value,
}

impl NatsServer {
    /// Starts a server with its own store on a free port.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| String::new()).await
    }

    /// Starts a server whose configuration also has the lines `extra` writes, given its directory.
    pub(crate) async fn start_with(extra: impl FnOnce(&Path) -> String) -> Self {
        let port = quiet_port();
        let dir = tempfile::tempdir().unwrap();
        let extra = extra(dir.path());
        let mut server = Self { dir, port, extra, child: None };
        server.run().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts the process (again) over the same store and waits until it listens.
    pub(crate) async fn run(&mut self) {
        let config = self.dir.path().join("server.conf");
        let store = self.dir.path().join("store");
        let text = format!(
            "listen: 127.0.0.1:{}\njetstream {{ store_dir: {store:?} }}\n{}\n",
            self.port, self.extra
        );
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(self.dir.path().join("server.log")).unwrap();
        let child = Command::new(binary())
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server starts");
        self.child = Some(child);
        let address = self.address();
        let child = self.child.as_mut().expect("just started");
        wait_for("nats-server to listen", || {
            assert!(child.try_wait().unwrap().is_none(), "nats-server refuses its configuration");
            std::net::TcpStream::connect(&address).is_ok()
        })
        .await;
    }

    /// SIGKILL: no farewell. What it had written stays in the page cache, so nothing needs `sync_interval: always`.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGSTOP: connections stay, nothing answers.
    pub(crate) fn suspend(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// A connection of the test's own.
    pub(crate) async fn jetstream(&self) -> jetstream::Context {
        let connect = async_nats::ConnectOptions::new().retry_on_initial_connect().connect(self.url());
        jetstream::new(tokio::time::timeout(PATIENCE, connect).await.unwrap().unwrap())
    }

    /// Every message of the stream, in order.
    pub(crate) async fn stored(&self, stream: &str) -> Vec<Stored> {
        read_stream(&self.jetstream().await, stream).await
    }
}

pub(crate) async fn read_stream(context: &jetstream::Context, stream: &str) -> Vec<Stored> {
    let mut stream = context.get_stream(stream).await.unwrap();
    let count = usize::try_from(stream.info().await.unwrap().state.messages).unwrap();
    let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
    let consumer = stream.create_consumer(config).await.unwrap();
    let mut messages = consumer.messages().await.unwrap();
    let mut stored = Vec::with_capacity(count);
    while stored.len() < count {
        let message = tokio::time::timeout(PATIENCE, messages.next()).await.unwrap().unwrap().unwrap();
        let headers = message.headers.as_ref().expect("headers");
        let mut names: Vec<_> = headers.iter().map(|(name, _)| name.to_string()).collect();
        names.sort();
        stored.push(Stored {
            headers: names,
            subject: message.subject.to_string(),
            message_id: headers.get("Nats-Msg-Id").expect("a message id").to_string(),
            event: serde_json::from_slice(&message.payload).unwrap(),
        });
    }
    stored
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _killed = child.kill();
            let _reaped = child.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(20).collect();
            eprintln_lines(&tail);
        }
    }
}

#[expect(clippy::print_stderr, reason = "a failing test shows what the server said")]
fn eprintln_lines(lines: &[&str]) {
    for line in lines.iter().rev() {
        eprintln!("nats-server: {line}");
    }
}

/// The binary from `FIELDPOST_NATS_SERVER`, else from the search path. Without one the test fails: it never skips.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("FIELDPOST_NATS_SERVER") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "FIELDPOST_NATS_SERVER names no file: {}", path.display());
        return path;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join("nats-server"))
        .find(|candidate| candidate.is_file())
        .expect("nats-server is needed: run `cargo xtask test`, or set FIELDPOST_NATS_SERVER to a nats-server 2.10 or later")
}
