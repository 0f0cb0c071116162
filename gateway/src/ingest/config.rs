//! What the front door needs from the configuration.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fieldpost_protocol::ForceId;

use crate::config::Config;
use crate::config::material::RevocationList;

/// Settings of the front door. All but `listen` may change on reload; open connections keep the limits that were
/// announced to them.
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The forces whose devices are served.
    pub forces: Arc<HashSet<ForceId>>,
    /// Revoked certificates: TLS refuses them at the handshake, this ends connections that are already open.
    pub revocation_list: Option<Arc<RevocationList>>,
    /// Connections open at once.
    pub connections_max: usize,
    /// From accept to a complete CONNECT, TLS handshake included.
    pub connect_deadline: Duration,
    /// Longest keep-alive interval; longer ones, and none, are shortened to it.
    pub keep_alive_s_max: u16,
    /// Longest time a session outlives its connection.
    pub session_expiry_s_max: u32,
    /// Largest packet, announced and enforced from the fixed header.
    pub packet_bytes_max: u32,
    /// Unacknowledged messages a device may have under way; at least 100.
    pub receive_max: u16,
    /// Topic aliases a device may use.
    pub topic_alias_max: u16,
    /// How far a device's clock may be off before its records are counted.
    pub clock: ClockBounds,
}

/// Device times outside these bounds around the gateway's are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockBounds {
    /// Milliseconds ahead.
    pub future_ms_max: u64,
    /// Milliseconds behind.
    pub past_ms_max: u64,
}

impl IngestConfig {
    /// The front door's part of a checked configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let front_door = &config.front_door;
        Self {
            listen: front_door.listen,
            forces: Arc::new(config.forces.keys().cloned().collect()),
            revocation_list: front_door.revocation_list.clone(),
            connections_max: front_door.connections_max as usize,
            connect_deadline: Duration::from_millis(front_door.connect_deadline_ms),
            keep_alive_s_max: front_door.keep_alive_s_max,
            session_expiry_s_max: front_door.session_expiry_s_max,
            packet_bytes_max: front_door.packet_bytes_max,
            receive_max: front_door.receive_max,
            topic_alias_max: front_door.topic_alias_max,
            clock: ClockBounds {
                future_ms_max: u64::from(config.clock.future_s_max) * 1000,
                past_ms_max: u64::from(config.clock.past_hours_max) * 3_600_000,
            },
        }
    }

    pub(super) fn is_revoked(&self, serial: &[u8]) -> bool {
        self.revocation_list.as_ref().is_some_and(|list| list.revokes(serial))
    }
}
