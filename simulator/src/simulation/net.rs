//! One connection's bytes inside the gateway: the pipe that stands where TLS stands in the product.
//!
//! What the network does to bytes on their way (delay, cutting in pieces, losing the rest) is the scheduler's business.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use fieldpost_gateway::ingest::Pipe;

/// Bytes the network takes from the gateway before the device has them, like a socket's send buffer.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// Names a connection.
pub(super) type ConnId = u64;

/// Connections whose gateway end has something for the network.
pub(super) type Touched = Arc<Mutex<Vec<ConnId>>>;

/// The gateway's end as the network sees it. Clones share it.
#[derive(Clone)]
pub(super) struct GatewayEnd {
    id: ConnId,
    touched: Touched,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Arrived and not read yet.
    inbound: Vec<u8>,
    inbound_end: Option<End>,
    reader: Option<Waker>,
    /// Written and not taken by the network yet.
    outbound: Vec<u8>,
    /// Written, on its way.
    under_way_bytes: usize,
    writer: Option<Waker>,
    is_closed: bool,
}

/// How the stream of bytes from the device ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The device has closed.
    Closed,
    /// The connection is lost.
    Lost,
}

/// What a session reads and writes. Dropped, the connection is closed.
pub(super) struct GatewayPipe(GatewayEnd);

/// What the gateway has written.
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    pub(super) is_closed: bool,
}

pub(super) fn pipe(id: ConnId, touched: &Touched) -> (GatewayEnd, GatewayPipe) {
    let end = GatewayEnd { id, touched: Arc::clone(touched), state: Arc::default() };
    (end.clone(), GatewayPipe(end))
}

impl GatewayEnd {
    /// Bytes arrive at the gateway.
    pub(super) fn arrive(&self, bytes: &[u8]) {
        let mut state = self.lock();
        state.inbound.extend_from_slice(bytes);
        wake(&mut state.reader);
    }

    /// Nothing more will arrive.
    pub(super) fn end(&self, end: End) {
        let mut state = self.lock();
        state.inbound_end = Some(end);
        wake(&mut state.reader);
        wake(&mut state.writer);
    }

    /// Takes what the gateway wrote onto the network.
    pub(super) fn take(&self) -> Written {
        let mut state = self.lock();
        let bytes = std::mem::take(&mut state.outbound);
        state.under_way_bytes += bytes.len();
        Written { bytes, is_closed: state.is_closed }
    }

    /// `count` bytes have left the network, one way or the other.
    pub(super) fn delivered(&self, count: usize) {
        let mut state = self.lock();
        state.under_way_bytes -= count;
        wake(&mut state.writer);
    }

    fn touch(&self) {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Pipe for GatewayPipe {
    fn poll_read(&mut self, cx: &mut Context<'_>, opened: &mut Vec<u8>) -> Poll<io::Result<()>> {
        opened.clear();
        let mut state = self.0.lock();
        if !state.inbound.is_empty() {
            opened.append(&mut state.inbound);
            return Poll::Ready(Ok(()));
        }
        match state.inbound_end {
            Some(End::Closed) => Poll::Ready(Ok(())),
            Some(End::Lost) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &mut Vec<u8>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.inbound_end == Some(End::Lost) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if state.outbound.len() + state.under_way_bytes > SEND_BYTES_MAX {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if !bytes.is_empty() {
            state.outbound.append(bytes);
            drop(state);
            self.0.touch();
        }
        Poll::Ready(Ok(()))
    }

    async fn close(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_write(cx, bytes)).await
    }
}

impl Drop for GatewayPipe {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.touch();
    }
}
