//! What an output is released of an alarm that it is told again from the book.
//!
//! **The same cut as that of the alarm's record**: it is asked as if the record came again. An alarm whose cause nobody knows is
//! told to whoever is released alarms of either class: it carries nothing but that it is one. **What a rule concluded from sensors
//! goes only where sensors are released**, and that a wearer took an alarm back only where cancels are.

use bytes::Bytes;
use fieldpost_protocol::{
    Alarm, AlarmCause, Body, Class, ClockQuality, Envelope, FixSource, Head, Lane, Position, ReportReason,
};

use crate::alarms::{Cause, Origin};
use crate::forward::release::{Field, Kind, Release};
use crate::live::standing::StandingAlarm;
use crate::record::{Record, RecordKind};
use crate::spool::Lsn;

/// What of `alarm` may be sent; `None`: nothing.
pub(super) fn alarm(release: &Release, alarm: &StandingAlarm) -> Option<StandingAlarm> {
    if alarm.origin == Origin::Rule && !releases_sensors(release) {
        return None;
    }
    let head = Head {
        version: 1,
        class: Class::ALARM,
        mode: alarm.mode,
        clock: ClockQuality::Unset,
        boot: alarm.id.boot,
        seq: alarm.id.seq,
        time_ms: alarm.raised_at_ms,
    };
    let position = alarm.position_udeg.map(|(longitude_udeg, latitude_udeg)| Position {
        latitude_udeg,
        longitude_udeg,
        speed_cmps: None,
        course_turn256: None,
        accuracy_m: 0,
        source: FixSource::GNSS,
        reason: ReportReason::EMERGENCY,
    });
    let record = Record {
        lsn: Lsn(0),
        received_at_ms: alarm.raised_at_ms,
        force: alarm.id.unit.force.clone(),
        device: alarm.id.unit.device.clone(),
        ceiling: alarm.mode,
        lane: Lane::Alarm,
        kind: RecordKind::Envelope,
        payload: Bytes::new(),
    };
    let envelope = Envelope { head, body: &[], trailer: None };
    let body = Alarm { cause: AlarmCause::UNKNOWN, silent: false, position, position_age_s: 0 };
    let cut = release.cut(&record, &envelope, Some(Body::Alarm(body))).or_else(|withheld| {
        let is_unknown = alarm.cause == Cause::Unknown;
        if is_unknown { release.cut(&record, &envelope, None) } else { Err(withheld) }
    });
    let cut = cut.ok()?;
    let position = match cut.body {
        Some(Body::Alarm(Alarm { position, .. })) => position,
        _ => None,
    };
    let position_udeg = position.map(|position| (position.longitude_udeg, position.latitude_udeg));
    let is_taken_back = alarm.is_taken_back && release.classes.has(Kind::AlarmCancel);
    let mut released = StandingAlarm { position_udeg, is_taken_back, ..alarm.clone() };
    if !cut.fields.has(Field::Callsign) {
        released.callsign = alarm.id.unit.device.as_str().to_owned();
    }
    Some(released)
}

fn releases_sensors(release: &Release) -> bool {
    release.classes.has(Kind::SensorEvent) && release.fields.has(Field::Sensor)
}
