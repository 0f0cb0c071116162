//! Units and the gateway's state as JSON, exactly as the page's API has them, now and of the past. Times in Unix ms, degrees WGS 84,
//! SI units.

use fieldpost_protocol::Position;
use serde::Serialize;

use super::gaps::Gap;
use super::report::Place;
use super::unit::{Unit, UnitId};
use crate::alarms::AlarmId;
use crate::spool::Health;

/// One unit, in a list or a frame. `T` is its text: borrowed where thousands are written a second, owned where it is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct UnitView<T> {
    pub(crate) id: String,
    pub(crate) force: T,
    pub(crate) device: T,
    pub(crate) callsign: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) officer: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vehicle: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<T>,
    pub(crate) kind: &'static str,
    pub(crate) mode: &'static str,
    pub(crate) connected: bool,
    pub(crate) duty: Option<&'static str>,
    pub(crate) battery_pct: Option<u8>,
    pub(crate) position: Option<PositionView>,
    pub(crate) last_report_ms: u64,
    pub(crate) stale: bool,
    pub(crate) alarm: Option<String>,
    /// Of the past they are in the track instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gaps: Option<Vec<Gap>>,
}

/// Where a unit was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PositionView {
    lon: f64,
    lat: f64,
    speed_mps: Option<f64>,
    course_deg: Option<f64>,
    accuracy_m: Option<u8>,
    device_time_ms: u64,
    received_at_ms: u64,
    clock: &'static str,
    /// It came late: at the time nobody knew it.
    history: bool,
}

/// When a position was true and when it came, Unix ms, by which clock, and whether too late to be seen at the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlaceTimes {
    pub(crate) device_time_ms: u64,
    pub(crate) received_at_ms: u64,
    pub(crate) clock: &'static str,
    pub(crate) history: bool,
}

pub(crate) fn degrees(udeg: i32) -> f64 {
    f64::from(udeg) / 1e6
}

pub(crate) fn speed_mps(position: &Position) -> Option<f64> {
    position.speed_cmps.map(|speed| f64::from(speed) / 100.0)
}

pub(crate) fn course_deg(position: &Position) -> Option<f64> {
    position.course_turn256.map(|course| f64::from(course) * 360.0 / 256.0)
}

/// `None`: the device does not know.
pub(crate) fn accuracy_m(position: &Position) -> Option<u8> {
    (position.accuracy_m > 0).then_some(position.accuracy_m)
}

impl PositionView {
    pub(crate) fn new(position: &Position, times: PlaceTimes) -> Self {
        let PlaceTimes { device_time_ms, received_at_ms, clock, history } = times;
        Self {
            lon: degrees(position.longitude_udeg),
            lat: degrees(position.latitude_udeg),
            speed_mps: speed_mps(position),
            course_deg: course_deg(position),
            accuracy_m: accuracy_m(position),
            device_time_ms,
            received_at_ms,
            clock,
            history,
        }
    }
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
    let report = unit.report();
    let view = UnitView {
        id: id.to_string(),
        force: id.force.as_str(),
        device: id.device.as_str(),
        callsign: &unit.name.callsign,
        officer: unit.name.wearer.officer.as_deref(),
        vehicle: unit.name.wearer.vehicle.as_deref(),
        role: unit.name.wearer.role.as_deref(),
        kind: unit.name.kind.as_str(),
        mode: report.mode.as_str(),
        connected: unit.connected,
        duty: report.duty.map(|duty| duty.name().unwrap_or("unknown")),
        battery_pct: report.battery_pct,
        position: report.place.as_ref().map(PositionView::from),
        last_report_ms: report.last_report_ms,
        stale: unit.stale,
        alarm: alarm.map(AlarmId::to_string),
        gaps: Some(unit.gaps.shown().collect()),
    };
    serde_json::to_writer(out, &view).expect("strings and numbers are JSON, and a Vec takes every write");
}

impl From<&Place> for PositionView {
    fn from(place: &Place) -> Self {
        let times = PlaceTimes {
            device_time_ms: place.time.device_time_ms,
            received_at_ms: place.received_at_ms,
            clock: place.time.clock.as_str(),
            history: place.history,
        };
        Self::new(&place.position, times)
    }
}
