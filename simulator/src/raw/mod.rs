//! A bare MQTT 3.1.1 device for rigs and benchmarks: it knows exactly which record was acknowledged.
//!
//! The fleet runs the real device logic; this runs none of it. It keeps a window of publishes open, costs next to
//! nothing a message, and **counts a record as acknowledged only when its PUBACK has been read**.

mod client;
mod codec;
mod credentials;

pub use client::{Client, ClientError, Heard, Window};
pub(crate) use codec::{POSITIONS_FROM_UDEG, SEQS_TOLD_APART};
pub use credentials::{Credentials, EnrolError, Enrolment, write_peer_files};

/// Frames as devices send them.
pub(crate) mod frame {
    pub(crate) use super::codec::{alarm, batch, position};
}
