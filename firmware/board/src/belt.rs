//! The belt of orders from the device to the link: orders as they are, their frames as bytes in a ring.
//!
//! **An order is taken whole or not at all**, so waiting for one can be given up at any time. A channel of orders with a frame
//! each would take 1.1 KiB an order; most frames have 40 bytes. There is room if the longest frame fits.

use core::{cell::RefCell, future::poll_fn, task::Poll};

use critical_section::Mutex;
use embassy_sync::waitqueue::AtomicWaker;
use fieldpost_firmware::FrameBuffer;
use fieldpost_link::Order;
use fieldpost_protocol::limits::FRAME_BYTES_MAX;

/// Eight typical batches, thirty positions in 340 bytes each, and room for one frame of the longest kind. Batches of the longest kind
/// fill it sooner; the device is then polled when the link has taken some.
const BYTES: usize = 4096;
/// The device's window of eight publishes, Connect and Subscribe, and some that end connections.
const ORDERS_MAX: usize = 16;

/// One way, one sender, one receiver.
pub(crate) struct Belt {
    load: Mutex<RefCell<Load>>,
    has_order: AtomicWaker,
    has_room: AtomicWaker,
}

struct Load {
    orders: heapless::Deque<Order, ORDERS_MAX>,
    frames: [u8; BYTES],
    first: usize,
    used: usize,
}

impl Belt {
    pub(crate) const fn new() -> Self {
        let load = Load { orders: heapless::Deque::new(), frames: [0; BYTES], first: 0, used: 0 };
        Self {
            load: Mutex::new(RefCell::new(load)),
            has_order: AtomicWaker::new(),
            has_room: AtomicWaker::new(),
        }
    }

    fn with<R>(&self, work: impl FnOnce(&mut Load) -> R) -> R {
        critical_section::with(|cs| work(&mut self.load.borrow_ref_mut(cs)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.with(|load| load.orders.is_empty())
    }

    /// Any order fits.
    pub(crate) fn has_room(&self) -> bool {
        self.with(|load| load.has_room())
    }

    /// Waits until any order fits.
    pub(crate) async fn wait_for_room(&self) {
        poll_fn(|cx| {
            self.has_room.register(cx.waker());
            if self.has_room() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Puts an order on; call it only if [`Belt::has_room`].
    pub(crate) fn put(&self, order: Order, frame: &[u8]) {
        self.with(|load| load.put(order, frame));
        self.has_order.wake();
    }

    /// Waits for an order; a publish's frame goes to the front of `frame`. Cancel-safe.
    pub(crate) async fn take(&self, frame: &mut FrameBuffer) -> Order {
        let order = poll_fn(|cx| {
            self.has_order.register(cx.waker());
            self.with(|load| load.take(frame)).map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        self.has_room.wake();
        order
    }
}

/// Bytes of its frame on the belt.
fn frame_bytes(order: &Order) -> usize {
    if let Order::Publish { len, .. } = order { *len } else { 0 }
}

impl Load {
    fn has_room(&self) -> bool {
        !self.orders.is_full() && BYTES - self.used >= FRAME_BYTES_MAX
    }

    fn put(&mut self, order: Order, frame: &[u8]) {
        assert!(self.has_room() && frame.len() == frame_bytes(&order), "the sender asked for room first");
        for byte in frame {
            self.frames[(self.first + self.used) % BYTES] = *byte;
            self.used += 1;
        }
        self.orders.push_back(order).expect("has room: asserted above");
    }

    fn take(&mut self, frame: &mut FrameBuffer) -> Option<Order> {
        let order = self.orders.pop_front()?;
        for byte in &mut frame[..frame_bytes(&order)] {
            *byte = self.frames[self.first];
            self.first = (self.first + 1) % BYTES;
            self.used -= 1;
        }
        Some(order)
    }
}
