//! The work at one broker: messages in, custody, PUBACK and STORED out.
//!
//! **Neither leaves before the commit**: not the PUBACK, which lets the broker forget a message, and not the receipt, which
//! lets the device forget its record. Both wait in one queue for the entry they stand for.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use fieldpost_protocol::limits::DOWNLINK_BYTES_MAX;
use fieldpost_protocol::{Downlink as Frame, Lane, Receipt, topic};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::{PubAckReason, Publish, PublishProperties};
use rumqttc::{AsyncClient, ManualAck, PublishOptions};
use tokio::sync::{mpsc, watch};

use super::link::News;
use super::receipts::{Batch, Named};
use super::refusal::Refusal;
use super::register::{Enrolled, Register};
use super::{Errand, Shared};
use crate::ingest::custody::{Counts, Custody, NotStored};
use crate::sabotage::{self, Sabotage};
use crate::spool::{CommitState, Health, Lsn};

/// How long the broker keeps a receipt for a device that is away. What is lost so is said again when the device asks by
/// sending the record again.
const RECEIPT_KEPT_S: u32 = 3_600;

/// The state of one connection.
pub(super) struct Station<'s> {
    shared: &'s Shared,
    register: &'s Register,
    client: AsyncClient,
    /// In the order of the messages.
    acks: VecDeque<Ack>,
    /// Messages that wait for a share of the next commit, in order.
    held: VecDeque<Held>,
    receipts: Batch,
    entry: BytesMut,
    is_up: bool,
}

/// A PUBACK that waits for its entry's commit.
struct Ack {
    lsn: Lsn,
    puback: Option<ManualAck>,
    told: Option<(Arc<Enrolled>, Named)>,
}

/// A message that the next commit makes room for.
struct Held {
    device: Arc<Enrolled>,
    lane: Lane,
    publish: Publish,
    items_done: u8,
}

