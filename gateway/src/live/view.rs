//! Units and the gateway's state as JSON, exactly as the page's API has them. Times in Unix ms, degrees WGS 84, SI units.

use serde::Serialize;

use super::gaps::Gap;
use super::unit::{Place, Unit, UnitId};
use crate::alarms::AlarmId;
use crate::spool::Health;

#[derive(Serialize)]
struct UnitView<'a> {
    id: String,
    force: &'a str,
    device: &'a str,
    callsign: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    officer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vehicle: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    kind: &'static str,
    mode: &'static str,
    connected: bool,
    duty: Option<&'static str>,
    battery_pct: Option<u8>,
    position: Option<PositionView>,
    last_report_ms: u64,
    stale: bool,
    alarm: Option<String>,
    gaps: Vec<Gap>,
}

#[derive(Serialize)]
struct PositionView {
    lon: f64,
    lat: f64,
    speed_mps: Option<f64>,
    course_deg: Option<f64>,
    accuracy_m: Option<u8>,
    device_time_ms: u64,
    received_at_ms: u64,
    clock: &'static str,
    history: bool,
}

/// What the page is told of the gateway itself, every two seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GatewayView {
    /// Whether records can be committed.
    pub spool: Health,
    /// Devices with a connection.
    pub devices_connected: usize,
    /// Records ever committed.
    pub records_total: u64,
    /// What does not work as it should, in words for an operator. Empty: all is well.
    pub degraded: Vec<String>,
    /// What the page does not show although it is so, in words. Part of `degraded`.
    pub blind: Vec<String>,
}

/// Who watches, as every page is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct WatchView {
    pub(super) consoles: u32,
    pub(super) unlocked: u32,
    /// Nobody would see an alarm.
    pub(super) nobody: bool,
}

/// Appends the JSON of one unit to `out`.
pub(super) fn write_unit(out: &mut Vec<u8>, id: &UnitId, unit: &Unit, alarm: Option<&AlarmId>) {
    let view = UnitView {
        id: id.to_string(),
        force: id.force.as_str(),
        device: id.device.as_str(),
        callsign: &unit.name.callsign,
        officer: unit.name.wearer.officer.as_deref(),
        vehicle: unit.name.wearer.vehicle.as_deref(),
        role: unit.name.wearer.role.as_deref(),
        kind: unit.name.kind.as_str(),
        mode: unit.mode.as_str(),
        connected: unit.connected,
        duty: unit.duty.map(|duty| duty.name().unwrap_or("unknown")),
        battery_pct: unit.battery_pct,
        position: unit.place.as_ref().map(PositionView::from),
        last_report_ms: unit.last_report_ms,
        stale: unit.stale,
        alarm: alarm.map(AlarmId::to_string),
        gaps: unit.gaps.shown().collect(),
    };
    serde_json::to_writer(out, &view).expect("strings and numbers are JSON, and a Vec takes every write");
}

impl From<&Place> for PositionView {
    fn from(place: &Place) -> Self {
        let position = &place.position;
        Self {
            lon: f64::from(position.longitude_udeg) / 1e6,
            lat: f64::from(position.latitude_udeg) / 1e6,
            speed_mps: position.speed_cmps.map(|speed| f64::from(speed) / 100.0),
            course_deg: position.course_turn256.map(|course| f64::from(course) * 360.0 / 256.0),
            accuracy_m: (position.accuracy_m > 0).then_some(position.accuracy_m),
            device_time_ms: place.time.device_time_ms,
            received_at_ms: place.received_at_ms,
            clock: place.time.clock.as_str(),
            history: place.history,
        }
    }
}
