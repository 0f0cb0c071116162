//! One connection to a TAK party: what is written to it, and what of what it sends is listened to.
//!
//! Bounds: a write has [`WRITE_MS_MAX`], all events of one call together [`EVENTS_MS_MAX`] beside the pauses that the other end
//! wants ([`Style`]); one event of the other end is held at
//! a time, and [`HEARD_MAX`] more that it has to wait with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::message::Cot;
use super::parse::{self, Heard, Refused};
use super::settings::Style;
use super::split::{Protocol, Splitter};
use super::{proto, xml};
use crate::forward::release::NotLogged;
use crate::forward::{RetryReason, SinkError};
use crate::sabotage::{self, Sabotage};

/// How long one write may take: who takes nothing for so long is gone.
const WRITE_MS_MAX: u64 = 5_000;
/// How long all events of one call may take: 50,000 units on a line of 7 Mbit/s.
const EVENTS_MS_MAX: u64 = 30_000;
/// Encoded bytes gathered before a write: a few hundred events.
const WRITE_BYTES: usize = 128 * 1024;
/// What is read at once.
const READ_BYTES: usize = 16 * 1024;
/// A client is read no faster: a hundred events a second.
const CLIENT_BYTES_PER_S: u32 = 64 * 1024;
/// After so many events that are refused on one connection it is over. ATAK sends one: its `auth` before the first event.
const REFUSED_MAX: u32 = 16;
/// Events that concern us and that we have not looked at.
const HEARD_MAX: usize = 16;
/// Stale time of an event of the connection itself.
const CONTROL_STALE_MS: u64 = 60_000;

/// The end of an emergency.
pub(super) const CANCEL: &str = "b-a-o-can";

/// Anything to speak TAK over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// Why a connection is over.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum End {
    /// It is broken, or was closed.
    #[error("{0}")]
    Broken(String),
    /// It took too little for too long.
    #[error("it took nothing for {WRITE_MS_MAX} ms, or too little for {EVENTS_MS_MAX} ms")]
    Slow,
    /// Where the next event of the other end begins is not known any more.
    #[error("what it sends is not TAK: {0}")]
    NotTak(Refused),
    /// It offered protobuf, was asked for it, and said nothing.
    #[error("it offered protobuf and did not answer: XML from now on")]
    Mute,
    /// Nothing may be sent.
    #[error("{0}")]
    NotLogged(#[from] NotLogged),
}

impl From<End> for SinkError {
    fn from(end: End) -> Self {
        let reason = match end {
            End::Broken(_) | End::NotTak(_) => RetryReason::Interrupted,
            End::Slow => RetryReason::Timeout,
            End::Mute => RetryReason::Failing,
            End::NotLogged(_) => RetryReason::Storage,
        };
        Self::retry(reason, end.to_string())
    }
}

/// One connection. Dropped, it is over.
pub(super) struct Talk {
    writing: WriteHalf<Box<dyn Stream>>,
    heard: mpsc::Receiver<Result<Heard, End>>,
    /// What we write.
    pub(super) protocol: Protocol,
    has_asked: Arc<AtomicBool>,
    reader: JoinHandle<()>,
    style: Style,
    /// When the next event may be written.
    next: Instant,
}

impl Talk {
    /// Begins to listen, as `side`. Needs a tokio runtime.
    pub(super) fn over(stream: impl Stream, side: Side) -> Self {
        let stream: Box<dyn Stream> = Box::new(stream);
        let (reading, writing) = tokio::io::split(stream);
        // Who sends more than is looked at waits.
        let (told, heard) = mpsc::channel(HEARD_MAX);
        let has_asked = Arc::new(AtomicBool::new(false));
        let ears =
            Ears { splitter: Splitter::default(), side, has_asked: Arc::clone(&has_asked), refused_count: 0 };
        let reader = tokio::spawn(ears.read(reading, told));
        let (style, next) = (Style::default(), Instant::now());
        Self { writing, heard, protocol: Protocol::Xml, has_asked, reader, style, next }
    }

    /// From now on events are written in this style.
    pub(super) fn in_style(mut self, style: Style) -> Self {
        self.style = style;
        self
    }

