//! One device: sensors and downlink in, frames out.
//!
//! ```text
//!  on_nmea, on_inputs, on_acceleration, on_event, on_duty, on_battery, on_rtc, ...  (sensors.rs)
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
//! force's policy [`GatePolicy::EmergencyOpens`] changes that, and only while an emergency lasts. The gate stands before
//! [`Device::poll`]: what was handed to the link before duty ended, a window of eight publishes at most, may still leave.

mod alarms;
mod downlink;
mod notes;
mod notice;
mod sensors;

use fieldpost_protocol::{Class, Duty, Lane, Position, Power, Receipt, Status};

pub use self::notice::Notice;
use self::{alarms::UnissuedAlarms, downlink::Heard, notes::Remembered, notice::Notices};
use crate::{
    clock::{Clock, Judgement, Stamp},
    outbox::{
        Draught, FrameBuffer, Handle, IssueError, Ledger, Outbox, OutboxCounters, Selected, StartError,
    },
    rules::{AlarmId, Rules},
    sampler::{Profile, Sampler},
    sensor::{
        SensorWatch,
        gnss::GnssWatch,
        motion::Detector,
        nmea::{NmeaCounters, Receiver, SATELLITES_UNKNOWN},
        panel::Panel,
    },
    settings::{GatePolicy, Peer, Settings},
    storage::{ENTRY_BYTES_MAX, Storage},
    uplink::{HangUp, Random, Step, Uplink, UplinkCounters},
};

/// A device takes at most this many bytes beside its storage; a frame buffer is the caller's.
pub const DEVICE_BYTES_MAX: usize = 5632;

const _: () = assert!(size_of::<Device<()>>() <= DEVICE_BYTES_MAX, "a device has outgrown its budget");

/// A status goes out at least this often.
const STATUS_INTERVAL_MS: u64 = 900_000;
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
    /// PUBACK with success: the record is STORED, or behind a broker only on its way.
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
    /// Fixes too far from where the device can be.
    pub fixes_implausible: u32,
    /// Downlink frames that cannot be read, or that behind a broker nobody vouches for.
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

/// The device. See the module for how it is driven. It has no `Debug`: positions are not for logs.
pub struct Device<S> {
    settings: Settings,
    receiver: Receiver,
    gnss: GnssWatch,
    panel: Panel,
    motion: Detector,
    sensors: SensorWatch,
    clock: Clock,
    /// What the clock last made of each source.
    judgements: [Option<Judgement>; 3],
    sampler: Sampler,
    rules: Rules,
    outbox: Outbox<S>,
    uplink: Uplink,
    heard: Heard,
    notices: Notices,
    remembered: Remembered,
    power: Power,
    gauge_power: Power,
    is_docked: bool,
    battery_pct: u8,
    signal_dbm: i8,
    temperature_degc: i8,
    satellites: u8,
    last_fix: Option<LastFix>,
    status_due_ms: u64,
    unissued: UnissuedAlarms,
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
            gnss: GnssWatch::default(),
            panel: Panel::new(settings.panel),
            motion: Detector::new(settings.motion),
            sensors: SensorWatch::default(),
            clock: Clock::new(settings.clock),
            judgements: [None; 3],
            sampler: Sampler::new(settings.profile),
            rules: Rules::new(settings.rules, settings.duty),
            outbox: Outbox::start(storage, settings.mode)?,
            uplink: Uplink::new(settings.uplink),
            heard: Heard::default(),
            notices: Notices::default(),
            remembered: Remembered::new(settings.duty),
            power: Power::BATTERY,
            gauge_power: Power::BATTERY,
            is_docked: false,
            battery_pct: BATTERY_UNKNOWN,
            signal_dbm: 0,
            temperature_degc: i8::MIN,
            satellites: SATELLITES_UNKNOWN,
            last_fix: None,
            status_due_ms: 0,
            unissued: UnissuedAlarms::default(),
            gate_was_open: false,
            counters: DeviceCounters::default(),
        };
        device.recall();
        device.settle_gate(0);
        Ok(device)
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
            // The broker has it; the gateway has said nothing yet.
            Input::Acknowledged(_) if matches!(self.settings.peer, Peer::Broker(_)) => {}
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
        let Selected { handle, lane, len } = selected;
        let len = match &self.settings.peer {
            Peer::Gateway => len,
            Peer::Broker(key) => key
                .seal(lane, frame, len)
                .expect("the outbox seals nothing, and a frame buffer has room for a tag"),
        };
        Some(Output::Publish { handle, lane, frame: &frame[..len] })
    }

    /// When [`Device::poll`] has something to do, if no input comes before. A time in the past means now.
    #[must_use]
    pub fn poll_at(&self) -> Option<u64> {
        if !self.notices.is_empty() {
            return Some(0);
        }
        let uplink_at_ms = self.uplink.step_at(self.outbox.oldest_sent_ms());
        let alarms_at_ms = [self.unissued.due_at(), self.rules.step_at()];
        [Some(self.status_due_ms), uplink_at_ms, self.gnss.step_at()]
            .into_iter()
            .chain(alarms_at_ms)
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
        self.remembered.duty
    }

    /// Whether coordinates may leave now.
    #[must_use]
    pub fn gate_is_open(&self) -> bool {
        let emergency_opens =
            self.settings.gate == GatePolicy::EmergencyOpens && self.rules.emergency_lasts();
        self.duty().permits_position() || emergency_opens
    }

    /// The time now, and what it is worth.
    #[must_use]
    pub fn stamp(&self, now_ms: u64) -> Stamp {
        self.clock.stamp(now_ms)
    }

    /// The time in ms of Unix time if somebody outside has said it since the start: what certificates may be judged by.
    /// A real-time clock alone does not do; refusing the gateway for a flat cell would keep the device from ever being
    /// told better.
    #[must_use]
    pub fn told_unix_ms(&self, now_ms: u64) -> Option<u64> {
        self.clock.is_told().then(|| self.clock.stamp(now_ms).time_ms)
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
        self.step_gnss(now_ms);
        self.step_alarms(now_ms);
    }

    /// Forgets coordinates when the gate closes; looks at held-back records again when it opens.
    fn settle_gate(&mut self, now_ms: u64) {
        let is_open = self.gate_is_open();
        if is_open == self.gate_was_open {
            return;
        }
        self.gate_was_open = is_open;
        if is_open {
            self.outbox.rewind();
            // A recording ends without a receiver being broken.
            if self.settings.profile != Profile::Every {
                self.gnss.on_gate_open(now_ms);
            }
        } else {
            self.sampler.forget();
            self.last_fix = None;
            self.gnss.on_gate_closed();
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
            duty: self.duty(),
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
