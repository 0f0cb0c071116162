//! One attempt: dial, shake hands, converse until something ends it.

use embassy_futures::select::{Either, select};
use fieldpost_firmware::FrameBuffer;

use super::{Clock, Desk, Dial, End, News, Order, Session, line::Line};
use crate::tls::{StreamBuffers, Tls, TlsStream};

/// How an attempt was left.
pub(super) enum Left {
    /// By its own end.
    Ended(End),
    /// Hung up.
    HungUp,
    /// A new attempt was ordered.
    Ordered(u32),
}

impl Session<'_> {
    /// Runs one attempt to its end and reports it. Returns the attempt that was ordered meanwhile.
    pub(super) async fn attempt<D: Dial, K: Desk, C: Clock>(
        &mut self,
        number: u32,
        dial: &mut D,
        desk: &mut K,
        clock: &C,
    ) -> Option<u32> {
        let unix_s = clock.unix_s();
        self.tls.set_clock(unix_s);
        let connecting = connect(dial, &self.tls, &mut self.buffers.stream);
        let connected = match select(connecting, interruption(desk, &mut self.buffers.frame)).await {
            Either::First(connected) => connected,
            Either::Second(left) => return finish(number, left, desk).await,
        };
        let left = match connected {
            Err(end) => Left::Ended(end),
            Ok(stream) => {
                let dates = unix_s.is_none().then(|| self.tls.accepted_dates());
                let mut line = Line::new(stream, clock, number, &mut self.buffers.packet, dates);
                let (device, frame) = (&self.device, &mut self.buffers.frame);
                line.converse(device, self.topics, &mut self.has_session, desk, frame).await
            }
        };
        finish(number, left, desk).await
    }
}

async fn connect<'a, 'b, D: Dial>(
    dial: &'a mut D,
    tls: &Tls,
    buffers: &'b mut StreamBuffers,
) -> Result<TlsStream<'b, D::Stream<'a>>, End> {
    let io = dial.dial().await.map_err(|_| End::Dial)?;
    Ok(TlsStream::connect(tls, io, buffers).await?)
}

/// Waits for an order that ends an attempt; others are void before it is connected.
async fn interruption<K: Desk>(desk: &mut K, frame: &mut FrameBuffer) -> Left {
    loop {
        match desk.order(frame).await {
            Order::HangUp => return Left::HungUp,
            Order::Connect { attempt } => return Left::Ordered(attempt),
            Order::Subscribe | Order::Publish { .. } => {}
        }
    }
}

async fn finish<K: Desk>(number: u32, left: Left, desk: &mut K) -> Option<u32> {
    match left {
        Left::Ended(end) => desk.report(number, News::Disconnected(end)).await,
        // Nobody waits for an answer (`Output::HangUp`).
        Left::HungUp => {}
        Left::Ordered(attempt) => {
            desk.report(number, News::Disconnected(End::Replaced)).await;
            return Some(attempt);
        }
    }
    None
}
