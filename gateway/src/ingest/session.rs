//! One device's MQTT session on one connection: bytes in, bytes out, no I/O.
//!
//! ```text
//! CONNECT -> Session -> feed: PUBLISH -> uplink -> custody -> spool
//!                             SUBSCRIBE, PUBACK, PING, DISCONNECT -> answered here
//!                       settle: PUBACKs due, downlink messages -> bytes to write
//! ```

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use fieldpost_protocol::ForceId;

use super::Door;
use super::client::Client;
use super::codec::{self, Announcement, Connect, Kind, Packet, Version};
use super::commit::CommitBell;
use super::config::IngestConfig;
use super::custody::{Counts, Custody, may_be_alarm};
use super::reason::Reason;
use super::uplink::Uplink;
use crate::dedup::DeviceSeen;
use crate::downlink::Line;
use crate::pki::Identity;

/// A connected device.
#[derive(Debug)]
pub(super) struct Session {
    door: Arc<Door>,
    bell: Arc<CommitBell>,
    identity: Identity,
    config: Arc<IngestConfig>,
    seen: Arc<DeviceSeen>,
    uplink: Uplink,
    client: Client,
    /// The log has been told that identities repeat.
    said_repeated: bool,
}

/// What became of fed bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fed {
    /// Bytes used up; the rest is the beginning of a packet, or waits until the session is no longer blocked.
    pub(super) used: usize,
    /// Set if the connection has to end.
    pub(super) end: Option<Reason>,
}

/// Reads the first packet of a connection.
///
/// # Errors
/// Why the client is refused; what it is told (nothing, if it did not even speak MQTT) is in `out`.
pub(super) fn read_connect(
    packet: &Packet<'_>,
    identity: &Identity,
    forces: &HashSet<ForceId>,
    out: &mut Vec<u8>,
) -> Result<Connect, Reason> {
    if packet.kind != Kind::Connect {
        return Err(Reason::ConnectMissing);
    }
    let connect = codec::read_connect(packet).inspect_err(|reason| {
        if *reason == Reason::VersionUnsupported {
            // The client's version is not known; 3.1.1's answer to this is what section 3.1.2.2 of both tells to expect.
            codec::write_connack_refused(Version::V3, *reason, out);
        }
    })?;
    let refusal = if !forces.contains(&identity.force) {
        Some(Reason::ForceUnknown)
    } else if connect.client_id != identity.device.as_str() {
        Some(Reason::ClientId)
    } else if connect.has_will {
        Some(Reason::Will)
    } else if connect.has_authentication_method {
        Some(Reason::AuthenticationMethod)
    } else {
        None
    };
    match refusal {
        None => Ok(connect),
        Some(reason) => {
            codec::write_connack_refused(connect.version, reason, out);
            Err(reason)
        }
    }
}

impl Session {
    /// Starts the session that `connect` asks for and writes its CONNACK. An older connection of the device ends.
    pub(super) fn start(
        connect: &Connect,
        identity: Identity,
        config: Arc<IngestConfig>,
        door: &Arc<Door>,
        bell: Arc<CommitBell>,
        out: &mut Vec<u8>,
    ) -> Self {
        let Identity { force, device, serial, .. } = &identity;
        let (unit, line, session_present) = door.downlink.attach(force, device, serial, connect.clean_start);
        // The handshake may have passed just before a reload; the reload has then looked for this line too early.
        let now = door.config();
        if now.is_revoked(line.serial()) {
            line.end(Reason::CertificateRevoked);
        } else if !now.forces.contains(force) {
            line.end(Reason::ForceUnknown);
        } else if door.closing.is_cancelled() {
            line.end(Reason::Draining);
        }
        let keep_alive_s = match connect.keep_alive_s {
            0 => config.keep_alive_s_max,
            asked => asked.min(config.keep_alive_s_max),
        };
        let session_expiry_s = connect.session_expiry_s.min(config.session_expiry_s_max);
        let changed = |ours: bool| ours.then_some(());
        let announcement = Announcement {
            session_present,
            receive_max: config.receive_max,
            topic_alias_max: config.topic_alias_max,
            packet_bytes_max: config.packet_bytes_max,
            keep_alive_s: changed(keep_alive_s != connect.keep_alive_s).map(|()| keep_alive_s),
            session_expiry_s: changed(session_expiry_s != connect.session_expiry_s)
                .map(|()| session_expiry_s),
        };
        codec::write_connack(connect.version, &announcement, out);
        let keep_alive = Duration::from_millis(u64::from(keep_alive_s) * 1500);
        let client = Client::new(connect, unit, line, keep_alive, session_expiry_s);
        door.metrics.ingest.devices.inc();
        Self {
            door: Arc::clone(door),
            bell,
            seen: door.dedup.device(&identity.force, &identity.device),
            uplink: Uplink::new(connect.version, config.receive_max, config.topic_alias_max),
            identity,
            config,
            client,
            said_repeated: false,
        }
    }

