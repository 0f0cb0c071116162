//! A TAK party written by others, as a process of its own.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use super::{
    PATIENCE, TakPlan,
    judge::{Counts, Seen},
    papers::{Papers, Wanted},
    port,
    server::FreeTakServer,
};
use crate::rig::RigError;

const SCRIPT: &str = include_str!("peers.py");

/// The process, and what it has received.
pub(super) struct Peer {
    pub(super) name: &'static str,
    port: u16,
    child: Child,
    stdin: ChildStdin,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Peer {
    /// A TAK server that speaks `protocol`: `xml` or `protobuf`.
    pub(super) fn server(
        plan: &TakPlan,
        dir: &Path,
        papers: &Papers,
        protocol: &str,
    ) -> Result<Self, RigError> {
        let port = port()?;
        let name = if protocol == "xml" { "pytak" } else { "takproto" };
        let mut command = python(plan, dir)?;
        command.args(["server", &port.to_string()]);
        command.args(["ca.pem", "server.pem", "server.key"].map(|name| papers.file(name))).arg(protocol);
        Self::start(name, port, &dir.join(format!("{name}.log")), command)
    }

    /// A client of FreeTAKServer.
    pub(super) fn client(
        plan: &TakPlan,
        dir: &Path,
        papers: &Papers,
        server: &FreeTakServer,
    ) -> Result<Self, RigError> {
        let mut command = python(plan, dir)?;
        command.args(["client", &server.url()]);
        command.args(["ca.pem", "client.pem", "client.key"].map(|name| papers.file(name))).arg("viewer");
        Self::start("fts", 0, &dir.join("viewer.log"), command)
    }

    /// A client of the gateway's own listener: `client`, which is PyTAK, `slow` or `hostile`.
    pub(super) fn guest(
        plan: &TakPlan,
        dir: &Path,
        papers: &Papers,
        (port, kind, name): (u16, &str, &'static str),
    ) -> Result<Self, RigError> {
        let mut command = python(plan, dir)?;
        command.args([kind, &format!("tls://127.0.0.1:{port}")]).arg(papers.file("ca.pem"));
        command.args(["pem", "key"].map(|end| papers.file(&format!("{name}.{end}")))).arg(name);
        Self::start(name, port, &dir.join(format!("{name}.log")), command)
    }

    fn start(name: &'static str, port: u16, log: &Path, mut command: Command) -> Result<Self, RigError> {
        let errors = std::fs::File::create(log).map_err(RigError::io("make a log"))?;
        command.stderr(errors);
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(RigError::io("start a TAK party"))?;
        let stdin = child.stdin.take().expect("it was asked for");
        let mut lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        let first = lines.next().and_then(Result::ok).unwrap_or_default();
        if !first.contains("ready") {
            let _ = child.wait();
            let said = std::fs::read_to_string(log).unwrap_or_default();
            let last = said.lines().last().unwrap_or_default();
            return Err(RigError::cannot("start a TAK party")(format!("{name} said {first:?} and {last:?}")));
        }
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // What is no event is about the connection.
                if let Ok(one) = serde_json::from_str(&line) {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                }
            }
        });
        Ok(Self { name, port, child, stdin, seen })
    }

    /// The gateway's configuration for it.
    pub(super) fn sink(&self, papers: &Papers) -> String {
        papers.sink(self.name, self.port) + "positions = \"every\"\n"
    }

    pub(super) fn break_connections(&mut self) -> Result<(), RigError> {
        self.stdin.write_all(b"break\n").map_err(RigError::io("speak to a TAK party"))
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for an event.
    pub(super) async fn until(&self, what: &str, is_it: impl Fn(&Seen) -> bool) -> Result<(), RigError> {
        if self.wait(|seen| seen.iter().any(&is_it)).await {
            return Ok(());
        }
        Err(RigError::cannot("go on")(format!("waited in vain for {what}")))
    }

    /// Waits until everything wanted is there or something came that should not, or for as long as patience lasts: what is
    /// missing then is the verdict's.
    pub(super) async fn until_all(&self, wanted: &Wanted) {
        let is_over =
            |seen: &[Seen]| Counts::of(seen).missing(wanted) == 0 || seen.iter().any(|one| one.bad.is_some());
        self.wait(is_over).await;
    }

    async fn wait(&self, is_there: impl Fn(&[Seen]) -> bool) -> bool {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if is_there(&self.seen.lock().unwrap_or_else(PoisonError::into_inner)) {
                return true;
            }
            if Instant::now() > give_up {
                return false;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn python(plan: &TakPlan, dir: &Path) -> Result<Command, RigError> {
    let script = dir.join("peers.py");
    std::fs::write(&script, SCRIPT).map_err(RigError::io("write the script"))?;
    let mut command = Command::new(&plan.python);
    command.arg("-W").arg("ignore").arg(script);
    Ok(command)
}
