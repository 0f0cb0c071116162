//! One event as a row: typed columns for what is asked for, the event's JSON for the rest.

use std::time::SystemTime;

use fieldpost_protocol::{Body, Lane, Position};

use super::Table;
use crate::forward::event::{ClockBounds, Event};
use crate::forward::release::Field;
use crate::postgres::days::Day;
use crate::postgres::time_of;

/// A row of one of the tables.
pub(super) struct Row<'a> {
    pub(super) table: Table,
    pub(super) kind: &'a str,
    pub(super) force: &'a str,
    pub(super) device: &'a str,
    pub(super) boot: i64,
    pub(super) seq: i64,
    /// Fingerprint of a record under a repeated identity; 0 for every other.
    pub(super) repeat: i64,
    pub(super) day: Day,
    pub(super) at: SystemTime,
    pub(super) at_is_device_time: bool,
    pub(super) received_at: SystemTime,
    pub(super) clock: &'static str,
    pub(super) mode: &'static str,
    pub(super) lane: &'static str,
    pub(super) marking: &'static str,
    /// What of it is released.
    pub(super) position: Option<Position>,
    /// The event's JSON; `None` where the columns say all of it.
    pub(super) event: Option<&'a str>,
}

/// The row of an event; `None` for a loss of the gateway's own, which is no device's.
pub(super) fn of(event: &Event, clock: ClockBounds) -> Option<Row<'_>> {
    let record = event.record.as_deref()?;
    let envelope = record.envelope()?;
    let head = envelope.head;
    let body = Body::decode(&head, envelope.body).ok();
    let (table, position) = match &body {
        Some(Body::Position(position)) => (Table::Positions, Some(*position)),
        Some(Body::Alarm(alarm)) => (Table::Alarms, alarm.position),
        _ if head.class.is_alarm_family() => (Table::Alarms, None),
        _ => (Table::Events, None),
    };
    let believed = clock.believes(&head, record.received_at_ms);
    let at_ms = if believed { head.time_ms } else { record.received_at_ms };
    Some(Row {
        table,
        kind: event.route.split('.').nth(1).unwrap_or_default(),
        force: record.force.as_str(),
        device: record.device.as_str(),
        boot: head.boot.0.into(),
        seq: head.seq.0.into(),
        repeat: repeat_of(&event.key),
        day: Day::of(at_ms),
        at: time_of(at_ms),
        at_is_device_time: believed,
        received_at: time_of(record.received_at_ms),
        clock: head.clock.as_str(),
        mode: head.mode.as_str(),
        lane: lane_name(record.lane),
        marking: event.marking.as_str(),
        position: position.filter(|_| event.fields.has(Field::Position)),
        event: (table != Table::Positions).then(|| std::str::from_utf8(&event.json).unwrap_or_default()),
    })
}

/// What follows `~` in the key of a record under a repeated identity. The key, not the record: what was cut out of a record
/// that is released changes its fingerprint.
fn repeat_of(key: &str) -> i64 {
    key.rsplit_once('~').and_then(|(_, print)| i64::from_str_radix(print, 16).ok()).unwrap_or(0)
}

fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Alarm => "alarm",
        Lane::Live => "live",
        Lane::Backlog => "backlog",
        Lane::Health => "health",
    }
}
