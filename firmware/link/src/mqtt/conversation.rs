//! One connection's MQTT, from CONNECT to its end: what may be said, what was heard, when silence is too long.
//!
//! **Sans-IO**: packets to send come out as [`Outgoing`], packets of the gateway go in through
//! [`Conversation::on_packet`], time through `now_ms`. Nothing is resent: what has no PUBACK when the connection ends is
//! the device logic's to publish again, in its order, so that an alarm never waits behind a replay.

use fieldpost_firmware::Handle;
use fieldpost_protocol::{DeviceId, Lane, topic};

use super::{
    IN_FLIGHT_MAX,
    read::Packet,
    write::{self, Connect, Control},
};

/// From a PINGREQ, or a CONNECT, to anything heard.
const ANSWER_MS_MAX: u64 = 15_000;

/// From a publish without an answer to the PINGREQ that asks whether anybody is there. A gateway whose disk is full
/// answers no publish but every ping; a connection that is dead must not hold an alarm until the keep-alive finds out.
const UNANSWERED_MS_MAX: u64 = 10_000;

/// What the gateway did wrong, or that it ended the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Fault {
    /// CONNACK refused us, with this reason (MQTT 5 section 3.2.2.2).
    Refused(u8),
    /// DISCONNECT, with this reason (section 3.14.2.1).
    Disconnected(u8),
    /// A packet that has no place here.
    OutOfPlace,
    /// CONNACK announces less than the protocol promises: fewer publishes than our window, or no quality 1.
    Limits,
    /// Silence after a ping.
    Silent,
}

/// What the device logic has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// The gateway took us in.
    Connected {
        /// It kept the session.
        session_present: bool,
    },
    /// A publish is STORED.
    Acknowledged(Handle),
    /// A publish was refused.
    Refused(Handle),
    /// A downlink frame; answer it with the packet, if there is one, once it is handed over.
    Downlink {
        /// The payload.
        frame: &'a [u8],
        /// PUBACK.
        answer: Option<Outgoing>,
    },
    /// Nothing for the device logic.
    Nothing,
}

/// A packet to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing(Control);

impl Outgoing {
    /// Its bytes; of a publish, all but the payload.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// How topics up are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topics {
    /// By one letter: the gateway knows whose connection it is.
    Short,
    /// In full: a broker passes nothing else on.
    Long,
}

/// One connection.
pub struct Conversation<'d> {
    device: &'d DeviceId,
    topics: Topics,
    state: State,
    keep_alive_ms: u64,
    packet_bytes_max: u32,
    in_flight: heapless::Vec<(u16, Handle), IN_FLIGHT_MAX>,
    last_packet_id: u16,
    heard_ms: u64,
    sent_ms: u64,
    /// Since when a publish waits without anything heard.
    unanswered_ms: Option<u64>,
    /// When the gateway was last asked for a sign of life, if none has come since.
    asked_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting { clean_start: bool },
    Connected,
}

impl<'d> Conversation<'d> {
    /// A conversation that begins now, and its CONNECT. Clean start: this side has no session, as after a restart.
    #[must_use]
    pub fn begin(
        device: &'d DeviceId,
        clean_start: bool,
        keep_alive_s: u16,
        session_expiry_s: u32,
        now_ms: u64,
    ) -> (Self, Outgoing) {
        let connect = Connect { client_id: device.as_str(), clean_start, keep_alive_s, session_expiry_s };
        let conversation = Self {
            device,
            topics: Topics::Short,
            state: State::Connecting { clean_start },
            keep_alive_ms: u64::from(keep_alive_s) * 1000,
            packet_bytes_max: u32::MAX,
            in_flight: heapless::Vec::new(),
            last_packet_id: 0,
            heard_ms: now_ms,
            sent_ms: now_ms,
            unanswered_ms: None,
            asked_ms: Some(now_ms),
        };
        (conversation, Outgoing(connect.write()))
    }

    /// The same, with topics named like this.
    #[must_use]
    pub fn with_topics(self, topics: Topics) -> Self {
        Self { topics, ..self }
    }

