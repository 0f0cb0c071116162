//! Benchmarks next to peers, in one run: only CPU-seconds and the ratios of one run are to be believed.
//!
//! ```text
//! bare devices (raw) == mTLS ==> fieldpost (commit before PUBACK) | mosquitto (no durability; without and with a subscriber)
//!                                   | nats-server (JetStream, every message synced)
//!                                   '- user + system time of the server process alone, from /proc
//! ```

mod browser;
mod command;
mod commits;
mod drain;
mod fan_out;
mod floor;
mod handshake;
mod history;
mod idle;
mod ingest;
mod listening;
mod nats;
mod overload;
mod peer;
mod process;
mod storm;
mod subscriber;

pub use browser::{PageError, open_page};
pub use command::BenchCommand;
pub(crate) use command::raise_descriptors;
pub use commits::commits;
pub use drain::drain;
pub use fan_out::fan_out;
pub use floor::handshake_in_memory;
pub use handshake::handshakes;
pub use history::history;
pub use idle::idle_memory;
pub use ingest::{IngestLoad, paced, pump};
pub use listening::{free_port, until_it_listens};
pub use nats::pump_jetstream;
pub use overload::overload;
pub use peer::{Peer, PeerError, Server};
pub use process::Usage;
pub use storm::storm;
pub use subscriber::subscribe;

/// One figure of one server.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Figure {
    /// The server.
    pub server: &'static str,
    /// What was measured.
    pub what: String,
    /// The amount.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
}

/// A table of figures, each with its ratio to every other server's of the same kind.
#[must_use]
pub fn table(figures: &[Figure]) -> String {
    let mut text = String::from("| what | server | value | unit | ratio to |\n|---|---|---|---|---|\n");
    for figure in figures {
        let others =
            figures.iter().filter(|other| other.what == figure.what && other.server != figure.server);
        let ratios: Vec<_> =
            others.map(|other| format!("{:.3} {}", figure.value / other.value, other.server)).collect();
        let Figure { server, what, value, unit } = figure;
        text.push_str(&format!("| {what} | {server} | {value:.2} | {unit} | {} |\n", ratios.join(", ")));
    }
    text
}
