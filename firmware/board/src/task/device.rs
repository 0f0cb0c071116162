//! The device: everything it hears becomes calls of [`Device`], everything it wants becomes orders to the link.
//!
//! One turn: hear one thing, then poll until there is nothing to do or no room for another order.

use core::future::poll_fn;

use embassy_futures::select::{Either4, select4};
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::Read;
use fieldpost_firmware::{Device, FrameBuffer, Input, Ledger, Notice, Output, Storage};
use fieldpost_protocol::limits::FRAME_BYTES_MAX;

use crate::{
    entropy::{Entropy, draw},
    guard::{self, Watched},
    say,
    wire::{NEWS, News, ORDERS, Order, SENSED, Sensed, What},
};

/// A turn comes at least this often, for the guard.
const TURN_MAX: Duration = Duration::from_secs(1);
/// One gulp of the receiver's output.
const GNSS_BYTES: usize = 64;

/// The device and what stands between it and the link.
pub(crate) struct Desk<S> {
    device: Device<S>,
    entropy: &'static dyn Entropy,
    frame: FrameBuffer,
    attempt: u32,
    ledger_said: Option<Ledger>,
    say_at: Instant,
}

impl<S: Storage> Desk<S> {
    pub(crate) fn new(device: Device<S>, entropy: &'static dyn Entropy) -> Self {
        Self {
            device,
            entropy,
            frame: [0; FRAME_BYTES_MAX],
            attempt: 0,
            ledger_said: None,
            say_at: Instant::MIN,
        }
    }

    /// Runs for ever.
    pub(crate) async fn run(&mut self, gnss: &mut impl Read) -> ! {
        let mut bytes = [0; GNSS_BYTES];
        loop {
            guard::report(Watched::Device);
            self.work();
            match select4(gnss.read(&mut bytes), SENSED.receive(), NEWS.receive(), self.rest()).await {
                Either4::First(Ok(len)) => self.device.on_nmea(now_ms(), &bytes[..len]),
                // A receiver that fails is silent; the device's own rules notice silence.
                Either4::First(Err(_)) | Either4::Fourth(()) => {}
                Either4::Second(sensed) => self.sense(&sensed),
                Either4::Third(news) => self.hear(&news),
            }
        }
    }

    /// Until the device has something to do, or there is room for what it has to do already.
    fn rest(&self) -> impl Future<Output = ()> + use<S> {
        let is_held_up = ORDERS.is_full();
        let latest = Instant::now() + TURN_MAX;
        let due = self.device.poll_at().map_or(latest, |at_ms| Instant::from_millis(at_ms).min(latest));
        async move {
            if is_held_up {
                let _ =
                    embassy_time::with_timeout(TURN_MAX, poll_fn(|cx| ORDERS.poll_ready_to_send(cx))).await;
            } else {
                Timer::at(due).await;
            }
        }
    }

    /// Polls the device while the link has room.
    fn work(&mut self) {
        let entropy = self.entropy;
        let mut random = || draw(entropy);
        while !ORDERS.is_full() {
            let Some(output) = self.device.poll(now_ms(), &mut random, &mut self.frame) else { break };
            let order = match output {
                Output::Notice(notice) => {
                    show(&notice);
                    continue;
                }
                Output::Connect => {
                    self.attempt = self.attempt.wrapping_add(1);
                    say::dial(self.attempt);
                    Order::Connect { attempt: self.attempt }
                }
                Output::Subscribe => Order::Subscribe,
                Output::Publish { handle, lane, frame } => {
                    let frame =
                        heapless::Vec::from_slice(frame).expect("a frame is at most FRAME_BYTES_MAX long");
                    Order::Publish { handle, lane, frame }
                }
                Output::HangUp(reason) => {
                    say::hang_up(reason);
                    Order::HangUp
                }
            };
            assert!(ORDERS.try_send(order).is_ok(), "there is room: checked above, and nobody else sends");
        }
        self.say_ledger();
    }

    fn say_ledger(&mut self) {
        let ledger = self.device.ledger();
        if self.ledger_said != Some(ledger) && Instant::now() >= self.say_at {
            self.ledger_said = Some(ledger);
            self.say_at = Instant::now() + Duration::from_secs(1);
            say::ledger(&ledger, self.device.uplink_counters());
        }
    }

    fn sense(&mut self, sensed: &Sensed) {
        match sensed {
            Sensed::Temperature(degc) => self.device.on_temperature(*degc),
        }
    }

    fn hear(&mut self, news: &News) {
        if news.attempt != self.attempt {
            return;
        }
        let input = match &news.what {
            What::Connected { session_present } => Input::Connected { session_present: *session_present },
            What::Disconnected => Input::Disconnected,
            What::Acknowledged(handle) => Input::Acknowledged(*handle),
            What::Refused(handle) => Input::Refused(*handle),
            What::Downlink(frame) => Input::Downlink(frame),
        };
        self.device.handle(now_ms(), input);
    }
}

fn show(notice: &Notice) {
    say::notice(notice);
}

fn now_ms() -> u64 {
    Instant::now().as_millis()
}
