//! One device: the firmware's own logic, its memory, and its end of a connection.

use std::collections::BTreeMap;

use fieldpost_firmware::{Device, Fix, Handle, Settings};
use fieldpost_gateway::pki::Identity;
use fieldpost_protocol::{DeviceId, Duty, EnvelopeKey, FixSource, ForceId, Mode, Position, ReportReason};

use super::{
    flash::Flash,
    gateway::{EPOCH_MS, FORCE},
    net::ConnId,
};
use crate::{check::ledger::RecordId, world::dice::Dice};

/// A device and who wears it.
pub(super) struct Body {
    pub(super) identity: Identity,
    /// Behind a broker: what it seals with.
    pub(super) key: Option<EnvelopeKey>,
    pub(super) flash: Flash,
    /// None without power.
    pub(super) device: Option<Box<Device<Flash>>>,
    /// When it got its power.
    pub(super) booted_ms: u64,
    pub(super) link: Link,
    pub(super) dice: Dice,
    /// Counts starts and polls, so that what was arranged for an earlier one is not carried out.
    pub(super) life: u32,
    pub(super) poll_at_ms: Option<u64>,
    pub(super) is_out_of_reach: bool,
    /// How wrong its satellites are, seconds.
    pub(super) clock_off_s: i64,
    latitude_udeg: i32,
}

/// The device's end of its connection.
#[derive(Default)]
pub(super) struct Link {
    pub(super) conn: Option<ConnId>,
    /// CONNACK was heard.
    pub(super) is_up: bool,
    pub(super) received: Vec<u8>,
    pub(super) in_flight: BTreeMap<u16, (Handle, Vec<RecordId>)>,
    packet_id: u16,
}

impl Link {
    pub(super) fn on(conn: ConnId) -> Self {
        Self { conn: Some(conn), ..Self::default() }
    }

    pub(super) fn next_packet_id(&mut self) -> u16 {
        self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        self.packet_id
    }
}

impl Body {
    pub(super) fn new(number: usize, is_behind_broker: bool, dice: Dice) -> Self {
        let identity = Identity {
            force: ForceId::try_new(FORCE).expect("an identity"),
            device: DeviceId::try_new(&format!("pc-{number:04}")).expect("an identity"),
            ceiling: Mode::Test,
            serial: vec![1],
            not_after_s: i64::MAX,
        };
        Self {
            identity,
            key: is_behind_broker.then(|| EnvelopeKey::from_bytes([number as u8; 32])),
            flash: Flash::default(),
            device: None,
            booted_ms: 0,
            link: Link::default(),
            dice,
            life: 0,
            poll_at_ms: None,
            is_out_of_reach: false,
            clock_off_s: 0,
            latitude_udeg: 52_000_000,
        }
    }

    /// Power on.
    pub(super) fn start(&mut self, now_ms: u64) {
        self.flash.revive();
        self.life += 1;
        self.booted_ms = now_ms;
        self.link = Link::default();
        self.poll_at_ms = None;
        let settings = Settings { duty: Duty::ON_DUTY, ..Settings::vehicle(Mode::Test) };
        let settings = match self.key {
            Some(key) => settings.behind_broker(key),
            None => settings,
        };
        // A memory that was just revived does not fail; a device that cannot start stays dark until the next start.
        self.device = Device::start(settings, self.flash.clone()).ok().map(Box::new);
    }

    /// Power off.
    pub(super) fn stop(&mut self) {
        self.life += 1;
        self.device = None;
        self.link = Link::default();
    }

    /// The device's own time.
    pub(super) fn local_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.booted_ms)
    }

    /// What the satellites say a little further down the road.
    pub(super) fn next_fix(&mut self, now_ms: u64) -> Fix {
        self.latitude_udeg += 100 + self.dice.index(400) as i32;
        if self.latitude_udeg > 53_000_000 {
            self.latitude_udeg = 52_000_000;
        }
        let unix_ms = EPOCH_MS + now_ms;
        Fix {
            unix_ms: unix_ms.saturating_add_signed(self.clock_off_s * 1000),
            position: Position {
                latitude_udeg: self.latitude_udeg,
                longitude_udeg: -1_500_000,
                speed_cmps: Some(1_400),
                course_turn256: Some(self.dice.index(256) as u8),
                accuracy_m: 5,
                source: FixSource::GNSS,
                reason: ReportReason::INTERVAL,
            },
            satellites: 9,
        }
    }
}