    /// Handles every whole packet at the front of `bytes`, until the session is blocked.
    pub(super) fn feed(&mut self, bytes: &[u8], entry: &mut BytesMut, out: &mut Vec<u8>) -> Fed {
        let mut used = 0;
        let packet_bytes_max = self.config.packet_bytes_max as usize;
        let end = self.with_custody(entry, |uplink, client, custody| {
            while !uplink.is_blocked() {
                let rest = &bytes[used..];
                let Some(packet) = codec::split(rest, packet_bytes_max)? else {
                    break;
                };
                match packet.kind {
                    Kind::Publish => uplink.publish(&packet, custody)?,
                    _ => client.control(&packet, custody.device, out)?,
                }
                used += packet.size;
            }
            Ok(())
        });
        Fed { used, end: end.err() }
    }

    /// How many bytes of `bytes` are whole packets, none of which must be heard at once. `None` if one must: an alarm, or
    /// what is no MQTT.
    pub(super) fn can_wait(&self, bytes: &[u8]) -> Option<usize> {
        let packet_bytes_max = self.config.packet_bytes_max as usize;
        let mut looked = 0;
        while let Some(packet) = codec::split(&bytes[looked..], packet_bytes_max).ok()? {
            if packet.kind == Kind::Publish {
                let publish = codec::read_publish(self.client.version(), &packet).ok()?;
                if may_be_alarm(publish.payload) {
                    return None;
                }
            }
            looked += packet.size;
        }
        Some(looked)
    }

    /// Runs `work` with the device's memory locked, then adds what it counted to the metrics.
    fn with_custody<T>(
        &mut self,
        entry: &mut BytesMut,
        work: impl FnOnce(&mut Uplink, &mut Client, &mut Custody<'_>) -> Result<T, Reason>,
    ) -> Result<T, Reason> {
        let mut seen = self.seen.lock();
        let mut custody = Custody {
            spool: &self.door.spool,
            metrics: &self.door.metrics.ingest,
            clock: self.config.clock,
            force: &self.identity.force,
            device: &self.identity.device,
            ceiling: self.identity.ceiling,
            now_ms: self.door.now_ms(),
            committed: self.bell.committed(),
            seen: &mut seen,
            entry,
            counts: Counts::default(),
        };
        let done = work(&mut self.uplink, &mut self.client, &mut custody);
        let counts = custody.counts;
        drop(seen);
        counts.add_to(&self.door.metrics.ingest);
        if counts.repeated > 0 && !std::mem::replace(&mut self.said_repeated, true) {
            // Once a connection: each record is in the metric, and the page names the device.
            let unit = format!("{}/{}", self.identity.force, self.identity.device);
            tracing::warn!(unit, "device uses record identities twice");
        }
        done
    }

    /// Stores what is held, and writes every PUBACK and downlink message that is due.
    ///
    /// # Errors
    /// [`Reason::SpoolFailed`] if what is held will never be stored, [`Reason::RoomAgain`] if what was let go now can be.
    pub(super) fn settle(&mut self, entry: &mut BytesMut, out: &mut Vec<u8>) -> Result<(), Reason> {
        if self.uplink.holds() {
            self.with_custody(entry, |uplink, _, custody| uplink.retry_held(custody))?;
        }
        if let Some(waited) = self.uplink.acknowledge(self.bell.committed(), out) {
            self.door.metrics.ingest.commit_wait_seconds.observe(waited.as_secs_f64());
        }
        self.client.write_downlink(&self.door, &self.identity.device, out);
        if self.uplink.asks_again() { Err(Reason::RoomAgain) } else { Ok(()) }
    }

    /// The packets that end a connection: DISCONNECT with the reason, where the client's version has one.
    pub(super) fn write_end(&self, reason: Reason, out: &mut Vec<u8>) {
        if !matches!(reason, Reason::ClientDisconnect | Reason::PeerClosed) {
            codec::write_disconnect(self.client.version(), reason, out);
        }
    }

    /// Whether the device's certificate has ended.
    pub(super) fn is_expired(&self) -> bool {
        let not_after_s = u64::try_from(self.identity.not_after_s).unwrap_or(0);
        self.door.now_ms() / 1000 > not_after_s
    }

    /// Tells what is committed.
    pub(super) fn bell(&self) -> &CommitBell {
        &self.bell
    }

    /// How others reach this connection.
    pub(super) fn line(&self) -> &Line {
        self.client.line()
    }

    /// Silence after which the connection ends.
    pub(super) fn keep_alive(&self) -> Duration {
        self.client.keep_alive()
    }

    /// The way up, for what it waits for.
    pub(super) fn uplink(&self) -> &Uplink {
        &self.uplink
    }

    /// Who it is.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// However the connection ends, the registry hears of it; what the device asked to keep stays for as long as it asked.
impl Drop for Session {
    fn drop(&mut self) {
        self.door.metrics.ingest.devices.dec();
        self.door.downlink.detach(self.client.unit(), self.client.line(), self.client.session_expiry());
    }
}
