//! The device: everything it hears becomes calls of [`Device`], everything it wants becomes orders to the link.
//!
//! One turn: hear one thing, then poll until there is nothing to do or no room for another order.

use embassy_futures::select::{Either4, select4};
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::Read;
use fieldpost_firmware::{Device, FrameBuffer, Ledger, Output, Storage, sensor::Sensor};
use fieldpost_link::{News, Order, Switchboard};
use fieldpost_protocol::{ClockQuality, limits::FRAME_BYTES_MAX};

use crate::{
    entropy::draw,
    guard::{self, Watched},
    say,
    task::sense::ROUND_MS,
    wearer::Wearer,
    wire::{self, Letter, NEWS, ORDERS, SENSED, SET_RTC, Sensed},
};

/// A turn comes at least this often, for the guard.
const TURN_MAX: Duration = Duration::from_secs(1);
/// The real-time clock drifts by seconds a day.
const SET_RTC_INTERVAL: Duration = Duration::from_secs(3600);
/// One gulp of the receiver's output.
const GNSS_BYTES: usize = 64;

/// The device and what stands between it and the link.
pub(crate) struct Desk<S> {
    device: Device<S>,
    switchboard: Switchboard,
    frame: FrameBuffer,
    ledger_said: Option<Ledger>,
    say_at: Instant,
    set_rtc_at: Instant,
    wearer: Wearer,
}

impl<S: Storage> Desk<S> {
    pub(crate) fn new(device: Device<S>) -> Self {
        Self {
            device,
            switchboard: Switchboard::new(),
            frame: [0; FRAME_BYTES_MAX],
            ledger_said: None,
            say_at: Instant::MIN,
            set_rtc_at: Instant::MIN,
            wearer: Wearer::default(),
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
        let is_held_up = !ORDERS.has_room();
        let latest = Instant::now() + TURN_MAX;
        let due = self.device.poll_at().map_or(latest, |at_ms| Instant::from_millis(at_ms).min(latest));
        async move {
            if is_held_up {
                let _ = embassy_time::with_timeout(TURN_MAX, ORDERS.wait_for_room()).await;
            } else {
                Timer::at(due).await;
            }
        }
    }

    /// Polls the device while the link has room.
    fn work(&mut self) {
        while ORDERS.has_room() {
            let Some(output) = self.device.poll(now_ms(), &mut draw, &mut self.frame) else { break };
            match &output {
                Output::Notice(notice) => {
                    say::notice(notice);
                    self.wearer.show(notice);
                }
                Output::HangUp(reason) => say::hang_up(*reason),
                Output::Connect | Output::Subscribe | Output::Publish { .. } => {}
            }
            let Some(order) = self.switchboard.order(&output) else { continue };
            if let Order::Connect { attempt } = order {
                say::dial(attempt);
            }
            let frame = if let Output::Publish { frame, .. } = output { frame } else { &[] };
            ORDERS.put(order, frame);
            #[cfg(feature = "broken-remove-before-stored")]
            if let Order::Publish { handle, .. } = order {
                self.device.handle(now_ms(), fieldpost_firmware::Input::Acknowledged(handle));
            }
        }
        self.tell_time();
        self.say_ledger();
    }

    /// Tells the link what time it is, and the real-time clock once an hour, if that is known from outside.
    fn tell_time(&mut self) {
        let now = Instant::now();
        let stamp = self.device.stamp(now.as_millis());
        let told_ms = self.device.told_unix_ms(now.as_millis());
        wire::set_unix_s(told_ms.map(|unix_ms| u32::try_from(unix_ms / 1000).unwrap_or(u32::MAX)));
        let is_told = matches!(stamp.quality, ClockQuality::Gnss | ClockQuality::Network);
        if is_told && now >= self.set_rtc_at {
            self.set_rtc_at = now + SET_RTC_INTERVAL;
            SET_RTC.signal(stamp.time_ms);
        }
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
        let (now_ms, device) = (now_ms(), &mut self.device);
        let (sensor, outcome) = match sensed {
            Sensed::Inputs(read) => (Sensor::Inputs, read.map(|inputs| device.on_inputs(now_ms, inputs))),
            Sensed::Acceleration(read) => {
                let outcome = read.as_ref().map_err(|fault| *fault);
                (
                    Sensor::Accelerometer,
                    outcome.map(|samples| device.on_acceleration(now_ms, ROUND_MS, samples)),
                )
            }
            Sensed::Temperature(read) => (Sensor::Temperature, read.map(|degc| device.on_temperature(degc))),
            Sensed::Battery(read) => (
                Sensor::Battery,
                read.map(|charge| device.on_battery(now_ms, charge.battery_pct, charge.power)),
            ),
            Sensed::Rtc(read) => (Sensor::Rtc, read.map(|unix_ms| device.on_rtc(now_ms, unix_ms))),
            Sensed::Outcome(sensor, outcome) => (*sensor, *outcome),
        };
        device.on_sensor(now_ms, sensor, outcome);
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
