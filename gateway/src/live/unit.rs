//! One unit: what is known now of one device and the person or vehicle that carries it.
//!
//! Bounds: about 1 KiB a unit, its rendered JSON included; [`super::Settings::units_max`] units.

use std::sync::Arc;

use fieldpost_protocol::{DeviceId, ForceId, Lane, Mode};

use crate::config::roster::{Roster, UnitKind};
use crate::people::{Wearer, Wearers};
use crate::spool::Lsn;

use super::gaps::Gaps;
use super::report::Report;
use super::told::{Said, Told};

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

/// What is known of one unit.
#[derive(Debug, Clone)]
pub struct Unit {
    /// How people know it.
    pub name: UnitName,
    /// Its device has a connection now.
    pub connected: bool,
    /// The newest report is older than its expected period times [`STALE_FACTOR`].
    pub stale: bool,
    /// What is missing of it.
    pub gaps: Gaps,

    /// When anything came from it last, Unix ms.
    pub(super) heard_ms: u64,
    /// When the record that changed it last was received; how old the page's picture is counts from here.
    pub(super) changed_by_ms: Option<u64>,
    pub(super) dirty: bool,
    /// By the records in order.
    report: Report,
    /// The same and what lanes ahead of them have read, up to the newest of those; none once the records have come to it.
    ahead: Option<Box<(Lsn, Report)>>,
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
            connected: false,
            stale: false,
            gaps: Gaps::default(),
            heard_ms: 0,
            changed_by_ms: None,
            dirty: false,
            report: Report::new(mode),
            ahead: None,
        }
    }

    /// What its device has said, the newest.
    #[must_use]
    pub fn report(&self) -> &Report {
        self.ahead.as_deref().map_or(&self.report, |(_, report)| report)
    }

    /// Milliseconds after which a unit that says nothing is stale.
    #[must_use]
    pub fn stale_after_ms(&self) -> u64 {
        STALE_FACTOR * if self.report().is_gated() { PERIOD_GATED_MS } else { PERIOD_ON_DUTY_MS }
    }

    pub(super) fn is_stale_at(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.report().last_report_ms) > self.stale_after_ms()
    }

    /// A record in its place: it becomes part of what is known.
    pub(super) fn hear(&mut self, told: &Told<'_>, said: Option<Said>) {
        let is_shown = self.ahead.as_ref().is_some_and(|ahead| told.lsn <= ahead.0);
        self.heard_ms = self.heard_ms.max(told.received_at_ms);
        self.report.hear(told);
        said.into_iter().for_each(|said| said.tell(told, &mut self.report));
        self.ahead.take_if(|ahead| ahead.0 <= told.lsn);
        // What a lane has stepped over counts too: above all a status that closes the duty gate.
        if let Some((_, ahead)) = self.ahead.as_deref_mut().filter(|ahead| ahead.1.is_of_boot(told.order)) {
            ahead.hear(told);
            said.into_iter().for_each(|said| said.tell(told, ahead));
        }
        // What was shown ahead of its place is no news.
        if told.lane != Lane::Backlog && !is_shown {
            self.changed_by_ms.get_or_insert(told.received_at_ms);
        }
    }

    /// A record ahead of its place: shown, and forgotten when its place is come to. Lanes come out of order; that tells nothing
    /// within a boot, and of another boot one that is behind what is shown waits for its place.
    pub(super) fn overhear(&mut self, told: &Told<'_>, said: Option<Said>) {
        let ahead = self.ahead.get_or_insert_with(|| Box::new((Lsn(0), self.report.clone())));
        if told.lsn <= ahead.0 && !ahead.1.is_of_boot(told.order) {
            return;
        }
        ahead.0 = ahead.0.max(told.lsn);
        ahead.1.hear(told);
        said.into_iter().for_each(|said| said.tell(told, &mut ahead.1));
        // A unit that is known by this alone must not be forgotten for silence.
        self.heard_ms = self.heard_ms.max(told.received_at_ms);
        self.changed_by_ms.get_or_insert(told.received_at_ms);
    }
}
