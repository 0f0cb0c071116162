//! Cursor on Target: units, alarms and their end, in TAK.
//!
//! **An alert stays in TAK until a person closes the alarm**, and nothing that is not well-formed XML 1.0 leaves, whatever
//! somebody is called.
//!
//! TAK has no acknowledgement of events. **That an event was accepted means that it was written to a connection whose other end has
//! proven who it is**, no more: what was under way when a connection broke may be lost. So after every reconnection the
//! newest position of each unit and every standing alarm are sent again, and a position that was missed is one that a
//! newer one has replaced.
//!
//! ```text
//! Sink::deliver --> [`picture`] --> [`xml`] or [`proto`] --> TLS --> TAK server
//!                      ^   '-- due: alarms that stand, from the alarm book
//!                      '------ begin: everything, after a reconnection
//! TAK server --> [`split`] --> [`parse`] --> negotiation, pings; the rest is counted and let go
//! ```
//! The same goes to TAK clients that connect to us ([`door`], [`guest`]): each is an output of its own, with a release, a line on
//! the disclosure log and a picture of its own.
//!
//! An output is told only what it is released: records come cut down, and alarms from the book are cut the same way
//! ([`scope`]). Names need the field `callsign`; without it a unit goes by its device.
//!
//! A client that may takes an alarm by cancelling its alert: the alarm is acknowledged in the certificate's name, and stands.
//!
//! What a TAK server passes on from its other clients is never believed: it names no person whom the gateway knows.

mod alert;
mod client;
mod door;
#[cfg(any(test, feature = "fuzz-doors"))]
pub mod fuzz_door;
mod guest;
mod message;
mod metrics;
mod parse;
mod picture;
mod proto;
mod scope;
mod settings;
mod sink;
mod split;
mod talk;
mod teller;
mod uid;
mod xml;

#[cfg(test)]
mod claims;
#[cfg(test)]
mod guest_claims;

/// How often alarms are looked at beside their own changes.
const TICK_MS: u64 = 500;
/// A sign of life keeps what is between the two ends from forgetting the connection.
const PING_MS: u64 = 20_000;

/// Ours, as the output `name`.
fn own_uid(name: &str) -> String {
    format!("fieldpost.gateway.{name}")
}

pub(crate) use door::Door;
pub use metrics::{TakEnd, TakMetrics, TakRefusal, TakTaking};
pub(crate) use picture::Spans;
pub use settings::TakError;
pub(crate) use settings::{Style, TakSettings, Terms};
pub(crate) use sink::TakSink;
