//! `fieldpost-sim bench ...`

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    Figure, IngestLoad, Peer, Server, commits, drain, fan_out, handshake_in_memory, handshakes, history,
    idle_memory, overload,
    overload::{FLOODING, RAISING},
    paced, pump, pump_jetstream, storm, subscribe, table,
};
use crate::{binary, console};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Server CPU and memory next to peers, in one run. Build with --release first.
#[derive(Debug, Args)]
pub struct BenchCommand {
    /// What to measure; everything by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Row>,
    /// Messages of the pumped measurement.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Seconds of each paced measurement, at 10,000 messages a second.
    #[arg(long, default_value_t = 20)]
    paced_seconds: u64,
    /// Connections of the paced measurements. A process can have as many as it has descriptors.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 5_000, 19_000])]
    connections: Vec<usize>,
    /// Connections to measure memory with.
    #[arg(long, default_value_t = 19_000)]
    idle: usize,
    /// Devices of the reconnect storm.
    #[arg(long, default_value_t = 15_000)]
    storm: usize,
    /// Units of the live page, which all move once a second.
    #[arg(long, default_value_t = 10_000)]
    units: usize,
    /// Browsers that look at them.
    #[arg(long, default_value_t = 20)]
    browsers: usize,
    /// The gateway's binary; by default `fieldpost` beside this program.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// The nats-server's binary.
    #[arg(long, env = "FIELDPOST_NATS_SERVER", default_value = ".tools/venv/bin/nats-server")]
    nats_server: PathBuf,
    /// Leave the peers out.
    #[arg(long)]
    alone: bool,
}

/// One kind of measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Row {
    /// As fast as the server acknowledges.
    Pump,
    /// 10,000 messages a second, one message a wake-up.
    Paced,
    /// Memory of a connection.
    Idle,
    /// A handshake in full and one that takes the session up again.
    Handshake,
    /// Thousands of devices at once, while others report.
    Storm,
    /// Alarms while everybody else sends more than can be taken.
    Overload,
    /// The live page with many units and browsers.
    FanOut,
    /// A backlog on its way out.
    Drain,
    /// Commits next to a bare append with fdatasync.
    Commits,
    /// What the embedded history costs.
    History,
}

const PUMP_CONNECTIONS: usize = 200;
const PACED_RATE_PER_S: u64 = 10_000;
const HANDSHAKES: usize = 2_000;
/// Devices that are connected and report while the storm comes.
const ESTABLISHED: usize = 200;
/// Syncing every message, JetStream takes a thousand times as long.
const JETSTREAM_DIVISOR: u64 = 100;

impl BenchCommand {
    /// Measures and returns the table.
    ///
    /// # Errors
    /// If a server cannot be started or ends a connection.
    pub async fn run(self) -> Outcome<String> {
        raise_descriptors();
        let gateway = Peer::fieldpost(&binary::gateway(self.binary.clone())?);
        let mut figures = self.measure(&gateway).await?;
        figures.extend(self.measure_gateway(&gateway).await?);
        if !self.alone {
            figures.extend(self.measure(&Peer::Mosquitto).await?);
            figures.extend(self.measure_with_subscriber().await?);
            figures.extend(self.measure_jetstream().await?);
        }
        Ok(table(&figures))
    }

    fn has(&self, row: Row) -> bool {
        self.only.is_empty() || self.only.contains(&row)
    }

    fn pump_load(&self) -> IngestLoad {
        IngestLoad {
            connection_count: PUMP_CONNECTIONS,
            message_count: self.messages,
            window: 32,
            payload_bytes: 64,
            rate_per_s: PACED_RATE_PER_S,
        }
    }

    fn paced_load(&self, connection_count: usize) -> IngestLoad {
        // Each connection sends once at least.
        let message_count = (PACED_RATE_PER_S * self.paced_seconds).max(connection_count as u64);
        IngestLoad { connection_count, message_count, ..self.pump_load() }
    }

