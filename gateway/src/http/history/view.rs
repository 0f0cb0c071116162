//! The history as JSON. Times in Unix ms, degrees WGS 84 (longitude first in GeoJSON: RFC 7946), SI units.

use serde::Serialize;

use crate::alarms::{Grade, RuleRef, Shelf};
use crate::history::AlarmStory;
use crate::history::row::{AlarmEvent, Row, Said};
use crate::history::standing::Standing;
use crate::live::unit::UnitName;
use crate::live::view::{PlaceTimes, PositionView, UnitView, accuracy_m, course_deg, degrees, speed_mps};

/// One unit at a past time, in the shape of the live list.
pub(super) type PastUnit = UnitView<String>;

/// One point of a track.
#[derive(Debug, Serialize)]
pub(super) struct PointView {
    pub(super) at_ms: u64,
    pub(super) lon: f64,
    pub(super) lat: f64,
    pub(super) accuracy_m: Option<u8>,
    pub(super) speed_mps: Option<f64>,
    pub(super) course_deg: Option<f64>,
    /// It came by the backlog: nobody saw it when it was true.
    pub(super) backlog: bool,
    pub(super) received_at_ms: u64,
    pub(super) clock: &'static str,
    pub(super) mode: &'static str,
}

/// A time without points, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct GapView {
    pub(super) from_ms: u64,
    pub(super) until_ms: u64,
    /// `silent`, `off_duty`, `lost` or `damaged`.
    pub(super) kind: &'static str,
}

/// A unit of which only its going is said.
#[derive(Debug, Serialize)]
pub(super) struct GoneView {
    pub(super) id: String,
    pub(super) position: Option<PositionView>,
}

/// An alarm of the past, in the shape of the alarm queue.
#[derive(Debug, Serialize)]
pub(super) struct AlarmView {
    id: String,
    unit: String,
    callsign: String,
    cause: Option<crate::alarms::Cause>,
    mode: &'static str,
    /// The newest that is known: while the queue has the alarm, the queue's.
    #[serde(skip_serializing_if = "Option::is_none")]
    grade: Option<Grade>,
    /// The rule that gave the last grade that the record knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<RuleRef>,
    /// Who raised it: a device, or a rule of the gateway.
    origin: &'static str,
    /// Whether a person or a switch reported it; else it is inferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_fact: Option<bool>,
    raised_at_ms: u64,
    received_at_ms: u64,
    pub(super) position: Option<LonLat>,
    state: &'static str,
    cancelled_at_ms: Option<u64>,
    acknowledged_by: Option<String>,
    acknowledged_at_ms: Option<u64>,
    /// Where it is while nobody has taken it back.
    shelved: Option<Shelf>,
    /// Everything that happened to it, oldest first.
    events: Vec<EventView>,
}

#[derive(Debug, Serialize)]
pub(super) struct LonLat {
    pub(super) lon: f64,
    pub(super) lat: f64,
}

#[derive(Debug, Serialize)]
struct EventView {
    at_ms: u64,
    what: String,
    who: Option<String>,
    /// How grave it was then, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    grade: Option<Grade>,
    /// Why it has that grade, where a rule gave it; why it was shelved, or came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<String>,
    /// Until when it was shelved, unless it came back before.
    #[serde(skip_serializing_if = "Option::is_none")]
    until_ms: Option<u64>,
}

impl PointView {
    /// The point of a row, if it is a position.
    pub(super) fn of(row: &Row) -> Option<Self> {
        let Said::Position(position) = &row.said else { return None };
        Some(Self {
            at_ms: row.at_ms,
            lon: degrees(position.longitude_udeg),
            lat: degrees(position.latitude_udeg),
            accuracy_m: accuracy_m(position),
            speed_mps: speed_mps(position),
            course_deg: course_deg(position),
            backlog: row.is_backlog,
            received_at_ms: row.received_at_ms,
            clock: row.clock.as_str(),
            mode: row.mode.as_str(),
        })
    }
}

