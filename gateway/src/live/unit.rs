//! One unit: what is known now of one device and the person or vehicle that carries it.
//!
//! Bounds: about 1 KiB a unit, its rendered JSON included; [`super::Settings::units_max`] units.

use std::sync::Arc;

use fieldpost_protocol::{DeviceId, Duty, ForceId, Mode, Position};

use crate::config::roster::{Roster, UnitKind};
use crate::people::{Wearer, Wearers};

use super::gaps::Gaps;
use super::order::{JudgedTime, Order};

/// A unit's identity: `force/device`. Sorted by force, then device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitId {
    /// The force, from the certificate.
    pub force: ForceId,
    /// The device, from the certificate.
    pub device: DeviceId,
}

impl std::fmt::Display for UnitId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.force, self.device)
    }
}

/// The text is not `force/device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a unit is force/device")]
pub struct UnitIdError;

impl std::str::FromStr for UnitId {
    type Err = UnitIdError;

    fn from_str(text: &str) -> Result<Self, UnitIdError> {
        let (force, device) = text.split_once('/').ok_or(UnitIdError)?;
        let force = ForceId::try_new(force).map_err(|_| UnitIdError)?;
        let device = DeviceId::try_new(device).map_err(|_| UnitIdError)?;
        Ok(Self { force, device })
    }
}

/// How people know a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitName {
    /// What they call it on the radio: any text, which stays a JSON string. The device id if the roster has none.
    pub callsign: Arc<str>,
    /// Its symbol; an officer if the roster does not say.
    pub kind: UnitKind,
    /// Who wears it now, where it is, and what they do there: by the shift's assignment.
    pub wearer: Wearer,
}

impl UnitName {
    /// The name that `roster` gives a unit.
    #[must_use]
    pub fn of(id: &UnitId, roster: &Roster) -> Self {
        match roster.unit(&id.force, &id.device) {
            Some(unit) => {
                let callsign = Arc::from(unit.callsign.as_str());
                Self { callsign, kind: unit.kind, wearer: Wearer::default() }
            }
            None => {
                let callsign = Arc::from(id.device.as_str());
                Self { callsign, kind: UnitKind::Officer, wearer: Wearer::default() }
            }
        }
    }

    /// The name at one instant: what the assignment of that time says comes before the roster.
    #[must_use]
    pub fn at(id: &UnitId, roster: &Roster, wearers: &Wearers, at_ms: u64) -> Self {
        let name = Self::of(id, roster);
        match wearers.at(id, at_ms) {
            Some(wearer) => {
                let callsign = wearer.callsign.as_deref().map_or(name.callsign, Arc::from);
                Self { callsign, wearer, ..name }
            }
            None => name,
        }
    }
}

/// Where a unit was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The position as decoded.
    pub position: Position,
    /// When, by the device.
    pub time: JudgedTime,
    /// When it reached the gateway, Unix ms.
    pub received_at_ms: u64,
    /// It came by the backlog lane.
    pub history: bool,
}

/// What is known of one unit.
#[derive(Debug, Clone)]
pub struct Unit {
    /// How people know it.
    pub name: UnitName,
    /// Mode of its newest record.
    pub mode: Mode,
    /// Its device has a connection now.
    pub connected: bool,
    /// What the officer is doing, once a status has said so.
    pub duty: Option<Duty>,
    /// Battery in percent, if known.
    pub battery_pct: Option<u8>,
    /// Where it is; `None` while the duty gate hides it.
    pub place: Option<Place>,
    /// When the newest report was made, Unix ms: receipt of live ones, device time of history.
    pub last_report_ms: u64,
    /// The newest report is older than its expected period times [`STALE_FACTOR`].
    pub stale: bool,
    /// What is missing of it.
    pub gaps: Gaps,

    /// When anything came from it last, Unix ms.
    pub(super) heard_ms: u64,
    pub(super) newest: Option<Order>,
    pub(super) newest_place: Option<Order>,
    pub(super) newest_status: Option<Order>,
    /// When the record that changed it last was received; how old the page's picture is counts from here.
    pub(super) changed_by_ms: Option<u64>,
    pub(super) dirty: bool,
}

/// A unit is stale when its newest report is this many expected periods old.
pub const STALE_FACTOR: u64 = 3;
/// On duty a report is due every 30 s: on foot 30 s or 50 m, vehicles more often.
pub const PERIOD_ON_DUTY_MS: u64 = 30_000;
/// Off duty or on a break only the status is due, every 15 min.
pub const PERIOD_GATED_MS: u64 = 15 * 60_000;

impl Unit {
    pub(super) fn new(name: UnitName, mode: Mode) -> Self {
        Self {
            name,
            mode,
            connected: false,
            duty: None,
            battery_pct: None,
            place: None,
            last_report_ms: 0,
            stale: false,
            gaps: Gaps::default(),
            heard_ms: 0,
            newest: None,
            newest_place: None,
            newest_status: None,
            changed_by_ms: None,
            dirty: false,
        }
    }

    /// Whether the duty gate hides its position.
    #[must_use]
    pub fn is_gated(&self) -> bool {
        self.duty.is_some_and(|duty| !duty.permits_position())
    }

    /// Milliseconds after which a unit that says nothing is stale.
    #[must_use]
    pub fn stale_after_ms(&self) -> u64 {
        STALE_FACTOR * if self.is_gated() { PERIOD_GATED_MS } else { PERIOD_ON_DUTY_MS }
    }

    pub(super) fn is_stale_at(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.last_report_ms) > self.stale_after_ms()
    }
}
