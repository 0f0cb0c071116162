//! Ethernet: the LAN9118 as an embassy-net driver.
//!
//! ```text
//!  interrupt --wakes--> run: PHY -> link state; receive FIFO -> packets; packets -> transmit FIFO
//! ```
//!
//! A frame that finds no packet buffer waits in the controller's FIFO; what the FIFO cannot hold, the controller drops and TCP
//! sends again. **Nothing here waits for the controller without a bound.**

mod lan9118;

use core::{future::poll_fn, task::Poll};

use embassy_net_driver_channel::{
    Device, Runner, State,
    driver::{HardwareAddress, LinkState},
};
use embassy_sync::waitqueue::AtomicWaker;
use static_cell::StaticCell;

use lan9118::Lan9118;

use super::interrupt::{self, Interrupt};

/// Longest Ethernet frame without its check sequence.
pub(crate) const FRAME_BYTES_MAX: usize = 1514;
/// Two received frames; the controller's own FIFO holds what comes while they are looked at.
const RX_FRAMES: usize = 2;
/// Two: one leaves while the next is made.
const TX_FRAMES: usize = 2;

static WAKER: AtomicWaker = AtomicWaker::new();
static STATE: StaticCell<State<FRAME_BYTES_MAX, RX_FRAMES, TX_FRAMES>> = StaticCell::new();

/// What embassy-net drives.
pub(crate) type NetDevice = Device<'static, FRAME_BYTES_MAX>;

/// Moves frames between controller and network stack.
pub(crate) struct Ethernet {
    controller: Lan9118,
    runner: Runner<'static, FRAME_BYTES_MAX>,
}

/// The controller is not there or does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, defmt::Format)]
pub(crate) struct NoController;

/// The controller before it is started, in the task that will use it.
pub(crate) struct EthernetPort(());

impl EthernetPort {
    pub(super) fn new() -> Self {
        Self(())
    }

    /// Starts it.
    pub(crate) fn start(self) -> Result<(Ethernet, NetDevice), NoController> {
        let mut controller = Lan9118::start()?;
        let address = HardwareAddress::Ethernet(controller.address());
        let state = STATE.init_with(State::new);
        let (runner, device) = embassy_net_driver_channel::new(state, address);
        // Not before: an LAN9118 that is not set up holds its line active.
        interrupt::unmask(Interrupt::Ethernet);
        Ok((Ethernet { controller, runner }, device))
    }
}

impl Ethernet {
    /// Moves frames for ever; says whether the cable has a link.
    pub(crate) async fn run(self) -> ! {
        let Self { mut controller, runner } = self;
        let (state, mut rx, mut tx) = runner.split();
        loop {
            let is_up = controller.is_link_up();
            state.set_link_state(if is_up { LinkState::Up } else { LinkState::Down });
            poll_fn(|cx| {
                WAKER.register(cx.waker());
                if controller.take_link_event() {
                    return Poll::Ready(());
                }
                while controller.has_received() {
                    let Poll::Ready(buffer) = rx.poll_rx_buf(cx) else { break };
                    if let Some(len) = controller.receive(buffer) {
                        rx.rx_done(len);
                    }
                }
                while controller.can_send() {
                    let Poll::Ready(frame) = tx.poll_tx_buf(cx) else { break };
                    controller.send(frame);
                    tx.tx_done();
                }
                controller.listen();
                Poll::<()>::Pending
            })
            .await;
        }
    }
}

/// Hushes the controller until the task has looked at it.
pub(super) fn on_interrupt() {
    lan9118::hush();
    WAKER.wake();
}
