//! # Deterministic simulation
//!
//! Devices, network, gateway, disk and force system in one thread under virtual time. **The code that runs is the code of the
//! product**: the device logic, the front door's sessions, decoding, deduplication, the spool with its recovery and its
//! keeper, retention with legal holds, the loss ledger, the live page, the forwarder. What is simulated is what they stand on, and everything that may happen to it comes from a seed: **the same
//! seed gives the same run, event by event.**
//!
//! ```text
//!  plan (seed) --faults--+---------------+-----------------+--------------+---------------+
//!                        v               v                 v              v               v
//!               Device + Flash <=bytes=> net <=Pipe=> BareDoor --> Spool + FaultyDisk --> Forwarder --> ForceSystem
//!                        |                                             |                                    |
//!                        '------------------- facts -------------------+------------------------------------'
//!                                               v
//!                                    promises: one checker each
//! ```
//!
//! Left out: TLS (the gateway's end is handed the identity that a handshake would have proven; the end-to-end tests have the
//! handshake), sockets, threads. Virtual time is counted in ms; tokio's paused clock carries the gateway's timers.

mod audit;
mod behind_broker;
mod body;
mod broker;
mod command;
mod device;
mod event;
mod flash;
mod gateway;
pub(crate) mod key;
mod mqtt;
mod net;
mod network;
mod page;
mod plan;
pub mod promise;
mod retention;
mod run;
mod sink;
mod tasks;
#[cfg(test)]
mod tests;
mod trace;
mod trouble;
mod watch;

pub use self::{
    command::CheckCommand,
    plan::{Fault, Plan},
    run::{Outcome, simulate},
    trace::Trace,
};
