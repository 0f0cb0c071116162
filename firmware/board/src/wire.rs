//! What the two executors tell each other: bounded, and nothing else is shared.
//!
//! ```text
//!  sense --SENSED--> device --ORDERS--> link
//!                       |   <---NEWS---  ^
//!                       '---- TIME ------'
//! ```
//!
//! **The device never waits for room in `ORDERS`**: it is not polled until there is room. With typical batches
//! `ORDERS` holds the whole window of publishes and what begins and ends a connection, so a link that is busy does not keep the
//! device from warning its wearer.

use core::sync::atomic::{AtomicU32, Ordering};

use embassy_sync::{blocking_mutex::raw::CriticalSectionRawMutex, channel::Channel, signal::Signal};
use embassy_time::Instant;
use fieldpost_firmware::{
    Handle,
    sensor::{Fault, Sensor, accelerometer::Samples, gauge::Charge, inputs::Inputs},
};
use fieldpost_link::{End, News};
use fieldpost_protocol::limits::DOWNLINK_BYTES_MAX;

use crate::belt::Belt;

/// Answers to a whole window.
const NEWS_MAX: usize = 8;
/// Rounds of the sensors that a busy device may lag behind.
const SENSED_MAX: usize = 8;

/// News that own what they carry; and of which attempt they are.
pub(crate) struct Letter {
    pub(crate) attempt: u32,
    content: Content,
}

#[expect(clippy::large_enum_variant, reason = "a queue of messages: no heap to box them on")]
enum Content {
    Connected { session_present: bool },
    Disconnected(End),
    Acknowledged(Handle),
    Refused(Handle),
    Downlink(heapless::Vec<u8, DOWNLINK_BYTES_MAX>),
}

impl Letter {
    pub(crate) fn new(attempt: u32, news: &News<'_>) -> Self {
        let content = match *news {
            News::Connected { session_present } => Content::Connected { session_present },
            News::Disconnected(end) => Content::Disconnected(end),
            News::Acknowledged(handle) => Content::Acknowledged(handle),
            News::Refused(handle) => Content::Refused(handle),
            // One that is too long becomes an empty one: the device counts it as malformed.
            News::Downlink(frame) => Content::Downlink(heapless::Vec::from_slice(frame).unwrap_or_default()),
        };
        Self { attempt, content }
    }

    pub(crate) fn news(&self) -> News<'_> {
        match &self.content {
            Content::Connected { session_present } => News::Connected { session_present: *session_present },
            Content::Disconnected(end) => News::Disconnected(*end),
            Content::Acknowledged(handle) => News::Acknowledged(*handle),
            Content::Refused(handle) => News::Refused(*handle),
            Content::Downlink(frame) => News::Downlink(frame),
        }
    }
}

/// What a sensor said, or what is wrong with it.
pub(crate) enum Sensed {
    Inputs(Result<Inputs, Fault>),
    Acceleration(Result<Samples, Fault>),
    Temperature(Result<i8, Fault>),
    Battery(Result<Charge, Fault>),
    /// Unix time in ms.
    Rtc(Result<u64, Fault>),
    /// Something was written to it.
    Outcome(Sensor, Result<(), Fault>),
}

pub(crate) static ORDERS: Belt = Belt::new();
pub(crate) static NEWS: Channel<CriticalSectionRawMutex, Letter, NEWS_MAX> = Channel::new();
pub(crate) static SENSED: Channel<CriticalSectionRawMutex, Sensed, SENSED_MAX> = Channel::new();

/// Unix time in ms that the real-time clock should be set to.
pub(crate) static SET_RTC: Signal<CriticalSectionRawMutex, u64> = Signal::new();

/// Unix time of the start in seconds, by the device's clock; 0 while that is not good.
static STARTED_UNIX_S: AtomicU32 = AtomicU32::new(0);

/// The device's clock is good and says this; or it is not.
pub(crate) fn set_unix_s(unix_s: Option<u32>) {
    let started = unix_s.map_or(0, |unix_s| unix_s.saturating_sub(uptime_s()));
    STARTED_UNIX_S.store(started, Ordering::Relaxed);
}

/// The device's clock, if it is good.
pub(crate) fn unix_s() -> Option<u32> {
    match STARTED_UNIX_S.load(Ordering::Relaxed) {
        0 => None,
        started => Some(started.saturating_add(uptime_s())),
    }
}

fn uptime_s() -> u32 {
    u32::try_from(Instant::now().as_secs()).unwrap_or(u32::MAX)
}