/// The connection is of no use any more.
pub(super) struct Broken(pub(super) &'static str);

impl<'s> Station<'s> {
    /// A connection that speaks by `client` and has nothing to say yet.
    pub(super) fn new(shared: &'s Shared, register: &'s Register, client: AsyncClient) -> Self {
        Self {
            shared,
            register,
            client,
            acks: VecDeque::new(),
            held: VecDeque::new(),
            receipts: Batch::default(),
            entry: BytesMut::new(),
            is_up: false,
        }
    }

    /// Serves until the connection breaks. Cancel-safe at every await: what was taken is acknowledged later or not at all.
    pub(super) async fn serve(
        mut self,
        news: &mut mpsc::Receiver<News>,
        errands: &mut mpsc::Receiver<Errand>,
        commits: &mut watch::Receiver<CommitState>,
    ) -> Result<(), Broken> {
        loop {
            let is_held = !self.held.is_empty();
            tokio::select! {
                biased;
                changed = commits.changed() => {
                    let state = *commits.borrow_and_update();
                    if changed.is_err() || state.closed || state.health == Health::Failed {
                        return Err(Broken("the spool takes nothing any more"));
                    }
                    self.retry_held()?;
                }
                errand = errands.recv() => match errand {
                    Some(errand) => self.send(&errand.device, &errand.frame, errand.kept_s),
                    None => return Ok(()),
                },
                // While something waits for the next commit, the rest waits in the window that the broker keeps to.
                message = news.recv(), if !is_held => match message {
                    Some(News::Up { is_resumed }) => {
                        self.up();
                        tracing::info!(is_resumed, "connected to a broker");
                    }
                    Some(News::Message(publish)) => self.take_all(*publish, news)?,
                    None => return Err(Broken("the connection ended")),
                },
            }
            let committed = commits.borrow().committed;
            self.settle(committed).await?;
        }
    }

    fn up(&mut self) {
        let metrics = &self.shared.metrics.broker;
        if !std::mem::replace(&mut self.is_up, true) {
            metrics.connections.inc();
            metrics.connected.inc();
        }
    }

    /// Takes a message and all that wait behind it.
    fn take_all(&mut self, first: Publish, news: &mut mpsc::Receiver<News>) -> Result<(), Broken> {
        let mut next = Some(first);
        while let Some(publish) = next {
            self.take(publish)?;
            next = match self.held.is_empty().then(|| news.try_recv()) {
                Some(Ok(News::Message(publish))) => Some(*publish),
                _ => None,
            };
        }
        Ok(())
    }

    fn take(&mut self, publish: Publish) -> Result<(), Broken> {
        if publish.qos == QoS::AtMostOnce && publish.topic.ends_with(b"/down") {
            self.hear_other(&publish);
            return Ok(());
        }
        self.shared.metrics.broker.messages.inc();
        if publish.qos == QoS::AtMostOnce {
            // No device sends so. Without a PUBACK to wait for, nothing would bound them.
            self.shared.metrics.broker.refused(Refusal::Quality).inc();
            self.shared.complaints.say(Refusal::Quality, &publish.topic);
            return Ok(());
        }
        match self.register.admit(&publish.topic, &publish.payload) {
            Err(refusal) => self.refuse(refusal, &publish),
            Ok((device, _)) if !self.shared.serves(&device.identity.force) => {
                self.refuse(Refusal::ForceUnknown, &publish);
            }
            Ok((device, lane)) => {
                if device.is_former() {
                    self.shared.metrics.broker.former_key.inc();
                    self.shared.complaints.name_former(&device);
                }
                return self.store(Held { device, lane, publish, items_done: 0 });
            }
        }
        Ok(())
    }

    /// What another gateway of the group has told a device.
    fn hear_other(&self, publish: &Publish) {
        let Some(device) = std::str::from_utf8(&publish.topic).ok().and_then(topic::downlink_of) else {
            return;
        };
        for enrolled in self.register.good(device) {
            let opened = enrolled.key().and_then(|key| key.open_down(&publish.payload).ok());
            if let Some(Frame::Proven(proven)) = opened
                && proven.receipt == Receipt::Stored
            {
                enrolled.elsewhere().learn(&proven);
            }
        }
    }

    fn store(&mut self, mut message: Held) -> Result<(), Broken> {
        let Held { device, lane, publish, items_done } = &message;
        let named = Named::of(&publish.payload);
        // An alarm is stored in any case: better twice than not.
        let is_elsewhere = named.as_ref().filter(|named| !named.is_alarm).is_some_and(|named| {
            let elsewhere = device.elsewhere();
            named.records.iter().all(|record| elsewhere.has(named.boot, *record))
        });
        if is_elsewhere {
            self.shared.metrics.broker.stored_elsewhere.inc();
            self.await_commit(Lsn(0), message, named);
            return Ok(());
        }
        let stored = self.shared.store(device, &mut self.entry, |custody| {
            custody.counts.publishes += 1;
            custody.counts.payload_bytes += publish.payload.len() as u64;
            let stored = custody.store(*lane, &publish.payload, *items_done);
            if stored.is_ok() && custody.counts.records == 0 && custody.counts.duplicates > 0 {
                self.shared.metrics.broker.duplicates.inc();
            }
            stored
        });
        match stored {
            Ok(lsn) => self.await_commit(lsn, message, named),
            // The device has it, and the broker need not: an alarm must not wait in a window behind it.
            Err(NotStored::Full { lasts: true, .. }) => self.refuse(Refusal::NoRoom, &message.publish),
            Err(NotStored::Full { items_done, lasts: false }) => {
                message.items_done = message.items_done.max(items_done);
                self.held.push_back(message);
            }
            Err(NotStored::TooLarge) => self.refuse(Refusal::TooLarge, &message.publish),
            Err(NotStored::Failed) => return Err(Broken("the spool takes nothing any more")),
        }
        Ok(())
    }

    fn await_commit(&mut self, lsn: Lsn, message: Held, named: Option<Named>) {
        let puback = self.client.prepare_ack(&message.publish);
        let told = named.map(|named| (message.device, named));
        self.acks.push_back(Ack { lsn, puback, told });
    }

    /// Drops a message: counted, said to the broker, never said STORED of.
    fn refuse(&mut self, refusal: Refusal, publish: &Publish) {
        self.shared.metrics.broker.refused(refusal).inc();
        self.shared.complaints.say(refusal, &publish.topic);
        let mut puback = self.client.prepare_ack(publish);
        if let Some(ManualAck::PubAck(ack)) = &mut puback {
            ack.reason = match refusal {
                Refusal::NoRoom => PubAckReason::QuotaExceeded,
                Refusal::Topic => PubAckReason::TopicNameInvalid,
                _ => PubAckReason::NotAuthorized,
            };
        }
        self.acks.push_back(Ack { lsn: Lsn(0), puback, told: None });
    }

    fn retry_held(&mut self) -> Result<(), Broken> {
        for message in std::mem::take(&mut self.held) {
            // Once one waits again, those behind it keep their order.
            if self.held.is_empty() {
                self.store(message)?;
            } else {
                self.held.push_back(message);
            }
        }
        Ok(())
    }

    /// Says what is committed, to the devices and to the broker.
    async fn settle(&mut self, committed: Lsn) -> Result<(), Broken> {
        let committed = if sabotage::is(Sabotage::AckBeforeCommit) { Lsn(u64::MAX) } else { committed };
        let due = self.acks.iter().take_while(|ack| ack.lsn <= committed).count();
        let due: Vec<Ack> = self.acks.drain(..due).collect();
        for (device, named) in due.iter().filter_map(|ack| ack.told.as_ref()) {
            self.receipts.add(device, named);
        }
        for (device, frame) in self.receipts.take() {
            self.send(&device, &frame, RECEIPT_KEPT_S);
        }
        for puback in due.into_iter().filter_map(|ack| ack.puback) {
            self.client.manual_ack(puback).await.map_err(|_| Broken("the connection ended"))?;
        }
        Ok(())
    }

    /// Sends a device a sealed frame, or lets it go: whoever needs it says it again.
    fn send(&self, device: &Enrolled, frame: &Frame, kept_s: u32) {
        let mut buffer = [0; DOWNLINK_BYTES_MAX];
        let sealed = device.key().and_then(|key| key.seal_down(frame, &mut buffer).ok());
        let properties =
            PublishProperties { message_expiry_interval: Some(kept_s), ..PublishProperties::default() };
        let options = PublishOptions::at_least_once().properties(properties);
        let is_sent = sealed.is_some_and(|sealed| {
            let topic = topic::downlink(&device.identity.device);
            self.client.try_publish(topic.as_str(), Bytes::copy_from_slice(sealed), options).is_ok()
        });
        let metrics = &self.shared.metrics.broker;
        if is_sent {
            metrics.sent.inc()
        } else {
            metrics.unsent.inc()
        };
    }
}

/// However the connection ends.
impl Drop for Station<'_> {
    fn drop(&mut self) {
        if self.is_up {
            self.shared.metrics.broker.connected.dec();
        }
    }
}

impl Shared {
    /// Runs `work` with the device's memory locked, then adds what it counted to the metrics.
    fn store<T>(
        &self,
        device: &Enrolled,
        entry: &mut BytesMut,
        work: impl FnOnce(&mut Custody<'_>) -> T,
    ) -> T {
        let identity = &device.identity;
        let known = self.dedup.device(&identity.force, &identity.device);
        let mut seen = known.lock();
        let mut custody = Custody {
            spool: &self.spool,
            metrics: &self.metrics.ingest,
            clock: self.config().clock,
            force: &identity.force,
            device: &identity.device,
            ceiling: identity.ceiling,
            now_ms: self.clock.now_ms(),
            committed: self.spool.committed(),
            seen: &mut seen,
            entry,
            counts: Counts::default(),
        };
        let done = work(&mut custody);
        custody.counts.add_to(&self.metrics.ingest);
        done
    }
}
