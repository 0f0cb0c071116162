//! A broker between some of the devices and the gateway.
//!
//! **It takes everything at once and promises nothing**: it lives in memory, so what it has taken is gone when it dies; and while it is
//! unfaithful it loses, repeats and holds back what it was given, as brokers do that restart, fail over or run full. So PUBACK says
//! nothing here, and only the gateway's sealed receipt does.
//!
//! ```text
//! device --bytes--> guest --> queue --> in flight (<= RECEIVE_MAX) --News--> station
//!    '<----bytes--- guest <-- kept <----------------------------- Request ---'
//! ```

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fieldpost_gateway::broker::News;
use rumqttc::{Publish, Request, mqttbytes::QoS};
use tokio::sync::mpsc;

use super::{
    mqtt::{self, Said},
    net::ConnId,
    tasks::TaskId,
};
use crate::world::dice::Dice;

/// Messages that a gateway takes without a PUBACK for the first.
pub(super) const RECEIVE_MAX: usize = 16;

/// A message on its way to the gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
}

/// What the gateway asks of the broker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    /// PUBACK.
    Forget { packet_id: u16, is_refused: bool },
    /// Something for a device, to be kept so long for it.
    Tell { message: Message, kept_ms: u64 },
}

/// What becomes of a message that a device has handed over.
pub(super) enum Fate {
    Queued,
    Lost,
    /// It comes, or comes again, so much later.
    Later(u64),
    Twice(u64),
}

/// The broker.
pub(super) struct Broker {
    dice: Dice,
    pub(super) is_down: bool,
    pub(super) is_unfaithful: bool,
    guests: BTreeMap<ConnId, Guest>,
    queue: VecDeque<Message>,
    in_flight: BTreeMap<u16, Message>,
    packet_id: u16,
    kept: Vec<Kept>,
    pub(super) carrier: Option<Carrier>,
    pub(super) carriers: u64,
}

/// A device that is connected.
struct Guest {
    device: usize,
    received: Vec<u8>,
    is_subscribed: bool,
}

/// For a device that is away.
struct Kept {
    device: usize,
    until_ms: u64,
    payload: Vec<u8>,
}

/// The gateway's connection.
pub(super) struct Carrier {
    /// Counts them.
    pub(super) number: u64,
    pub(super) news: mpsc::Sender<News>,
    pub(super) requests: flume::Receiver<Request>,
    /// The gateway's end.
    pub(super) task: TaskId,
    /// When the last message arrives that was sent so far, each way.
    pub(super) up_at_ms: u64,
    pub(super) down_at_ms: u64,
}

impl Broker {
    pub(super) fn new(dice: Dice) -> Self {
        Self {
            dice,
            is_down: false,
            is_unfaithful: false,
            guests: BTreeMap::new(),
            queue: VecDeque::new(),
            in_flight: BTreeMap::new(),
            packet_id: 0,
            kept: Vec::new(),
            carrier: None,
            carriers: 0,
        }
    }

    /// A device connects, and whatever it had before is over (MQTT 5.0, 3.1.4). False if there is nobody.
    pub(super) fn welcome(&mut self, conn: ConnId, device: usize) -> bool {
        if !self.is_down {
            self.guests.retain(|_, guest| guest.device != device);
            self.guests.insert(conn, Guest { device, received: Vec::new(), is_subscribed: false });
        }
        !self.is_down
    }

    pub(super) fn forget_guest(&mut self, conn: ConnId) {
        self.guests.remove(&conn);
    }

    /// Bytes of a device. Gives the answers, and the messages it hands over.
    pub(super) fn hear(&mut self, conn: ConnId, bytes: &[u8], now_ms: u64) -> (Vec<u8>, Vec<Message>) {
        let (mut answers, mut messages) = (Vec::new(), Vec::new());
        let Some(guest) = self.guests.get_mut(&conn) else { return (answers, messages) };
        guest.received.extend_from_slice(bytes);
        while let Some((said, used)) = mqtt::take_said(&guest.received) {
            guest.received.drain(..used);
            match said {
                Said::Connect => answers.extend(mqtt::connected()),
                Said::Ping => answers.extend(mqtt::pinged()),
                Said::Nothing => {}
                Said::Publish { topic, packet_id, payload } => {
                    answers.extend(mqtt::acknowledge(packet_id));
                    messages.push(Message { topic, payload });
                }
                Said::Subscribe { packet_id } => {
                    guest.is_subscribed = true;
                    answers.extend(mqtt::subscribed(packet_id));
                    let device = guest.device;
                    let (its, others) =
                        std::mem::take(&mut self.kept).into_iter().partition(|kept| kept.device == device);
                    self.kept = others;
                    let its: Vec<Kept> = its;
                    for kept in its.iter().filter(|kept| kept.until_ms > now_ms) {
                        answers.extend(down(device, &kept.payload));
                    }
                }
            }
        }
        (answers, messages)
    }