    /// What only the gateway is asked.
    async fn measure_gateway(&self, gateway: &Peer) -> Outcome<Vec<Figure>> {
        let mut figures = Vec::new();
        if self.has(Row::FanOut) {
            let (server, _dir) = start(gateway, "live page", self.units)?;
            figures.extend(fan_out(&server, self.browsers).await?);
        }
        if self.has(Row::Drain) {
            figures.extend(drain(self.messages, tempfile::tempdir()?.path()).await?);
        }
        if self.has(Row::Commits) {
            figures.extend(commits(tempfile::tempdir()?.path()).await?);
        }
        if self.has(Row::History) {
            let units_count = u32::try_from(self.units)?;
            figures.extend(history(units_count, tempfile::tempdir_in("/var/tmp")?.path()).await?);
        }
        Ok(figures)
    }

    /// What the gateway and mosquitto are both asked.
    async fn measure(&self, peer: &Peer) -> Outcome<Vec<Figure>> {
        let mut figures = Vec::new();
        if self.has(Row::Pump) {
            figures.push(pump(&start(peer, "pump", PUMP_CONNECTIONS)?.0, self.pump_load()).await?);
        }
        if self.has(Row::Paced) {
            for &count in &self.connections {
                figures.push(paced(&start(peer, "paced", count)?.0, self.paced_load(count)).await?);
            }
        }
        if self.has(Row::Idle) {
            figures.extend(idle_memory(&start(peer, "idle", self.idle)?.0).await?);
        }
        if self.has(Row::Storm) {
            let (server, _dir) = start(peer, "storm", ESTABLISHED + self.storm)?;
            figures.extend(storm(&server, ESTABLISHED).await?);
        }
        if self.has(Row::Overload) {
            let (server, _dir) = start(peer, "overload", RAISING + FLOODING)?;
            let is_watched = matches!(peer, Peer::Fieldpost { .. });
            figures.extend(overload(&server, Duration::from_secs(self.paced_seconds), is_watched).await?);
        }
        if self.has(Row::Handshake) {
            let (server, _dir) = start(peer, "handshake", HANDSHAKES)?;
            figures.extend(handshakes(&server).await?);
            if matches!(peer, Peer::Fieldpost { .. }) {
                figures.push(handshake_in_memory(&server)?);
            }
        }
        Ok(figures)
    }

    /// The same loads with somebody who takes the messages.
    async fn measure_with_subscriber(&self) -> Outcome<Vec<Figure>> {
        let mut figures = Vec::new();
        let paced_count = self.connections.first().copied().unwrap_or(PUMP_CONNECTIONS);
        if self.has(Row::Pump) {
            let (server, _dir) = start(&Peer::Mosquitto, "pump, subscriber", PUMP_CONNECTIONS + 1)?;
            let subscriber = subscribe(&server, &server.devices[PUMP_CONNECTIONS]).await?;
            figures.push(pump(&server, self.pump_load()).await?);
            subscriber.abort();
        }
        if self.has(Row::Paced) {
            let (server, _dir) = start(&Peer::Mosquitto, "paced, subscriber", paced_count + 1)?;
            let subscriber = subscribe(&server, &server.devices[paced_count]).await?;
            figures.push(paced(&server, self.paced_load(paced_count)).await?);
            subscriber.abort();
        }
        figures.iter_mut().for_each(|figure| figure.server = "mosquitto with a subscriber");
        Ok(figures)
    }

    async fn measure_jetstream(&self) -> Outcome<Vec<Figure>> {
        if !self.has(Row::Pump) {
            return Ok(Vec::new());
        }
        let peer = Peer::Nats { binary: self.nats_server.clone() };
        let load = IngestLoad { message_count: self.messages / JETSTREAM_DIVISOR, ..self.pump_load() };
        let figure = pump_jetstream(&start(&peer, "pump", PUMP_CONNECTIONS)?.0, load).await;
        Ok(vec![figure.map_err(|error| error.to_string())?])
    }
}

/// Every measurement gets a server of its own, so that none inherits another's memory; its files go with it.
fn start(peer: &Peer, what: &str, device_count: usize) -> Outcome<(Server, tempfile::TempDir)> {
    console::progress(&format!("{}: {what}, {device_count} devices", peer.name()));
    let dir = tempfile::tempdir()?;
    Ok((Server::start(peer.clone(), dir.path(), device_count)?, dir))
}

/// As many descriptors as the machine allows: each connection takes one on either side.
pub(crate) fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Refused, it stays as it is, and the connections that find no descriptor say so.
    _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
