//! Accepts, counts and limits.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use super::Door;
use super::arrival;
use super::desk::Desks;
use super::reason::Reason;
use crate::pki::FrontDoorTls;
use crate::sabotage;

/// After an accept error that is ours (no descriptors left) the next try waits, or it would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often expired sessions are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Accepts until the door closes, then tells every connection to end.
pub(super) async fn accept(listener: TcpListener, tls: FrontDoorTls, door: Arc<Door>, desks: Arc<Desks>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.closing.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                door.metrics.ingest.accepted.inc();
                sabotage::connection_opened();
                if door.connections.len() >= door.config().connections_max {
                    door.metrics.ingest.refused(Reason::ConnectionLimit).inc();
                    let reason = Reason::ConnectionLimit.as_str();
                    if let Some(unsaid) = door.strangers.may_say(Instant::now()) {
                        tracing::warn!(%peer, reason, unsaid, "connection refused");
                    }
                    continue;
                }
                let (tls, desk) = (tls.clone(), desks.next());
                door.connections.spawn(arrival::serve(stream, peer, tls, Arc::clone(&door), desk));
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                if !is_peers_fault(&error) {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    door.downlink.end_where(Reason::Draining, |_, _| true);
}

/// The peer went away between its SYN and our accept.
fn is_peers_fault(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// Ends expired sessions until the door closes.
pub(super) async fn sweep(door: Arc<Door>) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            _ = interval.tick() => door.downlink.sweep(tokio::time::Instant::now()),
            () = door.closing.cancelled() => return,
        }
    }
}
