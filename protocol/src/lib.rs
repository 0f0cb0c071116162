//! # The contract between a Fieldpost device and the gateway
//!
//! Everything that crosses the air is defined here and nowhere else; `docs/PROTOCOL.md` says the same in prose for a
//! supplier who writes a device in another language.
//!
//! ```text
//!  envelope  version class flags boot seq time | len body | [algorithm tag]
//!            '---------- fixed for ever -------'   '---- append-only, by class
//! ```
//!
//! **Old bytes decode for ever.** The envelope never changes; a body only ever grows at its end; a code that is not
//! known stays a number. Golden vectors of every released version are tests.
//!
//! The crate is `no_std` without `alloc`: it never allocates, so a corrupt length can cost nothing.
#![no_std]

#[cfg(test)]
extern crate std;

#[cfg(all(feature = "planted-bugs", not(debug_assertions)))]
compile_error!(
    "planted-bugs holds mistakes on purpose: it is for the fuzz targets, which keep debug assertions on"
);

pub mod auth;
pub mod batch;
pub mod body;
pub mod code;
pub mod downlink;
pub mod envelope;
pub mod identity;
pub mod limits;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod print;
pub mod topic;
mod wire;

pub use auth::{AuthError, EnvelopeKey};
pub use batch::{BatchDecoder, BatchItem, encode_batch};
pub use body::{
    Alarm, AlarmCancel, Body, Health, Heard, Loss, Position, PositionError, SensorEvent, SeqRange, Status,
};
pub use code::{
    AlarmCause, AuthAlgorithm, CancelReason, Class, Duty, EventCode, FixSource, LossReason, Power,
    ReportReason, ResetReason,
};
pub use downlink::{Action, Command, Downlink, NamedRecord, Proven, Receipt, Receipts};
pub use envelope::{Envelope, Head, Trailer};
pub use identity::{BootId, ClockQuality, DeviceId, ForceId, IdError, Mode, Seq};
pub use print::Print;
pub use topic::{Lane, TopicError};
pub use wire::{DecodeError, EncodeError};
