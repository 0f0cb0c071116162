//! # Checking what arrived against what was sent
//!
//! **A run is good only if every record a device issued is accounted for at every hop.** The checks do not ask the
//! gateway how it did: they read its sinks like a force system would, and its page like a browser would. What the gateway
//! says of itself in its loss ledger is then held against that truth.
//!
//! ```text
//! fleet: issued, published, PUBACK -> ledger <- file reader, webhook receiver, JetStream consumer, page
//! ```

pub mod account;
pub mod board;
pub mod file;
pub mod http;
pub mod jetstream;
pub mod latency;
pub mod ledger;
pub mod page;
#[cfg(test)]
mod tests;
pub mod webhook;
