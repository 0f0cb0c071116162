//! The device: everything it hears becomes calls of [`Device`], everything it wants becomes orders to the link.
//!
//! One turn: hear one thing, then poll until there is nothing to do or no room for another order.

use core::future::poll_fn;

use embassy_futures::select::{Either4, select4};
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::Read;
use fieldpost_firmware::{Device, FrameBuffer, Ledger, Output, Storage};
use fieldpost_link::{News, Order, Switchboard};
use fieldpost_protocol::{ClockQuality, limits::FRAME_BYTES_MAX};

use crate::{
    entropy::draw,
    guard::{self, Watched},
    say,
    wire::{self, Letter, NEWS, ORDERS, SENSED, Sensed, Sheet},
};

/// A turn comes at least this often, for the guard.
const TURN_MAX: Duration = Duration::from_secs(1);
/// One gulp of the receiver's output.
const GNSS_BYTES: usize = 64;

/// The device and what stands between it and the link.
pub(crate) struct Desk<S> {
    device: Device<S>,
    switchboard: Switchboard,
    frame: FrameBuffer,
    ledger_said: Option<Ledger>,
    say_at: Instant,
}

impl<S: Storage> Desk<S> {
    pub(crate) fn new(device: Device<S>) -> Self {
        Self {
            device,
            switchboard: Switchboard::new(),
            frame: [0; FRAME_BYTES_MAX],
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
                Either4::Third(letter) => self.hear(&letter),
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
        while !ORDERS.is_full() {
            let Some(output) = self.device.poll(now_ms(), &mut draw, &mut self.frame) else { break };
            match &output {
                Output::Notice(notice) => say::notice(notice),
                Output::HangUp(reason) => say::hang_up(*reason),
                Output::Connect | Output::Subscribe | Output::Publish { .. } => {}
            }
            let Some(order) = self.switchboard.order(&output) else { continue };
            if let Order::Connect { attempt } = order {
                say::dial(attempt);
            }
            let frame = if let Output::Publish { frame, .. } = output { frame } else { &[] };
            assert!(ORDERS.try_send(Sheet::new(order, frame)).is_ok(), "there is room: nobody else sends");
        }
        let stamp = self.device.stamp(now_ms());
        let is_good = stamp.quality != ClockQuality::Unset;
        wire::set_unix_s(is_good.then(|| u32::try_from(stamp.time_ms / 1000).unwrap_or(u32::MAX)));
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

    fn hear(&mut self, letter: &Letter) {
        let news = letter.news();
        let Some(input) = self.switchboard.input(letter.attempt, &news) else { return };
        match news {
            News::Connected { session_present } => say::link_up(letter.attempt, session_present),
            News::Disconnected(end) => say::link_down(letter.attempt, end),
            News::Refused(_) | News::Acknowledged(_) | News::Downlink(_) => {}
        }
        self.device.handle(now_ms(), input);
    }
}

fn now_ms() -> u64 {
    Instant::now().as_millis()
}
