//! A front door without a network: whoever has it brings the connections.
//!
//! **The same sessions as behind TLS**, each a future of the caller's, so that a simulation can run them under virtual time
//! over connections that break when it says so. What is left out: the listener, the handshake, the limit of connections.

use std::future::{Future, ready};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::commit::CommitBell;
use super::{Door, IngestConfig, Pipe, arrival, listener};
use crate::dedup::Dedup;
use crate::downlink::Downlink;
use crate::metrics::Metrics;
use crate::pki::Identity;
use crate::spool::{Clock, Spool};

/// The front door's sessions. Nothing runs by itself.
#[derive(Debug, Clone)]
pub struct BareDoor {
    door: Arc<Door>,
    bell: Arc<CommitBell>,
}

impl BareDoor {
    /// A front door for `spool`; `clock` is the gateway's wall clock.
    #[must_use]
    pub fn new(
        config: IngestConfig,
        spool: Spool,
        dedup: Dedup,
        downlink: Downlink,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let closing = CancellationToken::new();
        let bell = Arc::new(CommitBell::new(&spool.committed_watch().borrow()));
        Self { door: Door::new(config, spool, dedup, downlink, metrics, closing, clock), bell }
    }

    /// Wakes the sessions at every commit until the spool closes. Without it no PUBACK leaves.
    pub fn ring(&self) -> impl Future<Output = ()> + Send + use<> {
        let (bell, commits) = (Arc::clone(&self.bell), self.door.spool.committed_watch());
        async move { bell.follow(commits).await }
    }

    /// Ends expired sessions, for ever.
    pub fn sweep(&self) -> impl Future<Output = ()> + Send + use<> {
        listener::sweep(Arc::clone(&self.door))
    }

    /// Serves a connection whose peer has proven to be `identity`, to its end.
    pub fn serve<W: Pipe>(&self, pipe: W, identity: Identity) -> impl Future<Output = ()> + Send + use<W> {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let (door, bell) = (Arc::clone(&self.door), Arc::clone(&self.bell));
        arrival::serve_on(ready(Ok((pipe, identity))), nowhere, door, bell, None)
    }
}
