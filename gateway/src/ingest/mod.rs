//! The front door: devices come in over mutual TLS 1.3 and speak MQTT 5 or 3.1.1.
//!
//! **A PUBACK means committed.** Identity comes from the certificate alone; a device can publish its own four topics and
//! hear its own downlink, nothing else exists.
//!
//! ```text
//! listener --accept--> connection --TLS--> identity --CONNECT--> session (at a desk) --PUBLISH--> custody --> spool
//!    limit, deadline     bytes in and out      |        '- client, uplink     decode, dedup, append
//!                                              '- refused: one log line, one counter, one MQTT reason code
//! ```
//!
//! What is not served, and said so: quality 2 (Maximum QoS 1), retained messages, wildcard and shared subscriptions,
//! enhanced authentication, and **will messages: a CONNECT that carries one is refused** (0x83; 3.1.1: 5), because the
//! gateway would not publish it to anybody. 3.1.1 has no announcements: there a retain flag is ignored, a full window
//! stops reading instead of ending the connection, and a foreign topic ends it.
//!
//! Bounds, per connection: one packet of `packet_bytes_max` in parts, 32 KiB of payloads held while the spool is full,
//! `receive_max` PUBACKs under way, 16 KiB written but not taken by the client, 34 KiB that wait for their turn (all of
//! a desk together: 4 MiB). The receive buffer is one per worker thread, not one per connection.

mod arrival;
mod bare;
mod client;
mod codec;
mod commit;
mod config;
mod connection;
pub(crate) mod custody;
mod desk;
#[cfg(feature = "fuzz-doors")]
pub mod fuzz_door;
mod listener;
mod metrics;
mod pipe;
mod reason;
mod session;
pub(crate) mod strangers;
mod tls;
mod turns;
mod uplink;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::bare::BareDoor;
pub use self::config::{ClockBounds, IngestConfig};
use self::desk::Desks;
pub use self::metrics::IngestMetrics;
pub use self::pipe::Pipe;
pub use self::reason::Reason;
use self::strangers::StrangersLog;
use crate::dedup::Dedup;
use crate::downlink::Downlink;
use crate::metrics::Metrics;
use crate::pki::FrontDoorTls;
use crate::spool::{Clock, Spool};

/// A running front door. Close it with [`FrontDoor::drain`]: dropping it ends every connection without a word.
#[derive(Debug)]
pub struct FrontDoor {
    address: SocketAddr,
    door: Arc<Door>,
    _desks: Arc<Desks>,
}

/// What every connection shares.
#[derive(Debug)]
pub(crate) struct Door {
    config: RwLock<Arc<IngestConfig>>,
    spool: Spool,
    dedup: Dedup,
    downlink: Downlink,
    metrics: Arc<Metrics>,
    connections: TaskTracker,
    strangers: StrangersLog,
    /// Accepting ends.
    closing: CancellationToken,
    clock: Clock,
}

impl FrontDoor {
    /// Binds and starts to accept. `closing` stops accepting and starts the drain, like [`FrontDoor::drain`].
    ///
    /// # Errors
    /// The address cannot be bound, or the system gives no threads.
    pub async fn start(
        config: IngestConfig,
        tls: FrontDoorTls,
        spool: Spool,
        dedup: Dedup,
        downlink: Downlink,
        metrics: Arc<Metrics>,
        closing: CancellationToken,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let desks = Arc::new(Desks::open(&spool.committed_watch())?);
        let door = Door::new(config, spool, dedup, downlink, metrics, closing, Clock::system());
        tokio::spawn(listener::accept(listener, tls, Arc::clone(&door), Arc::clone(&desks)));
        tokio::spawn(listener::sweep(Arc::clone(&door)));
        Ok(Self { address, door, _desks: desks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes new settings. Connections of forces that are gone and of revoked certificates end now; the rest keep what
    /// was announced to them. `listen` does not change.
    pub fn reload(&self, config: IngestConfig) {
        let config = Arc::new(config);
        *self.door.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&config);
        let downlink = &self.door.downlink;
        let revoked = downlink.disconnect_revoked(|serial| config.is_revoked(serial));
        let gone = downlink.end_where(Reason::ForceUnknown, |force, _| !config.forces.contains(force));
        tracing::info!(revoked, gone, "front door took new settings");
    }

    /// Stops accepting, sends the PUBACKs that are under way, tells every device to come back later (0x8B) and waits
    /// until the connections are gone. After `deadline` the rest ends without its PUBACKs.
    pub async fn drain(&self, deadline: Duration) {
        self.door.closing.cancel();
        self.door.connections.close();
        if tokio::time::timeout(deadline, self.door.connections.wait()).await.is_err() {
            let left = self.door.connections.len();
            tracing::warn!(left, "drain deadline passed: ending connections without their last PUBACKs");
            self.door.downlink.end_where(Reason::SpoolFailed, |_, _| true);
            // Each is bounded by its own goodbye.
            self.door.connections.wait().await;
        }
    }
}

impl Door {
    fn new(
        config: IngestConfig,
        spool: Spool,
        dedup: Dedup,
        downlink: Downlink,
        metrics: Arc<Metrics>,
        closing: CancellationToken,
        clock: Clock,
    ) -> Arc<Self> {
        Arc::new(Self {
            config: RwLock::new(Arc::new(config)),
            spool,
            dedup,
            downlink,
            metrics,
            connections: TaskTracker::new(),
            strangers: StrangersLog::new(std::time::Instant::now()),
            closing,
            clock,
        })
    }

    fn config(&self) -> Arc<IngestConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Unix time in ms.
    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }
}