/// The position of a row, if it is one, as it is shown of the time `at_ms`.
fn position_of(row: &Row, at_ms: u64) -> Option<PositionView> {
    let Said::Position(position) = &row.said else { return None };
    let times = PlaceTimes {
        device_time_ms: row.at_ms,
        received_at_ms: row.received_at_ms,
        clock: row.clock.as_str(),
        history: row.is_backlog || row.received_at_ms > at_ms,
    };
    Some(PositionView::new(position, times))
}

/// `standing` under the name that the roster gives the unit today. Whether it was connected nobody knows any more.
pub(super) fn unit_of(standing: &Standing, name: &UnitName) -> PastUnit {
    PastUnit {
        id: standing.unit.to_string(),
        force: standing.unit.force.to_string(),
        device: standing.unit.device.to_string(),
        callsign: name.callsign.to_string(),
        officer: None,
        vehicle: None,
        role: None,
        kind: name.kind.as_str(),
        mode: standing.mode().map_or("test", fieldpost_protocol::Mode::as_str),
        connected: false,
        duty: standing.duty().map(|duty| duty.name().unwrap_or("unknown")),
        battery_pct: standing.battery_pct(),
        position: standing.place().and_then(|row| position_of(row, standing.at_ms)),
        last_report_ms: standing.last_report_ms(),
        stale: standing.is_stale(),
        alarm: None,
        gaps: None,
    }
}

/// The position that the page showed at the time.
pub(super) fn shown_of(standing: &Standing) -> Option<PositionView> {
    standing.shown().and_then(|row| position_of(row, standing.at_ms))
}

fn shelf_of(event: &AlarmEvent) -> Shelf {
    Shelf {
        by: event.by.clone().unwrap_or_default(),
        until_ms: event.until_ms.unwrap_or_default(),
        reason: event.because.clone().unwrap_or_default(),
    }
}

impl AlarmView {
    /// `now`: its grade in the queue, if it is there.
    pub(super) fn of(story: &AlarmStory, name: &UnitName, now: Option<Grade>) -> Self {
        let first = |what: &str| story.since.iter().find(|(_, event)| event.what == what);
        let taken = first("acknowledged");
        let raised = (story.raised.at_ms, story.event.clone());
        let view = |(at_ms, event): (u64, AlarmEvent)| EventView {
            at_ms,
            what: event.what,
            who: event.by,
            grade: event.grade,
            because: event.because,
            until_ms: event.until_ms,
        };
        let newest_first = || story.since.iter().rev().map(|(_, event)| event).chain([&story.event]);
        Self {
            id: story.event.alarm.clone(),
            unit: story.unit.to_string(),
            callsign: name.callsign.to_string(),
            cause: story.event.cause,
            mode: story.raised.mode.as_str(),
            grade: now.or_else(|| newest_first().find_map(|event| event.grade)),
            rule: newest_first().find_map(|event| event.rule.clone()),
            origin: if story.event.rule.is_some() { "rule" } else { "device" },
            is_fact: newest_first().find_map(|event| event.is_fact),
            raised_at_ms: story.raised.at_ms,
            received_at_ms: story.raised.received_at_ms,
            position: story
                .event
                .position_udeg
                .map(|(lon, lat)| LonLat { lon: degrees(lon), lat: degrees(lat) }),
            state: match taken {
                _ if first("closed").is_some() => "closed",
                _ if story.shelf().is_some() => "shelved",
                None => "unacknowledged",
                Some(_) if first("cancelled").or_else(|| first("cleared")).is_some() => "cleared",
                Some(_) => "acknowledged",
            },
            cancelled_at_ms: first("cancelled").map(|(at_ms, _)| *at_ms),
            acknowledged_by: taken.and_then(|(_, event)| event.by.clone()),
            acknowledged_at_ms: taken.map(|(at_ms, _)| *at_ms),
            shelved: story.shelf().map(shelf_of),
            events: [raised].into_iter().chain(story.since.iter().cloned()).map(view).collect(),
        }
    }
}
