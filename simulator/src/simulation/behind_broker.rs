//! The ways to the broker and from it, and what goes wrong there.

use fieldpost_gateway::broker::News;
use rumqttc::AsyncClient;
use tokio::sync::mpsc;

use super::{
    broker::{self, Asked, Broker, Carrier, Fate, Message, RECEIVE_MAX},
    event::Event,
    net::ConnId,
    run::Run,
};

impl Run<'_> {
    /// Bytes of a device reach the broker.
    pub(super) fn broker_hears(&mut self, conn: ConnId, bytes: &[u8]) {
        let (answers, messages) = self.broker.hear(conn, bytes, self.now_ms);
        if !answers.is_empty() {
            self.send_down(conn, answers);
        }
        for message in messages {
            match self.broker.fate() {
                Fate::Queued => self.broker.queue(message),
                Fate::Lost => {}
                Fate::Later(ms) => self.events.add(self.now_ms + ms, Event::Requeue(message)),
                Fate::Twice(ms) => {
                    self.broker.queue(message.clone());
                    self.events.add(self.now_ms + ms, Event::Requeue(message));
                }
            }
        }
        self.feed_gateway();
    }

    pub(super) fn requeue(&mut self, message: Message) {
        self.broker.queue(message);
        self.feed_gateway();
    }

    /// Sends the gateway what it may be sent.
    fn feed_gateway(&mut self) {
        while let Some((packet_id, message)) = self.broker.next() {
            let delay_ms = 2 + self.network.index(40) as u64;
            let Broker { carrier: Some(carrier), .. } = &mut self.broker else { return };
            carrier.up_at_ms = carrier.up_at_ms.max(self.now_ms + delay_ms);
            let carry = Event::Carry { carrier: carrier.number, packet_id, message };
            self.events.add(carrier.up_at_ms, carry);
        }
    }

    pub(super) fn carry(&mut self, number: u64, packet_id: u16, message: Message) {
        let Some(carrier) = self.broker.carrier.as_ref().filter(|carrier| carrier.number == number) else {
            return;
        };
        let bytes = message.payload.len();
        self.trace.note(
            self.now_ms,
            b'b',
            &message.payload,
            format_args!("broker -> gateway: {bytes} bytes"),
        );
        // It has room for more than the broker may send, unless its station has ended.
        _ = carrier.news.try_send(broker::news(packet_id, message));
    }

    /// Carries away what the gateway asked of the broker.
    pub(super) fn hear_station(&mut self) {
        let Some(carrier) = &mut self.broker.carrier else { return };
        while let Ok(request) = carrier.requests.try_recv() {
            let Some(asked) = broker::asked(request) else { continue };
            let delay_ms = 2 + self.network.index(40) as u64;
            carrier.down_at_ms = carrier.down_at_ms.max(self.now_ms + delay_ms);
            self.events.add(carrier.down_at_ms, Event::Ask { carrier: carrier.number, asked });
        }
    }

    pub(super) fn ask(&mut self, number: u64, asked: Asked) {
        if self.broker.carrier.as_ref().is_none_or(|carrier| carrier.number != number) {
            return;
        }
        self.trace.note(self.now_ms, b'a', &[], format_args!("gateway -> broker: {asked:?}"));
        match asked {
            Asked::Forget { packet_id, .. } => self.broker.acknowledged(packet_id),
            Asked::Tell { message, kept_ms } => {
                if let Some((conn, bytes)) = self.broker.tell(message, kept_ms, self.now_ms) {
                    self.send_down(conn, bytes);
                }
            }
        }
        self.feed_gateway();
    }

    /// The gateway connects to the broker, or tries again later.
    pub(super) fn connect_to_broker(&mut self, life: u32) {
        if life != self.gateway_life || self.broker.carrier.is_some() {
            return;
        }
        let Some(station) = self.gateway.as_ref().and_then(|gateway| gateway.broker.clone()) else { return };
        if self.broker.is_down {
            self.events.add(self.now_ms + 1_000, Event::Connect { life });
            return;
        }
        let (sender, requests) = flume::unbounded();
        let (news, heard) = mpsc::channel(2 * RECEIVE_MAX);
        news.try_send(News::Up { is_resumed: true }).expect("an empty channel has room");
        let task = self.tasks.spawn(station.serve(AsyncClient::from_senders(sender), heard));
        self.broker.carriers += 1;
        let number = self.broker.carriers;
        let (up_at_ms, down_at_ms) = (self.now_ms, self.now_ms);
        self.broker.carrier = Some(Carrier { number, news, requests, task, up_at_ms, down_at_ms });
        self.trace.note(self.now_ms, b'B', &[], format_args!("the gateway connects to the broker"));
        self.feed_gateway();
    }

    /// The gateway's connection to the broker is over; it makes another if it lives.
    pub(super) fn lose_gateway_at_broker(&mut self) {
        let Some(carrier) = self.broker.lose_gateway() else { return };
        self.tasks.drop(carrier.task);
        let pause_ms = 500 + self.network.index(5_000) as u64;
        self.events.add(self.now_ms + pause_ms, Event::Connect { life: self.gateway_life });
    }

    pub(super) fn kill_broker(&mut self) {
        self.lose_gateway_at_broker();
        for conn in self.broker.die() {
            self.broker_is_gone(conn);
        }
    }
}
