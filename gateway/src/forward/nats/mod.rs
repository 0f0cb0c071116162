//! The NATS JetStream sink: one event a message, acknowledged by the stream.
//!
//! **An event counts as accepted only when the stream itself has acknowledged it (PubAck), never when it was written to
//! a socket.** Messages of a batch are pipelined; after a failure only those without an acknowledgement are published
//! again, with the same `Nats-Msg-Id`, so that the stream drops repetitions within its duplicate window. An outage can
//! be longer than that window: a consumer that must not see an event twice keeps the ids itself.
//!
//! ```text
//! subject  {prefix}.{force}.{class}.{device}      headers  Nats-Msg-Id: key, content-type: application/cloudevents+json
//!          every part encoded by `event::token`   reply    {inbox}.{lsn}  -> PubAck
//! ```
//!
//! Bounds: [`IN_FLIGHT_MAX`] messages without an acknowledgement; one connection; the client library reconnects by
//! itself and says so once per change, not per message.

mod acks;
mod link;
mod stream;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::header::HeaderMap;
use futures_util::StreamExt as _;

use self::acks::Ack;
use self::link::Link;
use super::event::{EVENT_MEDIA_TYPE, Event, EventState};
use super::{RefuseReason, RetryReason, Sink, SinkError};

/// Messages published and not acknowledged yet. A server refuses publishers that run further ahead than 10,000 messages
/// per stream by default.
pub const IN_FLIGHT_MAX: usize = 4096;

/// The window in which the stream drops repeated ids, for a stream that this sink creates. Longer than the server's
/// default of two minutes; costs the server about 100 bytes per message of the window.
pub const DUPLICATE_WINDOW: Duration = Duration::from_mins(10);

/// Where and as whom.
#[derive(Debug, Clone)]
pub struct NatsSettings {
    /// `nats://host:port` or `tls://host:port`, several separated by commas.
    pub url: String,
    /// The stream; created on first use if it is missing.
    pub stream: String,
    /// First token(s) of every subject.
    pub subject_prefix: String,
    /// Servers that must keep each message. A stream that is there must have so many; one that is made gets them.
    pub replicas: Option<u8>,
    /// For how long the stream must drop a repeated id; likewise. [`DUPLICATE_WINDOW`] for one that is made.
    pub duplicate_window: Option<Duration>,
    /// A NATS `.creds` file; read again after the server refused us.
    pub credentials: Option<PathBuf>,
    /// PEM of who issued the server's certificate; the system's roots otherwise.
    pub authority: Option<PathBuf>,
    /// PEM files of our client certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// The sink.
pub struct NatsSink {
    settings: NatsSettings,
    link: Option<Link>,
    /// Begin a new connection first. The last attempt did not return: its messages may still wait in a connection that does
    /// not move. Or the server is well and its cluster is not: another one may be.
    leaves_server: bool,
    /// Which of the servers is next.
    turn: Arc<AtomicUsize>,
}

impl NatsSink {
    /// A sink that connects at its first batch.
    #[must_use]
    pub fn new(settings: NatsSettings) -> Self {
        Self { settings, link: None, leaves_server: false, turn: Arc::default() }
    }

    async fn attempt(&mut self, events: &mut [Event]) -> Result<(), SinkError> {
        if self.link.is_none() {
            self.link = Some(Link::open(&self.settings, Arc::clone(&self.turn)).await?);
        }
        let link = self.link.as_mut().expect("opened above");
        link.ready(&self.settings).await?;
        let mut failed = Failed::default();
        let owed: Vec<_> =
            (0..events.len()).filter(|place| events[*place].state == EventState::Owed).collect();
        for window in owed.chunks(IN_FLIGHT_MAX) {
            let mut in_flight = HashMap::with_capacity(window.len());
            for place in window {
                match publish(link, &self.settings.subject_prefix, &events[*place]).await {
                    Ok(()) => drop(in_flight.insert(events[*place].lsn.0, *place)),
                    Err(error @ SinkError::Refuse { .. }) => failed.note(error),
                    Err(error) => return Err(error),
                }
            }
            collect_acks(link, &self.settings, &mut in_flight, events, &mut failed).await?;
            if failed.retry.is_some() {
                break;
            }
        }
        failed.result()
    }
}

impl Sink for NatsSink {
    fn kind(&self) -> &'static str {
        "nats"
    }

    async fn deliver(&mut self, events: &mut [Event]) -> Result<(), SinkError> {
        if std::mem::replace(&mut self.leaves_server, true)
            && let Some(link) = &self.link
        {
            link.reconnect().await;
        }
        let result = self.attempt(events).await;
        self.leaves_server = false;
        match &result {
            // A new link reads the credentials file anew.
            Err(SinkError::Retry { reason: RetryReason::Credentials, .. }) => self.link = None,
            // A server cut off from its cluster takes connections all the same, knows no stream and never answers.
            Err(SinkError::Retry { reason: RetryReason::Failing | RetryReason::Misconfigured, .. }) => {
                self.leaves_server = self.settings.url.contains(',');
            }
            _ => {}
        }
        result
    }
}

async fn publish(link: &Link, prefix: &str, event: &Event) -> Result<(), SinkError> {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", event.key.as_str());
    headers.insert("content-type", EVENT_MEDIA_TYPE);
    let subject = format!("{prefix}.{}", event.route);
    let reply = format!("{}.{}", link.inbox, event.lsn.0);
    let published =
        link.client.publish_with_reply_and_headers(subject, reply, headers, event.json.clone()).await;
    published.map_err(|error| match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => {
            SinkError::Refuse { reason: RefuseReason::TooLarge, detail: error.to_string() }
        }
        PublishErrorKind::InvalidSubject => SinkError::retry(RetryReason::Misconfigured, error.to_string()),
        PublishErrorKind::Send => SinkError::retry(RetryReason::Interrupted, error.to_string()),
    })
}

/// What went wrong with some messages of an attempt, the last of each kind.
#[derive(Default)]
struct Failed {
    retry: Option<SinkError>,
    refused: Option<SinkError>,
}

impl Failed {
    fn note(&mut self, error: SinkError) {
        match error {
            SinkError::Retry { .. } => self.retry = Some(error),
            SinkError::Refuse { .. } => self.refused = Some(error),
        }
    }

    /// Nothing is condemned while something has to be tried again.
    fn result(self) -> Result<(), SinkError> {
        self.retry.or(self.refused).map_or(Ok(()), Err)
    }
}

/// Waits for the answer to every message in flight, whatever the others say: one that the server cannot take now must not
/// make the gateway forget, and publish again, what it has taken. Late ones of earlier attempts count too.
async fn collect_acks(
    link: &mut Link,
    settings: &NatsSettings,
    in_flight: &mut HashMap<u64, usize>,
    events: &mut [Event],
    failed: &mut Failed,
) -> Result<(), SinkError> {
    while !in_flight.is_empty() {
        let message = tokio::select! {
            message = link.acks.next() => message,
            detail = link.broken.wait() => return Err(SinkError::retry(RetryReason::Interrupted, detail)),
        };
        let Some(message) = message else {
            return Err(SinkError::retry(RetryReason::Interrupted, "the connection is closed"));
        };
        let Some(ack) = Ack::of(&message) else { continue };
        let Some(place) = in_flight.remove(&ack.lsn) else { continue };
        match ack.verdict(&settings.stream) {
            Ok(()) => events[place].state = EventState::Accepted,
            Err(error) => {
                link.stream_is_checked &= !matches!(error, SinkError::Retry { .. });
                failed.note(error);
            }
        }
    }
    Ok(())
}