    /// As many events as may be given to [`Talk::write`] so that it does not take long; `None`: any number.
    pub(super) fn at_once(&self) -> Option<usize> {
        self.style.at_once()
    }

    /// The next that concerns us. Cancel-safe.
    pub(super) async fn hear(&mut self) -> Result<Heard, End> {
        let broken = || Err(End::Broken("the connection broke".to_owned()));
        self.heard.recv().await.unwrap_or_else(broken)
    }

    /// From now on an answer to a request for protobuf is one.
    pub(super) fn expects_answer(&self) {
        self.has_asked.store(true, Ordering::Release);
    }

    /// Writes events. Cancelled, part of them may be written: the connection must not be used again.
    pub(super) async fn write(&mut self, cots: &[Cot]) -> Result<(), End> {
        let pauses = self.style.pause().unwrap_or_default() * u32::try_from(cots.len()).unwrap_or(u32::MAX);
        let limit = limit(EVENTS_MS_MAX).saturating_add(pauses);
        timeout(limit, self.write_all(cots)).await.unwrap_or(Err(End::Slow))
    }

    async fn write_all(&mut self, cots: &[Cot]) -> Result<(), End> {
        let mut buffer = Vec::new();
        for cot in cots {
            match self.protocol {
                Protocol::Xml => {
                    let mut text = String::with_capacity(1024);
                    text.push_str(self.prologue());
                    xml::write(&mut text, cot);
                    buffer.extend_from_slice(text.as_bytes());
                }
                Protocol::Protobuf => proto::write_frame(&mut buffer, cot),
            }
            let is_paced = self.take_turn().await;
            if is_paced || buffer.len() >= WRITE_BYTES {
                self.put(&buffer).await?;
                buffer.clear();
            }
        }
        self.put(&buffer).await
    }

    /// Writes an event of the connection itself. Cancelled: as [`Talk::write`].
    pub(super) async fn say(&mut self, uid: &str, kind: &str, now_ms: u64, detail: &str) -> Result<(), End> {
        let stale_ms = now_ms.saturating_add(CONTROL_STALE_MS);
        let event = xml::control(uid, kind, now_ms, stale_ms, detail);
        self.put((self.prologue().to_owned() + &event).as_bytes()).await
    }

    /// What stands before an event in XML.
    fn prologue(&self) -> &'static str {
        if self.style.omits_declaration { "" } else { xml::DECLARATION }
    }

    /// Waits until the next event may be written; whether each is to be written for itself.
    async fn take_turn(&mut self) -> bool {
        let Some(pause) = self.style.pause() else { return false };
        sleep_until(self.next).await;
        self.next = Instant::now() + pause;
        true
    }

    /// A sign of life. In protobuf a list of the versions that we read is one. Cancelled: as [`Talk::write`].
    pub(super) async fn sign_of_life(&mut self, uid: &str, kind: &str, now_ms: u64) -> Result<(), End> {
        match self.protocol {
            Protocol::Xml => self.say(uid, kind, now_ms, "").await,
            Protocol::Protobuf => self.put(&proto::versions_frame()).await,
        }
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<(), End> {
        let writing = async {
            self.writing.write_all(bytes).await?;
            self.writing.flush().await
        };
        match timeout(limit(WRITE_MS_MAX), writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(End::Broken(error.to_string())),
            Err(_) => Err(End::Slow),
        }
    }
}

