//! The loop that makes a device's connections: takes [`Order`]s, brings [`News`].
//!
//! ```text
//!  Device --Output--> Switchboard --Order--> Desk::order  \
//!                                                          Session --> TlsStream over Dial::dial
//!  Device <--Input--- Switchboard <--News--- Desk::report /
//! ```
//!
//! The board supplies the [`Desk`] (two bounded channels between the task with the device logic and this one), the
//! [`Dial`] (TCP) and the [`Clock`]. **One attempt at a time, and news are marked with its number**, so what a dead
//! connection had still to say is never taken for the word of a new one.
//!
//! **The task with the device logic must not wait for room in the channel of orders while news wait for it**: poll the
//! device only when there is room, or both tasks wait for each other.
//!
//! Bounds: one connection; a write that the gateway does not take for 10 s ends it; buffers from the caller
//! ([`Buffers`], 9 KiB); futures hold references only.

mod attempt;
mod end;
mod line;
mod switchboard;

use fieldpost_firmware::{FrameBuffer, Handle};
use fieldpost_protocol::{DeviceId, Lane, limits::FRAME_BYTES_MAX};

pub use self::{end::End, switchboard::Switchboard};
use crate::{
    mqtt::{PACKET_BYTES_MAX, Topics},
    tls::{StreamBuffers, Tls},
};

/// Seconds; a carrier's NAT forgets idle connections after a few minutes.
pub const KEEP_ALIVE_S: u16 = 60;
/// Seconds; as long as the longest radio hole anybody drives through.
pub const SESSION_EXPIRY_S: u32 = 3600;

/// What the device logic wants, from [`Switchboard::order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Order {
    /// Connect. Ends what is there.
    Connect {
        /// The number that its news will carry.
        attempt: u32,
    },
    /// Subscribe to the downlink.
    Subscribe,
    /// Publish the first `len` bytes of the frame buffer.
    Publish {
        /// Names it in the answer.
        handle: Handle,
        /// Its topic.
        lane: Lane,
        /// Bytes of the frame.
        len: usize,
    },
    /// Close the connection or give the attempt up.
    HangUp,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News<'a> {
    /// The gateway took us in.
    Connected {
        /// It kept the session.
        session_present: bool,
    },
    /// The attempt failed or the connection ended.
    Disconnected(End),
    /// A publish is STORED.
    Acknowledged(Handle),
    /// The gateway refused a publish, or takes none of its size.
    Refused(Handle),
    /// A downlink frame, at most as long as an MQTT packet of ours.
    Downlink(&'a [u8]),
}

/// The way to the task with the device logic.
#[allow(async_fn_in_trait, reason = "driven within one task: its futures need not be Send")]
pub trait Desk {
    /// Waits for the next order; a publish's frame goes to the front of `frame`. Must be cancel-safe: a dropped call has
    /// taken no order.
    async fn order(&mut self, frame: &mut FrameBuffer) -> Order;

    /// Hands news of an attempt over, in order. May wait for room.
    async fn report(&mut self, attempt: u32, news: News<'_>);
}

/// The way to the gateway's TCP port.
#[allow(async_fn_in_trait, reason = "driven within one task: its futures need not be Send")]
pub trait Dial {
    /// A connected socket. Its reads and writes must be cancel-safe; what is written leaves by itself, and a flush must not
    /// wait for the peer to acknowledge it, or each publish waits a round trip for the one before. Dropping it closes it.
    type Stream<'a>: embedded_io_async::Read + embedded_io_async::Write
    where
        Self: 'a;
    /// Why there is none.
    type Error;

    /// Connects. May take as long as it likes: the device logic hangs up when it has waited enough.
    ///
    /// # Errors
    /// No connection.
    async fn dial(&mut self) -> Result<Self::Stream<'_>, Self::Error>;
}

/// Time.
#[allow(async_fn_in_trait, reason = "driven within one task: its futures need not be Send")]
pub trait Clock {
    /// Monotonic milliseconds, the device logic's.
    fn now_ms(&self) -> u64;

    /// Unix time as somebody outside has told it since the start: `Device::told_unix_ms`, in seconds. **Never a real-time clock
    /// alone**: a gateway refused for a flat cell could not put it right.
    fn unix_s(&self) -> Option<u32>;

    /// Waits until then. Must be cancel-safe.
    async fn wait_until_ms(&self, at_ms: u64);
}

/// The buffers of a session, for a `static`: 9 KiB.
#[derive(Debug)]
pub struct Buffers {
    stream: StreamBuffers,
    frame: FrameBuffer,
    packet: [u8; PACKET_BYTES_MAX],
}

impl Buffers {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self { stream: StreamBuffers::new(), frame: [0; FRAME_BYTES_MAX], packet: [0; PACKET_BYTES_MAX] }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

/// A device's connections.
pub struct Session<'b> {
    tls: Tls,
    device: DeviceId,
    buffers: &'b mut Buffers,
    /// The gateway has taken us in since we started, so there may be a session to resume. A device that restarts has
    /// none of its own, and MQTT 5 makes a client refuse a session it does not know.
    has_session: bool,
    topics: Topics,
}

impl<'b> Session<'b> {
    /// Nothing happens before [`Session::run`].
    #[must_use]
    pub fn new(tls: Tls, device: DeviceId, buffers: &'b mut Buffers) -> Self {
        Self { tls, device, buffers, has_session: false, topics: Topics::Short }
    }

    /// The same to a broker; the device logic is then told so too (`Settings::behind_broker`).
    #[must_use]
    pub fn behind_broker(self) -> Self {
        Self { topics: Topics::Long, ..self }
    }

    /// Another provisioning, from the next attempt on. Drop what [`Session::run`] returned first.
    pub fn renew(&mut self, tls: Tls) {
        self.tls = tls;
    }

    /// Serves for ever. Dropping it ends the connection without a goodbye.
    pub async fn run<D: Dial, K: Desk, C: Clock>(
        &mut self,
        dial: &mut D,
        desk: &mut K,
        clock: &C,
    ) -> core::convert::Infallible {
        let mut ordered = None;
        loop {
            let attempt = match ordered.take() {
                Some(attempt) => attempt,
                None => match desk.order(&mut self.buffers.frame).await {
                    Order::Connect { attempt } => attempt,
                    // Of a connection that is no more: its handles are void.
                    Order::Subscribe | Order::Publish { .. } | Order::HangUp => continue,
                },
            };
            ordered = self.attempt(attempt, dial, desk, clock).await;
        }
    }
}
