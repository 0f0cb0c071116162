//! A verified connection: MQTT in both directions and the device logic's orders, until something ends it.

use core::future::pending;

use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::{Read, Write};
use fieldpost_firmware::FrameBuffer;
use fieldpost_protocol::DeviceId;

use super::{Clock, Desk, End, KEEP_ALIVE_S, News, Order, SESSION_EXPIRY_S, attempt::Left};
use crate::{
    mqtt::{self, Conversation, Event, Outgoing, PACKET_BYTES_MAX, Topics},
    tls::{Dates, TlsFailure, TlsStream},
};

/// A write that takes longer has no gateway at its end.
const WRITE_MS_MAX: u64 = 10_000;
/// A goodbye.
const GOODBYE_MS_MAX: u64 = 1000;

/// A verified connection.
pub(super) struct Line<'s, 'b, IO, C> {
    stream: TlsStream<'b, IO>,
    clock: &'s C,
    number: u32,
    /// The beginning of a packet.
    packet: &'s mut [u8; PACKET_BYTES_MAX],
    packet_len: usize,
    /// The certificate's period while the clock was not good enough to judge it.
    dates: Option<Dates>,
}

impl<'s, 'b, IO: Read + Write, C: Clock> Line<'s, 'b, IO, C> {
    pub(super) fn new(
        stream: TlsStream<'b, IO>,
        clock: &'s C,
        number: u32,
        packet: &'s mut [u8; PACKET_BYTES_MAX],
        dates: Option<Dates>,
    ) -> Self {
        Self { stream, clock, number, packet, packet_len: 0, dates }
    }

    /// From CONNECT to the goodbye.
    pub(super) async fn converse<K: Desk>(
        &mut self,
        device: &DeviceId,
        topics: Topics,
        has_session: &mut bool,
        desk: &mut K,
        frame: &mut FrameBuffer,
    ) -> Left {
        let now_ms = self.clock.now_ms();
        let (mut conversation, connect) =
            Conversation::begin(device, !*has_session, KEEP_ALIVE_S, SESSION_EXPIRY_S, now_ms);
        conversation = conversation.with_topics(topics);
        let outcome = match self.send(&connect, &[]).await {
            Ok(()) => self.serve(&mut conversation, has_session, desk, frame).await,
            Err(end) => Err(end),
        };
        let left = outcome.unwrap_or_else(Left::Ended);
        if let Some(reason) = goodbye_reason(&left) {
            self.say_goodbye(reason).await;
        }
        left
    }

    /// DISCONNECT and close_notify, to whoever still listens; a new attempt does not wait long for it.
    async fn say_goodbye(&mut self, reason: u8) {
        let goodbye = Conversation::goodbye(reason);
        let saying = async {
            write_all(&mut self.stream, goodbye.bytes()).await?;
            Ok(self.stream.close().await?)
        };
        // The gateway finds out by itself otherwise.
        _ = in_time(self.clock, GOODBYE_MS_MAX, saying).await;
    }

    async fn serve<K: Desk>(
        &mut self,
        conversation: &mut Conversation<'_>,
        has_session: &mut bool,
        desk: &mut K,
        frame: &mut FrameBuffer,
    ) -> Result<Left, End> {
        loop {
            self.judge_dates()?;
            if let Some(ping) = conversation.tick(self.clock.now_ms())? {
                self.write(conversation, &ping, &[]).await?;
            }
            self.flush().await?;
            let room = &mut self.packet[self.packet_len..];
            let wake = wake(self.clock, conversation.tick_at_ms());
            match select3(self.stream.read(room), desk.order(frame), wake).await {
                Either3::First(read) => match read? {
                    0 => return Err(End::Closed),
                    count => {
                        self.packet_len += count;
                        self.take_packets(conversation, has_session, desk).await?;
                    }
                },
                Either3::Second(order) => {
                    if let Some(left) = self.obey(order, conversation, desk, frame).await? {
                        return Ok(left);
                    }
                }
                Either3::Third(()) => {}
            }
        }
    }