fn limit(ms: u64) -> Duration {
    if sabotage::is(Sabotage::WaitForTak) { Duration::MAX } else { Duration::from_millis(ms) }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Whom a connection is with: what is listened to follows from it.
pub(super) enum Side {
    /// A TAK server: what it says about the connection. What it passes on from others is let go.
    Server,
    /// A TAK client: that it wants protobuf, its pings, that it cancels an alert. It is read no faster than [`CLIENT_BYTES_PER_S`], and is gone after
    /// [`REFUSED_MAX`] events that are refused.
    Client {
        /// Whether it may have it.
        takes_protobuf: bool,
        /// Counts its events that are refused.
        refused: Counter,
    },
}

/// Reads until the connection is over; passes on what concerns us. What is refused is let go.
struct Ears {
    splitter: Splitter,
    side: Side,
    has_asked: Arc<AtomicBool>,
    refused_count: u32,
}

impl Ears {
    async fn read(mut self, mut reading: ReadHalf<Box<dyn Stream>>, told: mpsc::Sender<Result<Heard, End>>) {
        let end = self.read_until_over(&mut reading, &told).await;
        // Nobody listens any more if the connection is over already.
        drop(told.send(Err(end)).await);
    }

    async fn read_until_over(
        &mut self,
        reading: &mut ReadHalf<Box<dyn Stream>>,
        told: &mpsc::Sender<Result<Heard, End>>,
    ) -> End {
        let mut bytes = vec![0; READ_BYTES];
        loop {
            let count = match reading.read(&mut bytes).await {
                Ok(0) => return End::Broken("the other end closed the connection".to_owned()),
                Ok(count) => count,
                Err(error) => return End::Broken(error.to_string()),
            };
            self.splitter.push(&bytes[..count]);
            loop {
                match self.splitter.next() {
                    Ok(Some(event)) => {
                        let heard = match self.understand(&event) {
                            Ok(Some(heard)) => heard,
                            Ok(None) => continue,
                            Err(refused) => return End::NotTak(refused),
                        };
                        if told.send(Ok(heard)).await.is_err() {
                            return End::Broken("nobody listens".to_owned());
                        }
                    }
                    Ok(None) => break,
                    Err(refused) => return End::NotTak(refused),
                }
            }
            if matches!(self.side, Side::Client { .. }) {
                // Who sends more waits, like with any slow reader.
                let bytes = u32::try_from(count).unwrap_or(u32::MAX);
                sleep(Duration::from_secs(1) * bytes / CLIENT_BYTES_PER_S).await;
            }
        }
    }

    /// # Errors
    /// [`Refused`]: too many of its events were.
    fn understand(&mut self, event: &[u8]) -> Result<Option<Heard>, Refused> {
        let heard = match self.splitter.protocol {
            Protocol::Xml => parse::event(event).map(Some),
            Protocol::Protobuf => proto::message(event),
        };
        match heard {
            Ok(heard) => Ok(heard.and_then(|heard| self.concerns_us(heard))),
            Err(refused) => {
                tracing::debug!(%refused, "an event of a TAK party was not read");
                self.note_refused(refused)
            }
        }
    }

    fn note_refused(&mut self, reason: Refused) -> Result<Option<Heard>, Refused> {
        let Side::Client { refused, .. } = &self.side else { return Ok(None) };
        refused.inc();
        self.refused_count += 1;
        if self.refused_count < REFUSED_MAX { Ok(None) } else { Err(reason) }
    }

    fn concerns_us(&mut self, heard: Heard) -> Option<Heard> {
        match &self.side {
            Side::Server => {
                let is_answer = heard.kind == "t-x-takp-r" && self.has_asked.load(Ordering::Acquire);
                if is_answer && heard.grants == Some(true) {
                    // From the next byte on.
                    self.splitter.protocol = Protocol::Protobuf;
                }
                heard.kind.starts_with("t-x-takp-").then_some(heard)
            }
            Side::Client { takes_protobuf, .. } => match heard.kind.as_str() {
                "t-x-takp-q" if *takes_protobuf && heard.asks == Some(1) => {
                    // From the next byte on: it says nothing more before it has our answer.
                    self.splitter.protocol = Protocol::Protobuf;
                    Some(heard)
                }
                "t-x-c-t" => Some(heard),
                CANCEL if heard.cancels => Some(heard),
                _ => None,
            },
        }
    }
}

/// When something was last done that is due every `period_ms`.
pub(super) struct Due {
    last: Instant,
    period: Duration,
}

impl Due {
    pub(super) fn every(period_ms: u64) -> Self {
        Self { last: Instant::now(), period: Duration::from_millis(period_ms) }
    }

    /// Whether it is due now; then it counts as done.
    pub(super) fn is_now(&mut self) -> bool {
        let is_due = self.last.elapsed() >= self.period;
        if is_due {
            self.last = Instant::now();
        }
        is_due
    }
}
