//! One real MQTT 5 connection over mutual TLS.
//!
//! **It never retries anything**: when it breaks it is dropped whole, and the device logic decides what is still owed. So
//! there is one layer that resends, and it is the one that runs on the real device.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use fieldpost_gateway::broker::IdleSession;
use fieldpost_protocol::limits::MQTT_PACKET_BYTES_MAX;
use rumqttc::{
    AsyncClient, Event, EventLoop, Incoming, MqttOptions, Outgoing, PersistedAckMode, PublishOptions,
    TlsConfiguration, Transport,
    mqttbytes::{QoS, v5::PubAckReason},
};
use rustls::ClientConfig;

/// Publishes accepted before the first is on the wire; more than any device has in flight.
const QUEUE_COUNT_MAX: usize = 128;
/// Publishes in flight: four times the device logic's window. The client keeps a table of this size; its default of 65,535 costs
/// 16 MiB per device.
const IN_FLIGHT_COUNT_MAX: u16 = 32;
/// Seconds; a carrier's NAT forgets idle connections after a few minutes.
const KEEP_ALIVE_S: u16 = 60;
/// Seconds; as long as the longest radio hole anybody drives through.
const SESSION_EXPIRY_S: u32 = 3_600;

/// Names a publish of this connection to whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// What the connection has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The gateway accepted the connection.
    Up {
        /// Whether it knew the session.
        session_present: bool,
    },
    /// The gateway has stored this publish.
    Stored(Ticket),
    /// A message came down.
    Message(Bytes),
    /// It is over; drop the connection. The text is for the log.
    Down(String),
}

/// Publishes handed over and not yet seen on the wire, in order. Shared by the two halves.
type Queue = Arc<Mutex<VecDeque<Ticket>>>;

/// The half that sends. Dropping it drops what it had not sent.
pub struct Sender {
    client: AsyncClient,
    queue: Queue,
}

/// The half that carries the connection and hears what comes back.
pub struct Carrier {
    events: EventLoop,
    queue: Queue,
    in_flight: HashMap<u16, Ticket>,
    is_over: bool,
}

/// The connection cannot take more now; nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// Where devices connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontDoor {
    /// Its address.
    pub address: SocketAddr,
    /// The name or address that its certificate must show.
    pub server_name: String,
}

/// Begins to connect; [`Carrier::next`] carries it out.
#[must_use]
pub fn begin(device: &str, front_door: &FrontDoor, tls: Arc<ClientConfig>) -> (Sender, Carrier) {
    let address = front_door.address;
    let mut options = MqttOptions::new(device, (front_door.server_name.clone(), address.port()));
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
    options.set_keep_alive(KEEP_ALIVE_S);
    options.set_outgoing_inflight_upper_limit(IN_FLIGHT_COUNT_MAX);
    // The gateway keeps the subscription and undelivered receipts; what we owe it, the device logic knows.
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(SESSION_EXPIRY_S));
    let acks = PersistedAckMode::Automatic;
    options.set_session_store(IdleSession::new(device, SESSION_EXPIRY_S, IN_FLIGHT_COUNT_MAX, acks));
    options.set_max_packet_size(Some(u32::try_from(MQTT_PACKET_BYTES_MAX).unwrap_or(u32::MAX)));
    // The name is what the certificate must show; the address is where the gateway is, without asking a resolver.
    options.set_socket_connector(move |_host, _network| async move {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    });
    let (client, events) = AsyncClient::builder(options).capacity(QUEUE_COUNT_MAX).build();
    let queue = Queue::default();
    let sender = Sender { client, queue: Arc::clone(&queue) };
    (sender, Carrier { events, queue, in_flight: HashMap::new(), is_over: false })
}

impl Sender {
    /// Hands over a publish at QoS 1.
    ///
    /// # Errors
    /// [`Refused`] if the queue is full or the connection is over.
    pub fn publish(&self, ticket: Ticket, topic: &str, payload: Bytes) -> Result<(), Refused> {
        // Held over the hand-over: the carrier must not see the publish on the wire before its ticket is here.
        let mut queue = lock(&self.queue);
        self.client.try_publish(topic, payload, PublishOptions::at_least_once()).map_err(|_| Refused)?;
        queue.push_back(ticket);
        Ok(())
    }

    /// Subscribes at QoS 1.
    ///
    /// # Errors
    /// [`Refused`] if the queue is full or the connection is over.
    pub fn subscribe(&self, topic: &str) -> Result<(), Refused> {
        self.client.try_subscribe(topic, QoS::AtLeastOnce).map_err(|_| Refused)
    }

    /// Asks for a clean end: DISCONNECT, then [`News::Down`].
    ///
    /// # Errors
    /// [`Refused`] if the connection is over; drop it.
    pub fn hang_up(&self) -> Result<(), Refused> {
        self.client.try_disconnect_now().map_err(|_| Refused)
    }
}

impl Carrier {
    /// The next thing that happens. Not cancel-safe: keep the future until it is done, or drop the carrier with it.
    pub async fn next(&mut self) -> News {
        loop {
            if self.is_over {
                return News::Down("it is over".to_owned());
            }
            match self.events.poll().await {
                Ok(event) => {
                    if let Some(news) = self.understand(event) {
                        return news;
                    }
                }
                Err(error) => {
                    self.is_over = true;
                    return News::Down(error.to_string());
                }
            }
        }
    }

    fn understand(&mut self, event: Event) -> Option<News> {
        match event {
            Event::Outgoing(Outgoing::Publish(packet)) => {
                if let Some(ticket) = lock(&self.queue).pop_front() {
                    self.in_flight.insert(packet, ticket);
                }
                None
            }
            Event::Incoming(Incoming::PubAck(ack)) => {
                let ticket = self.in_flight.remove(&ack.pkid)?;
                match ack.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Some(News::Stored(ticket)),
                    reason => {
                        self.is_over = true;
                        Some(News::Down(format!("the gateway refused a publish: {reason:?}")))
                    }
                }
            }
            Event::Incoming(Incoming::ConnAck(ack)) => {
                Some(News::Up { session_present: ack.session_present })
            }
            Event::Incoming(Incoming::Publish(message)) => Some(News::Message(message.payload)),
            Event::Incoming(Incoming::Disconnect(disconnect)) => {
                self.is_over = true;
                Some(News::Down(format!("the gateway hung up: {:?}", disconnect.reason_code)))
            }
            _ => None,
        }
    }
}

fn lock(queue: &Queue) -> MutexGuard<'_, VecDeque<Ticket>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
