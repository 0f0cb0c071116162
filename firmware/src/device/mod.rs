//! One device: sensors and downlink in, frames out.
//!
//! ```text
//!  on_nmea, on_fix, on_event, on_button, on_posture, on_duty, on_battery, ...
//!        |
//!        v                          handle(Connected | Disconnected | Acknowledged | Downlink | ...)
//!  gate -> sampler / rules -> outbox -> uplink          |
//!                                         |             v
//!                                         '-- poll --> Connect | Subscribe | Publish | HangUp | Notice
//! ```
//!
//! The caller owns time, randomness, storage and the network. The loop of every body that runs this code:
//!
//! 1. after any `on_*` or [`Device::handle`], call [`Device::poll`] until it returns `None`;
//! 2. sleep until [`Device::poll_at`] or the next input.
//!
//! `now_ms` is monotonic, from the start of the device; it never goes back.
//!
//! ```
//! use fieldpost_firmware::{Device, Input, Output, RamStorage, Settings};
//! use fieldpost_protocol::{Duty, Mode, limits::FRAME_BYTES_MAX};
//!
//! let mut device = Device::start(Settings::body_worn(Mode::Test), RamStorage::<64>::new())?;
//! device.on_duty(0, Duty::AVAILABLE);
//! device.on_nmea(0, b"$GPRMC,120000.00,A,5300.0,N,00130.0,W,2.0,90.0,010626,,,A*73\r\n");
//!
//! let mut frame = [0; FRAME_BYTES_MAX];
//! let mut random = || 4; // a generator, on a device
//! let mut published = 0;
//! while let Some(output) = device.poll(0, &mut random, &mut frame) {
//!     match output {
//!         Output::Connect => device.handle(0, Input::Connected { session_present: false }),
//!         Output::Publish { handle, .. } => {
//!             published += 1;
//!             device.handle(0, Input::Acknowledged(handle));
//!         }
//!         Output::Subscribe | Output::HangUp(_) | Output::Notice(_) => {}
//!     }
//! }
//! // The position and a status.
//! assert_eq!(published, 2);
//! assert_eq!(device.ledger().owed, 0);
//! # Ok::<(), fieldpost_firmware::StartError>(())
//! ```
//!
//! **The duty gate: off duty or on a break no coordinate leaves.** Fixes are dropped before the sampler, what was recorded on
//! duty stays in the outbox until duty begins again, and an alarm goes out at once but without a position. Only the
//! force's policy [`GatePolicy::EmergencyOpens`] changes that, and only while an emergency lasts.

mod downlink;
mod notice;

use fieldpost_protocol::{
    Alarm, AlarmCancel, AlarmCause, CancelReason, Class, Duty, Health, Lane, Position, Power, Receipt,
    ReportReason, SensorEvent, Status,
};

pub use self::notice::Notice;
use self::{downlink::Heard, notice::Notices};
use crate::{
    clock::{Clock, Judgement, Stamp},
    outbox::{Draught, FrameBuffer, Handle, IssueError, Ledger, Outbox, OutboxCounters, StartError},
    rules::{AlarmId, Demand, Posture, Rules},
    sampler::Sampler,
    sensor::nmea::{Fix, NmeaCounters, Receiver, SATELLITES_UNKNOWN},
    settings::{GatePolicy, Settings},
    storage::{ENTRY_BYTES_MAX, Storage},
    uplink::{HangUp, Random, Step, Uplink, UplinkCounters},
};

/// A device takes at most this many bytes beside its storage; a frame buffer is the caller's.
pub const DEVICE_BYTES_MAX: usize = 4608;

const _: () = assert!(size_of::<Device<()>>() <= DEVICE_BYTES_MAX, "a device has outgrown its budget");

/// A status goes out at least this often.
const STATUS_INTERVAL_MS: u64 = 900_000;
/// An alarm that found no room is tried again this often.
const ALARM_RETRY_MS: u64 = 1000;
/// Below this charge the device says so.
const BATTERY_LOW_PCT: u8 = 15;
const BATTERY_UNKNOWN: u8 = 255;

/// What the network did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Input<'a> {
    /// The connection asked for is there: MQTT CONNACK with success.
    Connected {
        /// The gateway still had the session: the subscription stands.
        session_present: bool,
    },
    /// The attempt failed or the connection ended. Every handle is void: the device publishes again what is unanswered,
    /// so the caller must not replay publishes of the old connection by itself.
    Disconnected,
    /// PUBACK with success: the record is STORED.
    Acknowledged(Handle),
    /// PUBACK with an error code: kept, and not sent again on this connection.
    Refused(Handle),
    /// A message on the device's downlink topic.
    Downlink(&'a [u8]),
}

