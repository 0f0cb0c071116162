//! `fieldpost-sim bench ...`

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Figure, IngestLoad, Peer, Server, handshakes, idle_memory, paced, pump, table};
use crate::{binary, console};

/// Server CPU and memory next to mosquitto, in one run. Build with --release first.
#[derive(Debug, Args)]
pub struct BenchCommand {
    /// Messages of the pumped measurement.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Seconds of the paced measurement, at 10,000 messages a second.
    #[arg(long, default_value_t = 20)]
    paced_seconds: u64,
    /// Connections of the paced measurement.
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// Idle connections to measure memory with.
    #[arg(long, default_value_t = 2_000)]
    idle: usize,
    /// The gateway's binary; by default `fieldpost` beside this program.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Leave mosquitto out.
    #[arg(long)]
    alone: bool,
}

const PUMP_CONNECTIONS: usize = 200;
const PACED_RATE_PER_S: u64 = 10_000;
const HANDSHAKES: usize = 500;

impl BenchCommand {
    /// Measures and returns the table.
    ///
    /// # Errors
    /// If a server cannot be started or ends a connection.
    pub async fn run(self) -> Result<String, Box<dyn std::error::Error>> {
        let binary = binary::gateway(self.binary.clone())?;
        let mut figures = self.measure(Peer::fieldpost(&binary)).await?;
        if !self.alone {
            figures.extend(self.measure(Peer::Mosquitto).await?);
        }
        Ok(table(&figures))
    }

    async fn measure(&self, peer: Peer) -> Result<Vec<Figure>, Box<dyn std::error::Error>> {
        let load = IngestLoad {
            connection_count: PUMP_CONNECTIONS,
            message_count: self.messages,
            window: 32,
            payload_bytes: 64,
            rate_per_s: PACED_RATE_PER_S,
        };
        let paced_load = IngestLoad {
            connection_count: self.connections,
            message_count: PACED_RATE_PER_S * self.paced_seconds,
            ..load
        };
        let dir = tempfile::tempdir()?;
        let started = |name: &str, count: usize| start(&peer, dir.path(), name, count);
        let say = |what: &str| console::progress(&format!("{}: {what}", peer.name()));
        let mut figures = Vec::new();
        say("pump");
        figures.push(pump(&started("pump", PUMP_CONNECTIONS)?, load).await?);
        say("paced");
        figures.push(paced(&started("paced", self.connections)?, paced_load).await?);
        say("idle connections");
        figures.push(idle_memory(&started("idle", self.idle)?).await?);
        say("handshakes");
        figures.push(handshakes(&started("handshake", HANDSHAKES)?).await?);
        Ok(figures)
    }
}

/// Every measurement gets a server of its own, so that none inherits another's memory.
fn start(peer: &Peer, dir: &Path, name: &str, device_count: usize) -> Result<Server, super::PeerError> {
    let dir = dir.join(name);
    std::fs::create_dir_all(&dir)
        .map_err(|source| super::PeerError::Io { what: format!("cannot make {}", dir.display()), source })?;
    Server::start(peer.clone(), &dir, device_count)
}