    /// What becomes of the next message.
    pub(super) fn fate(&mut self) -> Fate {
        if !self.is_unfaithful {
            return Fate::Queued;
        }
        let later_ms = 1 + self.dice.index(60_000) as u64;
        match self.dice.index(8) {
            0 => Fate::Lost,
            1 => Fate::Later(later_ms),
            2 => Fate::Twice(later_ms),
            _ => Fate::Queued,
        }
    }

    pub(super) fn queue(&mut self, message: Message) {
        if !self.is_down {
            self.queue.push_back(message);
        }
    }

    /// The next message that the gateway may be sent, and its packet id.
    pub(super) fn next(&mut self) -> Option<(u16, Message)> {
        if self.in_flight.len() >= RECEIVE_MAX || self.carrier.is_none() {
            return None;
        }
        let message = self.queue.pop_front()?;
        loop {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            if !self.in_flight.contains_key(&self.packet_id) {
                break;
            }
        }
        self.in_flight.insert(self.packet_id, message.clone());
        Some((self.packet_id, message))
    }

    pub(super) fn acknowledged(&mut self, packet_id: u16) {
        self.in_flight.remove(&packet_id);
    }

    /// The gateway has something for a device: where it goes now, if the device is here.
    pub(super) fn tell(&mut self, message: Message, kept_ms: u64, now_ms: u64) -> Option<(ConnId, Vec<u8>)> {
        let device = super::page::device(fieldpost_protocol::topic::downlink_of(&message.topic)?)?;
        if self.is_down || (self.is_unfaithful && self.dice.happens(0.2)) {
            return None;
        }
        let here = self.guests.iter().find(|(_, guest)| guest.device == device && guest.is_subscribed);
        if let Some((conn, _)) = here {
            return Some((*conn, down(device, &message.payload)));
        }
        self.kept.push(Kept { device, until_ms: now_ms + kept_ms, payload: message.payload });
        None
    }

    /// The gateway's connection is over: what it has not acknowledged comes again, in order. Gives the connection.
    pub(super) fn lose_gateway(&mut self) -> Option<Carrier> {
        let carrier = self.carrier.take()?;
        let unacknowledged = std::mem::take(&mut self.in_flight).into_values();
        unacknowledged.rev().for_each(|message| self.queue.push_front(message));
        Some(carrier)
    }

    /// It dies with all it has. Gives the connections of its guests.
    pub(super) fn die(&mut self) -> Vec<ConnId> {
        self.is_down = true;
        self.queue.clear();
        self.in_flight.clear();
        self.kept.clear();
        std::mem::take(&mut self.guests).into_keys().collect()
    }
}

/// A message as the gateway's MQTT client would hand it over.
pub(super) fn news(packet_id: u16, message: Message) -> News {
    let mut publish = Publish::new(message.topic, QoS::AtLeastOnce, Bytes::from(message.payload), None);
    publish.pkid = packet_id;
    News::Message(Box::new(publish))
}

/// What the gateway asks by a request of its MQTT client; nothing else is ever asked.
pub(super) fn asked(request: Request) -> Option<Asked> {
    match request {
        Request::PubAck(ack) => {
            Some(Asked::Forget { packet_id: ack.pkid, is_refused: ack.reason as u8 >= 0x80 })
        }
        Request::Publish(publish) => {
            let topic = String::from_utf8(publish.topic.to_vec()).ok()?;
            let kept_s = publish.properties.and_then(|properties| properties.message_expiry_interval)?;
            let message = Message { topic, payload: publish.payload.to_vec() };
            Some(Asked::Tell { message, kept_ms: u64::from(kept_s) * 1000 })
        }
        _ => None,
    }
}

/// The device acknowledges it, and nobody listens: one packet id does for all.
fn down(device: usize, payload: &[u8]) -> Vec<u8> {
    mqtt::publish(&format!("fp1/pc-{device:04}/down"), 1, payload)
}