/// What the caller does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<'b> {
    /// Connect: mutual TLS, then MQTT 5 with clean start off, or on if the MQTT client has no session of its own to resume
    /// (after a restart). Answer with `Connected` or `Disconnected`.
    Connect,
    /// Subscribe to the downlink topic, QoS 1.
    Subscribe,
    /// Publish with QoS 1 on the lane's topic. Answer with `Acknowledged`, `Refused` or `Disconnected`.
    Publish {
        /// Names this publish in the answer.
        handle: Handle,
        /// Decides the topic.
        lane: Lane,
        /// The payload, in the caller's buffer.
        frame: &'b [u8],
    },
    /// Close the connection or give up the attempt. No answer is expected.
    HangUp(HangUp),
    /// Tell the wearer, or act on it.
    Notice(Notice),
}

/// What went otherwise than wished. Counters wrap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DeviceCounters {
    /// Fixes that the duty gate held back.
    pub fixes_gated: u32,
    /// Fixes whose position is outside the world.
    pub fixes_invalid: u32,
    /// Downlink frames that cannot be read.
    pub downlinks_malformed: u32,
    /// Downlink frames of a kind this version does not know.
    pub downlinks_unknown: u32,
    /// Commands heard again.
    pub commands_repeated: u32,
    /// Commands that came too late, or before the clock was set.
    pub commands_expired: u32,
    /// Records that could not be issued.
    pub records_refused: u32,
}

#[derive(Debug, Clone, Copy)]
struct LastFix {
    now_ms: u64,
    stamp: Stamp,
    position: Position,
}

#[derive(Debug, Clone, Copy)]
struct Unissued {
    cause: AlarmCause,
    silent: bool,
    retry_at_ms: u64,
}

/// The device. See the module for how it is driven. It has no `Debug`: positions are not for logs.
pub struct Device<S> {
    settings: Settings,
    receiver: Receiver,
    clock: Clock,
    sampler: Sampler,
    rules: Rules,
    outbox: Outbox<S>,
    uplink: Uplink,
    heard: Heard,
    notices: Notices,
    duty: Duty,
    power: Power,
    battery_pct: u8,
    signal_dbm: i8,
    temperature_degc: i8,
    satellites: u8,
    last_fix: Option<LastFix>,
    status_due_ms: u64,
    unissued: Option<Unissued>,
    gate_was_open: bool,
    counters: DeviceCounters,
}

impl<S: Storage> Device<S> {
    /// Starts: counts the start and takes over what the storage holds.
    ///
    /// # Errors
    /// [`StartError`] if the storage cannot serve.
    pub fn start(settings: Settings, storage: S) -> Result<Self, StartError> {
        let mut device = Self {
            settings,
            receiver: Receiver::new(),
            clock: Clock::new(settings.clock),
            sampler: Sampler::new(settings.profile),
            rules: Rules::new(settings.rules),
            outbox: Outbox::start(storage, settings.mode)?,
            uplink: Uplink::new(settings.uplink),
            heard: Heard::default(),
            notices: Notices::default(),
            duty: settings.duty,
            power: Power::BATTERY,
            battery_pct: BATTERY_UNKNOWN,
            signal_dbm: 0,
            temperature_degc: i8::MIN,
            satellites: SATELLITES_UNKNOWN,
            last_fix: None,
            status_due_ms: 0,
            unissued: None,
            gate_was_open: false,
            counters: DeviceCounters::default(),
        };
        device.gate_was_open = device.gate_is_open();
        Ok(device)
    }

    /// Bytes from the GNSS receiver, cut anyhow.
    pub fn on_nmea(&mut self, now_ms: u64, bytes: &[u8]) {
        for byte in bytes {
            if let Some(fix) = self.receiver.push(*byte) {
                self.on_fix(now_ms, &fix);
            }
        }
    }

