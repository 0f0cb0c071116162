//! Forwarders: from the spool into force systems.
//!
//! **At least once, in order of its lane, with a key; alarms overtake live, live overtakes history.** A forwarder reads committed
//! records behind its own durable cursor, a place a lane, renders
//! them as CloudEvents, and moves a place only when the sink has accepted every event of the batch or the event is
//! kept among the refusals. What a sink may see twice carries the same `id` both times.
//!
//! ```text
//! spool --Source--> Renderer --> [Event] --Sink::deliver--> JetStream | PostgreSQL | webhook | file | TAK | NMEA
//!   ^                               |  retry: same events, those accepted already are not sent again
//!   '------- cursor (fsync) <-------'  refuse: halve until the poison event stands alone, keep it, go on
//! ```
//!
//! Bounds: one batch in memory per forwarder; every attempt has a deadline; delays end at `delay_ms_max`. A sink that is
//! down costs nothing but spool space. A force system that is slow never slows another: each forwarder is its own task.

pub mod again;
pub mod backoff;
mod body;
#[cfg(test)]
mod claims;
mod cot;
mod deliver;
pub mod event;
pub mod feed;
pub mod file;
mod files;
pub mod forwarder;
mod json;
mod metrics;
pub mod nats;
pub mod nmea;
mod pace;
pub mod postgres;
pub mod refusals;
pub mod release;
mod resend;
pub mod source;
mod spool_source;
#[cfg(test)]
mod spool_source_claims;
mod start;
#[cfg(test)]
mod testing;
pub mod webhook;

use std::future::Future;

pub use backoff::{BackoffSettings, Random};
#[cfg(any(test, feature = "fuzz-doors"))]
pub use cot::fuzz_door;
pub use cot::{TakEnd, TakError, TakMetrics, TakRefusal, TakTaking};
pub use event::{ClockBounds, Event, EventState, Gap, GapReason, PassedOver, Renderer, Withheld};
pub use files::SinkFiles;
pub use forwarder::{Forwarder, ForwarderSettings};
pub use metrics::{ForwardMetrics, ForwarderSnapshot};
pub use spool_source::SpoolSource;
pub(crate) use start::clock;
pub use start::{Forwarders, StartError};

/// Where a forwarder delivers.
pub trait Sink: Send {
    /// What it is, for logs: `nats`, `postgres`, `webhook`, `file`, `tak`, `nmea` or `feed`.
    fn kind(&self) -> &'static str;

    /// Whether the sink writes to the disclosure log itself, because only it knows which events it sends: then the forwarder
    /// does not, and the sink must, before it sends.
    fn discloses(&self) -> bool {
        false
    }

    /// Delivers every event that is [`EventState::Owed`], in order, and returns when the sink has them durably.
    ///
    /// An event may be marked accepted as soon as that is known: such marks stay even if the attempt as a
    /// whole fails, and the next attempt leaves those events out. One that is not sent is marked
    /// [`EventState::PassedOver`]. `Ok` means that all others are accepted.
    ///
    /// Cancel-safe: the forwarder drops the future at its deadline and calls again.
    ///
    /// # Errors
    /// [`SinkError`]: try the same events again later, or never.
    fn deliver(&mut self, events: &mut [Event]) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// Why the sink did not accept the events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// Not now. Nothing is wrong with the events.
    #[error("{reason}: {detail}", reason = .reason.as_str())]
    Retry {
        /// Of which kind.
        reason: RetryReason,
        /// What happened, for an operator. Never holds a payload or a token.
        detail: String,
        /// The sink asked for this pause, in ms; already bounded by the sink's own limit.
        after_ms: Option<u64>,
    },
    /// Never these events as they are. One of several is isolated by halving.
    #[error("{reason}: {detail}", reason = .reason.as_str())]
    Refuse {
        /// Of which kind.
        reason: RefuseReason,
        /// What the sink said, for an operator. Never holds a payload.
        detail: String,
    },
}

impl SinkError {
    /// A failure that time may heal.
    #[must_use]
    pub fn retry(reason: RetryReason, detail: impl Into<String>) -> Self {
        Self::Retry { reason, detail: detail.into(), after_ms: None }
    }
}

/// Why an attempt is repeated. Closed, so that it can be a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryReason {
    /// Nobody answers.
    Unreachable,
    /// The attempt's deadline passed.
    Timeout,
    /// The connection broke before the answer was complete.
    Interrupted,
    /// The sink asks for less, or has no room.
    Overloaded,
    /// The sink says that it has a fault of its own.
    Failing,
    /// The sink does not know us: token, certificate, permission.
    Credentials,
    /// The sink is not what the configuration says: wrong address, no such stream, a redirect.
    Misconfigured,
    /// Our own disk refused: the file sink's file, or the refusals.
    Storage,
}

impl RetryReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Unreachable,
        Self::Timeout,
        Self::Interrupted,
        Self::Overloaded,
        Self::Failing,
        Self::Credentials,
        Self::Misconfigured,
        Self::Storage,
    ];

    /// The reason as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
            Self::Overloaded => "overloaded",
            Self::Failing => "failing",
            Self::Credentials => "credentials",
            Self::Misconfigured => "misconfigured",
            Self::Storage => "storage",
        }
    }
}

/// Why an event is refused for good. Closed, so that it can be a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefuseReason {
    /// The sink cannot make sense of it.
    Content,
    /// It is larger than the sink takes.
    TooLarge,
}

impl RefuseReason {
    /// Every reason.
    pub const ALL: [Self; 2] = [Self::Content, Self::TooLarge];

    /// The reason as a metric label and in the refusals.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::TooLarge => "too-large",
        }
    }
}
