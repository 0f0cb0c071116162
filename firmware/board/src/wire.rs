//! What the two executors tell each other: bounded, and nothing else is shared.
//!
//! ```text
//!  sense --SENSED--> device --ORDERS--> link
//!                    device <---NEWS--- link
//! ```
//!
//! **The device never waits for room in `ORDERS`**: it is not polled until there is room. `ORDERS` holds the whole window of
//! publishes and what begins and ends a connection, so a link that is busy does not keep the device from warning its wearer.

use embassy_sync::{blocking_mutex::raw::CriticalSectionRawMutex, channel::Channel};
use fieldpost_firmware::Handle;
use fieldpost_protocol::{
    Lane,
    limits::{DOWNLINK_BYTES_MAX, FRAME_BYTES_MAX},
};

/// The device's window of eight publishes, and Connect and Subscribe.
const ORDERS_MAX: usize = 10;
/// Answers to a whole window.
const NEWS_MAX: usize = 8;
const SENSED_MAX: usize = 8;

/// What the device wants of the link.
#[expect(clippy::large_enum_variant, reason = "a queue of frames: no heap to box them on")]
pub(crate) enum Order {
    Connect { attempt: u32 },
    Subscribe,
    Publish { handle: Handle, lane: Lane, frame: heapless::Vec<u8, FRAME_BYTES_MAX> },
    HangUp,
}

/// What the link says; of which attempt.
pub(crate) struct News {
    pub(crate) attempt: u32,
    pub(crate) what: What,
}

#[expect(clippy::large_enum_variant, reason = "a queue of frames: no heap to box them on")]
pub(crate) enum What {
    Connected { session_present: bool },
    Disconnected,
    Acknowledged(Handle),
    Refused(Handle),
    Downlink(heapless::Vec<u8, DOWNLINK_BYTES_MAX>),
}

/// What a sensor said.
pub(crate) enum Sensed {
    Temperature(i8),
}

pub(crate) static ORDERS: Channel<CriticalSectionRawMutex, Order, ORDERS_MAX> = Channel::new();
pub(crate) static NEWS: Channel<CriticalSectionRawMutex, News, NEWS_MAX> = Channel::new();
pub(crate) static SENSED: Channel<CriticalSectionRawMutex, Sensed, SENSED_MAX> = Channel::new();
