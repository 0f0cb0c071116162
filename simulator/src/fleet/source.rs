//! What a device's sensors are connected to: a unit of the world, or a recording.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fieldpost_firmware::{Device, Fix, Posture, RamStorage};
use fieldpost_protocol::{Duty, FixSource, Position, Power, ReportReason};

use super::receiver_log::Epoch;
use crate::world::{
    Town,
    gnss::WorldFix,
    unit::{Moment, Order, Unit},
};

/// Records one device can owe: about eight minutes of a vehicle without a connection.
pub const OUTBOX_COUNT: usize = 256;

/// How soon a fast replay looks again whether the last epoch is stored.
const OWED_WAIT: Duration = Duration::from_millis(2);

/// The device logic with its storage.
pub type SimDevice = Device<RamStorage<OUTBOX_COUNT>>;

/// How fast a recording is replayed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many times faster than it was recorded.
    Speed(f64),
    /// As fast as the device can pass it on.
    Fast,
}

/// Where readings come from.
pub enum Source {
    /// Somebody in the town.
    World {
        /// The town.
        town: Arc<Town>,
        /// Who.
        unit: Box<Unit>,
        /// What was last told to the device.
        told: Told,
    },
    /// A receiver's log.
    Recording {
        /// What is left of it, the next epoch last.
        epochs: Vec<Epoch>,
        /// How fast.
        pace: Pace,
    },
}

/// What the device has been told, so that it is told changes only.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    duty: Option<Duty>,
    battery: Option<(u8, Power)>,
    is_down: bool,
}

impl Source {
    /// Somebody in the town.
    #[must_use]
    pub fn world(town: Arc<Town>, unit: Unit) -> Self {
        Self::World { town, unit: Box::new(unit), told: Told::default() }
    }

    /// A receiver's log, from its beginning.
    #[must_use]
    pub fn recording(log: &[u8], pace: Pace) -> Self {
        let mut epochs = super::receiver_log::epochs(log);
        epochs.reverse();
        Self::Recording { epochs, pace }
    }

    /// Passes one step of the source to the device. Returns how long until the next, or `None` if there is none; and
    /// whether the network can be reached.
    pub fn step(&mut self, device: &mut SimDevice, now_ms: u64, unix_ms: u64) -> (Option<Duration>, bool) {
        match self {
            Self::World { town, unit, told } => {
                let moment = unit.step(town);
                tell(device, told, &moment, now_ms, unix_ms);
                (Some(Duration::from_secs(1)), moment.in_reach)
            }
            Self::Recording { epochs, pace } => {
                // One epoch at a time: what piles up goes by the backlog lane, behind what is newer.
                if *pace == Pace::Fast && device.ledger().owed > 0 {
                    return (Some(OWED_WAIT), true);
                }
                let Some(epoch) = epochs.pop() else { return (None, true) };
                device.on_nmea(now_ms, &epoch.bytes);
                let next = epochs.last().map(|next| match pace {
                    Pace::Fast => Duration::ZERO,
                    Pace::Speed(speed) => Duration::from_millis(next.after_ms).div_f64(speed.max(0.001)),
                });
                (next, true)
            }
        }
    }

    /// Something happens in the story. Recordings do not listen.
    pub fn order(&mut self, order: Order) {
        if let Self::World { town, unit, .. } = self {
            unit.order(town, order);
        }
    }

    /// Where the unit is, as the story needs it.
    #[must_use]
    pub fn place(&self) -> Option<crate::world::plane::Point> {
        match self {
            Self::World { town, unit, .. } => Some(unit.place(town)),
            Self::Recording { .. } => None,
        }
    }
}

fn tell(device: &mut SimDevice, told: &mut Told, moment: &Moment, now_ms: u64, unix_ms: u64) {
    // Battery before duty: the status that a change of duty sends shows it.
    let battery = (moment.battery_pct, moment.power);
    if told.battery.replace(battery) != Some(battery) {
        device.on_battery(now_ms, moment.battery_pct, moment.power);
    }
    device.on_signal(moment.signal_dbm);
    // Duty before the fix: off duty it must not pass.
    if told.duty.replace(moment.duty) != Some(moment.duty) {
        device.on_duty(now_ms, moment.duty);
    }
    for event in &moment.events {
        device.on_event(now_ms, *event);
    }
    if let Some(fix) = &moment.fix {
        device.on_fix(now_ms, &fix_of(fix, unix_ms));
    }
    if moment.presses {
        device.on_button(now_ms, false);
    }
    if std::mem::replace(&mut told.is_down, moment.is_down) != moment.is_down {
        device.on_posture(now_ms, if moment.is_down { Posture::Down } else { Posture::Up });
    }
}

fn fix_of(fix: &WorldFix, unix_ms: u64) -> Fix {
    Fix {
        unix_ms,
        position: Position {
            latitude_udeg: fix.latitude_udeg,
            longitude_udeg: fix.longitude_udeg,
            speed_cmps: Some(fix.speed_cmps),
            course_turn256: fix.course_turn256,
            accuracy_m: fix.accuracy_m,
            source: FixSource::GNSS,
            reason: ReportReason::INTERVAL,
        },
        satellites: fix.satellites,
    }
}

/// Unix time in ms.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
