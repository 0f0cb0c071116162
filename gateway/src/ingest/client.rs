//! Everything of a session but the way up: subscription, downlink, keep-alive, goodbye.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use fieldpost_protocol::limits::DOWNLINK_BYTES_MAX;
use fieldpost_protocol::{DeviceId, Downlink as Frame, topic};

use super::Door;
use super::codec::{self, Connect, Kind, Packet, Version};
use super::reason::Reason;
use crate::downlink::{Line, Outgoing, Unit};

/// Downlink messages one client may have unacknowledged, whatever it announced: a quarter of what may wait for it.
const IN_FLIGHT_MAX: u16 = 16;

/// The client's side of a session.
#[derive(Debug)]
pub(super) struct Client {
    version: Version,
    unit: Arc<Unit>,
    line: Arc<Line>,
    receive_max: u16,
    packet_bytes_max: u32,
    keep_alive: Duration,
    session_expiry_s: u32,
}

impl Client {
    pub(super) fn new(
        connect: &Connect,
        unit: Arc<Unit>,
        line: Arc<Line>,
        keep_alive: Duration,
        session_expiry_s: u32,
    ) -> Self {
        Self {
            version: connect.version,
            unit,
            line,
            receive_max: connect.receive_max.min(IN_FLIGHT_MAX),
            packet_bytes_max: connect.packet_bytes_max,
            keep_alive,
            session_expiry_s,
        }
    }

    /// Answers every packet but PUBLISH.
    pub(super) fn control(
        &mut self,
        packet: &Packet<'_>,
        device: &DeviceId,
        out: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        match packet.kind {
            Kind::Pingreq if packet.body.is_empty() => codec::write_pingresp(out),
            Kind::Pingreq => return Err(Reason::Malformed),
            Kind::Puback => {
                let (packet_id, is_refused) = codec::read_puback(packet)?;
                // An id that is not in flight: a late answer to a message of an ended session. Nothing depends on it.
                self.unit.answered(packet_id, is_refused);
            }
            Kind::Subscribe => self.subscribe(packet, device, out)?,
            Kind::Unsubscribe => self.unsubscribe(packet, device, out)?,
            Kind::Disconnect => {
                if let Some(expiry_s) = codec::read_disconnect(self.version, packet)? {
                    if self.session_expiry_s == 0 && expiry_s != 0 {
                        return Err(Reason::ProtocolError); // MQTT-3.14.2-2
                    }
                    self.session_expiry_s = self.session_expiry_s.min(expiry_s);
                }
                return Err(Reason::ClientDisconnect);
            }
            Kind::QualityTwo => return Err(Reason::QosNotSupported),
            // A second CONNECT (MQTT-3.1.0-2), authentication that nobody started, a server's packet.
            Kind::Connect | Kind::Auth | Kind::Foreign | Kind::Publish => return Err(Reason::ProtocolError),
        }
        Ok(())
    }

    fn subscribe(&self, packet: &Packet<'_>, device: &DeviceId, out: &mut Vec<u8>) -> Result<(), Reason> {
        let (packet_id, filters) = codec::read_subscribe(self.version, packet)?;
        let own = topic::downlink(device);
        let granted: Vec<_> = filters
            .iter()
            .map(|filter| (filter.topic == own.as_str()).then_some(filter.qos.min(1)))
            .collect();
        codec::write_suback(self.version, packet_id, &granted, out);
        if let Some(qos) = granted.iter().rev().flatten().next() {
            self.unit.subscribe(Some(*qos));
        }
        Ok(())
    }

    fn unsubscribe(&self, packet: &Packet<'_>, device: &DeviceId, out: &mut Vec<u8>) -> Result<(), Reason> {
        let (packet_id, topics) = codec::read_unsubscribe(self.version, packet)?;
        let own = topic::downlink(device);
        let existed: Vec<_> =
            topics.iter().map(|topic| topic == own.as_str() && self.unit.subscribe(None)).collect();
        codec::write_unsuback(self.version, packet_id, &existed, out);
        Ok(())
    }

    /// Writes the downlink messages that the client takes now.
    pub(super) fn write_downlink(&self, door: &Door, device: &DeviceId, out: &mut Vec<u8>) {
        if !self.line.take_mail() {
            return;
        }
        let topic = topic::downlink(device);
        let bytes_max = self.packet_bytes_max as usize;
        let fits = |frame: &[u8]| codec::publish_size(self.version, &topic, frame, true) <= bytes_max;
        let now_ms = door.now_ms();
        while let Some(outgoing) = self.unit.next(&self.line, self.receive_max, now_ms, fits) {
            match outgoing {
                Outgoing::Frame { frame, packet_id, is_redelivery } => {
                    codec::write_publish(self.version, &topic, packet_id, is_redelivery, &frame, out);
                }
                Outgoing::Time => {
                    let mut buffer = [0; DOWNLINK_BYTES_MAX];
                    let time = Frame::Time { unix_ms: now_ms };
                    let frame = time.encode(&mut buffer).expect("a time fits DOWNLINK_BYTES_MAX");
                    codec::write_publish(self.version, &topic, None::<NonZeroU16>, false, frame, out);
                }
            }
        }
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    pub(super) fn unit(&self) -> &Unit {
        &self.unit
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Silence after which the connection ends: one and a half keep-alive intervals (MQTT-3.1.2-22).
    pub(super) fn keep_alive(&self) -> Duration {
        self.keep_alive
    }

    pub(super) fn session_expiry(&self) -> Duration {
        Duration::from_secs(u64::from(self.session_expiry_s))
    }
}
