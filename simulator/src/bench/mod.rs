//! Benchmarks next to peers, in one run: only CPU-seconds and the ratios of one run are to be believed.
//!
//! ```text
//! bare devices (raw) == mTLS ==> fieldpost (commit before PUBACK) | mosquitto (no durability, no subscriber)
//!                                   '- user + system time of the server process alone, from /proc
//! ```

mod command;
mod handshake;
mod idle;
mod ingest;
mod listening;
mod peer;
mod process;

pub use command::BenchCommand;
pub use handshake::handshakes;
pub use idle::idle_memory;
pub use ingest::{IngestLoad, paced, pump};
pub use listening::{free_port, until_it_listens};
pub use peer::{Peer, PeerError, Server};
pub use process::Usage;

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

/// A table of figures, each server's value as a ratio to the last server's of the same kind.
#[must_use]
pub fn table(figures: &[Figure]) -> String {
    let mut text =
        String::from("| what | server | value | unit | ratio to mosquitto |\n|---|---|---|---|---|\n");
    for figure in figures {
        let peer = figures.iter().find(|other| other.what == figure.what && other.server == "mosquitto");
        let ratio = peer.map_or_else(|| "-".to_owned(), |peer| format!("{:.3}", figure.value / peer.value));
        let Figure { server, what, value, unit } = figure;
        text.push_str(&format!("| {what} | {server} | {value:.2} | {unit} | {ratio} |\n"));
    }
    text
}