    /// Carries out an order, and those that are there already, so that they share a record.
    async fn obey<K: Desk>(
        &mut self,
        first: Order,
        conversation: &mut Conversation<'_>,
        desk: &mut K,
        frame: &mut FrameBuffer,
    ) -> Result<Option<Left>, End> {
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::HangUp => return Ok(Some(Left::HungUp)),
                Order::Connect { attempt } => return Ok(Some(Left::Ordered(attempt))),
                // Of a connection before this one.
                Order::Subscribe | Order::Publish { .. } if !conversation.is_connected() => {}
                Order::Subscribe => {
                    let subscribe = conversation.subscribe();
                    self.write(conversation, &subscribe, &[]).await?;
                }
                Order::Publish { handle, lane, len } => {
                    let frame = frame.get(..len).unwrap_or_default();
                    match conversation.publish(handle, lane, frame.len()) {
                        Some(publish) => self.write(conversation, &publish, frame).await?,
                        None => desk.report(self.number, News::Refused(handle)).await,
                    }
                }
            }
            next = match select(desk.order(frame), core::future::ready(())).await {
                Either::First(order) => Some(order),
                Either::Second(()) => None,
            };
        }
        Ok(None)
    }

    /// Handles every whole packet.
    async fn take_packets<K: Desk>(
        &mut self,
        conversation: &mut Conversation<'_>,
        has_session: &mut bool,
        desk: &mut K,
    ) -> Result<(), End> {
        let mut used = 0;
        while let Some((packet, len)) =
            mqtt::split(&self.packet[used..self.packet_len]).map_err(End::Malformed)?
        {
            let now_ms = self.clock.now_ms();
            let mut answer = None;
            let news = match conversation.on_packet(now_ms, &packet)? {
                Event::Connected { session_present } => {
                    *has_session = true;
                    Some(News::Connected { session_present })
                }
                Event::Acknowledged(handle) => Some(News::Acknowledged(handle)),
                Event::Refused(handle) => Some(News::Refused(handle)),
                Event::Downlink { frame, answer: puback } => {
                    answer = puback;
                    Some(News::Downlink(frame))
                }
                Event::Nothing => None,
            };
            if let Some(news) = news {
                desk.report(self.number, news).await;
            }
            if let Some(answer) = answer {
                write_all(&mut self.stream, answer.bytes()).await?;
                conversation.note_sent(now_ms);
            }
            used += len;
        }
        self.packet.copy_within(used..self.packet_len, 0);
        self.packet_len -= used;
        Ok(())
    }

    fn judge_dates(&mut self) -> Result<(), End> {
        if let (Some(dates), Some(unix_s)) = (self.dates, self.clock.unix_s()) {
            self.dates = None;
            if !dates.contain(unix_s.into()) {
                return Err(End::DatesRefused);
            }
        }
        Ok(())
    }

    /// Adds a packet to the next flush.
    async fn write(
        &mut self,
        conversation: &mut Conversation<'_>,
        packet: &Outgoing,
        payload: &[u8],
    ) -> Result<(), End> {
        conversation.note_sent(self.clock.now_ms());
        let writing = async {
            write_all(&mut self.stream, packet.bytes()).await?;
            write_all(&mut self.stream, payload).await
        };
        in_time(self.clock, WRITE_MS_MAX, writing).await
    }

    async fn send(&mut self, packet: &Outgoing, payload: &[u8]) -> Result<(), End> {
        let sending = async {
            write_all(&mut self.stream, packet.bytes()).await?;
            write_all(&mut self.stream, payload).await?;
            Ok(self.stream.flush().await?)
        };
        in_time(self.clock, WRITE_MS_MAX, sending).await
    }

    async fn flush(&mut self) -> Result<(), End> {
        in_time(self.clock, WRITE_MS_MAX, async { Ok(self.stream.flush().await?) }).await
    }
}

async fn write_all<W: Write<Error = TlsFailure>>(stream: &mut W, bytes: &[u8]) -> Result<(), End> {
    stream.write_all(bytes).await.map_err(End::Tls)
}

async fn in_time<C: Clock>(
    clock: &C,
    ms_max: u64,
    writing: impl Future<Output = Result<(), End>>,
) -> Result<(), End> {
    let deadline = clock.wait_until_ms(clock.now_ms() + ms_max);
    match select(writing, deadline).await {
        Either::First(outcome) => outcome,
        Either::Second(()) => Err(End::Stalled),
    }
}

async fn wake<C: Clock>(clock: &C, at_ms: Option<u64>) {
    match at_ms {
        Some(at_ms) => clock.wait_until_ms(at_ms).await,
        None => pending().await,
    }
}

/// What DISCONNECT says (MQTT 5 section 3.14.2.1), if there is anybody to say it to.
fn goodbye_reason(left: &Left) -> Option<u8> {
    match left {
        Left::HungUp | Left::Ordered(_) => Some(0),
        Left::Ended(End::Malformed(mqtt::Malformed::TooLong)) => Some(0x95),
        Left::Ended(End::Malformed(mqtt::Malformed::Packet)) => Some(0x81),
        Left::Ended(End::Fault(mqtt::Fault::OutOfPlace)) => Some(0x82),
        Left::Ended(End::Fault(mqtt::Fault::Silent)) => Some(0x8D),
        Left::Ended(_) => None,
    }
}
