//! Events that a machine fetches itself: Server-Sent Events of GeoJSON in CloudEvents, for CAD, GIS and dashboards.
//!
//! ```text
//! spool --SpoolSource--> Forwarder --disclosure log--> FeedSink --two messages--> the connection
//!             ^ place: the client's cursor                                           '- "cursor" events: where to go on
//! ```
//! **The machine keeps its own place.** It is sent it after every batch and brings it back when it connects again, so nothing is
//! lost while the spool still holds the records, and what it has not is sent once more under the same `id`. What retention has
//! removed meanwhile it is told as a gap. The gateway keeps no cursor: a machine that never comes back holds up nothing.
//!
//! It is a forwarder like every other: three lanes, the release cut before anything is rendered, on the disclosure log before it is
//! written to the connection, metrics under `machine.NAME`. Only that nobody says that an event was taken: so no wearer is told
//! DELIVERED for it.
//!
//! Bounds: one connection a machine, the newest; [`BATCH_COUNT_MAX`] events rendered and two batches waiting for it.

mod geojson;
mod place;
mod sink;
mod source;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::sink::FeedSink;
use self::source::FeedSource;
use super::metrics::ForwarderMetrics;
use super::release::{Disclosures, Whom};
use super::{BackoffSettings, ClockBounds, Forwarder, ForwarderSettings, Random};
use crate::live::standing::Situation;
use crate::machines::Machine;
use crate::metrics::Metrics;
use crate::spool::{BatchLimits, Clock, LanePositions, Spool};

/// Events rendered at once.
pub const BATCH_COUNT_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 64 * 1024;
/// How long live records wait for others to join them, in ms. No alarm waits.
const BATCH_AGE_MS_MAX: u64 = 50;
/// Messages that wait for the connection: a batch and its cursor, so that the next batch is made while one is written.
const WAITING_MAX: usize = 2;
/// Above the time after which a connection that takes nothing is ended: so no batch is given up before.
const ATTEMPT_MS_MAX: u64 = 60_000;

/// Where machines' connections come from. Clones share it.
#[derive(Clone)]
pub struct Feeds(Arc<Shared>);

struct Shared {
    spool: Spool,
    disclosures: Disclosures,
    situation: Arc<dyn Situation>,
    metrics: Arc<Metrics>,
    clock: ClockBounds,
    /// What ends the connection of each machine.
    open: Mutex<HashMap<String, CancellationToken>>,
}

/// The text is not where this gateway's feed goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cursor is none of this gateway's: connect without one, or with 0-0-0 for everything that is still kept"
)]
pub struct CursorError;

/// One machine's connection. Ends its forwarder when it is dropped.
#[derive(Debug)]
pub struct Connection {
    messages: mpsc::Receiver<Bytes>,
    ended: CancellationToken,
}

impl Feeds {
    /// Feeds from `spool`, each disclosure on `disclosures` first. `situation` knows how people call units.
    #[must_use]
    pub fn new(
        spool: Spool,
        disclosures: Disclosures,
        situation: Arc<dyn Situation>,
        metrics: Arc<Metrics>,
        clock: ClockBounds,
    ) -> Self {
        let open = Mutex::default();
        Self(Arc::new(Shared { spool, disclosures, situation, metrics, clock, open }))
    }

    /// Connects a machine that calls from `from`, after `cursor` or from now on; an older connection of it ends. Needs a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`CursorError`].
    pub fn open(
        &self,
        machine: &Machine,
        from: IpAddr,
        cursor: Option<&str>,
    ) -> Result<Connection, CursorError> {
        let committed = self.0.spool.committed();
        let places = match cursor {
            Some(cursor) => place::read(cursor, committed).ok_or(CursorError)?,
            None => LanePositions::all_at(committed),
        };
        let name = machine.output();
        let ended = CancellationToken::new();
        let older = self.opened().insert(name.clone(), ended.clone());
        if let Some(older) = older {
            older.cancel();
        }
        let (sender, messages) = mpsc::channel(WAITING_MAX);
        // There is room for it: nothing was sent yet.
        _ = sender.try_send(place::message(&places));
        let limits = BatchLimits {
            count_max: BATCH_COUNT_MAX,
            bytes_max: BATCH_BYTES_MAX,
            age_ms_max: BATCH_AGE_MS_MAX,
        };
        let source = FeedSource::new(&self.0.spool, places, limits, sender.clone());
        let sink = FeedSink::new(sender, Arc::clone(&self.0.situation));
        let handles = self.0.metrics.forward.forwarder(&name);
        let settings = self.settings(machine, from);
        let forwarder = Forwarder::with_handles(settings, source, sink, handles.clone(), ended.clone());
        tokio::spawn(run(self.clone(), name, forwarder, handles));
        Ok(Connection { messages, ended })
    }

    fn settings(&self, machine: &Machine, from: IpAddr) -> ForwarderSettings {
        let name = machine.output();
        let whom = Whom { name: name.clone(), kind: "feed", address: from.to_string() };
        ForwarderSettings {
            recipient: self.0.disclosures.recipient(whom, &machine.release),
            name,
            backoff: BackoffSettings { delay_ms_min: 200, delay_ms_max: 15_000 },
            attempt_ms_max: ATTEMPT_MS_MAX,
            // A connection that ends takes nothing any more.
            stop_ms_max: 0,
            clock: self.0.clock,
            release: machine.release.clone(),
            // A connection refuses nothing.
            refusals: PathBuf::new(),
            wall: Clock::system(),
            random: Random::system(),
        }
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until the connection ends. Only the last one of a machine says that nothing waits for it any more.
async fn run(
    feeds: Feeds,
    name: String,
    forwarder: Forwarder<FeedSink, FeedSource>,
    handles: ForwarderMetrics,
) {
    forwarder.run().await;
    let mut open = feeds.opened();
    if open.get(&name).is_some_and(CancellationToken::is_cancelled) {
        open.remove(&name);
        handles.rest();
    }
}

impl Connection {
    /// The next message, whole events; `None` if the connection is at its end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            biased;
            () = self.ended.cancelled() => None,
            message = self.messages.recv() => message,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl fmt::Debug for Feeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeds").field("open", &self.opened().len()).finish_non_exhaustive()
    }
}
