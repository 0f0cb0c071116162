//! A client that has the broker in its hands: it hears everything, and says whatever it likes in anybody's name.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fieldpost_protocol::{DeviceId, Downlink, Envelope, Lane, Receipt, Receipts, Seq, SeqRange, topic};
use rumqttc::{
    AsyncClient, Event, EventLoop, Incoming, MqttOptions, PublishOptions, SubscribeFilterInput,
    TlsConfiguration, Transport, mqttbytes::QoS,
};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::RigError;
use crate::fleet::connection::FrontDoor;

const PATIENCE: Duration = Duration::from_secs(30);

/// A true message, as it went by.
#[derive(Debug, Clone)]
pub(super) struct Caught {
    pub(super) device: DeviceId,
    pub(super) lane: Lane,
    pub(super) frame: Bytes,
}

/// What went by: what devices said, and what gateways answered.
#[derive(Debug, Default)]
pub(super) struct Tape {
    pub(super) up: Vec<Caught>,
    /// By the topic of each device.
    pub(super) down: Vec<(String, Bytes)>,
}

/// How many messages of each kind were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Attacks {
    /// Envelopes that nobody tagged.
    pub untagged_count: u64,
    /// Tags of another algorithm.
    pub algorithm_count: u64,
    /// Tags that were made up, true envelopes with a changed bit, another device's, another lane's.
    pub forged_count: u64,
    /// Devices that do not exist.
    pub unknown_count: u64,
    /// True envelopes that were stored before.
    pub replayed_count: u64,
    /// Receipts and commands that no gateway sealed, to devices.
    pub receipts_count: u64,
}

pub(super) struct Evil {
    client: AsyncClient,
    events: EventLoop,
}

impl Evil {
    /// Connects as `evil`, who may do everything.
    pub(super) fn connect(broker: &FrontDoor, tls: Arc<ClientConfig>) -> Self {
        let mut options = MqttOptions::new("evil", (broker.server_name.clone(), broker.address.port()));
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
        options.set_clean_start(true);
        options.set_outgoing_inflight_upper_limit(16);
        let (client, events) = AsyncClient::builder(options).capacity(64).build();
        Self { client, events }
    }

    /// Listens until it has caught `count` messages of devices and as many answers.
    pub(super) async fn catch(mut self, count: usize) -> Result<Tape, RigError> {
        let topics = ["alarm", "live", "backlog", "down"];
        let topics = topics.map(|lane| SubscribeFilterInput::new(format!("fp1/+/{lane}"), QoS::AtLeastOnce));
        self.client.try_subscribe_many(topics).map_err(RigError::cannot("listen at the broker"))?;
        let mut tape = Tape::default();
        while tape.up.len() < count || tape.down.len() < count {
            let Incoming::Publish(publish) = self.heard().await? else { continue };
            match String::from_utf8(publish.topic.to_vec()) {
                Ok(topic) if topic.ends_with("/down") => tape.down.push((topic, publish.payload)),
                _ if tape.up.len() < count => tape.up.extend(understood(&publish.topic, publish.payload)),
                _ => {}
            }
        }
        Ok(tape)
    }

    /// Says again what gateways have answered.
    pub(super) async fn answer_again(&mut self, tape: &Tape) -> Result<(), RigError> {
        for (topic, frame) in &tape.down {
            self.say(topic, frame).await?;
        }
        Ok(())
    }

    /// Says again, word for word, what it has caught.
    pub(super) async fn repeat<'c>(
        &mut self,
        caught: impl Iterator<Item = &'c Caught>,
    ) -> Result<u64, RigError> {
        let mut said_count = 0;
        for Caught { device, lane, frame } in caught {
            self.say(&topic::uplink(device, *lane), frame).await?;
            said_count += 1;
        }
        Ok(said_count)
    }

    /// Everything it can think of, from what it has caught. Waits until the broker has all of it.
    pub(super) async fn attack(
        &mut self,
        caught: &[Caught],
        devices: &[DeviceId],
    ) -> Result<Attacks, RigError> {
        let mut attacks = Attacks::default();
        for Caught { device, lane, frame } in caught {
            let envelope = Envelope::decode(frame).map_err(RigError::cannot("read what was caught"))?;
            let named = topic::uplink(device, *lane);
            let mut plain = [0; 1200];
            let plain = Envelope { trailer: None, ..envelope }
                .encode(&mut plain)
                .map_err(RigError::cannot("forge"))?;
            self.say(&named, plain).await?;
            attacks.untagged_count += 1;
            let algorithm_at = frame.len() - 17;
            let changed = |at: usize, to: u8| {
                let mut changed = frame.to_vec();
                changed[at] ^= to;
                changed
            };
            self.say(&named, &changed(algorithm_at, 2)).await?;
            attacks.algorithm_count += 1;
            // The tag, the body's last byte, the sequence behind the one byte of boot 1.
            for at in [frame.len() - 1, algorithm_at - 1, 4] {
                let forged = changed(at, 1);
                self.say(&named, &forged).await?;
                attacks.forged_count += 1;
            }
            let other = devices.iter().find(|other| *other != device).expect("more than one device");
            self.say(&topic::uplink(other, *lane), frame).await?;
            let elsewhere = if *lane == Lane::Live { Lane::Backlog } else { Lane::Live };
            self.say(&topic::uplink(device, elsewhere), frame).await?;
            attacks.forged_count += 2;
            self.say("fp1/nobody-knows-me/live", frame).await?;
            attacks.unknown_count += 1;
            // Twice in a row: the group's turns take one to each gateway.
            for _ in 0..2 {
                self.say(&named, frame).await?;
                attacks.replayed_count += 1;
            }
            let range = SeqRange { first: Seq(0), more: u32::MAX };
            let ranges = [range].into_iter().collect();
            let said = Receipts { receipt: Receipt::Stored, boot: envelope.head.boot, ranges };
            let mut buffer = [0; 256];
            let receipt =
                Downlink::Receipts(said).encode(&mut buffer).map_err(RigError::cannot("forge a receipt"))?;
            self.say(&topic::downlink(device), receipt).await?;
            attacks.receipts_count += 1;
        }
        Ok(attacks)
    }

    /// Publishes and waits for the broker's PUBACK, so that nothing is counted that never arrived.
    async fn say(&mut self, topic: &str, payload: &[u8]) -> Result<(), RigError> {
        let payload = Bytes::copy_from_slice(payload);
        let said = self.client.try_publish(topic, payload, PublishOptions::at_least_once());
        said.map_err(RigError::cannot("publish at the broker"))?;
        while !matches!(self.heard().await?, Incoming::PubAck(_)) {}
        Ok(())
    }

    async fn heard(&mut self) -> Result<Incoming, RigError> {
        loop {
            match timeout(PATIENCE, self.events.poll()).await {
                Ok(Ok(Event::Incoming(packet))) => return Ok(packet),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(RigError::cannot("attack through the broker")(error)),
                Err(_) => return Err(RigError::Hang(PATIENCE)),
            }
        }
    }
}

fn understood(topic: &[u8], frame: Bytes) -> Option<Caught> {
    let (device, lane) = topic::parse_uplink(std::str::from_utf8(topic).ok()?).ok()?;
    Some(Caught { device: DeviceId::try_new(device).ok()?, lane, frame })
}