    /// A fix that arrived just now, from [`Device::on_nmea`] or from a synthetic world.
    ///
    /// The reading carries the fix's own time if the clock took it; else, the device's.
    pub fn on_fix(&mut self, now_ms: u64, fix: &Fix) {
        let stamp = match self.clock.offer_gnss(now_ms, fix.unix_ms) {
            Judgement::Taken => Stamp { time_ms: fix.unix_ms, ..self.clock.stamp(now_ms) },
            _ => self.clock.stamp(now_ms),
        };
        self.satellites = fix.satellites;
        if !self.gate_is_open() {
            self.counters.fixes_gated = self.counters.fixes_gated.wrapping_add(1);
            return;
        }
        let Ok(position) = Position::try_new(fix.position) else {
            self.counters.fixes_invalid = self.counters.fixes_invalid.wrapping_add(1);
            return;
        };
        self.last_fix = Some(LastFix { now_ms, stamp, position });
        if let Some(reason) = self.sampler.on_fix(now_ms, &position) {
            self.issue_position(now_ms, stamp, &Position { reason, ..position });
        }
    }

    /// A sensor changed. Reported at once; intervals follow it.
    pub fn on_event(&mut self, now_ms: u64, event: SensorEvent) {
        self.sampler.on_event(&event);
        self.issue_body(now_ms, Class::SENSOR_EVENT, |buffer| event.encode(buffer).ok());
    }

    /// The emergency button was held for a second, or pressed twice. `silent`: the wearer may be watched.
    pub fn on_button(&mut self, now_ms: u64, silent: bool) {
        let demand = self.rules.on_button(now_ms);
        self.obey(now_ms, demand, silent);
    }

    /// The accelerometer's opinion changed.
    pub fn on_posture(&mut self, now_ms: u64, posture: Posture) {
        let demand = self.rules.on_posture(now_ms, posture);
        self.obey(now_ms, demand, false);
    }

    /// The wearer cancels: a running pre-alarm leaves no record; alarms are marked, never removed.
    pub fn on_cancel(&mut self, now_ms: u64) {
        match self.rules.on_cancel() {
            Some(Demand::Cancel(alarm)) => self.cancel_all(now_ms, alarm),
            demand => self.obey(now_ms, demand, false),
        }
    }

    /// The wearer's duty state, from the radio, the crew or a command.
    pub fn on_duty(&mut self, now_ms: u64, duty: Duty) {
        if duty != self.duty {
            self.duty = duty;
            self.settle_gate();
            self.report_status(now_ms);
        }
    }

    /// Battery charge in percent and how the device is powered.
    pub fn on_battery(&mut self, now_ms: u64, battery_pct: u8, power: Power) {
        let was_low = self.battery_pct <= BATTERY_LOW_PCT;
        let power_changed = power != self.power;
        (self.battery_pct, self.power) = (battery_pct, power);
        let demand = self.rules.on_power(power);
        self.obey(now_ms, demand, false);
        if power_changed || (battery_pct <= BATTERY_LOW_PCT && !was_low) {
            self.report_status(now_ms);
        }
    }

    /// Radio signal in dBm, for the next status.
    pub fn on_signal(&mut self, signal_dbm: i8) {
        self.signal_dbm = signal_dbm;
    }

    /// Device temperature in degrees Celsius, for the next status.
    pub fn on_temperature(&mut self, temperature_degc: i8) {
        self.temperature_degc = temperature_degc;
    }

    /// A heart-rate reading. The caller has the wearer's consent, or does not call.
    pub fn on_health(&mut self, now_ms: u64, health: Health) {
        self.issue_body(now_ms, Class::HEALTH, |buffer| health.encode(buffer).ok());
    }

    /// What the network did.
    pub fn handle(&mut self, now_ms: u64, input: Input<'_>) {
        match input {
            Input::Connected { session_present } => {
                self.uplink.on_connected(now_ms, session_present);
            }
            Input::Disconnected => {
                self.uplink.on_disconnected(now_ms);
                self.outbox.release_window(now_ms);
            }
            Input::Acknowledged(handle) => {
                if let Some((boot, seq)) = self.outbox.acknowledge(handle) {
                    self.on_alarm_receipt(AlarmId { boot, seq }, Receipt::Stored);
                }
            }
            Input::Refused(handle) => self.outbox.refuse(handle),
            Input::Downlink(frame) => self.on_downlink(now_ms, frame),
        }
    }

