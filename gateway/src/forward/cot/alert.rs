//! An alarm as an alert of TAK.

use std::fmt::Write as _;

use fieldpost_protocol::{Alarm as AlarmBody, Head};

use super::message::{Cot, How, Kind, Point};
use super::uid;
use crate::alarms::{AlarmId, Cause, Grade, Origin, Queue};
use crate::live::order::{ClockBounds, JudgedTime};
use crate::live::standing::StandingAlarm;
use crate::live::unit::UnitName;
use crate::record::Record;

/// The key of an alarm's record.
pub(super) fn key(id: &AlarmId) -> String {
    let [force, device] = [id.unit.force.as_str(), id.unit.device.as_str()].map(|id| id.replace('.', "%2E"));
    let repeat = id.repeat.map(|repeat| format!("~{repeat}")).unwrap_or_default();
    format!("{force}.{device}.{}.{}{repeat}", id.boot.0, id.seq.0)
}

/// An alarm that has just come and that the book may not have yet: as grave as can be.
pub(super) fn of_record(
    id: AlarmId,
    record: &Record,
    head: &Head,
    body: Option<&AlarmBody>,
    name: &UnitName,
    clock: ClockBounds,
) -> StandingAlarm {
    let time = JudgedTime::of(head, record.received_at_ms, clock);
    StandingAlarm {
        id,
        callsign: name.callsign.to_string(),
        cause: body.map_or(Cause::Unknown, |body| body.cause.into()),
        grade: Grade::P1,
        mode: head.mode,
        origin: Origin::Device,
        queue: Queue::Operations,
        raised_at_ms: time.believed_ms(record.received_at_ms).unwrap_or(record.received_at_ms),
        position_udeg: body
            .and_then(|body| body.position)
            .map(|position| (position.longitude_udeg, position.latitude_udeg)),
        is_acknowledged: false,
        is_taken_back: false,
        closed_at_ms: None,
    }
}

/// Whether TAK hears of it: what a wearer's device raised, and what a rule holds to be P1 or P2. Not what is for the
/// security queue.
pub(super) fn is_for_tak(alarm: &StandingAlarm) -> bool {
    let is_grave = matches!(alarm.grade, Grade::P1 | Grade::P2);
    alarm.origin == Origin::Device || (is_grave && alarm.queue == Queue::Operations)
}

/// The alert. `place` is the unit's newest position, if it is known.
pub(super) fn cot(alarm: &StandingAlarm, place: Option<&Cot>, now_ms: u64, stale_ms: u64) -> Cot {
    let own = alarm.position_udeg.map(|(longitude_udeg, latitude_udeg)| Point {
        latitude_udeg,
        longitude_udeg,
        accuracy_m: None,
    });
    let newest = place.filter(|place| own.is_none() || place.at_ms > alarm.raised_at_ms);
    let unit = uid::of(&alarm.id.unit, alarm.mode);
    Cot {
        key: key(&alarm.id),
        battery_key: None,
        uid: uid::of_alert(&alarm.id, alarm.mode),
        kind: kind(alarm.cause),
        mode: alarm.mode,
        at_ms: now_ms,
        stale_ms,
        how: newest.map_or(How::Machine, |place| place.how),
        point: newest.and_then(|place| place.point).or(own),
        callsign: alarm.callsign.clone(),
        battery_pct: None,
        track: None,
        about: Some((unit, place.map_or(Kind::Officer, |place| place.kind))),
        remarks: remarks(alarm),
    }
}

/// The end of it.
pub(super) fn cancel(alarm: &StandingAlarm, now_ms: u64, stale_ms: u64) -> Cot {
    let remarks = "Closed by a person in the control room.".to_owned();
    Cot { kind: Kind::Cancel, remarks, ..cot(alarm, None, now_ms, stale_ms) }
}

fn kind(cause: Cause) -> Kind {
    match cause {
        Cause::Weapon | Cause::Ced => Kind::InContact,
        _ => Kind::Emergency,
    }
}

/// Who acknowledged is not said: names of operators stay here.
fn remarks(alarm: &StandingAlarm) -> String {
    let cause = match alarm.cause {
        Cause::OfficerDown => "officer down",
        Cause::Button => "emergency button",
        Cause::Crash => "vehicle crash",
        Cause::Ced => "energy weapon fired",
        Cause::CheckIn => "check-in missed",
        Cause::Tamper => "device tampered with",
        Cause::Weapon => "weapon drawn",
        Cause::Health => "no motion and unusual heart rate",
        Cause::Security => "device in doubt",
        Cause::Unknown => "cause not stated",
    };
    let raised = i64::try_from(alarm.raised_at_ms).ok();
    let raised = raised.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    let mut text = format!("{} alarm: {cause}. Raised {raised:.0}.", alarm.grade.as_str());
    if alarm.origin == Origin::Rule {
        text.push_str(" Inferred by a rule.");
    }
    let state =
        if alarm.is_acknowledged { " Acknowledged, not closed." } else { " Nobody has acknowledged." };
    text.push_str(state);
    if alarm.is_taken_back {
        text.push_str(" The wearer has taken it back.");
    }
    write!(text, " Id {}.", alarm.id).expect("writing into a growing string cannot fail");
    text
}
