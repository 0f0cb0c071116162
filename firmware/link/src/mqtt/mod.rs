//! The little of MQTT 5 that a device speaks: quality 1 up, quality 0 and 1 down, one subscription. No I/O, no heap.
//!
//! ```text
//!  write:  CONNECT SUBSCRIBE PUBLISH PUBACK PINGREQ DISCONNECT
//!  read:   CONNACK SUBACK PUBLISH PUBACK PINGRESP DISCONNECT      anything else ends the connection
//! ```
//!
//! Why not a library: docs/decisions/0016. **A packet of the gateway that is malformed, out of order or longer than we
//! announced is refused at the first byte that shows it**, and nothing of it is used.
//!
//! Topics up are the one-letter form of docs/PROTOCOL.md, so a PUBLISH costs 8 bytes more than its frame (10 from 120
//! bytes of frame on), the same in every lane, and there is no alias that both sides would have to remember. Behind a broker,
//! which has to tell devices apart, they are the long form ([`Topics::Long`]).

mod conversation;
mod read;
mod write;

pub use self::{
    conversation::{Conversation, Event, Fault, Outgoing, Topics},
    read::{Connack, Malformed, Packet, split},
};

/// The longest packet that we take, announced in CONNECT: a downlink frame (256), its topic (76), MQTT's header and
/// properties. Ours is 339.
pub const PACKET_BYTES_MAX: usize = 384;

/// Unacknowledged downlink messages that we take, announced in CONNECT. Each is answered before the next is read.
pub const RECEIVE_MAX: u16 = 8;

/// Our publishes under way, what the device logic's window holds.
pub const IN_FLIGHT_MAX: usize = fieldpost_firmware::outbox::WINDOW_COUNT_MAX;