    /// What to do next; `None` means: nothing before [`Device::poll_at`] or the next input.
    pub fn poll<'b>(
        &mut self,
        now_ms: u64,
        random: &mut dyn Random,
        frame: &'b mut FrameBuffer,
    ) -> Option<Output<'b>> {
        self.step(now_ms);
        if let Some(notice) = self.notices.take() {
            return Some(Output::Notice(notice));
        }
        match self.uplink.step(now_ms, self.outbox.oldest_sent_ms(), random) {
            Some(Step::Connect) => return Some(Output::Connect),
            Some(Step::Subscribe) => return Some(Output::Subscribe),
            Some(Step::HangUp(reason)) => {
                self.outbox.release_window(now_ms);
                return Some(Output::HangUp(reason));
            }
            None => {}
        }
        if !self.uplink.is_online() {
            return None;
        }
        let gate_is_open = self.gate_is_open();
        let selected = self.outbox.select(now_ms, gate_is_open, self.uplink.batch_count_max(), frame)?;
        Some(Output::Publish { handle: selected.handle, lane: selected.lane, frame: &frame[..selected.len] })
    }

    /// When [`Device::poll`] has something to do, if no input comes before. A time in the past means now.
    #[must_use]
    pub fn poll_at(&self) -> Option<u64> {
        if !self.notices.is_empty() {
            return Some(0);
        }
        let retry_at_ms = self.unissued.map(|unissued| unissued.retry_at_ms);
        let uplink_at_ms = self.uplink.step_at(self.outbox.oldest_sent_ms());
        [Some(self.status_due_ms), retry_at_ms, uplink_at_ms, self.rules.step_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Where every record of this start is.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.outbox.ledger()
    }

    /// The duty state.
    #[must_use]
    pub fn duty(&self) -> Duty {
        self.duty
    }

    /// Whether coordinates may leave now.
    #[must_use]
    pub fn gate_is_open(&self) -> bool {
        let emergency_opens =
            self.settings.gate == GatePolicy::EmergencyOpens && self.rules.emergency_lasts();
        self.duty.permits_position() || emergency_opens
    }

    /// The time now, and what it is worth.
    #[must_use]
    pub fn stamp(&self, now_ms: u64) -> Stamp {
        self.clock.stamp(now_ms)
    }

    /// What went otherwise than wished in the device itself.
    #[must_use]
    pub fn counters(&self) -> &DeviceCounters {
        &self.counters
    }

    /// What became of the receiver's sentences.
    #[must_use]
    pub fn nmea_counters(&self) -> &NmeaCounters {
        self.receiver.counters()
    }

    /// What went otherwise than wished in the outbox.
    #[must_use]
    pub fn outbox_counters(&self) -> &OutboxCounters {
        self.outbox.counters()
    }

    /// Connections so far.
    #[must_use]
    pub fn uplink_counters(&self) -> &UplinkCounters {
        self.uplink.counters()
    }

    /// Notices that gave way before the caller took them. Wraps.
    #[must_use]
    pub fn notices_dropped(&self) -> u32 {
        self.notices.dropped()
    }

    /// Ends the device; a new start takes over what the storage holds.
    #[must_use]
    pub fn into_storage(self) -> S {
        self.outbox.into_storage()
    }

    /// What time has brought.
    fn step(&mut self, now_ms: u64) {
        if now_ms >= self.status_due_ms {
            self.report_status(now_ms);
        }
        if let Some(unissued) = self.unissued
            && now_ms >= unissued.retry_at_ms
        {
            self.raise(now_ms, unissued.cause, unissued.silent);
        }
        let demand = self.rules.step(now_ms);
        self.obey(now_ms, demand, false);
    }

    fn obey(&mut self, now_ms: u64, demand: Option<Demand>, silent: bool) {
        match demand {
            None => {}
            Some(Demand::PreAlarm { alarm_at_ms }) => self.notices.add(Notice::PreAlarm { alarm_at_ms }),
            Some(Demand::PreAlarmEnded) => self.notices.add(Notice::PreAlarmEnded),
            Some(Demand::Raise(cause)) => self.raise(now_ms, cause, silent),
            Some(Demand::Cancel(alarm)) => self.cancel_all(now_ms, alarm),
        }
    }

    /// Issues an alarm, or keeps trying: an alarm is never given up.
    fn raise(&mut self, now_ms: u64, cause: AlarmCause, silent: bool) {
        let last_fix = self.last_fix.filter(|_| self.duty.permits_position() || self.emergency_would_open());
        let alarm = Alarm {
            cause,
            silent,
            position: last_fix.map(|fix| Position { reason: ReportReason::EMERGENCY, ..fix.position }),
            position_age_s: last_fix
                .map_or(0, |fix| u16::try_from(now_ms.saturating_sub(fix.now_ms) / 1000).unwrap_or(u16::MAX)),
        };
        let mut buffer = [0; ENTRY_BYTES_MAX];
        let Ok(body) = alarm.encode(&mut buffer) else { return };
        let draught = Draught { class: Class::ALARM, stamp: self.clock.stamp(now_ms), body };
        let Ok(seq) = self.outbox.issue(now_ms, &draught) else {
            self.unissued = Some(Unissued { cause, silent, retry_at_ms: now_ms + ALARM_RETRY_MS });
            return;
        };
        self.unissued = None;
        let alarm = AlarmId { boot: self.outbox.boot(), seq };
        self.heard.follow(alarm);
        self.rules.note_raised(now_ms, alarm, cause);
        self.sampler.begin_emergency(now_ms);
        self.settle_gate();
        self.uplink.hurry(now_ms);
        self.notices.add(Notice::AlarmRaised { alarm, cause, silent });
    }

    /// Takes back every active alarm, the newest first.
    fn cancel_all(&mut self, now_ms: u64, newest: AlarmId) {
        let mut next = Some(newest);
        while let Some(alarm) = next {
            let cancel = AlarmCancel { boot: alarm.boot, seq: alarm.seq, reason: CancelReason::WEARER };
            if !self.issue_body(now_ms, Class::ALARM_CANCEL, |buffer| cancel.encode(buffer).ok()) {
                return;
            }
            self.rules.note_cancelled(alarm);
            self.notices.add(Notice::AlarmCancelled { alarm });
            next = match self.rules.on_cancel() {
                Some(Demand::Cancel(alarm)) => Some(alarm),
                _ => None,
            };
        }
        self.sampler.end_emergency();
        self.settle_gate();
        self.uplink.hurry(now_ms);
    }

    fn emergency_would_open(&self) -> bool {
        self.settings.gate == GatePolicy::EmergencyOpens
    }

    /// Forgets coordinates when the gate closes; looks at held-back records again when it opens.
    fn settle_gate(&mut self) {
        let is_open = self.gate_is_open();
        if is_open != self.gate_was_open {
            self.gate_was_open = is_open;
            if is_open {
                self.outbox.rewind();
            } else {
                self.sampler.forget();
                self.last_fix = None;
            }
        }
    }

    fn report_last_fix(&mut self, now_ms: u64) {
        const FRESH_MS_MAX: u64 = 2000;
        let fresh = self.last_fix.filter(|fix| now_ms.saturating_sub(fix.now_ms) <= FRESH_MS_MAX);
        if let Some(fix) = fresh.filter(|_| self.gate_is_open())
            && let Some(reason) = self.sampler.on_fix(now_ms, &fix.position)
        {
            self.issue_position(now_ms, fix.stamp, &Position { reason, ..fix.position });
        }
    }

    fn report_status(&mut self, now_ms: u64) {
        self.status_due_ms = now_ms + STATUS_INTERVAL_MS;
        let status = Status {
            duty: self.duty,
            battery_pct: self.battery_pct,
            power: self.power,
            signal_dbm: self.signal_dbm,
            satellites: self.satellites,
            temperature_degc: self.temperature_degc,
            storage_pct: self.outbox.fill_pct(),
            outbox_owed: u16::try_from(self.ledger().owed).unwrap_or(u16::MAX),
            reset_reason: self.settings.reset_reason,
            firmware: self.settings.firmware,
            uptime_s: u32::try_from(now_ms / 1000).unwrap_or(u32::MAX),
        };
        self.issue_body(now_ms, Class::STATUS, |buffer| status.encode(buffer).ok());
    }

    fn issue_position(&mut self, now_ms: u64, stamp: Stamp, position: &Position) {
        let mut buffer = [0; ENTRY_BYTES_MAX];
        if let Ok(body) = position.encode(&mut buffer) {
            let issued = self.outbox.issue(now_ms, &Draught { class: Class::POSITION, stamp, body });
            self.count_refusal(issued.err());
        }
    }

    /// Issues a record with the device's own time and says whether that succeeded.
    fn issue_body(
        &mut self,
        now_ms: u64,
        class: Class,
        encode: impl FnOnce(&mut [u8]) -> Option<&[u8]>,
    ) -> bool {
        let mut buffer = [0; ENTRY_BYTES_MAX];
        let Some(body) = encode(&mut buffer) else { return false };
        let draught = Draught { class, stamp: self.clock.stamp(now_ms), body };
        let issued = self.outbox.issue(now_ms, &draught);
        self.count_refusal(issued.err());
        issued.is_ok()
    }

    fn count_refusal(&mut self, error: Option<IssueError>) {
        if error.is_some() {
            self.counters.records_refused = self.counters.records_refused.wrapping_add(1);
        }
    }
}