    /// Whether the gateway took us in.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// Takes a packet of the gateway.
    ///
    /// # Errors
    /// [`Fault`]: the connection is over.
    pub fn on_packet<'p>(&mut self, now_ms: u64, packet: &Packet<'p>) -> Result<Event<'p>, Fault> {
        (self.heard_ms, self.asked_ms) = (now_ms, None);
        let event = self.understand(packet);
        self.unanswered_ms = (!self.in_flight.is_empty()).then_some(now_ms);
        event
    }

    fn understand<'p>(&mut self, packet: &Packet<'p>) -> Result<Event<'p>, Fault> {
        match (self.state, packet) {
            (_, Packet::Disconnect { reason }) => Err(Fault::Disconnected(*reason)),
            (State::Connecting { .. }, Packet::Connack(connack)) if connack.reason != 0 => {
                Err(Fault::Refused(connack.reason))
            }
            // A session that we asked to end cannot be present (MQTT-3.2.2-2).
            (State::Connecting { clean_start: true }, Packet::Connack(connack))
                if connack.session_present =>
            {
                Err(Fault::OutOfPlace)
            }
            (State::Connecting { .. }, Packet::Connack(connack)) => {
                if usize::from(connack.receive_max) < IN_FLIGHT_MAX || !connack.serves_quality_one {
                    return Err(Fault::Limits);
                }
                if let Some(keep_alive_s) = connack.keep_alive_s {
                    self.keep_alive_ms = u64::from(keep_alive_s) * 1000;
                }
                self.packet_bytes_max = connack.packet_bytes_max;
                self.state = State::Connected;
                Ok(Event::Connected { session_present: connack.session_present })
            }
            (State::Connected, Packet::Puback { packet_id, reason }) => {
                let place = self.in_flight.iter().position(|(id, _)| id == packet_id);
                let (_, handle) = self.in_flight.swap_remove(place.ok_or(Fault::OutOfPlace)?);
                Ok(if *reason < 0x80 { Event::Acknowledged(handle) } else { Event::Refused(handle) })
            }
            (State::Connected, Packet::Publish { packet_id, topic, payload }) => {
                // We subscribed to nothing else.
                if *topic != topic::downlink(self.device).as_str() {
                    return Err(Fault::OutOfPlace);
                }
                let answer = packet_id.map(|id| Outgoing(write::puback(id)));
                Ok(Event::Downlink { frame: payload, answer })
            }
            (State::Connected, Packet::Suback { reason, .. }) if *reason >= 0x80 => {
                Err(Fault::Refused(*reason))
            }
            (State::Connected, Packet::Suback { .. } | Packet::Pingresp) => Ok(Event::Nothing),
            _ => Err(Fault::OutOfPlace),
        }
    }

    /// SUBSCRIBE to the downlink.
    pub fn subscribe(&mut self) -> Outgoing {
        let packet_id = self.draw_packet_id();
        Outgoing(write::subscribe(packet_id, &topic::downlink(self.device)))
    }

    /// PUBLISH of a frame, whose bytes follow the packet's; `None` if the gateway takes no packet of this size or more
    /// are under way than the window holds.
    pub fn publish(&mut self, handle: Handle, lane: Lane, frame_len: usize) -> Option<Outgoing> {
        let packet_id = self.draw_packet_id();
        let header = match self.topics {
            Topics::Short => write::publish_header(packet_id, topic::short(lane), frame_len),
            Topics::Long => write::publish_header(packet_id, &topic::uplink(self.device, lane), frame_len),
        };
        let fits = header.len() + frame_len <= self.packet_bytes_max as usize;
        if !fits {
            return None;
        }
        self.in_flight.push((packet_id, handle)).ok()?;
        Some(Outgoing(header))
    }

    /// DISCONNECT; 0 is normal (section 3.14.2.1).
    #[must_use]
    pub fn goodbye(reason: u8) -> Outgoing {
        Outgoing(write::disconnect(reason))
    }

    /// Something was sent.
    pub fn note_sent(&mut self, now_ms: u64) {
        self.sent_ms = now_ms;
        if !self.in_flight.is_empty() {
            self.unanswered_ms.get_or_insert(now_ms);
        }
    }

    /// PINGREQ if it is due.
    ///
    /// # Errors
    /// [`Fault::Silent`]: the gateway was asked and nothing came.
    pub fn tick(&mut self, now_ms: u64) -> Result<Option<Outgoing>, Fault> {
        if self.asked_ms.is_some_and(|asked_ms| now_ms >= asked_ms + ANSWER_MS_MAX) {
            return Err(Fault::Silent);
        }
        if self.asked_ms.is_some() || self.ping_at_ms().is_none_or(|at_ms| now_ms < at_ms) {
            return Ok(None);
        }
        self.asked_ms = Some(now_ms);
        Ok(Some(Outgoing(write::pingreq())))
    }

    /// When [`Conversation::tick`] has something to do; `None`: never, unless something happens.
    #[must_use]
    pub fn tick_at_ms(&self) -> Option<u64> {
        self.asked_ms.map(|asked_ms| asked_ms + ANSWER_MS_MAX).or_else(|| self.ping_at_ms())
    }

    /// An interval after the last of ours, as the gateway demands, or after the last of its, so that a connection that
    /// only takes is found out too (0: no keep-alive); sooner after a publish that nothing answers.
    fn ping_at_ms(&self) -> Option<u64> {
        let keep_alive =
            (self.keep_alive_ms > 0).then(|| self.sent_ms.min(self.heard_ms) + self.keep_alive_ms);
        let unanswered = self.unanswered_ms.map(|since_ms| since_ms + UNANSWERED_MS_MAX);
        keep_alive.into_iter().chain(unanswered).min()
    }

    /// 1 to 65535, not in flight.
    fn draw_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            if self.in_flight.iter().all(|(id, _)| *id != self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }
}

#[cfg(test)]
mod tests;
